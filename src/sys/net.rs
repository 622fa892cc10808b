//! One descriptor over a unix socket: SCM_RIGHTS of unix(7).
//!
//! World: all; nothing here allocates.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

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

/// `struct user_msghdr` of linux/socket.h.
#[repr(C)]
struct Message<'a> {
    name: *const u8,
    name_length: i32,
    data: *const IoSlice<'a>,
    data_length: usize,
    control: *const Control,
    control_length: usize,
    flags: u32,
}

/// `struct cmsghdr` with one descriptor.
#[repr(C)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
}

/// The same by a sendmsg(2) whose three unused argument registers hold `mark`, which the kernel ignores and a seccomp
/// filter can see.
///
/// # Errors
/// sendmsg(2).
pub fn send_fd_marked(
    socket: BorrowedFd<'_>,
    payload: &[u8],
    descriptor: BorrowedFd<'_>,
    mark: [u32; 3],
) -> Result<(), Errno> {
    let data = [IoSlice::new(payload)];
    let length = std::mem::offset_of!(Control, descriptor) + size_of::<i32>();
    let (level, kind) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    let control = Control { length, level, kind, descriptor: descriptor.as_raw_fd() };
    let message = Message {
        name: std::ptr::null(),
        name_length: 0,
        data: data.as_ptr(),
        data_length: data.len(),
        control: &raw const control,
        control_length: size_of::<Control>(),
        flags: 0,
    };
    let [one, two, three] = mark.map(|word| word as libc::c_ulong);
    let (call, flags) = (libc::SYS_sendmsg, libc::MSG_NOSIGNAL);
    // SAFETY: `message` and what it points to are live and as long as it says; the kernel only reads.
    let sent = unsafe { libc::syscall(call, socket.as_raw_fd(), &raw const message, flags, one, two, three) };
    super::check(sent).map(drop)
}

/// Receives a message, and the descriptor that came with it: close-on-exec, `None` when there is none or no room for it
/// in the table. How many bytes of `payload` were filled; 0 at end-of-file.
///
/// # Errors
/// recvmsg(2).
pub fn receive_fd(socket: BorrowedFd<'_>, payload: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    until_the_end(RecvFlags::empty(), |flags| receive_once(socket, payload, flags))
}

/// The same, but only a message that is there already.
///
/// # Errors
/// recvmsg(2); EAGAIN when there is none.
pub fn receive_fd_at_once(socket: BorrowedFd<'_>, payload: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    until_the_end(RecvFlags::DONTWAIT, |flags| receive_once(socket, payload, flags))
}

/// Receives once more at end-of-file. For SOCK_SEQPACKET the kernel looks for a message first and whether the peer has
/// closed its end afterwards (`unix_dgram_recvmsg`, `__skb_wait_for_more_packets`), without a lock: a peer that sends and
/// closes between the two is reported as closed, with its message still in the queue.
fn until_the_end<T>(
    flags: RecvFlags,
    mut receive: impl FnMut(RecvFlags) -> Result<(usize, Option<T>), Errno>,
) -> Result<(usize, Option<T>), Errno> {
    match receive(flags)? {
        (0, None) => match receive(RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok((0, None)),
            received => received,
        },
        received => Ok(received),
    }
}

fn receive_once(
    socket: BorrowedFd<'_>,
    payload: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(payload)];
    let receive = || recvmsg(socket, &mut data, &mut control, flags | RecvFlags::CMSG_CLOEXEC);
    let count = rustix::io::retry_on_intr(receive)?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((count, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`until_the_end`] makes of these answers of recvmsg(2), and how many of them it asked for.
    fn received(answers: &[Result<(usize, Option<u8>), Errno>]) -> (Result<(usize, Option<u8>), Errno>, usize) {
        let mut asked = Vec::new();
        let outcome = until_the_end(RecvFlags::empty(), |flags| {
            asked.push(flags);
            answers[asked.len() - 1]
        });
        assert!(asked.iter().skip(1).all(|flags| *flags == RecvFlags::DONTWAIT));
        (outcome, asked.len())
    }

    #[test]
    fn a_message_that_end_of_file_overtook_is_received() {
        assert_eq!(received(&[Ok((0, None)), Ok((9, Some(1)))]), (Ok((9, Some(1))), 2));
        assert_eq!(received(&[Ok((0, None)), Ok((0, None))]), (Ok((0, None)), 2));
        assert_eq!(received(&[Ok((0, None)), Err(Errno::AGAIN)]), (Ok((0, None)), 2));
        assert_eq!(received(&[Ok((0, None)), Err(Errno::CONNRESET)]), (Err(Errno::CONNRESET), 2));
        assert_eq!(received(&[Ok((9, None))]), (Ok((9, None)), 1));
        assert_eq!(received(&[Err(Errno::CONNRESET)]), (Err(Errno::CONNRESET), 1));
    }
}
