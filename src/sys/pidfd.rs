//! Signals by pidfd with any number, realtime ones included. Source: pidfd_send_signal(2), Linux 5.1.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Sends signal number `signal` (0 only checks).
///
/// # Errors
/// ESRCH when the process has ended, EINVAL for a number that is no signal.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let information: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    let value = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, information, 0_u32) };
    super::check(value).map(drop)
}
