//! Room for the descriptors of a container with many mounts.
//!
//! World: parent. The soft limit is a default for programs that use select(2), which tare does not; the program gets the
//! caller's back.

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::error::{Context, Result};

/// Descriptors besides those that are asked for: the state directory, the cgroup, sockets, namespaces, and those that
/// the caller has open.
const OTHERS: u64 = 128;

/// Below that even a low limit has room, and it costs a system call to ask.
const FEW: u64 = 64;

/// Raises the soft limit to the hard one where `descriptors` may not fit; the limit as the caller had it, if so. A hard
/// limit that is too low shows when a mount is opened.
///
/// # Errors
/// prlimit(2).
pub(super) fn make_room(descriptors: usize) -> Result<Option<Rlimit>> {
    let wanted = u64::try_from(descriptors).unwrap_or(u64::MAX);
    if wanted < FEW {
        return Ok(None);
    }
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= wanted.saturating_add(OTHERS)) {
        return Ok(None);
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    prlimit(None, Resource::Nofile, raised).context(|| "raise the soft limit of open files to the hard limit")?;
    Ok(Some(limit))
}
