//! World: parent. The pidfd socket: tare sends a pidfd there in one message, as runc does.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{Code, Coded, Context, Result};
use crate::sys::net;
use crate::terminal;

/// The text of the message with the pidfd of init.
pub(super) const INIT: &str = "standard";

/// The text of the message with the pidfd of a process of exec.
pub(super) const EXEC: &str = "setns";

/// Sends `pidfd` with `text` to the socket at `path`.
///
/// # Errors
/// No process listens there.
pub(super) fn send(path: &Path, pidfd: BorrowedFd<'_>, text: &str) -> Result<()> {
    let what = || format!("send the pidfd to {}", path.display());
    let socket = terminal::parent::connect(path).context(what).coded(Code::PidfdReceiverFailed)?;
    net::send_fd(socket.as_fd(), text.as_bytes(), pidfd).context(what).coded(Code::PidfdReceiverFailed).map(drop)
}
