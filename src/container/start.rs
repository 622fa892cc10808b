//! World: parent. Opens the start gate and reports whether the program was executed.
//!
//! The gate is the FIFO `go` that init reads from; init writes the reason of a failed exec to the FIFO `result`,
//! which is close-on-exec: end-of-file means the program runs.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, openat};

use super::create::Warn;
use super::notify::{Caller, Listener};
use super::record::Phase;
use super::start_hooks;
use super::state::State;
use super::status::{Status, gate, status};
use super::store::Store;
use super::{Container, find};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::hooks;
use crate::wire::Packet;

/// Starts the program of a created container.
///
/// # Errors
/// The container is not created (it runs, it is stopped); a startContainer hook fails; the program cannot be executed.
///
/// `protect` is called before a startContainer hook enters the container: it returns when the executable of this process
/// is out of the container's reach.
pub fn start(root: &std::path::Path, id: &str, protect: impl FnOnce() -> Result<()>, warn: Warn<'_>) -> Result<()> {
    let container = find(root, id)?;
    container.directory.lock(FlockOperation::LockExclusive)?;
    let (status, pidfd) = status(&container.directory, &container.record)?;
    let (Status::Created, Some(pidfd)) = (status, pidfd) else { return Err(refusal(id, status)) };
    if container.record.phase == Phase::Creating {
        return Err(refusal(id, Status::Creating));
    }
    if container.record.idle {
        return Err(Error::invalid("process", format!("cannot start container \"{id}\": {}", super::exec::NO_PROCESS)));
    }
    let plan = if container.record.hooks { Some(super::saved_hooks(&container.directory)?) } else { None };
    if let Some(plan) = plan.as_ref().filter(|plan| !plan.start_container.is_empty()) {
        protect()?;
        let Container { directory, record } = &container;
        start_hooks::run(directory, record, pidfd.as_fd(), &plan.start_container, warn)
            .map_err(|error| stop(root, &container, error, warn))?;
    }
    let caller = Caller::of_environment()?;
    let notify = caller.map_or(Ok(None), |caller| Listener::open(&container.directory, caller))?;
    open_gate(&container)?;
    if let Some(plan) = &plan {
        let state = State::new(&container.record, Status::Running).json()?;
        let place = hooks::Place::Runtime { directory: &container.record.bundle, init: None };
        hooks::run(&plan.poststart, &state, place).map_err(|error| stop(root, &container, error, warn))?;
    }
    let Some(notify) = notify else { return Ok(()) };
    // Other commands want their turn before the container is ready.
    container.directory.lock(FlockOperation::Unlock)?;
    notify.wait(container.record.pid, pidfd.as_fd())
}

/// A hook has failed: the container is stopped and destroyed, and poststop hooks run (runtime.md, "Lifecycle", steps 7, 9
/// and 12).
fn stop(root: &std::path::Path, container: &Container, error: Error, warn: Warn<'_>) -> Error {
    let destroyed = Store::make(root).and_then(|store| super::delete::destroy(&store, container, warn));
    let id = &container.record.id;
    match destroyed {
        Ok(()) => error,
        Err(left) => error.hint(format!("{left}; `tare delete --force {id}` removes what is left of the container")),
    }
}

fn refusal(id: &str, status: Status) -> Error {
    let what = match status {
        Status::Stopped => format!("cannot start container \"{id}\": it has stopped"),
        other => format!("cannot start container \"{id}\": it is {}, not created", other.word()),
    };
    Error::new(ErrorKind::WrongStatus, what)
}

fn open_gate(container: &Container) -> Result<()> {
    // Before the gate: init closes that one first, so that `result` has a writer if the gate has a reader, and its end
    // is not missed.
    let result = open_result(container)?;
    let listener = super::sockets::connect(&container.directory)?;
    let Some(go) = gate(&container.directory)? else {
        return Err(refusal(&container.record.id, Status::Stopped));
    };
    rustix::io::write(&go, b"+").context(|| "open the start gate")?;
    drop(go);
    if let Some(listener) = listener {
        deliver_listener(container, &listener)?;
    }
    wait_result(container, &result)
}

/// The program waits for the agent at its first intercepted call, which may be execve itself. Without its agent the
/// container cannot run.
fn deliver_listener(container: &Container, socket: &OwnedFd) -> Result<()> {
    let program = super::exec::saved_program(container)?;
    let state = State::new(&container.record, Status::Created);
    super::handover::receive_and_deliver(socket.as_fd(), &program, &state, None).inspect_err(|_| {
        if let Ok(Some(init)) = super::status::living_init(&container.record) {
            // It ends by itself when its listener is gone: every intercepted call fails.
            let _ended = crate::sys::pidfd::send_signal(init.as_fd(), libc::SIGKILL);
        }
    })
}

fn open_result(container: &Container) -> Result<OwnedFd> {
    // Non-blocking: the open must not wait for a writer; the reads below are preceded by a poll.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(container.directory.as_fd(), "result", flags, Mode::empty()).context(|| "open the result of the start gate")
}

fn wait_result(container: &Container, result: &OwnedFd) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        let mut fds = [PollFd::new(result, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(Error::system("wait for the program to start", e)),
        }
        match Packet::receive(result.as_fd()) {
            Ok(None) => return Ok(()),
            Ok(Some(Packet::Failed(fault))) => {
                return Err(super::exec::saved_program(container)?.explain(&fault));
            }
            Ok(Some(_)) => return Err(Error::new(ErrorKind::Internal, "unexpected packet at the start gate")),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(Error::system("read the result of the start gate", e)),
        }
    }
}
