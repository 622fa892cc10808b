//! World: parent. The clone of a container's process, for create, run, exec and startContainer hooks, and the
//! conversation with it.
//!
//! Order: socket pair -> signals blocked -> clone -> signals restored, unless tare waits for the process in the
//! foreground -> [`Child::converse`] until the process is ready, executes its program, or reports why it cannot.
//! Signals are blocked before the clone, so that the SIGCHLD of a process that ends at once is not missed.
//! From the clone until execve the process is non-dumpable (docs/security.md, "The window").

mod conversation;
mod reap;

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::error::{Code, Coded, Context, Error, Result};
use crate::init::{self, Made, Task, TaskKind};
use crate::plan::Program;
use crate::sys::clone::{self, Side, clone3, in_intermediate, own_pidfd};
use crate::sys::descriptors;
use crate::sys::marks::Marks;
use crate::sys::memory::SharedPage;
use crate::sys::namespace::NamespaceSet;
use crate::sys::process_attributes::{is_dumpable, set_dumpable};
use crate::sys::scheduling;
use crate::wire::{At, Fault, Step};

pub use conversation::{Child, Outcome, Request};
pub use reap::died;

/// The two ends of the conversation.
#[derive(Debug)]
pub struct Sockets {
    /// The parent's.
    pub parent: OwnedFd,
    /// The child's. The parent closes it after the clone; until then it would never read end-of-file.
    pub child: OwnedFd,
}

/// Creates the socket pair.
///
/// # Errors
/// Out of descriptors.
pub fn sockets() -> Result<Sockets> {
    let (parent, child) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context(|| "make the socket pair for init")
        .coded(Code::CloneFailed)?;
    Ok(Sockets { parent, child })
}

/// The memory in which a process leaves why its program was not executed, if its filter may deny it a packet. `at_gate`:
/// `start` has its own.
///
/// # Errors
/// Out of memory.
pub fn fault_page(program: Option<&Program>, at_gate: bool) -> Result<Option<SharedPage>> {
    let is_muted = program.is_some_and(Program::is_muted) && !at_gate;
    let page = is_muted.then(SharedPage::new).transpose();
    page.context(|| "map the memory for the fault of the program").coded(Code::CloneFailed)
}

/// The parent's signal mask after the clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// As it was before.
    Restored,
    /// All signals stay blocked: tare waits for the process and forwards them.
    Blocked,
}

/// Creates the process. `own_memory`: it joins a time namespace, see [`in_intermediate`].
///
/// # Errors
/// The inner error is the fault of a step before the process existed.
pub fn spawn(task: &Task<'_>, own_memory: bool, signals: Signals) -> Result<std::result::Result<Made, Fault>> {
    if descriptors::reach_is_noted() {
        descriptors::note_reach().context(|| "look at the open descriptors").coded(Code::CloneFailed)?;
    }
    let mask = block_signals()?;
    let spawned = spawn_non_dumpable(task, own_memory);
    if signals == Signals::Restored {
        restore_signals(&mask)?;
    }
    spawned
}

/// The child inherits the attribute, so it has to be cleared before the clone for the child to be non-dumpable from its
/// first instruction.
fn spawn_non_dumpable(task: &Task<'_>, own_memory: bool) -> Result<std::result::Result<Made, Fault>> {
    let dumpable = is_dumpable().context(|| "get the dumpable attribute").coded(Code::CloneFailed)?;
    if task.hidden && dumpable {
        set_dumpable(false).context(|| "clear the dumpable attribute").coded(Code::CloneFailed)?;
    }
    let marking = task.marks.map(Marks::install);
    let made = match &task.kind {
        TaskKind::Init(init) => in_intermediate(own_memory, || init::intermediate(task, init))
            .context(|| "create the intermediate process")
            .coded(Code::CloneFailed)
            .and_then(|made| made.ok_or_else(|| Error::new(Code::InitDied, "the intermediate process died"))),
        TaskKind::Exec(_) | TaskKind::Mounts(_) => Ok(spawn_exec(task)),
    };
    drop(marking);
    // Also if it was not cleared above: the intermediate process clears it in the memory that it shares with this one.
    if dumpable && let Err(errno) = set_dumpable(true) {
        if let Ok(Ok(made)) = made {
            reap::kill_and_reap(&own_pidfd(made.pidfd));
        }
        return Err(Error::system("restore the dumpable attribute", errno));
    }
    made
}

/// Creates the preparing process of exec, in the container's cgroup: only clone3(2) with CLONE_INTO_CGROUP puts a process
/// there without a delay. `execCPUAffinity.initial` is in force until the process is in the cgroup, so it has to be set
/// on the caller for the duration of the clone.
fn spawn_exec(task: &Task<'_>) -> std::result::Result<Made, Fault> {
    let initial = task.program.and_then(|program| program.process.initial_affinity.as_ref());
    let change = |cpus: &Vec<u64>| {
        let before = scheduling::affinity()?;
        scheduling::set_affinity(cpus).map(|()| before)
    };
    let before = match initial {
        Some(cpus) => Some(change(cpus).at(Step::CpuAffinity)?),
        None => None,
    };
    let made = match clone3(clone::Parent::Caller, NamespaceSet::empty(), task.cgroup) {
        Ok(Side::Child) => init::run(task),
        Ok(Side::Parent { pid, pidfd }) => Ok(Made { pid, pidfd }),
        Err(errno) => Err(Fault::new(Step::Clone, 0, errno)),
    };
    if let Some(before) = before {
        // A failure is harmless: the rest of the command can run on any CPU.
        let _kept = scheduling::set_affinity(&before);
    }
    made
}

/// Blocks all signals and returns the previous mask.
fn block_signals() -> Result<SigSet> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .context(|| "block signals")
        .coded(Code::CloneFailed)?;
    Ok(before)
}

fn restore_signals(mask: &SigSet) -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None).context(|| "restore signals").coded(Code::CloneFailed)
}
