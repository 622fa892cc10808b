//! World: parent. pause and resume: the cgroup's freezer.

use super::status::{Status, cgroup, status};
use super::{StoredContainer, find};
use crate::error::{Code, Coded, Error, Result};

/// Freezes a container.
///
/// # Errors
/// It neither runs nor waits to be started; it has no cgroup.
pub fn pause(root: &std::path::Path, id: &str) -> Result<()> {
    let container = find(root, id)?;
    match status(&container.directory, &container.record)?.0 {
        Status::Running | Status::Created => set(&container, true),
        other => Err(other.refuses(id, "paused")),
    }
}

/// Thaws a container.
///
/// # Errors
/// It is not paused.
pub fn resume(root: &std::path::Path, id: &str) -> Result<()> {
    let container = find(root, id)?;
    match status(&container.directory, &container.record)?.0 {
        Status::Paused => set(&container, false),
        other => Err(other.refuses(id, "resumed")),
    }
}

fn set(container: &StoredContainer, frozen: bool) -> Result<()> {
    let cgroup = cgroup(&container.record)?.ok_or_else(|| {
        let what = format!("container \"{}\" has no cgroup to freeze", container.record.id);
        Error::new(Code::ContainerUnmanaged, what)
    })?;
    cgroup.freeze(frozen).coded(Code::CgroupFailed)
}
