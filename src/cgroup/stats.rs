//! What a container uses, in the JSON shape of `runc events`, and what explains an early death.
//!
//! World: parent. Promise: each part is there only if its controller is; no file is read twice.
//! Units: nanoseconds and bytes. Source: runc types/events.go (engines parse it), cgroup-v2.rst.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use libcgroups::stats::parse_single_value;

use rustix::fs::Dir;
use rustix::io::Errno;
use serde::Serialize;

use super::files;
use super::parent::Cgroup;
use crate::error::{Code, Context, Error, Result};
use crate::number_list;

/// All of it; what has no controller stays empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(default)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes.
    pub cpuset: CpuSet,
    /// Memory and swap.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Disks.
    pub blkio: BlockIo,
    /// Huge pages by size.
    pub hugetlb: BTreeMap<String, HugePages>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time held back by a quota.
    pub throttling: Throttling,
    /// Time lost waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Time used. Units: nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// Both modes.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// What a quota did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which there was work.
    pub periods: u64,
    /// Periods in which the quota was used up.
    pub throttled_periods: u64,
    /// Time held back. Units: nanoseconds.
    pub throttled_time: u64,
}

/// Processors and memory nodes that the container may use, which the cgroup above may narrow.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuSet {
    /// Numbers of processors.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cpus: BTreeSet<u32>,
    /// Numbers of memory nodes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mems: BTreeSet<u32>,
}

/// Memory. Units: bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory alone.
    pub usage: MemoryEntry,
    /// Memory plus swap, as cgroup v1 counts.
    pub swap: MemoryEntry,
    /// Empty: cgroup v2 has no such limit.
    pub kernel: MemoryEntry,
    /// Empty: cgroup v2 has no such limit.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
    /// memory.events: how often limits were hit. Without zeros, so that "oom" stands in no line before there was one.
    #[serde(serialize_with = "above_zero")]
    pub event_count: BTreeMap<String, u64>,
}

/// One kind of memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// 2^64-1 when there is none.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most there has been.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit; engines' field, which runc leaves 0 on cgroup v2.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Disks.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIo {
    /// Bytes by device and direction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlockIoEntry>,
    /// Operations by device and direction.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlockIoEntry>,
    /// Time lost waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One device and direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlockIoEntry {
    /// Device.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Device.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// Read or Write.
    pub op: &'static str,
    /// Bytes or operations.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size. Units: bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HugePages {
    /// Now: reservations where the kernel counts them, else use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Time lost waiting for a resource. Source: Documentation/accounting/psi.rst.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: PressureLine,
    /// All tasks waited.
    pub full: PressureLine,
}

/// Shares in percent over 10, 60 and 300 seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PressureLine {
    /// Over 10 s.
    pub avg10: f64,
    /// Over 60 s.
    pub avg60: f64,
    /// Over 300 s.
    pub avg300: f64,
    /// Units: microseconds.
    pub total: u64,
}

/// Why a process in the cgroup may have died early or could not be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeathFacts {
    /// Processes that the OOM killer took.
    pub oom_kills: u64,
    /// How often the container's own limit was hit; kills without that are for a limit above it, or for the machine.
    pub own_limit_hits: u64,
    /// memory.max in bytes; `None` when there is no limit.
    pub memory_limit: Option<u64>,
    /// The most memory used, in bytes. Linux 5.19.
    pub memory_peak: Option<u64>,
    /// Forks that pids.max refused.
    pub refused_forks: u64,
    /// pids.max; `None` when there is no limit.
    pub pids_limit: Option<u64>,
    /// The cgroup was removed before it could be asked, as systemd does as soon as one is empty.
    pub gone: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn above_zero<S: serde::Serializer>(
    counts: &BTreeMap<String, u64>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(counts.iter().filter(|(_, count)| **count > 0))
}

/// The files of one cgroup, read when asked.
struct Source<'c> {
    directory: BorrowedFd<'c>,
    path: &'c str,
}

