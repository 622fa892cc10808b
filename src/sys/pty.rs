//! The one pty request that rustix has only in a form that allocates. Source: ioctl_tty(2).
//!
//! World: all.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The number of the pty behind `master`: its slave is `/dev/pts/NUMBER` in its devpts.
///
/// # Errors
/// ENOTTY when it is no master.
pub fn number(master: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int to the address, which is live.
    let value = unsafe { libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    super::check(value).map(|_| number)
}
