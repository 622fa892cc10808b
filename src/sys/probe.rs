//! Whether the kernel has a system call: it is asked with arguments that it refuses before it does anything.
//!
//! World: parent. Promise: nothing changes. An error is why the call cannot be used: ENOSYS where the kernel does not have
//! it, EPERM where a seccomp filter keeps it from the caller.

use std::os::fd::AsFd;
use std::ptr::null;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::clone::{Parent, Side, clone3 as clone3_now, exit_now, own_pidfd};
use super::mount::OPEN_TREE_NAMESPACE;
use super::namespace::NamespaceSet;

/// `refusal` is the kernel's answer when it has the call.
fn expect(answer: Result<libc::c_long, Errno>, refusal: Errno) -> Result<(), Errno> {
    match answer {
        Err(errno) if errno != refusal => Err(errno),
        _ => Ok(()),
    }
}

/// clone3(2): a struct of no size. Kernel: 5.3.
///
/// # Errors
/// See the head of this file.
pub fn clone3() -> Result<(), Errno> {
    let arguments: *const u8 = null();
    // SAFETY: the kernel refuses the size before it looks at the pointer.
    expect(super::check(unsafe { libc::syscall(libc::SYS_clone3, arguments, 0_usize) }), Errno::INVAL)
}

/// mount_setattr(2): a struct of no size. Kernel: 5.12.
///
/// # Errors
/// See the head of this file.
pub fn mount_setattr() -> Result<(), Errno> {
    let nothing: *const u8 = null();
    // SAFETY: the kernel refuses the size before it looks at the pointers.
    let value = unsafe { libc::syscall(libc::SYS_mount_setattr, -1, nothing, 0, nothing, 0_usize) };
    expect(super::check(value), Errno::INVAL)
}

/// statmount(2), the same number on all processors: no request. Kernel: 6.8.
///
/// # Errors
/// See the head of this file.
pub fn statmount() -> Result<(), Errno> {
    const STATMOUNT: libc::c_long = 457;
    let nothing: *mut u8 = std::ptr::null_mut();
    // SAFETY: the kernel checks the pointers, and writes nothing without a request.
    let value = unsafe { libc::syscall(STATMOUNT, nothing, nothing, 0_usize, 0_u32) };
    expect(super::check(value), Errno::FAULT)
}

/// open_tree(2) with OPEN_TREE_NAMESPACE: no path. Kernel: 7.0.
///
/// # Errors
/// See the head of this file; EINVAL where the kernel does not know the flag.
pub fn open_tree_namespace() -> Result<(), Errno> {
    let ask = |flags| rustix::mount::open_tree(CWD, c"", flags | OpenTreeFlags::OPEN_TREE_CLOEXEC).map(|_| 0);
    expect(ask(OpenTreeFlags::empty()), Errno::NOENT)?;
    match ask(OPEN_TREE_NAMESPACE) {
        // Known, but not for a caller without CAP_SYS_ADMIN.
        Err(Errno::PERM) => Ok(()),
        answer => expect(answer, Errno::NOENT),
    }
}

/// seccomp(2): whether the kernel knows an action. Kernel: 4.14.
///
/// # Errors
/// See the head of this file; EOPNOTSUPP where it does not know the action, EINVAL without filters.
pub fn seccomp_action(action: u32) -> Result<(), Errno> {
    // SAFETY: the action is a live u32, which is only read.
    let value = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    super::check(value).map(drop)
}

/// seccomp(2): whether filters may have these flags: no filter. Kernel: 3.17.
///
/// # Errors
/// See the head of this file; EINVAL where it does not know a flag.
pub fn seccomp_flags(flags: libc::c_ulong) -> Result<(), Errno> {
    let nothing: *const u8 = null();
    // SAFETY: without a filter there is nothing to install; the kernel checks the pointer.
    let value = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    expect(super::check(value), Errno::FAULT)
}

/// The numbers of the security modules in the order in which they are asked, as lsm_list_modules(2) has them. Kernel: 6.8.
///
/// # Errors
/// See the head of this file.
pub fn security_modules() -> Result<Vec<u64>, Errno> {
    const LSM_LIST_MODULES: libc::c_long = 461;
    let mut ids = [0_u64; 64];
    let mut size = u32::try_from(size_of_val(&ids)).unwrap_or(0);
    // SAFETY: `size` says how many bytes the live array has.
    let value = unsafe { libc::syscall(LSM_LIST_MODULES, ids.as_mut_ptr(), &raw mut size, 0_u32) };
    let count = usize::try_from(super::check(value)?).unwrap_or(0);
    Ok(ids.into_iter().take(count).collect())
}

/// Whether a pidfd tells the exit code of a process that has been reaped: asked of a child that ends at once. Kernel: 6.15.
///
/// # Errors
/// As clone3(2) and waitid(2).
pub fn pidfd_tells_exit_code() -> Result<bool, Errno> {
    let Side::Parent { pidfd, .. } = clone3_now(Parent::UnsignalledCaller, NamespaceSet::empty(), None)? else {
        exit_now(0)
    };
    let pidfd = own_pidfd(pidfd);
    // Without __WALL a child that sends no signal at its end is not found.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WALL;
    while waitid(Id::PIDFd(pidfd.as_fd()), flags) == Err(nix::errno::Errno::EINTR) {}
    Ok(super::pidfd::wait_status(pidfd.as_fd()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tare_needs_is_there() {
        assert_eq!((clone3(), mount_setattr()), (Ok(()), Ok(())));
        assert_eq!(expect(Err(Errno::NOSYS), Errno::FAULT), Err(Errno::NOSYS));
        assert_eq!(seccomp_action(libc::SECCOMP_RET_ERRNO), Ok(()));
        assert_eq!(seccomp_action(1), Err(Errno::OPNOTSUPP));
        assert_eq!(seccomp_flags(1 << 31), Err(Errno::INVAL));
    }
}
