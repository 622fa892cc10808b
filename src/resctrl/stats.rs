//! What the group of a container may use and uses, in the form of runc's `intel_rdt`. World: parent.
//!
//! Source: runc types/events.go, IntelRdt; Documentation/filesystems/resctrl.rst. A counter that the hardware cannot tell
//! just now ("Unavailable") is 0. Without a monitoring group of its own the counters are those of the whole group.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Dir, FileType};
use serde::Serialize;

use super::parent::Group;
use super::root::{open_directory, read};
use crate::error::{Context, Result};

/// The statistics; nothing without a group.
#[derive(Debug, Default, Serialize)]
pub struct IntelRdt {
    /// The L3 cache, if it can be allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    /// The L3 line of the default group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema_root: Option<String>,
    /// The L3 line of the container's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_schema: Option<String>,
    /// The memory bandwidth, if it can be allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    /// The MB line of the default group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema_root: Option<String>,
    /// The MB line of the container's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_schema: Option<String>,
    /// All lines of the container's group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// Memory traffic of each L3 cache, if it can be monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MemBwMonitoring>>,
    /// Occupancy of each L3 cache, if it can be monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<L3Monitoring>>,
}

/// `info/L3`.
#[derive(Debug, Default, Serialize)]
pub struct L3CacheInfo {
    /// The bits that there are, hexadecimal.
    pub cbm_mask: String,
    /// The smallest number of bits in a mask.
    pub min_cbm_bits: u64,
    /// How many groups there can be.
    pub num_closids: u64,
}

/// `info/MB`.
#[derive(Debug, Default, Serialize)]
pub struct MemBwInfo {
    /// The step between two values.
    pub bandwidth_gran: u64,
    /// Whether the delay grows with the value.
    pub delay_linear: u64,
    /// The smallest value.
    pub min_bandwidth: u64,
    /// How many groups there can be.
    pub num_closids: u64,
}

/// Memory traffic through one L3 cache.
#[derive(Debug, Serialize)]
pub struct MemBwMonitoring {
    /// All, in bytes.
    pub mbm_total_bytes: u64,
    /// Of the memory next to the cache, in bytes.
    pub mbm_local_bytes: u64,
}

/// Use of one L3 cache.
#[derive(Debug, Serialize)]
pub struct L3Monitoring {
    /// In bytes.
    pub llc_occupancy: u64,
}

impl Group {
    /// The statistics.
    ///
    /// # Errors
    /// A file that every group has cannot be read.
    pub fn stats(&self) -> Result<IntelRdt> {
        let root = self.root().directory();
        let schemata =
            read(self.directory(), "schemata").context(|| format!("read the schemata of {}", self.shown()))?;
        let of_root = read(root, "schemata").context(|| "read the schemata of the default group")?;
        let mut stats = IntelRdt {
            schemata: schemata.trim().lines().map(|line| line.trim().to_owned()).collect(),
            ..Default::default()
        };
        if let Ok(cbm_mask) = read(root, "info/L3/cbm_mask") {
            stats.l3_cache_info = Some(L3CacheInfo {
                cbm_mask: cbm_mask.trim().to_owned(),
                min_cbm_bits: number(root, "info/L3/min_cbm_bits"),
                num_closids: number(root, "info/L3/num_closids"),
            });
            stats.l3_cache_schema_root = line_of(&of_root, "L3:");
            stats.l3_cache_schema = line_of(&schemata, "L3:");
        }
        if open_directory(root, "info/MB").is_ok() {
            stats.mem_bw_info = Some(MemBwInfo {
                bandwidth_gran: number(root, "info/MB/bandwidth_gran"),
                delay_linear: number(root, "info/MB/delay_linear"),
                min_bandwidth: number(root, "info/MB/min_bandwidth"),
                num_closids: number(root, "info/MB/num_closids"),
            });
            stats.mem_bw_schema_root = line_of(&of_root, "MB:");
            stats.mem_bw_schema = line_of(&schemata, "MB:");
        }
        self.monitoring(&mut stats)?;
        Ok(stats)
    }

    fn monitoring(&self, stats: &mut IntelRdt) -> Result<()> {
        let features = read(self.root().directory(), "info/L3_MON/mon_features").unwrap_or_default();
        let has = |name: &str| features.lines().any(|line| line.trim() == name);
        let (traffic, occupancy) = (has("mbm_total_bytes") || has("mbm_local_bytes"), has("llc_occupancy"));
        if !traffic && !occupancy {
            return Ok(());
        }
        let what = || format!("read mon_data of {}", self.shown());
        let data = open_directory(self.monitored(), "mon_data").context(what)?;
        let caches = caches(data.as_fd()).context(what)?;
        let value = |cache: &String, file: &str| number(data.as_fd(), &format!("{cache}/{file}"));
        stats.mbm_stats = traffic.then(|| {
            let of = |cache| MemBwMonitoring {
                mbm_total_bytes: value(cache, "mbm_total_bytes"),
                mbm_local_bytes: value(cache, "mbm_local_bytes"),
            };
            caches.iter().map(of).collect()
        });
        stats.cmt_stats = occupancy.then(|| {
            caches.iter().map(|cache| L3Monitoring { llc_occupancy: value(cache, "llc_occupancy") }).collect()
        });
        Ok(())
    }
}

/// The directories `mon_L3_00`, `mon_L3_01` and so on, sorted.
fn caches(data: BorrowedFd<'_>) -> std::result::Result<Vec<String>, rustix::io::Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(data)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type() == FileType::Directory && name.starts_with("mon_L3_") {
            names.push(name.into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn number(directory: BorrowedFd<'_>, path: &str) -> u64 {
    read(directory, path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn line_of(schemata: &str, resource: &str) -> Option<String> {
    schemata.lines().map(str::trim).find(|line| line.starts_with(resource)).map(str::to_owned)
}
