//! The process that answers for the recorder.
//!
//! World: child. Promises: every call is noted before it is let through; it ends when no process is left under the filter,
//! and nothing else ends it, so that processes which outlive tare are not stopped. It has no descriptor but the listener
//! and ignores all signals but SIGKILL and SIGSTOP.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::seen::Seen;
use crate::sys::{self, clone::exit_now};

/// Never returns.
pub(super) fn serve(listener: OwnedFd, page: &[AtomicU64]) -> ! {
    sys::allocation::forbid();
    let ready = nix::sys::signal::SigSet::all().thread_set_mask().is_ok()
        && sys::process_attributes::set_dumpable(false).is_ok()
        && sys::descriptors::close_all_but(0, &mut [listener.as_raw_fd()]).is_ok();
    // Otherwise it would keep a filesystem of the host busy.
    let _stays = rustix::process::chdir(c"/");
    let _slower_before_6_6 = sys::seccomp::take_turns(listener.as_fd());
    while ready && answer_one(&listener, Seen(page)) {}
    exit_now(0)
}

/// Waits for a call, notes it and lets it through; false when no process is left that could make one.
fn answer_one(listener: &OwnedFd, seen: Seen<'_>) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    match poll(&mut polled, None) {
        Ok(_) => {}
        Err(Errno::INTR) => return true,
        Err(_) => return false,
    }
    let [polled] = polled;
    if !polled.revents().contains(PollFlags::IN) {
        return false;
    }
    // Whoever made the call may have died since; others wait.
    if let Ok(call) = sys::seccomp::receive(listener.as_fd()) {
        let [first, ..] = call.arguments;
        seen.note(call.arch, call.number, first);
        let _gone = sys::seccomp::let_through(listener.as_fd(), &call);
    }
    true
}
