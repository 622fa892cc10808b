//! `linux.resources.cpu`. World: plan. Zero means "not set" where the Go types of engines cannot say otherwise.

use oci_spec::runtime::LinuxCpu;

use super::Write;
use super::convert::weight_from_shares;
use crate::error::{Code, Error, Result};

/// The kernel's period in microseconds when none is given. Source: cgroup-v2.rst, cpu.max.
const USUAL_PERIOD: u64 = 100_000;
/// The kernel's bounds in microseconds. Source: linux/kernel/sched/core.c, tg_set_cfs_bandwidth.
const PERIODS: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
const LEAST_QUOTA: i64 = 1000;

pub fn plan(cpu: &LinuxCpu, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    refuse_realtime(cpu, at)?;
    for (list, name, file) in [(cpu.mems(), "mems", "cpuset.mems"), (cpu.cpus(), "cpus", "cpuset.cpus")] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            if list.chars().any(char::is_control) {
                return Err(Error::refused(
                    Code::CgroupLimitInvalid,
                    format!("{at}.{name}"),
                    format!("{list:?} has a control character"),
                ));
            }
            writes.push(Write::new(format!("{at}.{name}"), file, list));
        }
    }
    plan_weight(cpu, at, writes)?;
    plan_bandwidth(cpu, at, writes)
}

/// The kernel refuses a weight for an idle group, and leaving idle resets the weight:
/// idle 0 goes first, idle 1 last.
fn plan_weight(cpu: &LinuxCpu, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    let shares = cpu.shares().filter(|shares| *shares != 0);
    let weight = shares.map(|shares| Write::new(format!("{at}.shares"), "cpu.weight", weight_from_shares(shares)));
    let idle = match cpu.idle() {
        None => None,
        Some(idle @ (0 | 1)) => Some(Write::new(format!("{at}.idle"), "cpu.idle", idle)),
        Some(other) => {
            return Err(Error::refused(
                Code::CgroupLimitInvalid,
                format!("{at}.idle"),
                format!("{other} is neither 0 nor 1"),
            ));
        }
    };
    match cpu.idle() {
        Some(0) => writes.extend(idle.into_iter().chain(weight)),
        _ => writes.extend(weight.into_iter().chain(idle)),
    }
    Ok(())
}

fn plan_bandwidth(cpu: &LinuxCpu, at: &str, writes: &mut Vec<Write>) -> Result<()> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(period) = period.filter(|period| !PERIODS.contains(period)) {
        return Err(Error::refused(
            Code::CgroupLimitInvalid,
            format!("{at}.period"),
            format!("{period} is not between {} and {} microseconds", PERIODS.start(), PERIODS.end()),
        ));
    }
    if let Some(quota) = quota.filter(|quota| (1..LEAST_QUOTA).contains(quota)) {
        let least = format!("{quota} is less than the kernel's minimum, {LEAST_QUOTA} microseconds");
        return Err(Error::refused(Code::CgroupLimitInvalid, format!("{at}.quota"), least));
    }
    if quota.is_some() || period.is_some() {
        let limit = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let name = if quota.is_some() { "quota" } else { "period" };
        let value = format!("{limit} {}", period.unwrap_or(USUAL_PERIOD));
        let unlimited = limit == "max";
        writes.push(Write::new(format!("{at}.{name}"), "cpu.max", value).or_skip_if(unlimited));
    }
    if let Some(burst) = cpu.burst() {
        let limit = quota.and_then(|quota| u64::try_from(quota).ok());
        if limit.is_some_and(|limit| burst > limit) {
            let quota = limit.unwrap_or_default();
            return Err(Error::refused(
                Code::CgroupLimitInvalid,
                format!("{at}.burst"),
                format!("{burst} is greater than the quota, {quota}"),
            ));
        }
        writes.push(Write::new(format!("{at}.burst"), "cpu.max.burst", burst));
    }
    Ok(())
}

fn refuse_realtime(cpu: &LinuxCpu, at: &str) -> Result<()> {
    let settings = [
        ("realtimeRuntime", cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)),
        ("realtimePeriod", cpu.realtime_period().is_some_and(|period| period != 0)),
    ];
    for (name, set) in settings {
        if set {
            return Err(Error::refused(
                Code::CgroupLimitUnsupported,
                format!("{at}.{name}"),
                "cgroup v2 has no limit for realtime scheduling",
            ));
        }
    }
    Ok(())
}
