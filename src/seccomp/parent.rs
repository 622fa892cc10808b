//! Takes the listener from the child and gives it to the agent.
//!
//! World: parent. Order: receive at once after the child installs the filter, then send: the child may already
//! wait for the agent. Source: runtime-spec config-linux.md, "The Container Process State".

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde_json::{Value, json};

use super::plan::Notify;
use crate::error::{Context, Error, ErrorKind, Result};

/// Receives what `child::send_listener` sent.
///
/// # Errors
/// recvmsg(2); a message without a descriptor, or end-of-file: the child ended before, and its own packet says why.
pub fn receive_listener(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [std::io::IoSliceMut::new(&mut byte)];
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC))
        .context(|| "receive the seccomp listener")?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| Error::new(ErrorKind::System, "the child ended before it sent the seccomp listener"))
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
        let descriptors = [listener];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let data = [IoSlice::new(message.as_bytes())];
        let sent =
            rustix::io::retry_on_intr(|| rustix::net::sendmsg(&agent, &data, &mut control, SendFlags::NOSIGNAL))?;
        // A stream socket may take a long message in pieces; the descriptor went with the first.
        agent.write_all(message.as_bytes().get(sent..).unwrap_or_default())
    };
    deliver()
        .context(|| format!("send the seccomp listener to the agent at {}", notify.path.display()))
        .map_err(|error| error.at("linux.seccomp.listenerPath"))
}

/// The ContainerProcessState.
fn message(notify: &Notify, pid: Option<i32>, state_json: &str) -> Result<String> {
    let state: Value = serde_json::from_str(state_json)
        .map_err(|error| Error::new(ErrorKind::Internal, "the state is not JSON").detail(error.to_string()))?;
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
