//! Whether init lives and what the container is doing, from the kernel, never from the record alone.
//!
//! World: parent. A pid means init only with the same boot id and start time; a pidfd pins it while we look.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::record::Record;
use super::store::Directory;
use crate::cgroup::Cgroup;
use crate::error::{Code, Coded, Context, Error, Result};
use crate::sys::page::read as read_small;

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

    /// The code of an error about a container that is in this status and should be in another.
    fn code(self) -> Code {
        match self {
            Self::Creating => Code::ContainerCreating,
            Self::Paused => Code::ContainerPaused,
            Self::Running => Code::ContainerNotPaused,
            Self::Created | Self::Stopped => Code::ContainerNotRunning,
        }
    }

    /// The error for container `id`, which cannot be `paused`, `checkpointed` and the like in this status.
    pub(super) fn refuses(self, id: &str, verb: &str) -> Error {
        let why = match self {
            Self::Stopped => "container not running".to_owned(),
            other => format!("it is {}", other.word()),
        };
        Error::new(self.code(), format!("container \"{id}\" cannot be {verb}: {why}"))
    }
}

/// The id of this boot, which is read once.
///
/// # Errors
/// /proc is not mounted.
pub fn boot_id() -> Result<&'static str> {
    static ID: OnceLock<String> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(id);
    }
    let text = read_small("/proc/sys/kernel/random/boot_id").context(|| "read /proc/sys/kernel/random/boot_id")?;
    Ok(ID.get_or_init(|| text.trim_end().to_owned()))
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    /// It runs no more: a zombie, or on its way to become one. The first process of a pid namespace stays on that way
    /// until the zombies in there have been waited for, by parents that may be outside.
    pub ended: bool,
    /// In clock ticks since boot.
    pub start_time: u64,
}

/// What /proc says of a process; `None` when there is no such process.
///
/// # Errors
/// /proc is not mounted or not readable.
pub fn process_facts(pid: i32) -> Result<Option<ProcessStat>> {
    match read_small(&format!("/proc/{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(e) => Err(Error::system(format!("read /proc/{pid}/stat"), e)),
    }
}

/// The name in parentheses may contain anything, so fields count from the last ')'. Source: proc_pid_stat(5).
fn parse_stat(text: &str) -> Option<ProcessStat> {
    /// Of linux/sched.h: in exit(2).
    const PF_EXITING: u64 = 4;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let exiting = matches!(*fields.first()?, "Z" | "X") || number(6)? & PF_EXITING != 0;
    // A program goes on when its first thread has ended before the others.
    Some(ProcessStat { ended: exiting && number(17)? <= 1, start_time: number(19)? })
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
        Err(errno) => return Err(Error::system(format!("open a pidfd of process {}", record.pid), errno)),
    };
    let is_init = match process_facts(record.pid)? {
        Some(facts) if record.start_time != 0 => facts.start_time == record.start_time && !facts.ended,
        _ => is_by_pidfd(pidfd.as_fd(), record)?,
    };
    if !is_init {
        return Ok(None);
    }
    Ok((boot_id()? == record.boot_id).then_some(pidfd))
}

/// The same without /proc, which with hidepid=2 hides processes with other ids from an ordinary user, among them those of
/// the user's own container.
fn is_by_pidfd(pidfd: BorrowedFd<'_>, record: &Record) -> Result<bool> {
    if record.pidfd_inode.is_none() || crate::sys::pidfd::inode(pidfd) != record.pidfd_inode {
        return Ok(false);
    }
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = poll(&mut ended, Some(&Timespec::default())).context(|| format!("poll process {}", record.pid))?;
    Ok(ready == 0)
}

/// Opens the cgroup of a container, if it is still there and no other has taken its place.
///
/// # Errors
/// It exists but cannot be opened.
pub fn cgroup(record: &Record) -> Result<Option<Cgroup>> {
    let Some(path) = &record.cgroup else { return Ok(None) };
    let mount = crate::cgroup::mount()?;
    let nested = record.unit_cgroup().is_some();
    let found = if nested { Cgroup::open_in_unit(&mount, path) } else { Cgroup::open(&mount, path) };
    let found = found.coded(Code::CgroupFailed)?;
    let Some(cgroup) = found else { return Ok(None) };
    match record.cgroup_inode {
        Some(inode) if cgroup.inode()? != inode => Ok(None),
        _ => Ok(Some(cgroup)),
    }
}

/// What the container is doing, with init's pidfd when it lives.
///
/// # Errors
/// The kernel cannot be asked.
pub fn status(directory: &Directory, record: &Record) -> Result<(Status, Option<OwnedFd>)> {
    let _span = crate::timings::span("find out the status");
    let Some(pidfd) = living_init(record)? else {
        let unfinished = record.phase.is_unfinished() && is_locked(directory);
        return Ok((if unfinished { Status::Creating } else { Status::Stopped }, None));
    };
    let status = if cgroup(record)?.map_or(Ok(false), |cgroup| cgroup.frozen()).coded(Code::CgroupFailed)? {
        Status::Paused
    } else if record.phase.is_unfinished() {
        Status::Creating
    } else if gate(directory)?.is_some() {
        Status::Created
    } else {
        Status::Running
    };
    Ok((status, Some(pidfd)))
}

/// The pid of a process in its own pid namespace. Source: proc_pid_status(5), NSpid.
///
/// # Errors
/// The process is gone; /proc is not mounted.
pub fn pid_inside(pid: i32) -> Result<i32> {
    let path = format!("/proc/{pid}/status");
    let text = read_small(&path).context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inside = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    inside.ok_or_else(|| Error::new(Code::SystemCallFailed, format!("{path} has no NSpid")))
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
        let stat = |state: &str, flags: u32, threads: u32| {
            let line =
                format!("12 (a) Z 1) (x) {state} 1 2 3 4 5 {flags} 7 8 9 10 11 12 13 14 15 16 {threads} 18 4242 20\n");
            parse_stat(&line).unwrap()
        };
        assert_eq!(stat("S", 0x40_0100, 1), ProcessStat { ended: false, start_time: 4242 });
        assert!(stat("Z", 0x40_850c, 1).ended);
        assert!(stat("X", 0x40_850c, 0).ended);
        // The first thread alone has ended.
        assert!(!stat("Z", 0x40_850c, 2).ended);
        // Of a pid namespace, with zombies in it.
        assert!(stat("S", 0x40_050c, 1).ended);
        assert_eq!(parse_stat("12 (a"), None);
    }

    #[test]
    fn a_recycled_pid_is_not_init() {
        let mut record = super::super::record::tests::example();
        record.pid = i32::try_from(std::process::id()).unwrap();
        record.boot_id = boot_id().unwrap().into();
        record.start_time = process_facts(record.pid).unwrap().unwrap().start_time;
        assert!(living_init(&record).unwrap().is_some());
        record.start_time += 1;
        assert!(living_init(&record).unwrap().is_none());
        record.start_time -= 1;
        // Invisible: by its pidfd.
        record.start_time = 0;
        assert!(living_init(&record).unwrap().is_none());
        let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        record.pidfd_inode = crate::sys::pidfd::inode(own.as_fd());
        assert_eq!(living_init(&record).unwrap().is_some(), record.pidfd_inode.is_some());
        record.pidfd_inode = record.pidfd_inode.map(|inode| inode + 1);
        assert!(living_init(&record).unwrap().is_none());
        record.start_time = process_facts(record.pid).unwrap().unwrap().start_time;
        record.boot_id = "another boot".into();
        assert!(living_init(&record).unwrap().is_none());
    }
}
