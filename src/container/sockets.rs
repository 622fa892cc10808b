//! World: parent. The pidfd socket: one message with one descriptor, as runc sends it. And the socket of the start gate,
//! over which init hands its seccomp listener to `start`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::store::Directory;
use crate::error::{Context, Result};
use crate::sys::net;

/// Sends `pidfd` to the socket at `path` with `payload`: "standard" for init, "setns" for exec.
///
/// # Errors
/// Nobody listens there.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>, payload: &str) -> Result<()> {
    let what = || format!("send the pidfd to {}", path.display());
    let socket = crate::terminal::parent::connect(path).map_err(|e| e.context(what()))?;
    net::send_fd(socket.as_fd(), payload.as_bytes(), pidfd).context(what).map(drop)
}

/// The socket's name in the container's directory.
pub(super) const LISTENER: &str = "listener";

/// Makes the socket of the start gate.
///
/// # Errors
/// As bind(2).
pub(super) fn listen(directory: &Directory) -> Result<OwnedFd> {
    let what = || "make the socket for the seccomp listener";
    let socket = stream().context(what)?;
    rustix::net::bind(&socket, &address(directory).context(what)?).context(what)?;
    rustix::net::listen(&socket, 1).context(what)?;
    Ok(socket)
}

/// Connects to it; `None` where the container has no such socket.
///
/// # Errors
/// As connect(2).
pub(super) fn connect(directory: &Directory) -> Result<Option<OwnedFd>> {
    let what = || "connect to init for the seccomp listener";
    // Most containers have none, and this costs one call.
    match rustix::fs::accessat(directory.as_fd(), LISTENER, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        exists => exists.context(what)?,
    }
    let socket = stream().context(what)?;
    rustix::net::connect(&socket, &address(directory).context(what)?).context(what)?;
    Ok(Some(socket))
}

fn stream() -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// By the descriptor of the directory, whose path may be longer than the address of a socket.
fn address(directory: &Directory) -> std::result::Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{LISTENER}", directory.as_fd().as_raw_fd()))
}
