//! Takes the listener from the child and gives it to the agent.
//!
//! World: parent. Order: receive as soon as the child is ready to install the filter, then send: its execve may already
//! wait for the agent. Source: runtime-spec config-linux.md, "The Container Process State".

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use serde_json::{Value, json};

use super::plan::Notify;
use crate::error::{Code, Error, Result};
use crate::sys::net;

/// Looks whether the agent's socket is there, long before the listener is. A datagram socket cannot be connected to it,
/// and the kernel says so (EPROTOTYPE) only when somebody has it open: the agent sees nothing of this.
///
/// # Errors
/// Nobody has the socket; at `linux.seccomp.listenerPath`.
pub fn look_for_agent(plan: &super::SeccompPlan) -> Result<()> {
    let Some(notify) = &plan.notify else { return Ok(()) };
    match UnixDatagram::unbound().and_then(|socket| socket.connect(&notify.path)) {
        Err(error) if error.raw_os_error() != Some(libc::EPROTOTYPE) => Err(unreachable_agent(notify, error)),
        _ => Ok(()),
    }
}

fn unreachable_agent(notify: &Notify, error: std::io::Error) -> Error {
    let what = format!("send the seccomp listener to the agent at {}", notify.path.display());
    Error::system(what, error).coded(Code::SeccompAgentFailed).at("linux.seccomp.listenerPath")
}

/// Receives what `child::send_listener` sends; `None` when the child ended before, which its own packet explains.
///
/// # Errors
/// recvmsg(2).
pub fn receive_listener(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match net::receive_fd(socket, &mut [0]) {
        Ok((_, listener)) => Ok(listener),
        Err(rustix::io::Errno::CONNRESET) => Ok(None),
        Err(errno) => Err(Error::system("receive the seccomp listener", errno)),
    }
}

/// Gives the listener of a container's init to the agent; `state_json` is the state as `tare state` shows it.
///
/// # Errors
/// As [`send_process_to_agent`].
pub fn send_to_agent(listener: BorrowedFd<'_>, notify: &Notify, state_json: &str) -> Result<()> {
    send(listener, notify, None, state_json)
}

/// The same for a process that `tare exec` starts: `pid` is its own, the state is that of the container.
///
/// # Errors
/// An agent that cannot be reached or does not take the message, at `linux.seccomp.listenerPath`.
pub fn send_process_to_agent(listener: BorrowedFd<'_>, notify: &Notify, pid: i32, state_json: &str) -> Result<()> {
    send(listener, notify, Some(pid), state_json)
}

fn send(listener: BorrowedFd<'_>, notify: &Notify, pid: Option<i32>, state_json: &str) -> Result<()> {
    let message = message(notify, pid, state_json)?;
    let deliver = || -> std::io::Result<()> {
        let mut agent = UnixStream::connect(&notify.path)?;
        let sent = net::send_fd(agent.as_fd(), message.as_bytes(), listener)?;
        // A stream socket may take a long message in pieces; the descriptor went with the first.
        agent.write_all(message.as_bytes().get(sent..).unwrap_or_default())
    };
    deliver().map_err(|error| unreachable_agent(notify, error))
}

/// The ContainerProcessState.
fn message(notify: &Notify, pid: Option<i32>, state_json: &str) -> Result<String> {
    let state: Value = serde_json::from_str(state_json)
        .map_err(|error| Error::new(Code::Internal, "the state is not JSON").detail(error.to_string()))?;
    let pid = pid.map_or_else(|| state["pid"].clone(), Value::from);
    let message = json!({
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": notify.metadata,
        "state": state,
    });
    Ok(message.to_string())
}
