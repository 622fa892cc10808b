//! Waiting for what happens in a cgroup: kills for lack of memory, limits that are hit, pressure. World: parent.
//!
//! The kernel notifies through poll(2): a file of events wakes with POLLPRI until it is read again, at most every 10 ms;
//! a pressure file becomes a trigger by what is written to it. Source: cgroup-v2.rst; Documentation/accounting/psi.rst.
//! Promise: descriptors are opened once, and nothing is kept that grows.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::files;
use super::parent::Cgroup;
use super::stats::{Pressure, pressure};
use crate::error::{Context, Result};

/// What is hit again and again is told this often at the most.
const PAUSE: Duration = Duration::from_secs(1);

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// The OOM killer took a process.
    OutOfMemory,
    /// memory.high was exceeded, so often by now.
    MemoryHigh(u64),
    /// A fork was refused by pids.max, so often by now.
    PidsMax(u64),
    /// Tasks waited for `resource` much of the time.
    Pressure {
        /// cpu, memory or io.
        resource: &'static str,
        /// How much.
        pressure: Pressure,
    },
}

/// One number in a file of events.
struct Counter {
    file: usize,
    key: &'static str,
    happening: Tell,
    /// Whether each change is told at once.
    urgent: bool,
    told: u64,
    told_at: Option<Instant>,
}

/// A resource whose pressure wakes us.
struct Trigger {
    resource: &'static str,
    file: OwnedFd,
    told_at: Option<Instant>,
}

/// The files of one cgroup, open.
pub struct Watch {
    events: Vec<OwnedFd>,
    counters: Vec<Counter>,
    triggers: Vec<Trigger>,
}

/// Makes the happening of a count.
type Tell = fn(u64) -> Happening;

/// File, key, what it tells, whether at once.
const COUNTERS: [(&str, &str, Tell, bool); 3] = [
    ("memory.events", "oom_kill", |_| Happening::OutOfMemory, true),
    ("memory.events", "high", Happening::MemoryHigh, false),
    ("pids.events", "max", Happening::PidsMax, false),
];

/// Microseconds of waiting in a window of microseconds; the first that the kernel takes. Windows that are no multiple
/// of 2 s are for CAP_SYS_RESOURCE alone. Processors are always short of something: half the time is much there.
const TRIGGERS: [(&str, &str, [&str; 2]); 3] = [
    ("cpu", "cpu.pressure", ["some 250000 500000", "some 1000000 2000000"]),
    ("memory", "memory.pressure", ["some 50000 500000", "some 200000 2000000"]),
    ("io", "io.pressure", ["some 50000 500000", "some 200000 2000000"]),
];

impl Cgroup {
    /// Begins to watch: what happened before is not told.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn watch(&self) -> Result<Watch> {
        let mut watch = Watch { events: Vec::new(), counters: Vec::new(), triggers: Vec::new() };
        let mut names: Vec<&str> = Vec::new();
        for (name, key, happening, urgent) in COUNTERS {
            let file = match names.iter().position(|known| *known == name) {
                Some(file) => file,
                None => match files::open(self.directory(), name, OFlags::RDONLY) {
                    Err(Errno::NOENT | Errno::NODEV) => continue,
                    result => {
                        watch.events.push(result.context(|| format!("open {name} of cgroup {}", self.path()))?);
                        names.push(name);
                        names.len() - 1
                    }
                },
            };
            let told = watch.content(file).map(|text| count(&text, key)).unwrap_or_default();
            watch.counters.push(Counter { file, key, happening, urgent, told, told_at: None });
        }
        // A kernel without pressure, or one that gives us no trigger, is no reason to see nothing.
        watch.triggers.extend(TRIGGERS.iter().filter_map(|(resource, file, triggers)| {
            let file = triggers.iter().find_map(|trigger| self.trigger(file, trigger).ok())?;
            Some(Trigger { resource, file, told_at: None })
        }));
        Ok(watch)
    }

    fn trigger(&self, file: &str, trigger: &str) -> std::result::Result<OwnedFd, Errno> {
        let file = files::open(self.directory(), file, OFlags::RDWR | OFlags::NONBLOCK)?;
        rustix::io::write(&file, trigger.as_bytes())?;
        Ok(file)
    }
}

