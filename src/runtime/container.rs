//! The handle of a container: its operations, each of which looks for the container first.
//!
//! World: parent.

use std::time::Duration;

use super::{Runtime, Signal, named};
use crate::container as commands;
use crate::container::checkpoint::CheckpointOptions;
use crate::container::events::{Output, Statistics};
use crate::container::inspect::Inspection;
use crate::container::mounts::Mounts;
use crate::container::options::ExecOptions;
use crate::container::state::State;
use crate::container::update::Resources;
use crate::error::Result;

/// Which processes a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// The container's first process.
    #[default]
    Init,
    /// Every process of the container.
    All,
}

/// Whether a container is deleted whatever it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Force {
    /// Only if it has stopped or was never started.
    #[default]
    No,
    /// Its processes are killed first, and one that does not exist is a success.
    Yes,
}

/// A container of a [`Runtime`], by its id.
#[derive(Debug, Clone)]
pub struct Container<'r> {
    runtime: &'r Runtime,
    id: String,
}

impl<'r> Container<'r> {
    pub(super) fn new(runtime: &'r Runtime, id: &str) -> Self {
        Self { runtime, id: id.to_owned() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its state, as the kernel has it now.
    ///
    /// # Errors
    /// It does not exist, or its record is damaged.
    pub fn state(&self) -> Result<State> {
        named(commands::state::state(&self.runtime.root, &self.id))
    }

    /// Starts the program of a created container.
    ///
    /// # Errors
    /// It is not created; a hook fails; the program cannot be executed; there are startContainer hooks, and the caller is
    /// not protected ([`crate::protect`]).
    pub fn start(&self) -> Result<()> {
        let protect = crate::own_executable::require_protected;
        named(commands::start::start(&self.runtime.root, &self.id, protect, &mut self.runtime.warn()))
    }

    /// Executes a process in it; the exit code of the program, or 128 + signal; 0 if detached.
    ///
    /// # Errors
    /// It does not run; the process cannot be made; the caller is not protected ([`crate::protect`]). No process is left.
    pub fn exec(&self, options: &ExecOptions<'_>) -> Result<i32> {
        crate::own_executable::require_protected()?;
        named(commands::exec::exec(&self.runtime.root, &self.id, options, &mut self.runtime.warn()))
    }

    /// Sends a signal. SIGKILL is for all processes where the end of the first one is not the end of the others.
    ///
    /// # Errors
    /// It does not run, unless the signal is for all.
    pub fn kill(&self, signal: Signal, target: Target) -> Result<()> {
        named(commands::kill::kill(&self.runtime.root, &self.id, signal.number(), target == Target::All))
    }

    /// Has CRIU write its processes to images, and deletes it afterwards unless the options say otherwise.
    ///
    /// # Errors
    /// It neither runs nor is paused; CRIU is missing, too old, or cannot do it: it runs on then.
    pub fn checkpoint(&self, options: &CheckpointOptions) -> Result<()> {
        named(commands::checkpoint::checkpoint(&self.runtime.root, &self.id, options, &mut self.runtime.warn()))
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// It neither runs nor is created; it has no cgroup.
    pub fn pause(&self) -> Result<()> {
        named(commands::freeze::pause(&self.runtime.root, &self.id))
    }

    /// Thaws all processes.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self) -> Result<()> {
        named(commands::freeze::resume(&self.runtime.root, &self.id))
    }

    /// Changes the limits that `resources` names; the others stay.
    ///
    /// # Errors
    /// It does not live; a value cannot be accepted or set: nothing has changed then.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        named(commands::update::update(&self.runtime.root, &self.id, resources, &mut self.runtime.warn()))
    }

    /// Mounts everything in `mounts` in it, or nothing. What is mounted goes with the container.
    ///
    /// # Errors
    /// It does not live; a value cannot be accepted or done, with its JSON path; the caller is not protected
    /// ([`crate::protect`]).
    pub fn mount(&self, mounts: &Mounts) -> Result<()> {
        crate::own_executable::require_protected()?;
        named(commands::mounts::add(&self.runtime.root, &self.id, mounts, &mut self.runtime.warn()))
    }

    /// Unmounts what [`Self::mount`] mounted on the destinations in `mounts`, whose other values are ignored.
    ///
    /// # Errors
    /// It does not live; nothing was added on one of the destinations, or another mount covers it: nothing is unmounted
    /// then; the caller is not protected ([`crate::protect`]).
    pub fn unmount(&self, mounts: &Mounts) -> Result<()> {
        crate::own_executable::require_protected()?;
        named(commands::mounts::remove(&self.runtime.root, &self.id, mounts, &mut self.runtime.warn()))
    }

    /// The pids of its processes in the caller's pid namespace, sorted.
    ///
    /// # Errors
    /// It does not exist.
    pub fn processes(&self) -> Result<Vec<i32>> {
        named(commands::processes::processes(&self.runtime.root, &self.id))
    }

    /// Compares its config with what the kernel has: namespaces, credentials, limits, mounts and others. Nothing in it is
    /// changed.
    ///
    /// ```no_run
    /// let runtime = tare::Runtime::new(tare::Runtime::default_root());
    /// for sentence in runtime.container("web").inspect()?.differences {
    ///     println!("{sentence}");
    /// }
    /// # Ok::<(), tare::Error>(())
    /// ```
    ///
    /// # Errors
    /// It does not exist, is being created, or ends meanwhile; the caller may not look at its first process.
    pub fn inspect(&self) -> Result<Inspection> {
        named(commands::inspect::inspect(&self.runtime.root, &self.id))
    }

    /// What it uses now.
    ///
    /// # Errors
    /// It does not live, or has no cgroup.
    pub fn stats(&self) -> Result<Statistics> {
        named(commands::events::stats(&self.runtime.root, &self.id))
    }

    /// Prints its statistics every `interval`, and what happens to it at once, as lines of JSON; returns when it has
    /// stopped or the reader has gone.
    ///
    /// # Errors
    /// As [`Self::stats`]; whatever the output returns.
    pub fn events(&self, interval: Duration, output: &mut Output<'_>) -> Result<()> {
        named(commands::events::stream(&self.runtime.root, &self.id, interval, output))
    }

    /// Deletes it, with its cgroup and its state.
    ///
    /// # Errors
    /// It runs and must not be forced; something cannot be removed: then it can be deleted again.
    pub fn delete(&self, force: Force) -> Result<()> {
        named(commands::delete::delete(&self.runtime.root, &self.id, force == Force::Yes, &mut self.runtime.warn()))
    }
}