impl Cgroup {
    /// What the container uses now.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let source = self.source();
        Ok(Stats {
            cpu: source.cpu()?,
            cpuset: source.cpu_set()?,
            memory: source.memory()?,
            pids: source.pids()?,
            blkio: source.block_io()?,
            hugetlb: source.huge_pages()?,
        })
    }

    /// What the kernel counted against the container's limits.
    ///
    /// # Errors
    /// A file that is there cannot be read.
    pub fn death_facts(&self) -> Result<DeathFacts> {
        let source = self.source();
        let events = |file: &str| source.text(file).map(Option::unwrap_or_default);
        // The unit's limit is reached first: it is charged for the cgroup below it too. It is also removed after that one,
        // so that a kill that is still found below comes with its limit.
        let unit = self.unit.as_ref().map_or(Ok(None), |unit| unit.source().text("memory.events"))?.unwrap_or_default();
        // First what may be gone soonest, together.
        let memory = events("memory.events")?;
        Ok(DeathFacts {
            oom_kills: keyed(&memory, "oom_kill"),
            own_limit_hits: keyed(&memory, "oom").max(keyed(&unit, "oom")),
            memory_limit: source.number("memory.max")?.filter(|limit| *limit != u64::MAX),
            memory_peak: source.number("memory.peak")?,
            refused_forks: keyed(&events("pids.events")?, "max"),
            pids_limit: source.number("pids.max")?.filter(|limit| *limit != u64::MAX),
            gone: source.text("cgroup.events")?.is_none(),
        })
    }

    fn source(&self) -> Source<'_> {
        Source { directory: self.directory.as_fd(), path: &self.path }
    }
}

impl Source<'_> {
    fn text(&self, file: &str) -> Result<Option<String>> {
        files::read_if_there(self.directory, file).context(|| format!("read {file} of cgroup {}", self.path))
    }

    /// `max` is 2^64-1, as runc reports it.
    fn number(&self, file: &str) -> Result<Option<u64>> {
        // The descriptor leads to the directory, whatever has become of its path.
        let path = format!("/proc/self/fd/{}/{file}", self.directory.as_raw_fd());
        let error = match parse_single_value(Path::new(&path)) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let what = || format!("read {file} of cgroup {}", self.path);
        match error.inner().raw_os_error() {
            // This cgroup does not have the controller.
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => Ok(None),
            Some(errno) => Err(Error::system(what(), errno).coded(Code::CgroupFailed)),
            None => Err(Error::new(Code::CgroupFailed, what()).detail(error.inner().to_string())),
        }
    }

    fn pressure(&self, file: &str) -> Result<Option<Pressure>> {
        Ok(self.text(file)?.map(|text| pressure(&text)))
    }

    fn cpu(&self) -> Result<Cpu> {
        let text = self.text("cpu.stat")?.unwrap_or_default();
        let microseconds = |key| keyed(&text, key).saturating_mul(1000);
        Ok(Cpu {
            usage: CpuUsage {
                total: microseconds("usage_usec"),
                kernel: microseconds("system_usec"),
                user: microseconds("user_usec"),
            },
            throttling: Throttling {
                periods: keyed(&text, "nr_periods"),
                throttled_periods: keyed(&text, "nr_throttled"),
                throttled_time: microseconds("throttled_usec"),
            },
            psi: self.pressure("cpu.pressure")?,
        })
    }

    fn cpu_set(&self) -> Result<CpuSet> {
        let list = |file| self.text(file).map(|text| number_list::parse(text.as_deref()?).ok());
        let (cpus, mems) = (list("cpuset.cpus.effective")?, list("cpuset.mems.effective")?);
        Ok(CpuSet { cpus: cpus.unwrap_or_default(), mems: mems.unwrap_or_default() })
    }

    /// A file of lines `key value`.
    fn pairs(&self, file: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(file)?.unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(key, value)| (key.to_owned(), number(value))).collect())
    }

    fn memory(&self) -> Result<Memory> {
        let raw = self.pairs("memory.stat")?;
        let usage = self.memory_entry("memory")?;
        let mut swap = self.memory_entry("memory.swap")?;
        // runc gives nothing but zeros where the kernel does not count swap.
        if self.text("memory.swap.current")?.is_some() {
            swap.usage = swap.usage.saturating_add(usage.usage);
            swap.limit = swap.limit.saturating_add(usage.limit);
            swap.max = 0;
        }
        let cache = raw.get("file").copied().unwrap_or_default();
        let psi = self.pressure("memory.pressure")?;
        let event_count = self.pairs("memory.events")?;
        Ok(Memory { cache, usage, swap, raw, psi, event_count, ..Memory::default() })
    }

    fn memory_entry(&self, prefix: &str) -> Result<MemoryEntry> {
        let read = |suffix: &str| self.number(&format!("{prefix}.{suffix}")).map(Option::unwrap_or_default);
        Ok(MemoryEntry { limit: read("max")?, usage: read("current")?, max: read("peak")?, failcnt: 0 })
    }

    fn pids(&self) -> Result<Pids> {
        let limit = self.number("pids.max")?.filter(|limit| *limit != u64::MAX);
        Ok(Pids { current: self.number("pids.current")?.unwrap_or_default(), limit: limit.unwrap_or_default() })
    }

    fn block_io(&self) -> Result<BlockIo> {
        let mut block_io = BlockIo { psi: self.pressure("io.pressure")?, ..BlockIo::default() };
        for line in self.text("io.stat")?.unwrap_or_default().lines() {
            block_io.add(line);
        }
        Ok(block_io)
    }

    fn huge_pages(&self) -> Result<BTreeMap<String, HugePages>> {
        let mut sizes = BTreeMap::new();
        for size in self.huge_page_sizes().context(|| format!("list the files of cgroup {}", self.path))? {
            let reserved = self.number(&format!("hugetlb.{size}.rsvd.current"))?;
            let usage = match reserved {
                Some(reserved) => reserved,
                None => self.number(&format!("hugetlb.{size}.current"))?.unwrap_or_default(),
            };
            let events = self.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
            sizes.insert(size, HugePages { usage, failcnt: keyed(&events, "max") });
        }
        Ok(sizes)
    }

    /// The sizes that the kernel has files for.
    fn huge_page_sizes(&self) -> std::result::Result<Vec<String>, Errno> {
        let mut sizes = Vec::new();
        for entry in Dir::read_from(self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(".events"));
            sizes.extend(size.map(str::to_owned));
        }
        Ok(sizes)
    }
}