impl Watch {
    /// What to poll for POLLPRI.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.events.iter().chain(self.triggers.iter().map(|trigger| &trigger.file)).map(AsFd::as_fd)
    }

    /// When something is to be told that was held back.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let held = self.counters.iter().filter(|counter| counter.told_at.is_some());
        held.filter_map(|counter| counter.told_at).map(|told| told + PAUSE).min()
    }

    /// What has happened; `woken[i]` says whether the i-th of [`Self::descriptors`] woke us. Reading arms them again.
    pub fn happenings(&mut self, woken: &[bool], now: Instant) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let contents: Vec<Option<String>> = (0..self.events.len()).map(|file| self.content(file)).collect();
        if !contents.is_empty() && contents.iter().all(Option::is_none) {
            // The cgroup is removed: its files would wake us for ever.
            *self = Self { events: Vec::new(), counters: Vec::new(), triggers: Vec::new() };
        }
        for counter in &mut self.counters {
            let Some(Some(text)) = contents.get(counter.file) else { continue };
            happenings.extend(counter.tell(count(text, counter.key), now));
        }
        let woken = woken.iter().skip(self.events.len());
        for (trigger, _) in self.triggers.iter_mut().zip(woken).filter(|(_, woken)| **woken) {
            // The open file is the trigger, and is read like any other.
            let Ok(text) = files::read_open(trigger.file.as_fd()) else { continue };
            if trigger.told_at.is_none_or(|told| now.duration_since(told) >= PAUSE) {
                trigger.told_at = Some(now);
                happenings.push(Happening::Pressure { resource: trigger.resource, pressure: pressure(&text) });
            }
        }
        happenings
    }

    /// `None` when the cgroup is removed.
    fn content(&self, file: usize) -> Option<String> {
        files::read_open(self.events.get(file)?.as_fd()).ok()
    }
}

impl Counter {
    fn tell(&mut self, count: u64, now: Instant) -> Option<Happening> {
        let pausing = self.told_at.is_some_and(|told| now.duration_since(told) < PAUSE);
        if pausing && !self.urgent {
            return None;
        }
        if count <= self.told {
            self.told_at = None;
            return None;
        }
        self.told = count;
        self.told_at = Some(now).filter(|_| !self.urgent);
        Some((self.happening)(count))
    }
}

fn count(text: &str, key: &str) -> u64 {
    files::value_of(text, key).and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hit_again_and_again_is_told_once_a_second() {
        let (_, key, happening, urgent) = COUNTERS[1];
        let mut counter = Counter { file: 0, key, happening, urgent, told: 5, told_at: None };
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        assert_eq!(counter.tell(5, at(0)), None);
        assert_eq!(counter.tell(6, at(0)), Some(Happening::MemoryHigh(6)));
        assert_eq!(counter.tell(7, at(500)), None);
        assert_eq!(counter.tell(9, at(1000)), Some(Happening::MemoryHigh(9)));
        assert_eq!(counter.tell(9, at(2000)), None);
        assert_eq!((counter.told_at, counter.tell(10, at(2001))), (None, Some(Happening::MemoryHigh(10))));
    }

    #[test]
    fn each_kill_is_told_at_once() {
        let (_, key, happening, urgent) = COUNTERS[0];
        let mut counter = Counter { file: 0, key, happening, urgent, told: 0, told_at: None };
        let now = Instant::now();
        let told = [1, 1, 2].map(|count| counter.tell(count, now));
        assert_eq!(told, [Some(Happening::OutOfMemory), None, Some(Happening::OutOfMemory)]);
    }
}
