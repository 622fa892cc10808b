//! World: parent. The conversation with a process of a container, from its clone until it is ready or runs its program.
//!
//! `wire.rs` lists the packets. The child waits for an answer after each request, so requests are served in order.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::process::Pid;

use super::reap;
use crate::error::{Code, Context, Error, Result};
use crate::init::Made;
use crate::sys::clone::own_pidfd;
use crate::sys::memory::SharedPage;
use crate::wire::{Barrier, Fault, Packet};

/// A process that tare created.
#[derive(Debug)]
pub struct Child {
    /// Its process id in tare's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// The pidfd of the preparing process, if there is one and it has cloned this one.
    preparing: Option<OwnedFd>,
    /// None for a process that CRIU restored: it says nothing.
    socket: Option<OwnedFd>,
    /// Where it leaves why its program was not executed, see [`super::fault_page`].
    page: Option<SharedPage>,
}

/// What the child asks for before it is ready.
#[allow(clippy::large_enum_variant, reason = "lives on the stack once")]
pub enum Request {
    /// Write the id mappings.
    Mappings,
    /// Run the hooks of this barrier.
    Hooks(Barrier),
    /// Map the ids of the source of mount number `0`, which is the detached tree `1`.
    MapIds(usize, OwnedFd),
    /// Record that mount number `0` is about to be attached, and that mountinfo will have it under number `1`.
    Attaching(usize, u64),
    /// Print a warning: this step failed, and the child continues without it.
    Warning(Fault),
    /// Nothing: the process that becomes the program was cloned by the preparing process, and waits.
    Born,
    /// Nothing: the child is ready, and has sent the descriptors that it owes.
    Ready,
}

/// How the conversation ended.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack once")]
pub enum Outcome {
    /// The child waits at the start gate or, after end-of-file, has executed its program.
    Ready,
    /// A step failed.
    Failed(Fault),
    /// The child died without a report.
    Died,
}

impl Child {
    /// Takes over what [`super::spawn`] created. The child's end of the socket pair must be closed by then.
    #[must_use]
    pub fn new(made: Made, socket: OwnedFd) -> Self {
        Self { pid: made.pid, pidfd: own_pidfd(made.pidfd), preparing: None, socket: Some(socket), page: None }
    }

    /// The same, with the memory that it shares.
    #[must_use]
    pub fn sharing(self, page: Option<SharedPage>) -> Self {
        Self { page, ..self }
    }

    /// Takes over a child of this process that CRIU created.
    #[must_use]
    pub fn restored(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, preparing: None, socket: None, page: None }
    }

    /// Serves the child's requests until it is ready or, with `until_exec`, has executed its program.
    ///
    /// # Errors
    /// Those of `handle`, or of the socket.
    pub fn converse(&mut self, until_exec: bool, handle: impl FnMut(&Self, Request) -> Result<()>) -> Result<Outcome> {
        let outcome = self.serve(until_exec, handle);
        // The preparing process ends once it has reported the other one. Unreaped, it would be left to the engine.
        if let Some(preparing) = &self.preparing {
            reap::reap(preparing);
        }
        outcome
    }

    fn serve(&mut self, until_exec: bool, mut handle: impl FnMut(&Self, Request) -> Result<()>) -> Result<Outcome> {
        let mut ready = false;
        loop {
            if self.preparing.is_none() && self.ended_silently()? {
                return Ok(Outcome::Died);
            }
            let received = Packet::receive_with(self.socket()?).context(|| "hear from init")?;
            let Some((packet, descriptor)) = received else {
                return Ok(if ready { self.executed() } else { Outcome::Died });
            };
            match (packet, descriptor) {
                (Packet::MapMe, _) => {
                    handle(self, Request::Mappings)?;
                    self.go_on()?;
                }
                (Packet::Barrier(barrier), _) => {
                    handle(self, Request::Hooks(barrier))?;
                    self.go_on()?;
                }
                (Packet::MapIds(mount), Some(tree)) => {
                    handle(self, Request::MapIds(mount as usize, tree))?;
                    self.go_on()?;
                }
                (Packet::Attaching { mount, number }, _) => {
                    handle(self, Request::Attaching(mount as usize, number))?;
                    self.go_on()?;
                }
                (Packet::Tolerated(fault), _) => handle(self, Request::Warning(fault))?,
                (Packet::Born(pid), Some(pidfd)) => {
                    self.preparing = Some(std::mem::replace(&mut self.pidfd, pidfd));
                    self.pid = pid;
                    handle(self, Request::Born)?;
                    self.go_on()?;
                }
                (Packet::Ready, _) => {
                    handle(self, Request::Ready)?;
                    if !until_exec {
                        return Ok(Outcome::Ready);
                    }
                    ready = true;
                }
                (Packet::Failed(fault), _) => return Ok(Outcome::Failed(fault)),
                (Packet::Born(_) | Packet::MapIds(_), None) => {
                    return Err(Error::new(Code::Internal, "a packet without its descriptor"));
                }
            }
        }
    }

    /// After end-of-file: whether the process has executed its program, or has left a fault in memory and ended.
    fn executed(&self) -> Outcome {
        let word = self.page.as_ref().and_then(|page| page.first()).map(|word| word.load(Ordering::Acquire));
        word.and_then(Fault::left).map_or(Outcome::Ready, Outcome::Failed)
    }

    /// Waits for a packet or the end of the process; true if the process ended and left nothing to read. End-of-file alone
    /// is not enough: a process that it cloned and did not report may hold the other end of the socket, and waits for the
    /// parent.
    fn ended_silently(&self) -> Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let socket = self.socket()?;
        let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).context(|| "wait for init")?;
        if !fds[0].revents().is_empty() {
            return Ok(false);
        }
        // poll(2) checks one descriptor after the other, so the process may have written its last packet and ended
        // between the two checks.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut last = [PollFd::new(&socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut last, Some(&at_once))).context(|| "look for the last words of init")?;
        Ok(last[0].revents().is_empty())
    }

    fn socket(&self) -> Result<BorrowedFd<'_>> {
        let socket = self.socket.as_ref().map(AsFd::as_fd);
        socket.ok_or_else(|| Error::new(Code::Internal, "a restored process has no socket"))
    }

    fn go_on(&self) -> Result<()> {
        match crate::wire::send_go_on(self.socket()?) {
            // If it has died, reading the next packet shows that.
            Ok(()) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(e) => Err(Error::system("answer init", e).coded(Code::InitDied)),
        }
    }

    /// The process id as a type.
    ///
    /// # Errors
    /// None in practice: the kernel's ids are positive.
    pub fn id(&self) -> Result<Pid> {
        Pid::from_raw(self.pid).ok_or_else(|| Error::new(Code::Internal, "a process without an id"))
    }

    /// Kills the process and reaps it; its exit code, if it was a child of this process.
    pub fn kill_and_reap(&self) -> Option<i32> {
        match self.preparing {
            Some(_) => reap::kill_and_reap(&self.pidfd),
            None => reap::kill_and_reap_group(self.pid, &self.pidfd),
        }
    }
}
