//! World: parent. events: what a container uses, and what happens in it, as lines of JSON.
//!
//! One poll loop over init's pidfd, the cgroup's files and the reader: no line is later than the kernel's notification,
//! and nothing runs in between. The lines are runc's (`stats`, `oom`), with tare's own beside them (`memory-high`,
//! `pids-max`, `pressure`, `exit`), whose data has no member that a reader of runc's could take for another.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::json;

use super::record::Record;
use super::status::{Status, cgroup, status};
use super::{StoredContainer, find};
use crate::cgroup::{BlockIo, Cgroup, Cpu, CpuSet, Happening, HugePages, Memory, Pids, Stats, Watch};
use crate::error::{Code, Coded, Context, Error, Result};
use crate::namespaces::NamespaceSet;
use crate::network::statistics::{Interface, interfaces};
use crate::resctrl::{IntelRdt, Recorded};
use crate::sys::pidfd;

/// How long the end of init may take to become an exit code: until its parent has waited for it.
const REAPED: Duration = Duration::from_millis(500);

/// Where the lines of events go.
pub struct Output<'a> {
    /// Takes a line.
    pub print: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    /// Watched for the end of the reader.
    pub reader: BorrowedFd<'a>,
}

/// What a container uses; its JSON is the `data` of a line of statistics. Source: runc types/events.go, Stats.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Block devices.
    pub blkio: BlockIo,
    /// Huge pages, by their size.
    pub hugetlb: std::collections::BTreeMap<String, HugePages>,
    /// The resctrl group.
    pub intel_rdt: IntelRdt,
    /// The interfaces of a network namespace of its own.
    pub network_interfaces: Option<Vec<Interface>>,
}

/// One line.
#[derive(Serialize)]
struct Line<'a, D: Serialize> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<D>,
}

/// A container whose events can be told.
struct Source {
    record: Record,
    cgroup: Cgroup,
    init: OwnedFd,
}

/// What the container uses now.
///
/// # Errors
/// The container is not there, not alive, or has no cgroup.
pub fn stats(root: &std::path::Path, id: &str) -> Result<Statistics> {
    open(root, id)?.statistics()
}

/// Prints the statistics every `interval`, and what happens when it happens, until the container stops or the reader
/// has gone.
///
/// # Errors
/// As [`stats`].
pub fn stream(root: &std::path::Path, id: &str, interval: Duration, output: &mut Output<'_>) -> Result<()> {
    let source = open(root, id)?;
    match source.follow(interval, output) {
        // The reader went while we wrote.
        Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
        // The cgroup went while we looked.
        Err(_) if source.has_ended()? => source.print_exit(output),
        result => result,
    }
}

fn open(root: &std::path::Path, id: &str) -> Result<Source> {
    let StoredContainer { directory, record } = find(root, id)?;
    let refuse = |code, why: &str| Err(Error::new(code, format!("no events for container \"{id}\": {why}")));
    let init = match status(&directory, &record)? {
        (Status::Creating, _) => return refuse(Code::ContainerCreating, "it is being created"),
        (_, Some(init)) => init,
        _ => return refuse(Code::ContainerNotRunning, "container not running"),
    };
    let cgroup = cgroup(&record)?.ok_or_else(|| {
        Error::new(Code::ContainerUnmanaged, format!("container \"{id}\" has no cgroup to read statistics from"))
    })?;
    Ok(Source { record, cgroup, init })
}

/// What ended a wait.
struct Woken {
    reader_gone: bool,
    ended: bool,
    /// For each descriptor of the watch.
    watched: Vec<bool>,
}

impl Source {
    fn follow(&self, interval: Duration, output: &mut Output<'_>) -> Result<()> {
        let mut watch = self.cgroup.watch()?;
        let mut next = Instant::now() + interval;
        loop {
            let until = watch.due().map_or(next, |due| due.min(next));
            let woken = self.wait(&watch, output.reader, until)?;
            if woken.reader_gone {
                return Ok(());
            }
            let now = Instant::now();
            for happening in watch.happenings(&woken.watched, now) {
                self.print_happening(&happening, output)?;
            }
            if woken.ended {
                return self.print_exit(output);
            }
            if now >= next {
                self.print_stats(output)?;
                // Late by more than an interval, the machine is busy: what was missed stays missed.
                next = (next + interval).max(now);
            }
        }
    }