impl BlockIo {
    /// A line like `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
    fn add(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { return };
        let (major, minor) = (number(major), number(minor));
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut self.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut self.io_service_bytes_recursive, "Write"),
                "rios" => (&mut self.io_serviced_recursive, "Read"),
                "wios" => (&mut self.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlockIoEntry { major, minor, op, value: number(value) });
        }
    }
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or_default() }
}

fn keyed(text: &str, key: &str) -> u64 {
    files::value_of(text, key).map(number).unwrap_or_default()
}

/// A file like cpu.pressure.
pub fn pressure(text: &str) -> Pressure {
    Pressure { some: pressure_line(text, "some"), full: pressure_line(text, "full") }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn pressure_line(text: &str, kind: &str) -> PressureLine {
    let mut line = PressureLine::default();
    for (key, value) in
        files::value_of(text, kind).unwrap_or_default().split_whitespace().filter_map(|word| word.split_once('='))
    {
        match key {
            "avg10" => line.avg10 = value.parse().unwrap_or_default(),
            "avg60" => line.avg60 = value.parse().unwrap_or_default(),
            "avg300" => line.avg300 = value.parse().unwrap_or_default(),
            "total" => line.total = number(value),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let mut block_io = BlockIo::default();
        block_io.add("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6");
        let json = serde_json::to_string(&block_io).unwrap();
        assert_eq!(
            json,
            r#"{"ioServiceBytesRecursive":[{"major":8,"minor":16,"op":"Read","value":1},{"major":8,"minor":16,"op":"Write","value":2}],"ioServicedRecursive":[{"major":8,"minor":16,"op":"Read","value":3},{"major":8,"minor":16,"op":"Write","value":4}]}"#
        );
        let line = pressure_line("some avg10=1.50 avg60=0.00 avg300=0.25 total=42\nfull avg10=0.00\n", "some");
        assert_eq!(line, PressureLine { avg10: 1.5, avg60: 0.0, avg300: 0.25, total: 42 });
        assert_eq!((keyed("max 7\noom 1\noom_kill 2\n", "oom_kill"), keyed("oom_kill 2\n", "oom")), (2, 0));
    }

    /// Scripts search what runc prints for "oom".
    #[test]
    fn nothing_of_oom_is_said_before_there_was_one() {
        let json = |oom| {
            let event_count = [("max".to_owned(), 7), ("oom".to_owned(), oom)].into();
            serde_json::to_value(Memory { event_count, ..Memory::default() }).unwrap()["event_count"].clone()
        };
        assert_eq!(json(0), serde_json::json!({"max": 7}));
        assert_eq!(json(1), serde_json::json!({"max": 7, "oom": 1}));
    }

    #[test]
    fn empty_parts_have_runcs_shape() {
        let json = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"total": 0, "kernel": 0, "user": 0}));
        assert_eq!(json["memory"]["kernelTCP"], serde_json::json!({"limit": 0, "failcnt": 0}));
        assert_eq!(json["pids"], serde_json::json!({}));
    }
}
