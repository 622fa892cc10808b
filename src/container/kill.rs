//! World: parent. Sends a signal to init through its pidfd, or to everything in the cgroup.

use std::os::fd::AsFd;

use super::status::{cgroup, living_init};
use super::{Container, find};
use crate::error::{Context, Error, ErrorKind, Result, nearest};

/// Signals init; with `all` every process of the cgroup, and then a dead init is no error (engines.md 2.5).
///
/// # Errors
/// "container not running" when init is dead; engines match it.
pub fn kill(root: &std::path::Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let Container { record, .. } = find(root, id)?;
    if all && let Some(cgroup) = cgroup(&record)? {
        return if signal == libc::SIGKILL { cgroup.kill_all() } else { cgroup.signal_all(signal) };
    }
    let Some(pidfd) = living_init(&record)? else {
        if all {
            return Ok(());
        }
        return Err(Error::new(ErrorKind::WrongStatus, "container not running"));
    };
    // Without a cgroup: SIGKILL of a pid namespace's init is the end of all in it; nothing else finds them.
    if all && record.cgroup.is_none() && (signal != libc::SIGKILL || !is_pid_1(record.pid)?) {
        let what = format!("--all: container \"{id}\" has no cgroup, by which its processes could be found");
        let hint = "with a pid namespace of its own, --all KILL ends all of it; without --all init alone is signalled";
        return Err(Error::new(ErrorKind::Unsupported, what).hint(hint));
    }
    crate::sys::pidfd::send_signal(pidfd.as_fd(), signal).context(|| format!("signal container \"{id}\""))
}

/// Whether a process is the first of a pid namespace. Source: proc_pid_status(5), NSpid.
fn is_pid_1(pid: i32) -> Result<bool> {
    let path = format!("/proc/{pid}/status");
    let text = crate::host::read_small(&path).context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(line.and_then(|line| line.split_whitespace().last()) == Some("1"))
}

/// Signals by name, without SIG.
const NAMES: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The kernel's real-time signals. Source: signal(7).
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal by number or by name with or without SIG, in any case; `RTMIN+3` and `RTMAX-3` too.
///
/// # Errors
/// No such signal.
pub fn parse_signal(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    let number = if let Ok(number) = text.parse::<i32>() {
        Some(number)
    } else if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest).and_then(|plus| RTMIN.checked_add(plus)).filter(|number| *number >= RTMIN)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest).and_then(|minus| RTMAX.checked_add(minus)).filter(|number| *number >= RTMIN)
    } else {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    };
    number.filter(|number| (0..=RTMAX).contains(number)).ok_or_else(|| {
        let error = Error::new(ErrorKind::InvalidConfig, format!("unknown signal {text:?}"));
        match nearest(name, NAMES.iter().map(|(known, _)| *known)) {
            Some(known) => error.hint(format!("did you mean \"{known}\"?")),
            None => error,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("0", 0), ("9", 9), ("KILL", 9), ("SIGKILL", 9), ("term", 15), ("RTMIN+3", 37), ("SIGRTMAX-1", 63)]
        {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "-1", "65", "SIG", "NOPE", "RTMIN+99", "RTMIN-1", "RTMIN+2147483647", "9x", "99999999999"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
        assert!(parse_signal("KIL").unwrap_err().to_string().contains("did you mean \"KILL\""));
    }
}
