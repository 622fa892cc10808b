//! Where cgroup v2 is mounted, and which cgroup the runtime itself is in. World: parent.

use std::path::PathBuf;

use crate::error::{Code, Context, Error, Result};
use crate::sys::text;

const UNIFIED: &str = "/sys/fs/cgroup";
const HYBRID: &str = "/sys/fs/cgroup/unified";
/// CGROUP2_SUPER_MAGIC. Source: linux/magic.h.
const CGROUP2: i64 = 0x6367_7270;

/// The cgroup v2 hierarchy of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Beside it there are cgroup v1 hierarchies, which may hold some of the controllers.
    pub hybrid: bool,
}

/// Finds the hierarchy: one statfs(2) on a usual host.
///
/// # Errors
/// Unsupported when the host has cgroup v1 alone.
pub fn mount() -> Result<Hierarchy> {
    for (root, hybrid) in [(UNIFIED, false), (HYBRID, true)] {
        if rustix::fs::statfs(root).is_ok_and(|facts| is_cgroup2(&facts)) {
            return Ok(Hierarchy { root: PathBuf::from(root), hybrid });
        }
    }
    Err(Error::new(Code::CgroupV2Missing, format!("cgroup v2 is mounted neither on {UNIFIED} nor on {HYBRID}"))
        .hint("boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"))
}

/// The word size of `f_type` differs between architectures.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "not useless everywhere")]
fn is_cgroup2(facts: &rustix::fs::StatFs) -> bool {
    i64::try_from(facts.f_type).is_ok_and(|kind| kind == CGROUP2)
}

/// The runtime's own cgroup below the root of the v2 hierarchy.
///
/// # Errors
/// /proc is not there, or its kernel has no cgroup v2.
pub fn own_path() -> Result<String> {
    path_of("self")
}

/// The cgroup of a process, by its directory in /proc, below the root of the v2 hierarchy.
///
/// # Errors
/// The process is gone; /proc is not there, or its kernel has no cgroup v2.
pub fn path_of(process: impl std::fmt::Display) -> Result<String> {
    let file = format!("/proc/{process}/cgroup");
    // A line for each hierarchy of v1, and a path of some length in each.
    let mut buffer = [0; 16 * 1024];
    let text = text::read(&file, &mut buffer).context(|| format!("read {file}"))?;
    let path = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
    path.map(|path| String::from_utf8_lossy(path).into_owned())
        .ok_or_else(|| Error::new(Code::CgroupV2Missing, format!("{file} names no cgroup v2")))
}
