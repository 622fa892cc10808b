//! Whether the kernel has a system call: it is asked with arguments that it refuses before it does anything.
//!
//! World: parent. Promise: nothing changes. An error is why the call cannot be used: ENOSYS where the kernel does not have
//! it, the answer of the filter where a seccomp filter keeps it from the caller.

use std::os::fd::AsFd;
use std::ptr::null;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::clone::{Parent, Side, clone3, exit_now, in_intermediate, own_pidfd};
use super::mount::OPEN_TREE_NAMESPACE;
use super::namespace::NamespaceSet;

/// `refusal` is the kernel's answer when it has the call.
fn expect(answer: Result<libc::c_long, Errno>, refusal: Errno) -> Result<(), Errno> {
    match answer {
        Err(errno) if errno != refusal => Err(errno),
        _ => Ok(()),
    }
}

/// A system call with arguments that the kernel refuses before it uses memory, and its refusal.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    number: libc::c_long,
    arguments: [libc::c_long; 5],
    refusal: Errno,
}

impl Question {
    const fn new(number: libc::c_long, arguments: [libc::c_long; 5], refusal: Errno) -> Self {
        Self { number, arguments, refusal }
    }

    /// Asks the kernel.
    ///
    /// # Errors
    /// Any answer but the kernel's own refusal.
    pub fn ask(&self) -> Result<(), Errno> {
        let [one, two, three, four, five] = self.arguments;
        // SAFETY: only the constants of this file can be asked; each has an argument that the kernel refuses before it
        // looks at a pointer, and all pointers are null.
        let value = unsafe { libc::syscall(self.number, one, two, three, four, five) };
        expect(super::check(value), self.refusal)
    }
}

/// No descriptor, and flags of which no kernel knows all.
const NONE: libc::c_long = -1;

/// clone3(2): a struct of no size. Kernel: 5.3.
pub const CLONE3: Question = Question::new(libc::SYS_clone3, [0; 5], Errno::INVAL);
/// close_range(2): a range that ends before it starts. Kernel: 5.9.
pub const CLOSE_RANGE: Question = Question::new(libc::SYS_close_range, [1, 0, 0, 0, 0], Errno::INVAL);
/// faccessat2(2): unknown kinds of access. Kernel: 5.8.
pub const FACCESSAT2: Question = Question::new(libc::SYS_faccessat2, [NONE, 0, NONE, 0, 0], Errno::INVAL);
/// fsconfig(2): no descriptor. Kernel: 5.2.
pub const FSCONFIG: Question = Question::new(libc::SYS_fsconfig, [NONE, 0, 0, 0, 0], Errno::INVAL);
/// fsmount(2): unknown flags; EPERM without the right to mount. Kernel: 5.2.
pub const FSMOUNT: Question = Question::new(libc::SYS_fsmount, [NONE, NONE, 0, 0, 0], Errno::INVAL);
/// fsopen(2): unknown flags; EPERM without the right to mount. Kernel: 5.2.
pub const FSOPEN: Question = Question::new(libc::SYS_fsopen, [0, NONE, 0, 0, 0], Errno::INVAL);
/// fspick(2): unknown flags; EPERM without the right to mount. Kernel: 5.2.
pub const FSPICK: Question = Question::new(libc::SYS_fspick, [NONE, 0, NONE, 0, 0], Errno::INVAL);
/// mount_setattr(2): a struct of no size. Kernel: 5.12.
pub const MOUNT_SETATTR: Question = Question::new(libc::SYS_mount_setattr, [NONE, 0, 0, 0, 0], Errno::INVAL);
/// move_mount(2): unknown flags; EPERM without the right to mount. Kernel: 5.2.
pub const MOVE_MOUNT: Question = Question::new(libc::SYS_move_mount, [NONE, 0, NONE, 0, NONE], Errno::INVAL);
/// open_tree(2): unknown flags. Kernel: 5.2.
pub const OPEN_TREE: Question = Question::new(libc::SYS_open_tree, [NONE, 0, NONE, 0, 0], Errno::INVAL);
/// openat2(2): a struct of no size. Kernel: 5.6.
pub const OPENAT2: Question = Question::new(libc::SYS_openat2, [NONE, 0, 0, 0, 0], Errno::INVAL);
/// pidfd_open(2): no process. Kernel: 5.3.
pub const PIDFD_OPEN: Question = Question::new(libc::SYS_pidfd_open, [0; 5], Errno::INVAL);
/// pidfd_send_signal(2): no descriptor. Kernel: 5.1.
pub const PIDFD_SEND_SIGNAL: Question = Question::new(libc::SYS_pidfd_send_signal, [NONE, 0, 0, 0, 0], Errno::BADF);
/// statx(2): a mask with the reserved bit. Kernel: 4.11.
pub const STATX: Question = Question::new(libc::SYS_statx, [NONE, 0, 0, NONE, 0], Errno::INVAL);

/// Asks `question` as a process that may mount: in a new mount namespace, of a new user namespace if the caller has no
/// privileges. `None` if there can be no such process.
#[must_use]
pub fn ask_as_mounter(question: &Question) -> Option<Result<(), Errno>> {
    // Memory of its own: a process that shares it with another cannot leave its user namespace.
    let answer = in_intermediate(true, || {
        let user = NamespaceSet::MOUNT.union(NamespaceSet::USER);
        let may_mount = [NamespaceSet::MOUNT, user].into_iter().any(|set| super::namespace::unshare(set).is_ok());
        may_mount.then(|| question.ask())
    });
    answer.ok().flatten().flatten()
}

/// Whether the caller is under a seccomp filter, or cannot find out. Kernel: 2.6.23.
#[must_use]
pub fn is_filtered() -> bool {
    // SAFETY: PR_GET_SECCOMP takes no arguments and touches no memory.
    let mode = super::check(libc::c_long::from(unsafe { libc::prctl(libc::PR_GET_SECCOMP) }));
    // EINVAL: a kernel without seccomp.
    !matches!(mode, Ok(0) | Err(Errno::INVAL))
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
    let Side::Parent { pidfd, .. } = clone3(Parent::UnsignalledCaller, NamespaceSet::empty(), None)? else {
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
    fn the_kernel_refuses_each_question_as_expected() {
        let calls = [
            CLONE3,
            CLOSE_RANGE,
            FACCESSAT2,
            FSCONFIG,
            MOUNT_SETATTR,
            OPEN_TREE,
            OPENAT2,
            PIDFD_OPEN,
            PIDFD_SEND_SIGNAL,
            STATX,
        ];
        for question in calls {
            assert_eq!(question.ask(), Ok(()), "{question:?}");
        }
        for question in [FSMOUNT, FSOPEN, FSPICK, MOVE_MOUNT] {
            // A machine may forbid user namespaces.
            assert!(matches!(ask_as_mounter(&question), None | Some(Ok(()))), "{question:?}");
        }
    }

    #[test]
    fn other_answers_are_reported() {
        assert_eq!(expect(Err(Errno::NOSYS), Errno::FAULT), Err(Errno::NOSYS));
        assert_eq!(Question::new(9999, [0; 5], Errno::INVAL).ask(), Err(Errno::NOSYS));
        assert_eq!(seccomp_action(libc::SECCOMP_RET_ERRNO), Ok(()));
        assert_eq!(seccomp_action(1), Err(Errno::OPNOTSUPP));
        assert_eq!(seccomp_flags(1 << 31), Err(Errno::INVAL));
    }
}
