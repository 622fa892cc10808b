//! A child process that only waits: for a user namespace or a cgroup that must contain a process. Source: clone(2).
//!
//! World: parent. Promises: it ends when [`Parked`] is dropped or the parent dies, whichever is first. It has no
//! descriptors and ignores all signals but SIGKILL and SIGSTOP.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, pidfd_send_signal};

use super::clone::{Parent, Side, clone3, exit_now, in_intermediate, own_pidfd};
use super::namespace::NamespaceSet;

/// The process; killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Parked {
    pid: i32,
    /// Until it is killed.
    pidfd: Option<OwnedFd>,
}

impl Parked {
    /// Creates the process in new `namespaces` and, if given, in `cgroup`.
    ///
    /// # Errors
    /// As clone3(2).
    pub fn new(namespaces: NamespaceSet, cgroup: Option<BorrowedFd<'_>>) -> Result<Self, Errno> {
        let parent = rustix::process::getpid();
        match clone3(Parent::UnsignalledCaller, namespaces, cgroup)? {
            Side::Parent { pid, pidfd } => Ok(Self { pid, pidfd: Some(own_pidfd(pidfd)) }),
            Side::Child => wait_for_the_end(parent),
        }
    }

    /// Creates the process in a user namespace that exists. It is not dumpable, so that other processes of the namespace
    /// cannot access it.
    ///
    /// # Errors
    /// As setns(2) and clone3(2).
    pub fn in_user_namespace(namespace: BorrowedFd<'_>) -> Result<Self, Errno> {
        let parent = rustix::process::getpid();
        let started = in_intermediate(true, || {
            super::process_attributes::set_dumpable(false)?;
            super::namespace::join(namespace, NamespaceSet::USER)?;
            match clone3(Parent::OfCaller, NamespaceSet::empty(), None)? {
                Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
                Side::Child => wait_for_the_end(parent),
            }
        })?;
        let (pid, pidfd) = started.ok_or(Errno::SRCH)??;
        Ok(Self { pid, pidfd: Some(own_pidfd(pidfd)) })
    }

    /// Its pid in the caller's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills and reaps it.
    ///
    /// # Errors
    /// It cannot be killed, and stays until the caller ends.
    pub fn end(mut self) -> Result<(), Errno> {
        self.kill()
    }

    fn kill(&mut self) -> Result<(), Errno> {
        let Some(pidfd) = self.pidfd.take() else { return Ok(()) };
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            // Dead already is as good.
            Ok(()) | Err(Errno::SRCH) => {}
            // A wait for what was not killed might have no end.
            Err(errno) => return Err(errno),
        }
        // Without __WALL a child that sends no signal at its end is not found.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WALL;
        while waitid(Id::PIDFd(pidfd.as_fd()), flags) == Err(nix::errno::Errno::EINTR) {}
        Ok(())
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let _stays_until_we_end = self.kill();
    }
}

/// The parked process itself; `parent` is the process that it must not outlive.
fn wait_for_the_end(parent: Pid) -> ! {
    let ready = nix::sys::signal::SigSet::all().thread_set_mask().is_ok()
        && super::process_attributes::set_parent_death_signal(libc::SIGKILL).is_ok()
        && super::descriptors::close_all_but(0, &mut []).is_ok();
    // The parent may have died before the death signal was set.
    while ready && rustix::process::getppid() == Some(parent) {
        rustix::event::pause();
    }
    exit_now(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_process_has_no_descriptors_and_is_reaped() {
        let parked = Parked::new(NamespaceSet::empty(), None).unwrap();
        let process = format!("/proc/{}", parked.pid());
        let open = || std::fs::read_dir(format!("{process}/fd")).unwrap().count();
        while open() > 0 {
            std::thread::yield_now();
        }
        parked.end().unwrap();
        assert!(!std::path::Path::new(&process).exists());
    }
}
