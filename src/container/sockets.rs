//! World: parent. The pidfd socket: one message with one descriptor, as runc sends it.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::error::{Context, Error, ErrorKind, Result};

/// Sends `pidfd` to the socket at `path` with `payload`: "standard" for init, "setns" for exec.
///
/// # Errors
/// Nobody listens there.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>, payload: &str) -> Result<()> {
    let what = || format!("send the pidfd to {}", path.display());
    let socket = crate::terminal::parent::connect(path).map_err(|e| e.context(what()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [pidfd];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Error::new(ErrorKind::Internal, what()));
    }
    let data = [IoSlice::new(payload.as_bytes())];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &data, &mut ancillary, SendFlags::NOSIGNAL)).context(what).map(drop)
}
