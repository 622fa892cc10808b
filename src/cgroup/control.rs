//! Freezing, signalling, killing, emptying and removing a cgroup. World: parent.
//!
//! Promise: waits are for the kernel's notification on cgroup.events, with a deadline, never a
//! sleep; a signal goes by pidfd to a process that is seen in the cgroup after the pidfd was opened.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::parent::Cgroup;
use super::{files, tree};
use crate::error::{Code, Context, Error, Result};
use crate::sys::pidfd;

const EVENTS: &str = "cgroup.events";
/// Processes in an uninterruptible call (a dead NFS server) keep a cgroup from freezing.
const FREEZE: Duration = Duration::from_secs(10);
/// A killed process with much memory takes its time to go.
const REMOVE: Duration = Duration::from_secs(10);
/// A process that forks faster than it can be signalled must not hold the runtime for ever.
const SIGNAL_ROUNDS: usize = 100;

/// What cgroup.events says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// There are processes in it or below, zombies not counted.
    pub populated: bool,
    /// It is frozen, itself or by a cgroup above it.
    pub frozen: bool,
}

impl Events {
    fn parse(content: &str) -> Self {
        let is_one = |key| files::value_of(content, key) == Some("1");
        Self { populated: is_one("populated"), frozen: is_one("frozen") }
    }

    pub(super) fn read(directory: BorrowedFd<'_>) -> std::result::Result<Self, Errno> {
        files::read(directory, EVENTS).map(|content| Self::parse(&content))
    }
}

