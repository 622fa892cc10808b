//! Sets of namespaces, joining them and leaving them, and their owners.
//!
//! World: all. Source: namespaces(7), setns(2), unshare(2), ioctl_nsfs(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::io::Errno;

bitflags::bitflags! {
    /// Kinds of namespaces: CLONE_NEW* of linux/sched.h, as clone3(2), setns(2), unshare(2) and the record have them.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct NamespaceSet: u64 {
        /// CLONE_NEWTIME. Kernel: 5.6.
        const TIME = 0x80;
        /// CLONE_NEWNS.
        const MOUNT = 0x2_0000;
        /// CLONE_NEWCGROUP.
        const CGROUP = 0x200_0000;
        /// CLONE_NEWUTS.
        const UTS = 0x400_0000;
        /// CLONE_NEWIPC.
        const IPC = 0x800_0000;
        /// CLONE_NEWUSER.
        const USER = 0x1000_0000;
        /// CLONE_NEWPID.
        const PID = 0x2000_0000;
        /// CLONE_NEWNET.
        const NETWORK = 0x4000_0000;
    }
}

impl NamespaceSet {
    /// As nix has them; all of them fit into an int.
    fn flags(self) -> CloneFlags {
        CloneFlags::from_bits_retain(i32::try_from(self.bits()).unwrap_or(0))
    }
}

/// Joins a namespace of the one kind in `kinds` by its file, or all `kinds` of a process by its pidfd (Linux 5.8).
///
/// # Errors
/// As setns(2).
pub fn join(namespace: BorrowedFd<'_>, kinds: NamespaceSet) -> Result<(), Errno> {
    nix::sched::setns(namespace, kinds.flags()).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Leaves the namespaces of `kinds` for new ones.
///
/// # Errors
/// As unshare(2).
pub fn unshare(kinds: NamespaceSet) -> Result<(), Errno> {
    nix::sched::unshare(kinds.flags()).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

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

/// _IO(0xb7, 0x3) of linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// The kind of a namespace by its file. Kernel: 4.11.
///
/// # Errors
/// ENOTTY for a file that is not a namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<NamespaceSet, Errno> {
    // SAFETY: the request takes no argument and returns a number.
    let value = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    super::check(libc::c_long::from(value))?;
    Ok(NamespaceSet::from_bits_retain(u64::try_from(value).unwrap_or(0)))
}
