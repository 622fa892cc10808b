//! World: child. Brings up `lo`, which starts down in a new network namespace (network_namespaces(7)).

use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys::interface::set_loopback_up;
use crate::wire::{At, ChildResult, Step};

/// Brings up the loopback interface. The socket is left to close-on-exec.
///
/// # Errors
/// A fault of [`Step::Loopback`].
pub fn loopback() -> ChildResult {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).at(Step::Loopback)?;
    set_loopback_up(socket.as_fd()).at(Step::Loopback)
}
