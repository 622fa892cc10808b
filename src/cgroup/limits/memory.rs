//! `linux.resources.memory`. World: plan.
//!
//! The spec's swap is memory plus swap, the kernel's memory.swap.max is swap alone.
//! Values that mean "not set": 0 for limit, reservation and swap; 0 and -1 for kernel memory;
//! false for disableOOMKiller; 2^64-1 for swappiness (Docker's -1, made unsigned).

use oci_spec::runtime::LinuxMemory;

use super::Write;
use super::convert::or_max;
use crate::error::{Code, Error, Result};

pub fn plan(memory: &LinuxMemory, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    refuse_unsupported(memory, at)?;
    let member = |name: &str| format!("{at}.{name}");
    let set = |value: Option<i64>, name: &str| match value {
        Some(value) if value < -1 => Err(Error::refused(
            Code::CgroupLimitInvalid,
            member(name),
            format!("{value} is negative; -1 means no limit"),
        )),
        value => Ok(value.filter(|value| *value != 0)),
    };
    let limit = set(memory.limit(), "limit")?;
    let reservation = set(memory.reservation(), "reservation")?;
    let swap = set(memory.swap(), "swap")?;

    match (swap, limit) {
        // Unlimited memory alone frees swap too, as on cgroup v1.
        (None, Some(-1)) => writes.push(Write::new(member("limit"), "memory.swap.max", "max").or_skip()),
        (None, _) => {}
        (Some(-1), _) => writes.push(Write::new(member("swap"), "memory.swap.max", "max").or_skip()),
        (Some(_), None) => {
            return Err(Error::refused(
                Code::CgroupLimitInvalid,
                member("swap"),
                "is memory plus swap and needs a memory limit",
            )
            .hint("set linux.resources.memory.limit"));
        }
        (Some(total), Some(limit)) => writes.push(swap_beside(total, limit, member("swap"))?),
    }
    if let Some(limit) = limit {
        writes.push(Write::new(member("limit"), "memory.max", or_max(limit)).or_skip_if(limit == -1));
    }
    if let Some(reservation) = reservation {
        writes.push(Write::new(member("reservation"), "memory.low", or_max(reservation)));
    }
    Ok(())
}

/// Without swap accounting there is no swap to forbid, so 0 needs no file.
fn swap_beside(total: i64, limit: i64, at: String) -> Result<Write> {
    let swap = if limit == -1 { total } else { total - limit };
    if swap < 0 {
        return Err(Error::refused(
            Code::CgroupLimitInvalid,
            at,
            format!("{total} is memory plus swap and less than the memory limit, {limit}"),
        ));
    }
    let write = Write::new(at, "memory.swap.max", swap);
    Ok(if swap == 0 { write.or_skip() } else { write })
}

#[allow(deprecated, reason = "the deprecated members are the ones to refuse")]
fn refuse_unsupported(memory: &LinuxMemory, at: &str) -> Result<()> {
    let kernel = |limit: Option<i64>| limit.is_some_and(|limit| limit != 0 && limit != -1);
    let refused = [
        (
            "kernel",
            kernel(memory.kernel()),
            "cgroup v2 has no separate limit for kernel memory; memory.limit covers it",
        ),
        (
            "kernelTCP",
            kernel(memory.kernel_tcp()),
            "cgroup v2 has no separate limit for TCP buffers; memory.limit covers them",
        ),
        (
            "swappiness",
            memory.swappiness().is_some_and(|value| value != u64::MAX),
            "cgroup v2 has no swappiness of a cgroup",
        ),
        ("disableOOMKiller", memory.disable_oom_killer() == Some(true), "cgroup v2 cannot switch the OOM killer off"),
        ("useHierarchy", memory.use_hierarchy() == Some(false), "cgroup v2 is always hierarchical"),
    ];
    match refused.into_iter().find(|(_, set, _)| *set) {
        Some((name, _, why)) => Err(Error::refused(Code::CgroupLimitUnsupported, format!("{at}.{name}"), why)),
        None => Ok(()),
    }
}