impl Cgroup {
    /// Whether there are processes, and whether they are frozen; both false once the cgroup is removed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn events(&self) -> Result<Events> {
        match Events::read(self.directory()) {
            Err(Errno::NODEV | Errno::NOENT) => Ok(Events::default()),
            result => result.context(|| format!("read {EVENTS} of {}", self.path)),
        }
    }

    /// Whether there are processes in it or below.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn populated(&self) -> Result<bool> {
        Ok(self.events()?.populated)
    }

    /// Whether it is frozen, itself or by a cgroup above it.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn frozen(&self) -> Result<bool> {
        Ok(self.events()?.frozen)
    }

    /// Freezes or thaws it and waits until that is done.
    ///
    /// # Errors
    /// A process does not stop within 10 s, or that cannot be seen (everything is thawed again then); a cgroup above keeps
    /// it frozen.
    ///
    /// # Kernel
    /// 5.2.
    pub fn freeze(&self, freeze: bool) -> Result<()> {
        let verb = if freeze { "freeze" } else { "thaw" };
        // Open once: what was frozen can be thawed even when no file can be opened any more.
        let file = files::open(self.directory(), "cgroup.freeze", OFlags::WRONLY)
            .context(|| format!("{verb} cgroup {}", self.path))?;
        let set = |value: &str| rustix::io::pwrite(&file, value.as_bytes(), 0);
        set(if freeze { "1" } else { "0" }).context(|| format!("{verb} cgroup {}", self.path))?;
        let done = self.wait(FREEZE, |events| events.frozen == freeze);
        if freeze && !matches!(done, Ok(true)) {
            set("0").context(|| format!("thaw cgroup {}", self.path))?;
        }
        if done? {
            return Ok(());
        }
        if freeze {
            return Err(Error::new(
                Code::CgroupFrozen,
                format!("freeze cgroup {}: a process does not stop", self.path),
            )
            .hint("it is in a system call that cannot be interrupted"));
        }
        Err(Error::new(Code::CgroupFrozen, format!("cgroup {} stays frozen", self.path))
            .hint("a cgroup above it is frozen"))
    }

    /// Kills every process in it and below, frozen ones too, and those that are being forked.
    ///
    /// # Errors
    /// The kernel refuses.
    ///
    /// # Kernel
    /// 5.14 (cgroup.kill).
    pub fn kill_all(&self) -> Result<()> {
        match files::write(self.directory(), "cgroup.kill", "1") {
            // systemd may have removed it.
            Ok(()) | Err(Errno::NODEV | Errno::NOENT) => Ok(()),
            // A threaded cgroup cannot be killed as a whole.
            Err(Errno::OPNOTSUPP) => self.signal_all(libc::SIGKILL),
            Err(errno) => Err(Error::system(format!("kill cgroup {}", self.path), errno).coded(Code::CgroupFailed)),
        }
    }

    /// Sends `signal` once to every process in it and below, also to those forked meanwhile.
    ///
    /// # Errors
    /// A process cannot be signalled, or new ones keep coming.
    pub fn signal_all(&self, signal: i32) -> Result<()> {
        let mut done = BTreeSet::new();
        for _ in 0..SIGNAL_ROUNDS {
            let new: Vec<i32> = self.processes()?.into_iter().filter(|pid| !done.contains(pid)).collect();
            if new.is_empty() {
                return Ok(());
            }
            let mut opened = Vec::new();
            for pid in new.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                match pidfd_open(pid, PidfdFlags::empty()) {
                    Ok(process) => opened.push((pid.as_raw_pid(), process)),
                    // It has ended, or is a thread of a process that is in the list as well.
                    Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => {}
                    Err(errno) => return Err(Self::not_signalled(signal, pid.as_raw_pid(), errno)),
                }
            }
            // A number that was given to another process between the list and the pidfd is not here.
            let here: BTreeSet<i32> = self.processes()?.into_iter().collect();
            for (pid, process) in opened.iter().filter(|(pid, _)| here.contains(pid)) {
                match pidfd::send_signal(process.as_fd(), signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(Self::not_signalled(signal, *pid, errno)),
                }
            }
            done.extend(new);
        }
        Err(Error::new(
            Code::ProcessesRemain,
            format!("cgroup {} makes processes faster than they can be signalled", self.path),
        ))
    }

    fn not_signalled(signal: i32, pid: i32, errno: Errno) -> Error {
        Error::system(format!("send signal {signal} to process {pid}"), errno).coded(Code::CgroupFailed)
    }

    /// Waits until there is no process; whether there is none.
    ///
    /// # Errors
    /// The events cannot be read.
    pub fn wait_empty(&self, within: Duration) -> Result<bool> {
        self.wait(within, |events| !events.populated)
    }

    /// Waits for the kernel's notification; the first read arms it.
    fn wait(&self, within: Duration, until: impl Fn(Events) -> bool) -> Result<bool> {
        let context = || format!("wait for {EVENTS} of {}", self.path);
        let deadline = Instant::now() + within;
        let file = match files::open(self.directory(), EVENTS, OFlags::RDONLY) {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(until(Events::default())),
            result => result.context(context)?,
        };
        loop {
            let events = match files::read_open(file.as_fd()) {
                Err(Errno::NODEV) => Events::default(),
                result => Events::parse(&result.context(context)?),
            };
            if until(events) {
                return Ok(true);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(false);
            };
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL).context(context)?;
            let mut polled = [PollFd::new(&file, PollFlags::PRI)];
            match rustix::event::poll(&mut polled, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system(context(), errno).coded(Code::CgroupFailed)),
            }
        }
    }

    /// Removes it and everything below, waiting for processes that are about to end.
    /// Does nothing when it is gone already.
    ///
    /// # Errors
    /// A process stays for 10 s.
    pub fn remove(&self) -> Result<()> {
        let mut deadline = None;
        let Some(name) = self.path.rsplit('/').next() else { return Ok(()) };
        let parent =
            match rustix::fs::openat(self.directory(), "..", OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            {
                Err(Errno::NOENT) => return Ok(()),
                result => result.context(|| format!("open the parent of cgroup {}", self.path))?,
            };
        loop {
            // The usual cgroup has nothing below it.
            let result = match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Err(Errno::BUSY | Errno::NOTEMPTY) => tree::remove_below(self.directory())
                    .and_then(|()| rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)),
                result => result,
            };
            match result {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => {
                    return Err(Error::system(format!("remove cgroup {}", self.path), errno).coded(Code::CgroupFailed));
                }
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + REMOVE);
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.wait_empty(left)? || left.is_zero() {
                let pids = self.processes()?;
                return Err(Error::system(
                    format!("remove cgroup {}: processes {pids:?} stay", self.path),
                    Errno::BUSY,
                )
                .coded(Code::ProcessesRemain));
            }
            // Empty and still busy: the last process is on its way out, or cgroups are being made below.
            self.wait(Duration::from_millis(1), |_| false)?;
        }
    }

    /// The processes in it and below, as pids in the runtime's pid namespace, in order.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        let result = tree::visit(self.directory(), &mut |cgroup| {
            match files::read(cgroup, "cgroup.procs") {
                Ok(list) => pids.extend(numbers(&list)),
                // A threaded cgroup lists threads alone.
                Err(Errno::OPNOTSUPP) => {
                    let threads = files::read(cgroup, "cgroup.threads")?;
                    pids.extend(numbers(&threads).filter_map(process_of));
                }
                Err(Errno::NODEV | Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            Ok(())
        });
        match result {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(pids.into_iter().collect()),
            Err(errno) => {
                Err(Error::system(format!("list the processes of cgroup {}", self.path), errno)
                    .coded(Code::CgroupFailed))
            }
        }
    }
}

/// 0 stands for a process of a pid namespace that cannot be seen from here.
fn numbers(list: &str) -> impl Iterator<Item = i32> {
    list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0)
}

/// The process that a thread belongs to; `None` when it has ended. Not by procfs: to parse all of the file would add 40 KB
/// to the binary.
fn process_of(thread: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}