    fn has_ended(&self) -> Result<bool> {
        let mut polled = [PollFd::from_borrowed_fd(self.init.as_fd(), PollFlags::IN)];
        poll_until(&mut polled, Instant::now())?;
        Ok(!polled[0].revents().is_empty())
    }

    fn wait(&self, watch: &Watch, reader: BorrowedFd<'_>, until: Instant) -> Result<Woken> {
        let mut polled = vec![
            // Nothing is asked of the reader: its end is told all the same.
            PollFd::from_borrowed_fd(reader, PollFlags::empty()),
            PollFd::from_borrowed_fd(self.init.as_fd(), PollFlags::IN),
        ];
        polled.extend(watch.descriptors().map(|file| PollFd::from_borrowed_fd(file, PollFlags::PRI)));
        poll_until(&mut polled, until)?;
        let events: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        Ok(Woken {
            reader_gone: events.first().is_some_and(|events| !events.is_empty()),
            ended: events.get(1).is_some_and(|events| !events.is_empty()),
            watched: events.iter().skip(2).map(|events| !events.is_empty()).collect(),
        })
    }

    fn print_stats(&self, output: &mut Output<'_>) -> Result<()> {
        self.print("stats", Some(self.statistics()?), output)
    }

    fn statistics(&self) -> Result<Statistics> {
        let Stats { cpu, cpuset, memory, pids, blkio, hugetlb } = self.cgroup.stats().coded(Code::CgroupFailed)?;
        let network_interfaces = self.interfaces();
        let intel_rdt = self.intel_rdt()?;
        Ok(Statistics { cpu, cpuset, memory, pids, blkio, hugetlb, intel_rdt, network_interfaces })
    }

    /// What resctrl says of the group; nothing without one.
    fn intel_rdt(&self) -> Result<IntelRdt> {
        let group = self.record.resctrl.as_ref().map_or(Ok(None), Recorded::open)?;
        group.map_or(Ok(IntelRdt::default()), |group| group.stats())
    }

    /// Those of the container's own network namespace; the host's are not the container's.
    fn interfaces(&self) -> Option<Vec<Interface>> {
        let found = self
            .record
            .namespaces
            .contains(NamespaceSet::NETWORK)
            .then(|| interfaces(self.record.pid).ok())
            .flatten()?;
        // Still init's pid.
        pidfd::send_signal(self.init.as_fd(), 0).is_ok().then_some(found)
    }

    fn print_happening(&self, happening: &Happening, output: &mut Output<'_>) -> Result<()> {
        let (kind, data) = match happening {
            Happening::OutOfMemory => ("oom", None),
            Happening::MemoryHigh(count) => ("memory-high", Some(json!({ "count": count }))),
            Happening::PidsMax(count) => ("pids-max", Some(json!({ "count": count }))),
            Happening::Pressure { resource, pressure } => {
                ("pressure", Some(json!({ "resource": resource, "psi": pressure })))
            }
        };
        self.print(kind, data, output)
    }

    /// The exit code as shells have it, where the kernel tells strangers.
    fn print_exit(&self, output: &mut Output<'_>) -> Result<()> {
        // POLLHUP, which is always told, means that it has been waited for.
        let mut polled = [PollFd::from_borrowed_fd(self.init.as_fd(), PollFlags::empty())];
        poll_until(&mut polled, Instant::now() + REAPED)?;
        let code = pidfd::wait_status(self.init.as_fd()).map(|status| match status & 0x7f {
            0 => status >> 8 & 0xff,
            signal => 128 + signal,
        });
        self.print("exit", code.map(|code| json!({ "exitCode": code })), output)
    }

    fn print<D: Serialize>(&self, kind: &'static str, data: Option<D>, output: &mut Output<'_>) -> Result<()> {
        (output.print)(&line(kind, &self.record.id, data)?)
    }
}

/// A line of JSON.
fn line<D: Serialize>(kind: &'static str, id: &str, data: Option<D>) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Line { kind, id, data })
        .map_err(|e| Error::new(Code::Internal, "encode an event").detail(e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

impl Statistics {
    /// The line of `tare events --stats`: one JSON object, with the id of the container.
    ///
    /// # Errors
    /// None in practice.
    pub fn line(&self, id: &str) -> Result<Vec<u8>> {
        line("stats", id, Some(self))
    }
}

fn poll_until(polled: &mut [PollFd<'_>], until: Instant) -> Result<()> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL).context(|| "wait for events")?;
        match poll(polled, Some(&left)) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for events", errno)),
        }
    }
}
