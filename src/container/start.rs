//! World: parent. start: opens the start gate and reports whether the program was executed.
//!
//! Order: lock -> startContainer hooks -> notify socket -> start gate (the seccomp listener goes to its agent meanwhile)
//! -> poststart hooks -> unlock -> wait for READY=1 if a service manager asked for it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::notify::{Caller, Listener};
use super::state::State;
use super::status::{self, Status, status};
use super::store::Store;
use super::warning::Warn;
use super::{StoredContainer, death, delete, find, handover, saved_config, start_gate, start_hooks};
use crate::error::{Code, Context, Error, Result};
use crate::hooks;
use crate::host::calls;
use crate::timings;

/// Starts the program of a created container.
///
/// `protect` is called before a startContainer hook enters the container: when it returns, the container cannot write to
/// the executable of this process.
///
/// # Errors
/// The container is not created (it runs, it is stopped); a hook fails; the program cannot be executed.
pub fn start(root: &Path, id: &str, protect: impl FnOnce() -> Result<()>, warn: Warn<'_>) -> Result<()> {
    let container = find(root, id)?;
    container.directory.lock(FlockOperation::LockExclusive)?;
    let init = waiting_init(&container)?;
    let hooks = if container.record.hooks { Some(saved_config::hooks(&container.directory)?) } else { None };
    if let Some(hooks) = hooks.as_ref().filter(|hooks| !hooks.start_container.is_empty()) {
        protect()?;
        calls::require()?;
        let StoredContainer { directory, record } = &container;
        start_hooks::run(directory, record, init.as_fd(), &hooks.start_container, warn)
            .map_err(|error| destroy(root, &container, error, warn))?;
    }
    let caller = Caller::of_environment()?;
    let notify = caller.map_or(Ok(None), |caller| Listener::open(&container.directory, caller))?;
    open_gate(&container)?;
    if let Some(hooks) = &hooks {
        poststart(&container, hooks).map_err(|error| destroy(root, &container, error, warn))?;
    }
    let Some(notify) = notify else { return Ok(()) };
    // Other commands must not wait until the container is ready.
    container.directory.lock(FlockOperation::Unlock)?;
    notify.wait(container.record.pid, init.as_fd())
}

/// The pidfd of init, if it waits at the start gate.
fn waiting_init(container: &StoredContainer) -> Result<OwnedFd> {
    let id = &container.record.id;
    let (status, init) = status(&container.directory, &container.record)?;
    let (Status::Created, Some(init)) = (status, init) else { return Err(refusal(container, status)) };
    if container.record.phase.is_unfinished() {
        return Err(refusal(container, Status::Creating));
    }
    if container.record.idle {
        let what = format!("cannot start container \"{id}\": {}", saved_config::NO_PROCESS);
        return Err(Error::refused(Code::ContainerWithoutProcess, "process", what));
    }
    Ok(init)
}

fn refusal(container: &StoredContainer, status: Status) -> Error {
    let id = &container.record.id;
    let refused = |why: &str| Error::new(Code::ContainerNotCreated, format!("cannot start container \"{id}\": {why}"));
    if status != Status::Stopped {
        return refused(&format!("it is {}, not created", status.word()));
    }
    // A small memory limit can end init while it waits at the gate.
    match death::explain_stop(container) {
        Some(why) => refused("it has stopped").detail(why),
        None => refused("it has stopped"),
    }
}

fn open_gate(container: &StoredContainer) -> Result<()> {
    let _span = timings::span("open the start gate");
    let directory = &container.directory;
    // Before `go`: init closes its end of `go` first, so if `go` still has a reader, `result` still has a writer, and
    // its end-of-file is not missed.
    let result = start_gate::open_result(directory)?;
    let connection = start_gate::connect(directory)?;
    let memory = connection.as_ref().map(|connection| start_gate::lend_memory(connection.as_fd())).transpose()?;
    let Some(go) = status::gate(directory)? else {
        return Err(refusal(container, Status::Stopped));
    };
    match rustix::io::write(&go, b"+") {
        // init died after the gate was opened for writing.
        Err(Errno::PIPE) => return Err(refusal(container, Status::Stopped)),
        written => written.context(|| "open the start gate")?,
    };
    drop(go);
    if let Some(connection) = connection {
        deliver_listener(container, connection.as_fd())?;
    }
    match start_gate::wait_for_exec(&result, memory.as_ref())? {
        None => Ok(()),
        Some(fault) => Err(saved_config::program(container)?.explain(&fault)),
    }
}

/// Before waiting for execve: the program waits for the agent at its first intercepted call, which may be execve itself.
/// Without its agent the container cannot run, so init is killed if the delivery fails.
fn deliver_listener(container: &StoredContainer, socket: BorrowedFd<'_>) -> Result<()> {
    let _span = timings::span("deliver the seccomp listener");
    let program = saved_config::program(container)?;
    let state = State::new(&container.record, Status::Created);
    handover::receive_and_deliver(socket, &program, &state, None).inspect_err(|_| {
        if let Ok(Some(init)) = status::living_init(&container.record) {
            // If the signal fails, init ends anyway: without a listener, each intercepted call fails.
            let _ended = crate::sys::pidfd::send_signal(init.as_fd(), libc::SIGKILL);
        }
    })
}

fn poststart(container: &StoredContainer, hooks: &hooks::HookPlan) -> Result<()> {
    if hooks.poststart.is_empty() {
        return Ok(());
    }
    calls::require_for_hooks()?;
    let state = State::new(&container.record, Status::Running).json()?;
    let place = hooks::Place::Runtime { directory: &container.record.bundle, init: None };
    hooks::run(&hooks.poststart, &state, place)
}

/// After a failed hook: stops and destroys the container, and runs its poststop hooks (runtime.md, "Lifecycle", steps 7, 9
/// and 12). Returns the error of the hook.
fn destroy(root: &Path, container: &StoredContainer, error: Error, warn: Warn<'_>) -> Error {
    let destroyed = Store::make(root).and_then(|store| delete::destroy(&store, container, warn));
    let id = &container.record.id;
    match destroyed {
        Ok(()) => error,
        Err(left) => error.hint(format!("{left}; `tare delete --force {id}` removes what is left of the container")),
    }
}
