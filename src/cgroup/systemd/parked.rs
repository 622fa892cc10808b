//! A process that a scope begins with until init is there. World: parent.
//!
//! systemd starts a scope around a process, which it moves there, and moving costs an RCU grace period. So that process
//! only sleeps, init is cloned into the cgroup that exists then, and the sleeper ends. Where init has a cgroup below the
//! scope's, a second sleeper is cloned into that one first. Sleepers die with tare, and systemd removes an empty scope:
//! nothing is left whatever happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use crate::error::{Context, Result};
use crate::sys::clone;

/// The sleeper; killed and reaped when it is dropped.
#[derive(Debug)]
pub struct Parked {
    /// In our pid namespace.
    pub pid: i32,
    /// Until it is killed.
    pidfd: Option<OwnedFd>,
}

impl Parked {
    /// Makes one, in `cgroup` if that is given.
    ///
    /// # Errors
    /// As clone3(2).
    pub fn new(cgroup: Option<BorrowedFd<'_>>) -> Result<Self> {
        let (pid, pidfd) = clone::sleeper(cgroup).context(|| "make the first process of the scope")?;
        Ok(Self { pid, pidfd: Some(pidfd) })
    }

    /// Kills and reaps it.
    ///
    /// # Errors
    /// It cannot be killed, and stays until tare ends.
    pub fn end(mut self) -> Result<()> {
        self.kill().context(|| "end the first process of the scope")
    }

    fn kill(&mut self) -> std::result::Result<(), Errno> {
        let Some(pidfd) = self.pidfd.take() else { return Ok(()) };
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            // Dead already is as good.
            Ok(()) | Err(Errno::SRCH) => {}
            // A wait for what was not killed might have no end.
            Err(errno) => return Err(errno),
        }
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
