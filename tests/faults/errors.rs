//! Which system calls count as points, and with which error numbers they can fail.
//!
//! The error numbers are those that the manual pages name for a machine that is full, busy or locked down; which of
//! them it is depends on the point, so that neighbours fail differently.

use libc::{
    EACCES, EAGAIN, EBUSY, EDQUOT, EINTR, EINVAL, EIO, EMFILE, ENFILE, ENOBUFS, ENOLCK, ENOMEM, ENOSPC, EPERM, EROFS,
    c_long,
};

/// Calls that read, or concern the process's own memory alone: of the full set, not of the quick one.
const READS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_prlimit64,
    libc::SYS_uname,
    libc::SYS_getcwd,
];

/// Calls that cannot fail as they are used here, or whose failure changes nothing: death at one is in the full set.
const NEVER_FAIL: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_getrandom,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_getgid,
    libc::SYS_umask,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_sched_getaffinity,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

fn is_in(list: &[c_long], number: u64) -> bool {
    c_long::try_from(number).is_ok_and(|number| list.contains(&number))
}

/// Whether the quick set leaves the call out.
pub fn is_pure(number: u64) -> bool {
    is_in(READS, number) || is_in(NEVER_FAIL, number)
}

/// Whether it makes sense to let it fail.
pub fn can_fail(number: u64) -> bool {
    !is_in(NEVER_FAIL, number)
}

/// An error number for the call at point `at`; with `lasting` one that can be there for good.
pub fn plausible(number: u64, at: usize, lasting: bool) -> i32 {
    // A queue of connections that stays full is waited for, up to a minute.
    let passes = |errno: i32| errno == EINTR || (errno == EAGAIN && is_in(&[libc::SYS_connect], number));
    let choices = choices(number).iter().filter(|errno| !lasting || !passes(**errno)).copied().collect::<Vec<_>>();
    choices[at % choices.len()]
}

fn choices(number: u64) -> &'static [i32] {
    match c_long::try_from(number).unwrap_or(-1) {
        libc::SYS_openat | libc::SYS_openat2 => &[EMFILE, ENFILE, EACCES, ENOMEM, EIO],
        libc::SYS_mkdirat | libc::SYS_mknodat | libc::SYS_symlinkat | libc::SYS_renameat | libc::SYS_fsetxattr => {
            &[ENOSPC, EDQUOT, EROFS, EIO, EPERM]
        }
        libc::SYS_write | libc::SYS_writev | libc::SYS_ftruncate => &[ENOSPC, EIO, EBUSY, EDQUOT],
        libc::SYS_unlinkat | libc::SYS_fchmod | libc::SYS_fchmodat | libc::SYS_fchownat => &[EBUSY, EROFS, EIO, EPERM],
        libc::SYS_clone | libc::SYS_clone3 => &[EAGAIN, ENOMEM, EBUSY],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork | libc::SYS_fork => &[EAGAIN, ENOMEM, EBUSY],
        libc::SYS_socket | libc::SYS_socketpair | libc::SYS_pipe2 | libc::SYS_memfd_create => {
            &[EMFILE, ENFILE, ENOMEM, ENOBUFS]
        }
        libc::SYS_pidfd_open | libc::SYS_dup | libc::SYS_dup3 | libc::SYS_fcntl | libc::SYS_accept4 => {
            &[EMFILE, ENOMEM, EINVAL]
        }
        libc::SYS_sendmsg | libc::SYS_sendto | libc::SYS_recvmsg | libc::SYS_recvfrom => &[ENOMEM, ENOBUFS, EINTR],
        libc::SYS_connect => &[EAGAIN, EPERM, EINTR],
        libc::SYS_ppoll | libc::SYS_waitid | libc::SYS_wait4 => &[EINTR, ENOMEM, EINVAL],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => &[EINTR, ENOMEM, EINVAL],
        libc::SYS_flock => &[ENOLCK, EINTR],
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_readv | libc::SYS_readlinkat | libc::SYS_getdents64 => {
            &[EIO, EINTR, ENOMEM]
        }
        libc::SYS_fstat | libc::SYS_newfstatat | libc::SYS_statx | libc::SYS_statfs | libc::SYS_fstatfs => {
            &[EIO, ENOMEM, EACCES]
        }
        libc::SYS_mmap | libc::SYS_mprotect | libc::SYS_mremap | libc::SYS_madvise | libc::SYS_brk => &[ENOMEM],
        libc::SYS_mount
        | libc::SYS_umount2
        | libc::SYS_pivot_root
        | libc::SYS_fsopen
        | libc::SYS_fsconfig
        | libc::SYS_fsmount
        | libc::SYS_open_tree
        | libc::SYS_move_mount
        | libc::SYS_mount_setattr => &[EPERM, ENOSPC, ENOMEM, EBUSY, EINVAL],
        libc::SYS_setuid | libc::SYS_setresuid | libc::SYS_setgid | libc::SYS_setresgid | libc::SYS_setgroups => {
            &[EAGAIN, EPERM, EINVAL]
        }
        libc::SYS_unshare | libc::SYS_setns => &[ENOSPC, EPERM, ENOMEM],
        libc::SYS_bpf | libc::SYS_seccomp | libc::SYS_keyctl => &[EPERM, ENOMEM, EINVAL],
        libc::SYS_kill | libc::SYS_pidfd_send_signal => &[EPERM],
        _ => &[EPERM, ENOMEM, EIO, EINVAL],
    }
}

/// Its name, for messages.
pub fn name(number: u64) -> String {
    usize::try_from(number)
        .ok()
        .and_then(syscalls::Sysno::new)
        .map_or_else(|| number.to_string(), |number| number.name().to_string())
}
