//! The plan of a filter: the program, the flags of seccomp(2), and the agent that decides about some calls.
//!
//! World: plan (pure). Promises: what is accepted can be installed on Linux 5.14 (WAIT_KILLABLE_RECV: 5.19).

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag};
use seccompiler::BpfProgram;

use super::compile::compile;
use super::decide::{Decisions, decide};
use super::profile::Profile;
use crate::error::{Code, Error, Result};
use crate::wire::{Fault, Step};

/// SECCOMP_FILTER_FLAG_* of linux/seccomp.h.
pub(super) mod flag {
    pub const TSYNC: u32 = 1 << 0;
    pub const LOG: u32 = 1 << 1;
    pub const SPEC_ALLOW: u32 = 1 << 2;
    pub const NEW_LISTENER: u32 = 1 << 3;
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// Bytes of a socket path, without the final NUL: `sun_path` of unix(7).
const SOCKET_PATH: usize = 107;

/// A filter that is ready to be installed.
#[derive(Debug)]
pub struct SeccompPlan {
    /// The JSON path of what it was made of.
    pub at: &'static str,
    /// For all architectures of the profile.
    pub program: BpfProgram,
    /// SECCOMP_FILTER_FLAG_*; NEW_LISTENER is among them when there is a `notify`.
    pub flags: u32,
    /// The agent, when a rule or the default is SCMP_ACT_NOTIFY.
    pub notify: Option<Notify>,
    /// The filter would allow every call on this machine: nothing is installed.
    pub empty: bool,
    /// The name of the action with which the filter refuses every execve(2): no program can be run under it.
    pub refuses_execve: Option<&'static str>,
    /// The process may be unable to report under the filter that execve failed, or to end then.
    pub mutes: bool,
    /// For a filter that reports all calls to tare: the mark of the calls that the child makes under it.
    pub mark: Option<[u32; 3]>,
}

/// The agent that decides about calls with SCMP_ACT_NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Its socket.
    pub path: PathBuf,
    /// Opaque text for it.
    pub metadata: String,
    /// How the child, which is under the filter already, gives the descriptor to the parent.
    pub handover: Handover,
}

/// A system call that carries a descriptor and that the filter permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// sendmsg(2).
    Sendmsg,
    /// sendmmsg(2), because the profile intercepts or denies sendmsg.
    Sendmmsg,
    /// sendmsg(2) with this mark, because the filter reports all other calls.
    Marked([u32; 3]),
}

impl SeccompPlan {
    /// How the child gives the listener to the parent, if there is one.
    #[must_use]
    pub fn handover(&self) -> Option<Handover> {
        self.mark.map(Handover::Marked).or_else(|| self.notify.as_ref().map(|notify| notify.handover))
    }

    /// The error for `fault`; `None` when the step is not one of this room.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Option<Error> {
        let ours = matches!(fault.step, Step::Seccomp | Step::SeccompNotify);
        let error = ours.then(|| Error::system(fault.step.name(), fault.errno).at(self.at))?;
        if self.mark.is_some() && fault.errno == libc::EBUSY {
            return Some(
                error.hint("tare itself runs under a filter with a listener, so that it cannot record system calls"),
            );
        }
        Some(error)
    }
}

/// Compiles a profile.
///
/// # Errors
/// Illegal values, with their JSON path; architectures without a table; a profile too big for the kernel;
/// SCMP_ACT_NOTIFY without a `listenerPath`, or for both calls that could hand the descriptor over.
pub fn plan(seccomp: &LinuxSeccomp) -> Result<SeccompPlan> {
    let profile = Profile::read(seccomp)?;
    let decisions = decide(&profile);
    let notify = notify(seccomp, &decisions)?;
    let flags = flags(Some(seccomp), notify.is_some());
    let program = compile(&decisions)?;
    let empty = notify.is_none() && decisions.allow_everything();
    let refuses_execve = decisions.always("execve").and_then(refusal);
    let mutes = !["write", "exit_group"].into_iter().all(|name| decisions.permits(name));
    Ok(SeccompPlan { at: "linux.seccomp", program, flags, empty, refuses_execve, notify, mutes, mark: None })
}

