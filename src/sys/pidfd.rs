//! Signals by pidfd with any number, realtime ones included, and how a process ended. Source: pidfd_send_signal(2),
//! Linux 5.1; linux/pidfd.h, PIDFD_GET_INFO, Linux 6.13.
//!
//! World: all.

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

/// `PID_FS_MAGIC` of linux/magic.h.
const PIDFS: u64 = 0x5049_4446;

/// The inode of a pidfd, which no other process of this boot has had; `None` where pidfds have none of their own.
///
/// # Kernel
/// 6.9.
#[must_use]
pub fn inode(process: BorrowedFd<'_>) -> Option<u64> {
    let filesystem = rustix::fs::fstatfs(process).ok()?;
    let is_pidfs = u64::try_from(filesystem.f_type).is_ok_and(|kind| kind == PIDFS);
    is_pidfs.then(|| rustix::fs::fstat(process).ok().map(|status| status.st_ino)).flatten()
}

/// struct pidfd_info of its first version.
#[repr(C)]
struct Information {
    mask: u64,
    between: [u32; 13],
    exit_code: i32,
}
const _: () = assert!(size_of::<Information>() == 64);

/// _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info).
const GET_INFO: libc::c_ulong = 0xc040_ff0b;
/// The exit code was asked for, or is there.
const INFO_EXIT: u64 = 1 << 3;

/// The wait status of a process that has ended and been reaped; `None` before that, or where the kernel does not say.
///
/// # Kernel
/// 6.15.
#[must_use]
pub fn wait_status(process: BorrowedFd<'_>) -> Option<i32> {
    let mut information = Information { mask: INFO_EXIT, between: [0; 13], exit_code: 0 };
    let pointer: *mut Information = &mut information;
    // SAFETY: the request's number says how large the live struct is that the kernel fills. musl and glibc differ in
    // the type of a request, hence the cast.
    let value = unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO as _, pointer) };
    (value >= 0 && information.mask & INFO_EXIT != 0).then_some(information.exit_code)
}
