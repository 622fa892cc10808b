//! World: parent. Sends a signal to init through its pidfd, or to everything in the cgroup.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::FlockOperation;

use super::record::Record;
use super::status::{cgroup, gate, living_init, pid_inside};
use super::store::Directory;
use super::{StoredContainer, find};
use crate::error::{Code, Coded, Context, Error, Result, nearest};
use crate::namespaces::NamespaceSet;

/// Signals init; with `all` every process of the cgroup, and then a dead init is not an error.
///
/// As runc, SIGKILL is for all where init is not the first process of a pid namespace, whose end would be that of the
/// others. And a signal that ends a process ends a container that is not started: init waits there with the default
/// dispositions, but to the first process of a pid namespace the kernel does not apply them, and the signal would be lost.
///
/// # Errors
/// "container not running" when init is dead; engines match it.
pub fn kill(root: &std::path::Path, id: &str, signal: i32, all: bool) -> Result<()> {
    let StoredContainer { directory, record } = find(root, id)?;
    let all_die = signal == libc::SIGKILL && !is_first(&record);
    if all && let Some(cgroup) = cgroup(&record)? {
        if signal == libc::SIGKILL {
            return cgroup.kill_all().coded(Code::CgroupFailed);
        }
        cgroup.signal_all(signal).coded(Code::CgroupFailed)?;
        return match living_init(&record)? {
            Some(init) if must_be_killed(signal, &directory, &record)? => send(init.as_fd(), libc::SIGKILL, id),
            _ => Ok(()),
        };
    }
    let init = living_init(&record)?;
    if all_die
        && let Some(cgroup) = cgroup(&record)?
        && (init.is_some() || cgroup.populated()?)
    {
        return cgroup.kill_all().coded(Code::CgroupFailed);
    }
    let Some(init) = init else {
        if all {
            return Ok(());
        }
        return Err(Error::new(Code::ContainerNotRunning, "container not running"));
    };
    // Without a cgroup: SIGKILL of a pid namespace's init is the end of all in it; nothing else finds them.
    if all && record.cgroup.is_none() && (signal != libc::SIGKILL || pid_inside(record.pid)? != 1) {
        let what = format!("--all: container \"{id}\" has no cgroup, by which its processes could be found");
        let hint = "in a container with its own pid namespace, --all KILL ends every process; without --all only init is signalled";
        return Err(Error::new(Code::ContainerUnmanaged, what).hint(hint));
    }
    let signal = if must_be_killed(signal, &directory, &record)? { libc::SIGKILL } else { signal };
    send(init.as_fd(), signal, id)
}

fn send(init: BorrowedFd<'_>, signal: i32, id: &str) -> Result<()> {
    crate::sys::pidfd::send_signal(init, signal).context(|| format!("signal container \"{id}\""))
}

/// Whether init is the first process of a pid namespace that was made for it.
fn is_first(record: &Record) -> bool {
    record.namespaces.difference(record.joined).contains(NamespaceSet::PID)
}

/// Whether only SIGKILL does what this signal asks for: init waits at the gate as the first process of a pid namespace.
fn must_be_killed(signal: i32, directory: &Directory, record: &Record) -> Result<bool> {
    if signal == libc::SIGKILL || !ends_a_process(signal) || !is_first(record) || gate(directory)?.is_none() {
        return Ok(false);
    }
    // A start that is under way may just have let the program begin; one that takes longer runs a hook.
    let _held = directory.lock(FlockOperation::NonBlockingLockShared);
    Ok(gate(directory)?.is_some())
}

/// Whether the default disposition of a signal ends the process. Source: signal(7).
fn ends_a_process(signal: i32) -> bool {
    const IGNORED: [i32; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    const STOPPING: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    signal != 0 && !IGNORED.contains(&signal) && !STOPPING.contains(&signal)
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
        let error = Error::new(Code::SignalUnknown, format!("unknown signal {text:?}"));
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
    fn what_ends_a_process() {
        for signal in ["HUP", "TERM", "USR1", "SEGV", "PWR", "STKFLT", "RTMIN", "RTMAX"] {
            assert!(ends_a_process(parse_signal(signal).unwrap()), "{signal}");
        }
        for signal in ["0", "CHLD", "CONT", "URG", "WINCH", "STOP", "TSTP", "TTIN", "TTOU"] {
            assert!(!ends_a_process(parse_signal(signal).unwrap()), "{signal}");
        }
    }

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
