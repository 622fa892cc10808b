//! A process parked in a new user namespace, for its mappings. Source: clone(2), user_namespaces(7).
//!
//! World: parent.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::clone::{Parent, Side, clone3, in_intermediate, own_pidfd};
use super::namespace::NamespaceSet;

/// The parked process; it ends when this is dropped.
#[derive(Debug)]
pub struct Parked {
    id: i32,
    pidfd: OwnedFd,
}

impl Parked {
    /// Its pid.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        // It is our child and unreaped: both calls can only fail if it is gone already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
    }
}

/// Creates the process.
///
/// # Errors
/// As clone3(2): EPERM, ENOSPC for too many user namespaces.
pub fn park() -> Result<Parked, Errno> {
    let parent = rustix::process::getpid();
    let mut pidfd: libc::c_int = -1;
    // SAFETY: an all-zero clone_args is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_NEWUSER | libc::CLONE_PIDFD).cast_unsigned().into();
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    args.pidfd = (&raw mut pidfd).expose_provenance() as u64;
    // SAFETY: without CLONE_VM this is a fork; `args` is a live struct of the size given, and the child only calls
    // async-signal-safe functions before it ends.
    let id = super::check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if id == 0 {
        wait_for_the_end(parent);
    }
    // SAFETY: the kernel has stored a new descriptor of ours there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Parked { id: i32::try_from(id).map_err(|_| Errno::OVERFLOW)?, pidfd })
}

/// Creates such a process in a user namespace that exists. Those who live there cannot look at it: it is not dumpable.
///
/// # Errors
/// As setns(2) and clone3(2).
pub fn park_in(namespace: BorrowedFd<'_>) -> Result<Parked, Errno> {
    let parent = rustix::process::getpid();
    let started = in_intermediate(true, || {
        super::process_attributes::set_dumpable(false)?;
        super::namespace::join(namespace, NamespaceSet::USER)?;
        match clone3(Parent::CallersParent, NamespaceSet::empty(), None)? {
            Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
            Side::Child => wait_for_the_end(parent),
        }
    })?;
    let (id, pidfd) = started.ok_or(Errno::SRCH)??;
    Ok(Parked { id, pidfd: own_pidfd(pidfd) })
}

/// The parked process itself.
fn wait_for_the_end(parent: rustix::process::Pid) -> ! {
    // SAFETY: takes integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // A parent that died before that sends no signal any more.
    while rustix::process::getppid() == Some(parent) {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}
