//! The library's face: a state root, and what can be done with the containers in it.
//!
//! World: parent. Every call is one operation of runtime-spec (runtime.md, "Operations") or one that engines add, complete
//! when it returns: nothing is kept in memory between two calls, so that any number of processes can use one state root.

mod container;
mod signal;

use std::path::{Path, PathBuf};

pub use self::container::{Container, Force, Target};
pub use self::signal::Signal;
use crate::bundle::Bundle;
use crate::cgroup::CgroupManager;
use crate::container as commands;
use crate::container::check::CheckReport;
use crate::container::checkpoint::RestoreOptions;
use crate::container::doctor::Report;
use crate::container::options::{CreateOptions, RunOptions};
use crate::container::state::State;
use crate::error::{Error, Result};
use crate::host::calls;

/// A state root and how containers are made in it.
///
/// ```
/// let directory = tempfile::tempdir()?;
/// let runtime = tare::Runtime::new(directory.path());
/// assert!(runtime.states()?.is_empty());
/// let error = runtime.container("web").state().unwrap_err();
/// assert_eq!(error.to_string(), "container \"web\" does not exist");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    root: PathBuf,
    cgroup_manager: CgroupManager,
    rootless: Option<bool>,
    warning: Box<dyn Fn(&Error)>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("root", &self.root).field("cgroup_manager", &self.cgroup_manager).finish()
    }
}

