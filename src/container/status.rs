//! Whether init lives and what the container is doing, from the kernel, never from the record alone.
//!
//! World: parent. A pid means init only with the same boot id and start time; a pidfd pins it while we look.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::record::{Phase, Record};
use super::store::Directory;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::host::read_small;

/// The status words of the state JSON; `Paused` is the engines' addition to the spec's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// create has not finished.
    Creating,
    /// init waits on the start gate.
    Created,
    /// The program runs.
    Running,
    /// The cgroup is frozen.
    Paused,
    /// init is dead.
    Stopped,
}

impl Status {
    /// The word of the spec.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The id of this boot.
///
/// # Errors
/// /proc is not mounted.
pub fn boot_id() -> Result<String> {
    let text = read_small("/proc/sys/kernel/random/boot_id").context(|| "read /proc/sys/kernel/random/boot_id")?;
    Ok(text.trim_end().to_string())
}

/// State letter and start time of a process; `None` when there is no such process.
///
/// # Errors
/// /proc is not mounted or not readable.
pub fn process_facts(pid: i32) -> Result<Option<(char, u64)>> {
    match read_small(&format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(e) => Err(Error::system(format!("read /proc/{pid}/stat"), e)),
    }
}

/// The name in parentheses may contain anything, so fields count from the last ')'. Source: proc_pid_stat(5).
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

/// A pidfd of init, if it is alive and really is init.
///
/// # Errors
/// The kernel cannot be asked.
pub fn living_init(record: &Record) -> Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(record.pid).filter(|_| record.pid > 0) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
        Err(e) => return Err(Error::system(format!("open a pidfd of process {}", record.pid), e)),
    };
    match process_facts(record.pid)? {
        Some((state, start_time)) if start_time == record.start_time && !matches!(state, 'Z' | 'X') => {}
        _ => return Ok(None),
    }
    Ok((boot_id()? == record.boot_id).then_some(pidfd))
}

/// Opens the cgroup of a container, if it is still there.
///
/// # Errors
/// It exists but cannot be opened.
pub fn cgroup(record: &Record) -> Result<Option<Cgroup>> {
    match &record.cgroup {
        Some(path) => Cgroup::open(&crate::cgroup::mount()?, path),
        None => Ok(None),
    }
}

/// What the container is doing, with init's pidfd when it lives.
///
/// # Errors
/// The kernel cannot be asked.
pub fn status(directory: &Directory, record: &Record) -> Result<(Status, Option<OwnedFd>)> {
    let Some(pidfd) = living_init(record)? else {
        let unfinished = record.phase == Phase::Creating && is_locked(directory);
        return Ok((if unfinished { Status::Creating } else { Status::Stopped }, None));
    };
    let status = if cgroup(record)?.map_or(Ok(false), |cgroup| cgroup.frozen())? {
        Status::Paused
    } else if record.phase == Phase::Creating {
        Status::Creating
    } else if gate(directory)?.is_some() {
        Status::Created
    } else {
        Status::Running
    };
    Ok((status, Some(pidfd)))
}

/// Whether a command works on the container right now.
fn is_locked(directory: &Directory) -> bool {
    // A second open file description: flock(2) locks belong to those.
    let Ok(own) = openat(directory.as_fd(), ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return false };
    rustix::fs::flock(&own, rustix::fs::FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// The start gate, opened for writing; `None` when no init waits at it: the FIFO has no reader any more.
///
/// # Errors
/// The state directory cannot be read.
pub fn gate(directory: &Directory) -> Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory.as_fd(), "go", flags, Mode::empty()) {
        Ok(gate) => Ok(Some(gate)),
        Err(Errno::NXIO | Errno::NOENT) => Ok(None),
        Err(e) => Err(e).context(|| format!("open the start gate of {}", directory.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_hostile_names() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("12 (a) Z 1) (x) {tail}\n")), Some(('S', 4242)));
        assert_eq!(parse_stat("12 (a"), None);
    }

    #[test]
    fn a_recycled_pid_is_not_init() {
        let mut record = super::super::record::tests::example();
        record.pid = i32::try_from(std::process::id()).unwrap();
        record.boot_id = boot_id().unwrap();
        record.start_time = process_facts(record.pid).unwrap().unwrap().1;
        assert!(living_init(&record).unwrap().is_some());
        record.start_time += 1;
        assert!(living_init(&record).unwrap().is_none());
        record.start_time -= 1;
        record.boot_id = "another boot".into();
        assert!(living_init(&record).unwrap().is_none());
    }
}
