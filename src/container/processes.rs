//! World: parent. The processes of a container, as pids of the caller's pid namespace.

use super::find;
use super::status::{cgroup, living_init};
use crate::error::{Code, Coded, Result};

/// The pids in the container's cgroup and below it, sorted; without a cgroup init alone.
///
/// # Errors
/// The container does not exist.
pub fn processes(root: &std::path::Path, id: &str) -> Result<Vec<i32>> {
    let container = find(root, id)?;
    let mut pids = match cgroup(&container.record)? {
        Some(cgroup) => cgroup.processes().coded(Code::CgroupFailed)?,
        None => living_init(&container.record)?.map(|_| container.record.pid).into_iter().collect(),
    };
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}
