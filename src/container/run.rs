//! World: parent. run: creates a container without the start gate, and waits for its program unless detached.
//!
//! Order: create (`create/mod.rs`) -> poststart hooks -> unlock -> wait for the program -> write the recorded seccomp
//! profile -> lock -> delete the container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::create::{CreateRequest, Created, Creating, StartMode, build};
use super::notify::Listener;
use super::options::RunOptions;
use super::record::Record;
use super::state::State;
use super::status::Status;
use super::store::Store;
use super::warning::Warn;
use super::{StoredContainer, death, delete};
use crate::error::{Error, Result};
use crate::hooks::{self, Place};
use crate::spawn::Child;
use crate::sys::exit_code;
use crate::terminal::foreground;
use crate::timings;

/// Runs a container and returns the program's exit code, 128 + N if signal N killed it, or 0 if it is detached.
///
/// # Errors
/// Nothing is left behind then, or the error names it.
pub fn run(root: &Path, id: &str, request: &CreateRequest<'_>, options: RunOptions, warn: Warn<'_>) -> Result<i32> {
    become_subreaper(options)?;
    let mode = if options.detach { StartMode::Detached } else { StartMode::Foreground };
    follow(build(Creating { root, id, request, mode }, warn)?, options, id, warn)
}

/// Has orphans of the container reaped by tare while it waits, unless the caller does not want that.
pub(super) fn become_subreaper(options: RunOptions) -> Result<()> {
    if options.detach || options.no_subreaper {
        return Ok(());
    }
    crate::sys::process_attributes::set_child_subreaper(true)
        .map_err(|e| Error::system("set the child subreaper attribute", e))
}

/// What is done with a container whose program runs.
pub(super) fn follow(created: Created, options: RunOptions, id: &str, warn: Warn<'_>) -> Result<i32> {
    let RunOptions { detach, keep, .. } = options;
    let Created { creation, init, plan, master, notify, recording } = created;
    let (store, container) = (&creation.store, &creation.container);
    let started = poststart(&plan.hooks, &container.record);
    let memory_limit = death::memory_limit(&plan);
    // Before a long wait.
    drop(plan);
    if let Err(error) = started {
        // runtime.md, "Lifecycle", step 9: the container is stopped and destroyed.
        init.kill_and_reap();
        return after_delete(Err(error), delete_ended(store, container, true, warn), id);
    }
    if detach {
        return leave(container, &init, notify.as_ref());
    }
    let exit = wait(container, &init, master, notify.as_ref(), warn);
    if exit.is_err() {
        init.kill_and_reap();
    }
    if matches!(exit, Ok(KILLED))
        && let Some(explanation) = death::explain_kill(&container.record, memory_limit)
    {
        warn(explanation);
    }
    let reaped = exit.is_ok();
    let exit = exit.and_then(|code| recording.map_or(Ok(code), |recording| recording.finish(warn).map(|()| code)));
    if keep {
        return exit;
    }
    let deleted = delete_ended(store, container, reaped, warn);
    after_delete(exit, deleted, id)
}

/// The exit code of a program that SIGKILL ended.
const KILLED: i32 = exit_code::of_signal(libc::SIGKILL);

fn poststart(hooks: &hooks::HookPlan, record: &Record) -> Result<()> {
    if hooks.poststart.is_empty() {
        return Ok(());
    }
    let state = State::new(record, Status::Running).json()?;
    hooks::run(&hooks.poststart, &state, Place::Runtime { directory: &record.bundle, init: None })
}

/// run --detach: waits until the container is ready if a service manager asked for it.
fn leave(container: &StoredContainer, init: &Child, notify: Option<&Listener>) -> Result<i32> {
    let Some(notify) = notify else { return Ok(0) };
    container.directory.lock(FlockOperation::Unlock)?;
    notify.wait(init.pid, init.pidfd.as_fd()).map(|()| 0)
}

/// Waits for the end of the program, and passes READY=1 on meanwhile.
fn wait(
    container: &StoredContainer,
    init: &Child,
    master: Option<OwnedFd>,
    notify: Option<&Listener>,
    warn: Warn<'_>,
) -> Result<i32> {
    // exec, update and delete must be able to take the lock while the program runs.
    container.directory.lock(FlockOperation::Unlock)?;
    timings::complete();
    let Some(notify) = notify else { return foreground::wait(init.pidfd.as_fd(), init.id()?, master, None) };
    let mut serve = || {
        notify.serve(None).unwrap_or_else(|error| {
            warn(error);
            true
        })
    };
    let aside = foreground::Aside { descriptor: notify.socket(), serve: &mut serve };
    foreground::wait(init.pidfd.as_fd(), init.id()?, master, Some(aside))
}

/// Deletes the container. `reaped`: init has ended and was waited for.
fn delete_ended(store: &Store, container: &StoredContainer, reaped: bool, warn: Warn<'_>) -> Result<()> {
    container.directory.lock(FlockOperation::LockExclusive)?;
    // Without a record, another command has deleted the container, and the id may belong to a new one.
    match Record::read(&container.directory)? {
        Some(_) if reaped => delete::bury(store, container, warn),
        Some(_) => delete::destroy(store, container, warn),
        None => Ok(()),
    }
}

/// The result of run after the container was to be deleted: what is left of it becomes an error or a hint.
fn after_delete(exit: Result<i32>, deleted: Result<()>, id: &str) -> Result<i32> {
    let remedy = format!("`tare delete --force {id}` removes what is left of the container");
    match (exit, deleted) {
        (exit, Ok(())) => exit,
        (Ok(_), Err(left)) => Err(left.hint(remedy)),
        (Err(error), Err(left)) => Err(error.hint(format!("{left}; {remedy}"))),
    }
}