/// The name of an action that lets no call through; `None` for the others. A tracer may let one through.
fn refusal(action: u32) -> Option<&'static str> {
    match action & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_KILL_PROCESS => Some("SCMP_ACT_KILL_PROCESS"),
        libc::SECCOMP_RET_KILL_THREAD => Some("SCMP_ACT_KILL_THREAD"),
        libc::SECCOMP_RET_TRAP => Some("SCMP_ACT_TRAP"),
        libc::SECCOMP_RET_ERRNO => Some("SCMP_ACT_ERRNO"),
        _ => None,
    }
}

/// Holds every name of the profile against the tables, for who wants no name to be skipped (the annotation
/// run.oci.seccomp_fail_unknown_syscall).
///
/// # Errors
/// The first call that no architecture has.
pub fn check_names(seccomp: &LinuxSeccomp) -> Result<()> {
    for (i, call) in seccomp.syscalls().iter().flatten().enumerate() {
        if let Some((j, name)) = call.names().iter().enumerate().find(|(_, name)| super::tables::find(name).is_none()) {
            let at = format!("linux.seccomp.syscalls[{i}].names[{j}]");
            return Err(Error::refused(Code::SeccompSyscallUnknown, at, format!("unknown system call {name:?}"))
                .hint("the annotation run.oci.seccomp_fail_unknown_syscall forbids skipping it"));
        }
    }
    Ok(())
}

/// SPEC_ALLOW unless the profile has a list of flags, as runc does it.
pub(super) fn flags(seccomp: Option<&LinuxSeccomp>, notify: bool) -> u32 {
    let mut flags = if notify { flag::NEW_LISTENER } else { 0 };
    let Some(wanted) = seccomp.and_then(|seccomp| seccomp.flags().as_ref()) else { return flags | flag::SPEC_ALLOW };
    for wanted in wanted {
        flags |= match wanted {
            // Without ESRCH (5.7) a failure would look like a listener.
            Flag::SeccompFilterFlagTsync => flag::TSYNC | flag::TSYNC_ESRCH,
            Flag::SeccompFilterFlagLog => flag::LOG,
            Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
            // It says how to wait for an agent; without one nobody waits, and the kernel refuses it.
            Flag::SeccompFilterFlagWaitKillableRecv if !notify => 0,
            Flag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV,
        };
    }
    flags
}

fn notify(seccomp: &LinuxSeccomp, decisions: &Decisions<'_>) -> Result<Option<Notify>> {
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = seccomp.listener_metadata().as_deref().filter(|text| !text.is_empty());
    if metadata.is_some() && path.is_none() {
        return Err(Error::refused(
            Code::SeccompAgentInvalid,
            "linux.seccomp.listenerMetadata",
            "metadata for an agent needs a listenerPath",
        ));
    }
    let notifies = |action: Action| action == Action::ScmpActNotify;
    let rules = seccomp.syscalls().as_deref().unwrap_or_default();
    if !notifies(seccomp.default_action()) && !rules.iter().any(|rule| notifies(rule.action())) {
        return Ok(None);
    }
    let path = path.ok_or_else(|| {
        Error::refused(
            Code::SeccompAgentInvalid,
            "linux.seccomp.listenerPath",
            "SCMP_ACT_NOTIFY needs the path of the agent's socket",
        )
    })?;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > SOCKET_PATH || bytes.contains(&0) {
        let what = format!("not a path of a socket: more than {SOCKET_PATH} bytes, or a NUL");
        return Err(Error::refused(Code::SeccompAgentInvalid, "linux.seccomp.listenerPath", what));
    }
    let metadata = metadata.unwrap_or_default().to_owned();
    Ok(Some(Notify { path: path.clone(), metadata, handover: handover(decisions)? }))
}

/// The agent gets the descriptor only after the filter is in place: a call that waits for the agent cannot carry it.
fn handover(decisions: &Decisions<'_>) -> Result<Handover> {
    if decisions.permits("sendmsg") {
        return Ok(Handover::Sendmsg);
    }
    if decisions.permits("sendmmsg") {
        return Ok(Handover::Sendmmsg);
    }
    Err(Error::refused(
        Code::SeccompNotifyImpossible,
        "linux.seccomp.syscalls",
        "SCMP_ACT_NOTIFY with neither sendmsg nor sendmmsg allowed",
    )
    .hint("allow one of them: the listener is sent to the agent after the filter is in place"))
}
