//! World: parent. The parent's straight line around the fork, shared by create, run and exec.
//!
//! Socket pair -> signals blocked -> the child's first process -> conversation until the program's process is ready,
//! runs it, or says why not. SIGCHLD is blocked before the clone, so that a quick exit cannot be missed.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, pidfd_send_signal, waitid, waitpgid,
};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::init::{self, Kind, Made, Task};
use crate::sys::clone::{self, Side, clone3, in_intermediate, own_pidfd};
use crate::sys::process_attributes::{is_dumpable, set_dumpable};
use crate::sys::scheduling;
use crate::wire::{At, Fault, Packet, Step};

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
    /// The process that prepared it.
    preparing: Option<OwnedFd>,
    socket: OwnedFd,
}

/// What the child asks for before it is ready.
#[allow(clippy::large_enum_variant, reason = "lives on the stack once")]
pub enum Request {
    /// Write the id mappings.
    Mappings,
    /// Run the hooks of this point.
    Hooks(u8),
    /// Map the ids of the source of mount number `0`, which is the detached tree `1`.
    MapIds(usize, OwnedFd),
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
/// The inner error is the fault of a step before the process existed.
pub fn spawn(task: &Task<'_>, own_memory: bool) -> Result<std::result::Result<Made, Fault>> {
    let dumpable = is_dumpable().context(|| "get the dumpable attribute")?;
    if task.hidden && dumpable {
        set_dumpable(false).context(|| "clear the dumpable attribute")?;
    }
    let made = match &task.kind {
        Kind::Init(init) => in_intermediate(own_memory, || init::intermediate(task, init))
            .context(|| "create the intermediate process")
            .and_then(|made| made.ok_or_else(|| Error::new(ErrorKind::System, "the intermediate process died"))),
        Kind::Exec(_) => Ok(spawn_exec(task)),
    };
    // The memory that was hidden is ours as well.
    if dumpable && let Err(errno) = set_dumpable(true) {
        if let Ok(Ok(made)) = made {
            kill_and_reap(&own_pidfd(made.pidfd));
        }
        return Err(Error::system("restore the dumpable attribute", errno));
    }
    made
}

/// The process that prepares another one of a container: born in the cgroup, where only clone3 puts a process without
/// delay. `execCPUAffinity.initial` is for the time before that, so it is the caller's for this moment.
fn spawn_exec(task: &Task<'_>) -> std::result::Result<Made, Fault> {
    let initial = task.program.and_then(|program| program.process.initial_affinity.as_ref());
    let change = |cpus: &Vec<u64>| {
        let before = scheduling::affinity()?;
        scheduling::set_affinity(cpus).map(|()| before)
    };
    let before = initial.map(change).transpose().at(Step::CpuAffinity)?;
    let side = clone3(clone::Parent::Caller, 0, task.cgroup).at(Step::Clone);
    let made = match side? {
        Side::Child => init::run(task),
        Side::Parent { pid, pidfd } => Made { pid, pidfd },
    };
    if let Some(before) = before {
        // Best effort, as every other cpu would do as well for what is left.
        let _kept = scheduling::set_affinity(&before);
    }
    Ok(made)
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
        Self { pid: made.pid, pidfd: own_pidfd(made.pidfd), preparing: None, socket }
    }

    /// Serves the child's requests until it is ready (`until_exec`: until it has executed its program).
    ///
    /// # Errors
    /// Of the handler, or of the socket.
    pub fn converse(&mut self, until_exec: bool, handle: impl FnMut(&Self, Request) -> Result<()>) -> Result<End> {
        let end = self.serve(until_exec, handle);
        // It ended when it had told of the other process. Left to others, it would be a zombie of the engine.
        if let Some(preparing) = &self.preparing {
            reap(preparing);
        }
        end
    }

    fn serve(&mut self, until_exec: bool, mut handle: impl FnMut(&Self, Request) -> Result<()>) -> Result<End> {
        let mut ready = false;
        loop {
            if self.preparing.is_none() && self.ended_silently()? {
                return Ok(End::Died);
            }
            let received = Packet::receive_with(self.socket.as_fd()).context(|| "hear from init")?;
            let Some((packet, descriptor)) = received else { return Ok(if ready { End::Good } else { End::Died }) };
            match (packet, descriptor) {
                (Packet::MapMe, _) => {
                    handle(self, Request::Mappings)?;
                    self.go_on()?;
                }
                (Packet::Barrier(number), _) => {
                    handle(self, Request::Hooks(number))?;
                    self.go_on()?;
                }
                (Packet::MapIds(mount), Some(tree)) => {
                    handle(self, Request::MapIds(mount as usize, tree))?;
                    self.go_on()?;
                }
                (Packet::Tolerated(fault), _) => handle(self, Request::Warning(fault))?,
                (Packet::Born(pid), Some(pidfd)) => {
                    self.preparing = Some(std::mem::replace(&mut self.pidfd, pidfd));
                    self.pid = pid;
                    self.go_on()?;
                }
                (Packet::Ready, _) => {
                    handle(self, Request::Ready)?;
                    if !until_exec {
                        return Ok(End::Good);
                    }
                    ready = true;
                }
                (Packet::Failed(fault), _) => return Ok(End::Failed(fault)),
                (Packet::Born(_) | Packet::MapIds(_), None) => {
                    return Err(Error::new(ErrorKind::Internal, "a packet without its descriptor"));
                }
            }
        }
    }

    /// Waits for a packet or the end of the process; whether it ended with nothing to be read. A process that it made and
    /// did not tell of may hold the other end of the socket, and waits for us.
    fn ended_silently(&self) -> Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).context(|| "wait for init")?;
        if !fds[0].revents().is_empty() {
            return Ok(false);
        }
        // The kernel looks at one after the other: the socket may have been empty when a process that has ended since
        // had yet to write.
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut last = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut last, Some(&at_once))).context(|| "look for the last words of init")?;
        Ok(last[0].revents().is_empty())
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
        if self.preparing.is_some() { kill_and_reap(&self.pidfd) } else { self.kill_and_reap_group() }
    }

    /// The same for a process that may have made another one without telling us: one killed just after its clone. The
    /// other is still in its process group, and our child too. Unreaped, it would keep the container's init from ending.
    fn kill_and_reap_group(&self) -> Option<i32> {
        let _ended = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let group = Pid::from_raw(self.pid)?;
        let mut code = None;
        // No such group: it was killed before it had its own.
        if kill_process_group(group, Signal::KILL).is_ok() {
            let wait = || waitpgid(group, WaitOptions::empty());
            while let Ok(Some((pid, status))) = rustix::io::retry_on_intr(wait) {
                if pid == group {
                    code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                }
            }
        }
        code.or_else(|| kill_and_reap(&self.pidfd))
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