impl Runtime {
    /// A runtime that keeps its state below `root`; [`Self::create`] makes the directory. Cgroups are made in the
    /// hierarchy itself, and warnings are dropped.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            cgroup_manager: CgroupManager::default(),
            rootless: None,
            warning: Box::new(|_: &Error| ()),
        }
    }

    /// The state root of the `tare` program for this caller: `/run/tare` for root, `$XDG_RUNTIME_DIR/tare` or
    /// `/run/user/UID/tare` for others. Root of a user namespace is one of the others if `USER` says so, as in runc.
    #[must_use]
    pub fn default_root() -> PathBuf {
        let uid = rustix::process::geteuid();
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_user = || {
            let named_otherwise = variable("USER").is_none_or(|user| user != "root");
            let in_namespace = || crate::host::Host::default().in_user_namespace().unwrap_or(false);
            !uid.is_root() || (named_otherwise && in_namespace())
        };
        match variable("XDG_RUNTIME_DIR").filter(|_| is_user()) {
            Some(runtime) => PathBuf::from(runtime).join("tare"),
            // Where a login would have pointed it to.
            None if !uid.is_root() => PathBuf::from(format!("/run/user/{}/tare", uid.as_raw())),
            None => PathBuf::from("/run/tare"),
        }
    }

    /// What creates the cgroups of new containers.
    #[must_use]
    pub fn cgroup_manager(self, cgroup_manager: CgroupManager) -> Self {
        Self { cgroup_manager, ..self }
    }

    /// Whether what only root may do is left out or refused; found out by itself when this is not called.
    #[must_use]
    pub fn rootless(self, rootless: bool) -> Self {
        Self { rootless: Some(rootless), ..self }
    }

    /// Where warnings go: problems that do not stop a command.
    #[must_use]
    pub fn on_warning(self, warning: impl Fn(&Error) + 'static) -> Self {
        Self { warning: Box::new(warning), ..self }
    }

    /// The state root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates a container; its first process waits for [`Container::start`].
    ///
    /// The process is a child of the nearest child subreaper above the caller, or of the caller itself if that is one
    /// (prctl(2), `PR_SET_CHILD_SUBREAPER`): whoever it is has to wait for it.
    ///
    /// # Errors
    /// The config cannot be accepted or carried out; the id is taken; the caller is not protected
    /// ([`crate::protect`]). Nothing is left behind.
    pub fn create(&self, id: &str, bundle: &Bundle, options: &CreateOptions<'_>) -> Result<Container<'_>> {
        crate::own_executable::require_protected()?;
        named(commands::create::create(&self.root, id, &self.creation(bundle, options), &mut self.warn()))?;
        Ok(self.container(id))
    }

    /// Creates a container and starts its program; the program's exit code, or 128 + signal; 0 if detached.
    ///
    /// In the foreground the caller becomes a child subreaper unless the options forbid it, signals that it gets are
    /// forwarded to the program, and the container is deleted when the program has ended. Only for a process with one
    /// thread, since signals are a matter of the whole process.
    ///
    /// # Errors
    /// As [`Self::create`], and those of the program's start. Nothing is left behind.
    pub fn run(&self, id: &str, bundle: &Bundle, options: &CreateOptions<'_>, run: RunOptions) -> Result<i32> {
        crate::own_executable::require_protected()?;
        named(commands::run::run(&self.root, id, &self.creation(bundle, options), run, &mut self.warn()))
    }

    /// Creates a container whose processes CRIU restores from a checkpoint; the exit code of the first one, or 128 +
    /// signal; 0 if detached. The rest as for [`Self::run`].
    ///
    /// # Errors
    /// As [`Self::create`]; CRIU is missing, too old, or cannot restore it. Nothing is left behind.
    pub fn restore(
        &self,
        id: &str,
        bundle: &Bundle,
        options: &CreateOptions<'_>,
        restore: &RestoreOptions,
        run: RunOptions,
    ) -> Result<i32> {
        crate::own_executable::require_protected()?;
        let request = self.creation(bundle, options);
        named(commands::restore::restore(&self.root, id, &request, (restore, run), &mut self.warn()))
    }

    /// A handle of a container, whether it exists or not: each call looks for it.
    #[must_use]
    pub fn container(&self, id: &str) -> Container<'_> {
        Container::new(self, id)
    }

    /// The states of all containers. One that cannot be read is a warning.
    ///
    /// # Errors
    /// The state root cannot be read.
    pub fn states(&self) -> Result<Vec<State>> {
        named(commands::state::list(&self.root, self.warn()))
    }

    /// The containers whose ids match a regular expression somewhere, sorted.
    ///
    /// # Errors
    /// The expression cannot be parsed; the state root cannot be read.
    pub fn matching(&self, expression: &str) -> Result<Vec<Container<'_>>> {
        let ids = commands::matching(&self.root, expression)?;
        Ok(ids.iter().map(|id| self.container(id)).collect())
    }

    /// Looks for what killed commands left behind, below the state root and in the cgroup hierarchy; `repair` removes
    /// what is provably tare's and dead.
    ///
    /// # Errors
    /// The state root or the hierarchy cannot be read.
    pub fn doctor(&self, repair: bool) -> Result<Report> {
        named(commands::doctor::examine(&self.root, repair, &mut self.warn()))
    }

    /// Finds all that [`Self::create`] would refuse for a bundle on this host, and what it would do. Nothing is created,
    /// mounted or written. What only the kernel can say when it is asked to do it is not found. The id stands for any.
    ///
    /// ```
    /// let bundle = tempfile::tempdir()?;
    /// std::fs::write(bundle.path().join("config.json"), r#"{ "ociVersion": "1.2.0", "root": { "path": "" } }"#)?;
    /// let runtime = tare::Runtime::new(bundle.path().join("state"));
    /// let report = runtime.check(&tare::Bundle::new(bundle.path()), &tare::CreateOptions::default());
    /// assert!(!report.would_start());
    /// assert_eq!(report.errors[0].path(), Some("root.path"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn check(&self, bundle: &Bundle, options: &CreateOptions<'_>) -> CheckReport {
        commands::check::check(&self.root, &self.creation(bundle, options))
    }

    fn warn(&self) -> impl FnMut(Error) + '_ {
        |error| (self.warning)(&calls::named(error))
    }

    fn creation<'a>(&self, bundle: &'a Bundle, options: &'a CreateOptions<'a>) -> commands::create::CreateRequest<'a> {
        let (cgroup_manager, rootless) = (self.cgroup_manager, self.rootless);
        commands::create::CreateRequest { bundle, options, cgroup_manager, rootless }
    }
}

/// Names the system calls that a sandbox around tare denies, if the error is about one.
fn named<T>(result: Result<T>) -> Result<T> {
    result.map_err(calls::named)
}
