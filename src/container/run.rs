//! World: parent. run: create without a gate, then either leave (detached) or stay with the program.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::Container;
use super::create::{Begin, CreateRequest, Making, Warn, make, memory_limit};
use super::delete;
use super::notify::Listener;
use super::options::RunOptions;
use super::record::Record;
use super::state::State;
use super::status::{self, Status};
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{self, Place};
use crate::spawn::Child;
use crate::sys::exit_code;
use crate::terminal::foreground;

/// Runs a container; the program's exit code, or 128 + signal; 0 when detached.
///
/// # Errors
/// Nothing is left behind then.
pub fn run(root: &Path, id: &str, request: &CreateRequest<'_>, stay: RunOptions, warn: Warn<'_>) -> Result<i32> {
    if !stay.detach && !stay.no_subreaper {
        crate::sys::process_attributes::set_child_subreaper(true)
            .map_err(|e| Error::system("set the child subreaper attribute", e))?;
    }
    let begin = if stay.detach { Begin::Detached } else { Begin::Foreground };
    let making = make(root, id, request, begin, warn)?;
    let started = poststart(&making);
    let Making { store, directory, record, child, cgroup, master, notify, plan, .. } = making;
    let limit = memory_limit(&plan);
    drop((cgroup, plan));
    let Some(child) = child else { return Err(Error::new(ErrorKind::Internal, "run made no process")) };
    let container = Container { directory, record };
    if let Err(error) = started {
        // runtime.md, "Lifecycle", step 9: the container is stopped and destroyed.
        child.kill_and_reap();
        return end(Err(error), forget(&store, &container, true, warn), &container.record.id);
    }
    if let Some(notify) = notify.as_ref().filter(|_| stay.detach) {
        container.directory.lock(FlockOperation::Unlock)?;
        return notify.wait(child.pid, child.pidfd.as_fd()).map(|()| 0);
    }
    if stay.detach {
        return Ok(0);
    }
    // The container is made: exec, update and delete want their turn while it runs.
    let unlocked = container.directory.lock(FlockOperation::Unlock);
    let ended = unlocked.and_then(|()| wait(&child, master, notify.as_ref(), warn));
    if ended.is_err() {
        child.kill_and_reap();
    }
    if matches!(ended, Ok(KILLED)) {
        explain_kill(&container.record, limit, warn);
    }
    if stay.keep {
        return ended;
    }
    let forgotten = forget(&store, &container, ended.is_ok(), warn);
    end(ended, forgotten, &container.record.id)
}

/// What is said of a container that has ended and was to be forgotten.
fn end(ended: Result<i32>, forgotten: Result<()>, id: &str) -> Result<i32> {
    let remedy = format!("`tare delete --force {id}` removes what is left of the container");
    match (ended, forgotten) {
        (ended, Ok(())) => ended,
        (Ok(_), Err(left)) => Err(left.hint(remedy)),
        (Err(error), Err(left)) => Err(error.hint(format!("{left}; {remedy}"))),
    }
}

/// `ended`: init has been waited for.
fn forget(store: &Store, container: &Container, ended: bool, warn: Warn<'_>) -> Result<()> {
    container.directory.lock(FlockOperation::LockExclusive)?;
    // Without its record it was deleted meanwhile, and the id may be another container's by now.
    match Record::read(&container.directory)? {
        Some(_) if ended => delete::bury(store, container, warn),
        Some(_) => delete::destroy(store, container, warn),
        None => Ok(()),
    }
}

/// Waits for the end of the program, and meanwhile for its word that it is ready.
fn wait(child: &Child, master: Option<OwnedFd>, notify: Option<&Listener>, warn: Warn<'_>) -> Result<i32> {
    let Some(notify) = notify else { return foreground::wait(child.pidfd.as_fd(), child.id()?, master, None) };
    let mut serve = || {
        notify.serve(None).unwrap_or_else(|error| {
            warn(error);
            true
        })
    };
    let aside = foreground::Aside { descriptor: notify.socket(), serve: &mut serve };
    foreground::wait(child.pidfd.as_fd(), child.id()?, master, Some(aside))
}

/// The exit code of a program that SIGKILL ended.
const KILLED: i32 = exit_code::of_signal(libc::SIGKILL);

/// The OOM killer says nothing to anybody: its signal alone could be anybody's.
fn explain_kill(record: &Record, limit: Option<u64>, warn: Warn<'_>) {
    let why = match status::cgroup(record) {
        Ok(Some(cgroup)) => cgroup.explain_kill(limit),
        // systemd was quicker.
        Ok(None) if record.unit.is_some() => limit.map(crate::cgroup::explain_gone),
        _ => None,
    };
    if let Some(why) = why {
        warn(Error::new(ErrorKind::System, format!("container \"{}\" was killed", record.id)).detail(why));
    }
}

fn poststart(making: &Making) -> Result<()> {
    if making.plan.hooks.poststart.is_empty() {
        return Ok(());
    }
    let state = State::new(&making.record, Status::Running).json()?;
    let place = Place::Runtime { directory: &making.record.bundle, init: None };
    hooks::run(&making.plan.hooks.poststart, &state, place)
}
