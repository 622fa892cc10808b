//! World: parent. Kills and reaps processes that tare cloned.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, pidfd_send_signal, waitid, waitpgid,
};

use crate::error::{Code, Error};
use crate::sys::exit_code::{self, exit_code};

/// Kills a process and reaps it; its exit code, if it was a child of this process.
pub(super) fn kill_and_reap(pidfd: &OwnedFd) -> Option<i32> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => reap(pidfd),
        // The signal was refused, so the process may never end: do not wait for it.
        Err(_) => None,
    }
}

/// Does the same for a process that may have cloned another one and not reported it yet, because it was killed just after
/// its clone. That other process is in the same process group and also a child of this process. Unless it is reaped, the
/// init of its pid namespace cannot end.
pub(super) fn kill_and_reap_group(pid: i32, pidfd: &OwnedFd) -> Option<i32> {
    let _ended = pidfd_send_signal(pidfd, Signal::KILL);
    let group = Pid::from_raw(pid)?;
    let mut code = None;
    // There is no such group if the process was killed before it created its own.
    if kill_process_group(group, Signal::KILL).is_ok() {
        let wait = || waitpgid(group, WaitOptions::empty());
        while let Ok(Some((ended, status))) = rustix::io::retry_on_intr(wait) {
            if ended == group {
                code = exit_code(status.exit_status(), status.terminating_signal());
            }
        }
    }
    code.or_else(|| kill_and_reap(pidfd))
}

/// Waits for the end of a process; its exit code, if it is a child of this process.
pub(super) fn reap(pidfd: &OwnedFd) -> Option<i32> {
    let wait = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = rustix::io::retry_on_intr(wait).ok().flatten()?;
    exit_code(status.exit_status(), status.terminating_signal())
}

/// The error for a child that died without a report; `code` is its exit code.
#[must_use]
pub fn died(code: Option<i32>) -> Error {
    let what = match code.map(|code| (code, exit_code::signal(code))) {
        Some((_, Some(signal))) => format!("init was killed by signal {signal} during its set-up"),
        Some((code, None)) => format!("init exited with {code} during its set-up"),
        None => "init died during its set-up".to_string(),
    };
    Error::new(Code::InitDied, what)
}
