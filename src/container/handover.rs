//! World: parent. The channels over which a child hands descriptors back: the pty's master, the seccomp listener.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::record::Record;
use super::state::State;
use super::status::Status;
use crate::error::{Context, Result};
use crate::init;
use crate::plan::Program;
use crate::{seccomp, terminal};

/// Both channels; each exists only when the program needs it.
#[derive(Debug, Default)]
pub struct Channels {
    console: Option<terminal::parent::Console>,
    /// The child's end and ours.
    listener: Option<(OwnedFd, OwnedFd)>,
}

impl Channels {
    /// Opens what `program` needs; in the foreground its terminal gets the size of the caller's. `at_gate`: the filter
    /// is loaded behind the start gate, and `start` takes the listener.
    ///
    /// # Errors
    /// The console socket cannot be connected.
    pub fn open(program: Option<&mut Program>, at_gate: bool) -> Result<Self> {
        let mut channels = Self::default();
        let Some(program) = program else { return Ok(channels) };
        if let Some(plan) = &mut program.terminal {
            channels.console = Some(terminal::parent::open(plan)?);
        }
        if !at_gate && program.notifies() {
            let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            channels.listener = Some(pair.context(|| "make the socket pair for the seccomp listener")?);
        }
        Ok(channels)
    }

    /// The child's ends.
    #[must_use]
    pub fn child_ends(&self) -> init::Handover<'_> {
        init::Handover {
            console: self.console.as_ref().map(|console| console.socket.as_fd()),
            listener: self.listener.as_ref().map(|(theirs, _)| theirs.as_fd()),
        }
    }

    /// Takes the pty's master for a relay; `None` when it went to a console socket or there is no terminal.
    ///
    /// # Errors
    /// The child did not send it.
    pub fn master(&mut self) -> Result<Option<OwnedFd>> {
        self.console.take().map_or(Ok(None), terminal::parent::Console::master)
    }

    /// Gives the seccomp listener to the agent; `exec`: the pid of a process in a container that exists. The child sends
    /// it after it said that it is ready, with its last call before the program. Nothing is given when the child failed
    /// before: its own packet says why.
    ///
    /// # Errors
    /// The agent does not take it.
    pub fn deliver_listener(&mut self, program: &Program, record: &Record, exec: Option<i32>) -> Result<()> {
        let Some((theirs, ours)) = self.listener.take() else { return Ok(()) };
        // Or the end of the child would not be seen.
        drop(theirs);
        let status = if exec.is_some() { Status::Running } else { Status::Creating };
        receive_and_deliver(ours.as_fd(), program, &State::new(record, status), exec)
    }
}

/// Receives the listener on `socket` and gives it to the agent.
///
/// # Errors
/// The agent does not take it.
pub fn receive_and_deliver(socket: BorrowedFd<'_>, program: &Program, state: &State, exec: Option<i32>) -> Result<()> {
    let Some(notify) = program.seccomp.as_ref().and_then(|seccomp| seccomp.notify.as_ref()) else { return Ok(()) };
    let Some(listener) = seccomp::parent::receive_listener(socket)? else { return Ok(()) };
    let state = String::from_utf8_lossy(&state.json()?).into_owned();
    match exec {
        None => seccomp::parent::send_to_agent(listener.as_fd(), notify, &state),
        Some(pid) => seccomp::parent::send_process_to_agent(listener.as_fd(), notify, pid, &state),
    }
}
