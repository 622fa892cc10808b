//! World: parent. The channels on which the child returns descriptors: the master of its pty and its seccomp listener.
//!
//! Order: open before the clone -> the child says that it is ready -> deliver the listener -> take the master.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::record::Record;
use super::recording::Recording;
use super::state::State;
use super::status::Status;
use crate::error::{Code, Coded, Context, Result};
use crate::init;
use crate::plan::Program;
use crate::{seccomp, terminal, timings};

/// Both channels; each exists only if the program needs it.
#[derive(Debug, Default)]
pub struct Channels {
    console: Option<terminal::parent::Console>,
    /// The child's end and the parent's.
    listener: Option<(OwnedFd, OwnedFd)>,
    /// Gets the listener instead of an agent.
    recording: Option<Recording>,
}

impl Channels {
    /// Opens what `program` needs. In the foreground, its terminal gets the size of the caller's. With `at_gate`, init loads
    /// the filter after the start gate, and `start` receives the listener.
    ///
    /// # Errors
    /// The console socket cannot be connected.
    pub fn open(program: Option<&mut Program>, at_gate: bool) -> Result<Self> {
        let mut channels = Self::default();
        let Some(program) = program else { return Ok(channels) };
        if let Some(plan) = &mut program.terminal {
            let _span = timings::span("connect the console socket");
            channels.console = Some(terminal::parent::open(plan).coded(Code::TerminalFailed)?);
        }
        if !at_gate && program.has_listener() {
            let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            channels.listener = Some(pair.context(|| "make the socket pair for the seccomp listener")?);
        }
        Ok(channels)
    }

    /// The same, with a recording that gets the listener.
    #[must_use]
    pub fn record(self, recording: Option<Recording>) -> Self {
        Self { recording, ..self }
    }

    /// The recording.
    pub fn recording(&mut self) -> Option<Recording> {
        self.recording.take()
    }

    /// The child's ends.
    #[must_use]
    pub fn child_ends(&self) -> init::Handover<'_> {
        init::Handover {
            console: self.console.as_ref().map(|console| console.socket.as_fd()),
            listener: self.listener.as_ref().map(|(child_end, _)| child_end.as_fd()),
        }
    }

    /// Takes the master of the pty to relay it; `None` if it went to a console socket, or there is no terminal.
    ///
    /// # Errors
    /// The child did not send it.
    pub fn master(&mut self) -> Result<Option<OwnedFd>> {
        self.console.take().map_or(Ok(None), terminal::parent::Console::master)
    }

    /// Receives the seccomp listener and sends it to the agent, or has its calls recorded. `exec` is the pid of a process
    /// that joins an existing container. The child sends the listener after it has reported that it is ready, with its last
    /// call before execve. If the child fails before that, nothing is sent to the agent, and the child's own packet says
    /// why.
    ///
    /// # Errors
    /// The agent does not accept it.
    pub fn deliver_listener(&mut self, program: &Program, record: &Record, exec: Option<i32>) -> Result<()> {
        let Some((child_end, parent_end)) = self.listener.take() else { return Ok(()) };
        let _span = timings::span("deliver the seccomp listener");
        // Otherwise the end of the child would not be seen as end-of-file.
        drop(child_end);
        if let Some(recording) = &mut self.recording {
            let listener = seccomp::parent::receive_listener(parent_end.as_fd())?;
            return listener.map_or(Ok(()), |listener| recording.serve(listener));
        }
        let status = if exec.is_some() { Status::Running } else { Status::Creating };
        receive_and_deliver(parent_end.as_fd(), program, &State::new(record, status), exec)
    }
}

/// Receives the listener on `socket` and sends it to the agent, with the state; `exec` as above.
///
/// # Errors
/// The agent does not accept it.
pub fn receive_and_deliver(socket: BorrowedFd<'_>, program: &Program, state: &State, exec: Option<i32>) -> Result<()> {
    let Some(notify) = program.seccomp.as_ref().and_then(|seccomp| seccomp.notify.as_ref()) else { return Ok(()) };
    let Some(listener) = seccomp::parent::receive_listener(socket)? else { return Ok(()) };
    let state = String::from_utf8_lossy(&state.json()?).into_owned();
    match exec {
        None => seccomp::parent::send_to_agent(listener.as_fd(), notify, &state),
        Some(pid) => seccomp::parent::send_process_to_agent(listener.as_fd(), notify, pid, &state),
    }
}
