//! World: parent. The parent's straight line around the fork, shared by create, run and exec.
//!
//! Socket pair -> signals blocked -> intermediate process -> init -> conversation until init is ready, runs its
//! program, or says why not. SIGCHLD is blocked before the clone, so that a quick exit cannot be missed.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::init::{self, Made, Task};
use crate::sys::clone::{in_intermediate, own_pidfd};
use crate::sys::process_attributes::{is_dumpable, set_dumpable};
use crate::wire::{Fault, Packet};

/// The two ends of the conversation.
#[derive(Debug)]
pub struct Sockets {
    /// Ours.
    pub parent: OwnedFd,
    /// The child's; must be closed in the parent for end-of-file to mean something.
    pub child: OwnedFd,
}

/// Makes the socket pair.
///
/// # Errors
/// Out of descriptors.
pub fn sockets() -> Result<Sockets> {
    let (parent, child) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context(|| "make the socket pair for init")?;
    Ok(Sockets { parent, child })
}

/// A process that tare made.
#[derive(Debug)]
pub struct Child {
    /// Process id in our pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    socket: OwnedFd,
}

/// What the child asks for before it is ready.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack once")]
pub enum Request {
    /// Write the id mappings.
    Mappings,
    /// Run the hooks of this point.
    Hooks(u8),
    /// A warning: it goes on without this step.
    Warning(Fault),
    /// Nothing; it is ready, and has sent what it had to hand over.
    Ready,
}

/// How the conversation ended.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant, reason = "lives on the stack once")]
pub enum End {
    /// The child waits on the gate, or (after end-of-file) runs its program.
    Good,
    /// A step failed.
    Failed(Fault),
    /// The child died without a word.
    Died,
}

/// Makes the process. `own_memory`: it joins a time namespace, see [`in_intermediate`].
///
/// # Errors
/// The inner error is the fault of a step before init existed.
pub fn spawn(task: &Task<'_>, own_memory: bool) -> Result<std::result::Result<Made, Fault>> {
    let dumpable = is_dumpable().context(|| "look whether this process can be dumped")?;
    let made = in_intermediate(own_memory, || init::intermediate(task));
    if dumpable && task.is_seen_by_others() {
        // The memory that the intermediate process hid is ours as well, and nobody in the container sees us.
        if let Err(errno) = set_dumpable(true) {
            if let Ok(Some(Ok(made))) = made {
                kill_and_reap(&own_pidfd(made.pidfd));
            }
            return Err(Error::system("be dumpable again", errno));
        }
    }
    let made = made.context(|| "create the intermediate process")?;
    made.ok_or_else(|| Error::new(ErrorKind::System, "the intermediate process died"))
}

/// Blocks all signals; the mask before is returned.
///
/// # Errors
/// None in practice.
pub fn block_signals() -> Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before)).context(|| "block signals")?;
    Ok(before)
}

/// Restores the mask that [`block_signals`] returned.
///
/// # Errors
/// None in practice.
pub fn restore_signals(mask: &SigSet) -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None).context(|| "restore signals")
}

impl Child {
    /// Takes over what [`spawn`] made; the child's end of the socket pair must be closed by then.
    #[must_use]
    pub fn new(made: Made, socket: OwnedFd) -> Self {
        Self { pid: made.pid, pidfd: own_pidfd(made.pidfd), socket }
    }

    /// Serves the child's requests until it is ready (`until_exec`: until it has executed its program).
    ///
    /// # Errors
    /// Of the handler, or of the socket.
    pub fn converse(&self, until_exec: bool, mut handle: impl FnMut(Request) -> Result<()>) -> Result<End> {
        let mut ready = false;
        loop {
            match Packet::receive(self.socket.as_fd()).context(|| "hear from init")? {
                Some(Packet::MapMe) => {
                    handle(Request::Mappings)?;
                    self.go_on()?;
                }
                Some(Packet::Barrier(number)) => {
                    handle(Request::Hooks(number))?;
                    self.go_on()?;
                }
                Some(Packet::Tolerated(fault)) => handle(Request::Warning(fault))?,
                Some(Packet::Ready) => {
                    handle(Request::Ready)?;
                    if !until_exec {
                        return Ok(End::Good);
                    }
                    ready = true;
                }
                Some(Packet::Failed(fault)) => return Ok(End::Failed(fault)),
                None if ready => return Ok(End::Good),
                None => return Ok(End::Died),
            }
        }
    }

    /// The process id as a type.
    ///
    /// # Errors
    /// None in practice: the kernel's ids are positive.
    pub fn id(&self) -> Result<Pid> {
        Pid::from_raw(self.pid).ok_or_else(|| Error::new(ErrorKind::Internal, "a process without an id"))
    }

    fn go_on(&self) -> Result<()> {
        match crate::wire::send_go_on(self.socket.as_fd()) {
            // It died meanwhile: the next packet says so.
            Ok(()) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(e) => Err(Error::system("answer init", e)),
        }
    }

    /// Kills the child and reaps it; its exit code (128 + signal) if it was ours to reap.
    pub fn kill_and_reap(&self) -> Option<i32> {
        kill_and_reap(&self.pidfd)
    }

    /// Waits for the end of the child; its exit code, 128 + signal for a death by signal.
    #[must_use]
    pub fn reap(&self) -> Option<i32> {
        reap(&self.pidfd)
    }
}

fn kill_and_reap(pidfd: &OwnedFd) -> Option<i32> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => reap(pidfd),
        // A wait for what was not killed might have no end.
        Err(_) => None,
    }
}

fn reap(pidfd: &OwnedFd) -> Option<i32> {
    let wait = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = rustix::io::retry_on_intr(wait).ok().flatten()?;
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

/// The phrase for a child that died without a word.
#[must_use]
pub fn died(code: Option<i32>) -> Error {
    let what = match code {
        Some(code) if code > 128 => format!("init was killed by signal {} during its set-up", code - 128),
        Some(code) => format!("init exited with {code} during its set-up"),
        None => "init died during its set-up".to_string(),
    };
    Error::new(ErrorKind::System, what)
}
