//! seccomp(2) with a filter, and the listener of one. Source: seccomp(2), seccomp_unotify(2); listeners Linux 5.0,
//! TSYNC_ESRCH 5.7.
//!
//! World: all.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, opcode};
use seccompiler::sock_filter;

const NEW_LISTENER: u32 = 1 << 3;

#[repr(C)]
struct Program {
    len: u16,
    filter: *const sock_filter,
}
const _: () = assert!(size_of::<Program>() == size_of::<libc::sock_fprog>());
const _: () = assert!(size_of::<sock_filter>() == size_of::<libc::sock_filter>());

/// Installs `program` for the calling thread; the listener when `flags` ask for one.
///
/// # Errors
/// EACCES without no_new_privs and CAP_SYS_ADMIN; EINVAL for a program or a flag that the kernel refuses;
/// ESRCH when TSYNC cannot reach a thread.
pub fn set_filter(flags: u32, program: &[sock_filter]) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    // SAFETY: `program` points to `len` live instructions with the layout of `struct sock_filter`; the kernel copies.
    let value = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    };
    let value = super::check(value)?;
    if flags & NEW_LISTENER != 0 {
        let descriptor = i32::try_from(value).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
    }
    // Without TSYNC_ESRCH a positive value is the thread that could not be reached.
    if value == 0 { Ok(None) } else { Err(Errno::SRCH) }
}

/// A system call that waits for an answer: `struct seccomp_notif` of linux/seccomp.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    /// The number of the call.
    pub number: u32,
    /// AUDIT_ARCH of the caller.
    pub arch: u32,
    instruction_pointer: u64,
    /// The arguments.
    pub arguments: [u64; 6],
}
const _: () = assert!(size_of::<Notification>() == 80);

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}
const _: () = assert!(size_of::<Answer>() == 24);

/// SECCOMP_USER_NOTIF_FLAG_CONTINUE.
const CONTINUE: u32 = 1;
/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP.
const SYNC_WAKE_UP: libc::c_ulong = 1;

const RECEIVE: Opcode = opcode::read_write::<Notification>(b'!', 0);
const SEND: Opcode = opcode::read_write::<Answer>(b'!', 1);
const SET_FLAGS: Opcode = opcode::write::<u64>(b'!', 4);

/// The next call that waits. It blocks if there is none.
///
/// # Errors
/// ENOENT when the caller has died meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: `notification` is live, zeroed as the kernel demands, and as large as the opcode says.
    let value = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut notification) };
    super::check(libc::c_long::from(value)).map(|_| notification)
}

/// Lets the call through: the kernel does what was asked. Linux 5.5.
///
/// # Errors
/// ENOENT when the caller has died meanwhile.
pub fn let_through(listener: BorrowedFd<'_>, notification: &Notification) -> Result<(), Errno> {
    let mut answer = Answer { id: notification.id, value: 0, error: 0, flags: CONTINUE };
    // SAFETY: `answer` is live and as large as the opcode says.
    let value = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut answer) };
    super::check(libc::c_long::from(value)).map(drop)
}

/// Tells the kernel that caller and listener take turns, so that each is woken on the other's CPU. Linux 6.6.
///
/// # Errors
/// EINVAL or ENOTTY on older kernels.
pub fn take_turns(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: this ioctl takes a number and touches no memory.
    let value = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) };
    super::check(libc::c_long::from(value)).map(drop)
}
