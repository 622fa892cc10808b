//! Questions about an open namespace. Source: ioctl_nsfs(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// _IO(0xb7, 0x1) of linux/nsfs.h.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// The user namespace that owns a namespace. Kernel: 4.9.
///
/// # Errors
/// EPERM when the owner is neither the caller's user namespace nor below it.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the request takes no argument and returns a descriptor.
    let value = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    super::check(libc::c_long::from(value))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(value) })
}
