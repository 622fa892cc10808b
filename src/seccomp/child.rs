//! Installs the filter, and hands the agent's descriptor over.
//!
//! World: child. Order: the caller sets no_new_privs first, or still has CAP_SYS_ADMIN in its user namespace.
//! Promises: after the filter is in place nothing is called here but the one call that the plan chose, and for a recording
//! close(2). Hence no read-back: prctl may be denied or deadly by then. The kernel's answer is the proof: seccomp(2)
//! attaches before it returns 0 or a listener; every other value is a failure here. `Seccomp: 2` in /proc shows it from
//! outside.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;

use super::plan::{Handover, SeccompPlan, flag};
use crate::sys;
use crate::wire::{At, ChildResult, Step};

/// Installs the filter; the listener, when the plan has an agent. Kernel: 5.7 with TSYNC and a listener.
///
/// # Errors
/// EACCES without no_new_privs and CAP_SYS_ADMIN; EINVAL for a flag that the kernel does not know; EBUSY when a
/// filter of this process has a listener already; ESRCH when TSYNC cannot reach a thread.
pub fn install(plan: &SeccompPlan) -> ChildResult<Option<OwnedFd>> {
    if plan.empty {
        return Ok(None);
    }
    match sys::seccomp::set_filter(plan.flags, &plan.program) {
        Err(Errno::INVAL) if plan.mark.is_some() => install_before_5_19(plan),
        made => made,
    }
    .at(Step::Seccomp)
}

/// Without WAIT_KILLABLE_RECV, which a plan for recording has of its own accord: signals interrupt a call that waits for
/// its answer. It can go when the oldest kernel is 5.19.
fn install_before_5_19(plan: &SeccompPlan) -> rustix::io::Result<Option<OwnedFd>> {
    sys::seccomp::set_filter(plan.flags & !flag::WAIT_KILLABLE_RECV, &plan.program)
}

/// Sends the listener with one byte on `socket` (not the one of `wire`), by the call that the plan chose.
///
/// The descriptor stays open until exec: close(2) may be one of the calls that the agent decides about. A marked close is
/// not: the listener is the parent's alone then, and if the parent dies, no call waits for an answer.
///
/// # Errors
/// As sendmsg(2).
pub fn send_listener(socket: BorrowedFd<'_>, listener: OwnedFd, handover: Handover) -> ChildResult {
    let sent = send(socket, listener.as_fd(), handover).at(Step::SeccompNotify);
    match handover {
        Handover::Marked(mark) => sys::descriptors::close_marked(listener, mark),
        Handover::Sendmsg | Handover::Sendmmsg => drop(listener.into_raw_fd()),
    }
    sent
}

fn send(socket: BorrowedFd<'_>, listener: BorrowedFd<'_>, handover: Handover) -> rustix::io::Result<()> {
    match handover {
        Handover::Sendmsg => sys::net::send_fd(socket, &[0], listener).map(drop),
        Handover::Sendmmsg => sys::net::send_fd_by_sendmmsg(socket, &[0], listener),
        Handover::Marked(mark) => sys::net::send_fd_marked(socket, &[0], listener, mark),
    }
}
