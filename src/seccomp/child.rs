//! Installs the filter, and hands the agent's descriptor over.
//!
//! World: child. Order: the caller sets no_new_privs first, or still has CAP_SYS_ADMIN in its user namespace.
//! Promises: after the filter is in place nothing is called here but the one call that the plan chose. Hence no
//! read-back: prctl may be denied or deadly by then. The kernel's answer is the proof: seccomp(2) attaches before
//! it returns 0 or a listener; every other value is a failure here. `Seccomp: 2` in /proc shows it from outside.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use super::plan::{Handover, SeccompPlan};
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
    sys::seccomp::set_filter(plan.flags, &plan.program).at(Step::Seccomp)
}

/// Sends the listener with one byte on `socket` (not the one of `wire`), by the call that the plan chose.
///
/// The descriptor stays open until exec: close(2) may be one of the calls that the agent decides about.
///
/// # Errors
/// As sendmsg(2).
pub fn send_listener(socket: BorrowedFd<'_>, listener: OwnedFd, handover: Handover) -> ChildResult {
    let sent = send(socket, listener.as_fd(), handover).at(Step::SeccompNotify);
    let _ = listener.into_raw_fd();
    sent
}

fn send(socket: BorrowedFd<'_>, listener: BorrowedFd<'_>, handover: Handover) -> rustix::io::Result<()> {
    match handover {
        Handover::Sendmsg => sys::net::send_fd(socket, &[0], listener).map(drop),
        Handover::Sendmmsg => sys::net::send_fd_by_sendmmsg(socket, &[0], listener),
    }
}
