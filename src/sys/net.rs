//! One descriptor over a unix socket: SCM_RIGHTS of unix(7).
//!
//! World: all; nothing here allocates.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    MMsgHdr, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmmsg, sendmsg,
};

/// Sends `descriptor` with `payload`, which is not empty; how much of the payload went with it.
///
/// # Errors
/// sendmsg(2); EPIPE when the other end is closed, and no signal.
pub fn send_fd(socket: BorrowedFd<'_>, payload: &[u8], descriptor: BorrowedFd<'_>) -> Result<usize, Errno> {
    send_with(payload, descriptor, |data, control| {
        rustix::io::retry_on_intr(|| sendmsg(socket, data, control, SendFlags::NOSIGNAL))
    })
}

/// The message that both calls send: the payload, and the descriptor beside it.
fn send_with<T>(
    payload: &[u8],
    descriptor: BorrowedFd<'_>,
    send: impl FnOnce(&[IoSlice<'_>], &mut SendAncillaryBuffer<'_, '_, '_>) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    send(&[IoSlice::new(payload)], &mut control)
}

/// The same by sendmmsg(2), for a process whose seccomp filter does not let it call sendmsg(2).
///
/// # Errors
/// sendmmsg(2).
pub fn send_fd_by_sendmmsg(socket: BorrowedFd<'_>, payload: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    send_with(payload, descriptor, |data, control| {
        sendmmsg(socket, &mut [MMsgHdr::new(data, control)], SendFlags::NOSIGNAL).map(drop)
    })
}

/// Receives a message, and the descriptor that came with it: close-on-exec, `None` when there is none or no room for it
/// in the table. How many bytes of `payload` were filled; 0 at end-of-file.
///
/// # Errors
/// recvmsg(2).
pub fn receive_fd(socket: BorrowedFd<'_>, payload: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(payload)];
    let receive = || recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC);
    let count = rustix::io::retry_on_intr(receive)?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((count, descriptor))
}
