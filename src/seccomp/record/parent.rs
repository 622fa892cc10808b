//! Starts the process that records, and reads what it saw.
//!
//! World: parent.

use std::os::fd::OwnedFd;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::calls::Calls;
use super::child;
use super::seen::Seen;
use crate::error::{Context, Result};
use crate::sys::clone::{Parent, Side, clone3, own_pidfd};
use crate::sys::memory::SharedPage;
use crate::sys::namespace::NamespaceSet;

/// How long the process may take to notice that no process is left to record.
const END: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The process that records, and its memory.
#[derive(Debug)]
pub struct Recorder {
    page: SharedPage,
    process: Option<OwnedFd>,
}

impl Recorder {
    /// A recorder that has seen nothing.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new() -> Result<Self> {
        Ok(Self { page: SharedPage::new().context(|| "map the memory of the recorder")?, process: None })
    }

    /// Starts the process, which serves `listener` from now on: not this one, which is busy with hooks and terminals, and
    /// may end before the container does.
    ///
    /// # Errors
    /// clone3(2).
    pub fn serve(&mut self, listener: OwnedFd) -> Result<()> {
        match clone3(Parent::UnsignalledCaller, NamespaceSet::empty(), None).context(|| "create the recorder")? {
            Side::Child => child::serve(listener, &self.page),
            Side::Parent { pidfd, .. } => self.process = Some(own_pidfd(pidfd)),
        }
        Ok(())
    }

    /// What was seen so far. `multiplexers`: also the names socketcall and ipc, where calls were made through them.
    #[must_use]
    pub fn calls(&self, multiplexers: bool) -> Calls {
        Calls::seen(Seen(&self.page), multiplexers)
    }

    /// Reaps the process if no process is left to record; otherwise it goes on until then.
    pub fn release(&mut self) {
        let Some(process) = self.process.take() else { return };
        let mut polled = [PollFd::new(&process, PollFlags::IN)];
        let ended = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&END)));
        if matches!(ended, Ok(1..)) {
            // Without __WALL a child that sends no signal at its end is not found.
            let _reaped =
                waitid(Id::PIDFd(std::os::fd::AsFd::as_fd(&process)), WaitPidFlag::WEXITED | WaitPidFlag::__WALL);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.release();
    }
}
