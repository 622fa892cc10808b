//! A change of limits while the container runs: what is asked, completed by what it depends on. World: plan.
//!
//! A quota has a period beside it in its file, and the spec's swap is memory plus swap: whichever half is not asked
//! for stays as it is. Source: `runc update`, which merges what is asked with what it remembers.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::devices::{self, Devices};
use super::limits::{self, Write};
use crate::error::{Code, Error, Result};

const AT: &str = "linux.resources";

/// What a change can depend on, as the kernel has it now; `None` without the file or without a limit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Present {
    /// cpu.max, the first number. Units: microseconds.
    pub quota: Option<u64>,
    /// cpu.max, the second number. Units: microseconds.
    pub period: Option<u64>,
    /// cpu.max.burst. Units: microseconds.
    pub burst: Option<u64>,
    /// memory.max. Units: bytes.
    pub memory_limit: Option<u64>,
    /// memory.current. Units: bytes.
    pub memory_usage: Option<u64>,
}

/// A change, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Values for files of the cgroup, in order.
    pub writes: Vec<Write>,
    /// The new device rules; `None` leaves the present ones.
    pub devices: Option<Devices>,
}

/// Plans what `asked` changes in a cgroup whose resources were `remembered` until now.
///
/// # Errors
/// A value that cannot be accepted or done, with its JSON path.
pub fn plan_change(
    asked: &LinuxResources,
    remembered: Option<&LinuxResources>,
    present: &Present,
    user_namespace: bool,
) -> Result<Change> {
    let mut whole = asked.clone();
    if let Some(cpu) = whole.cpu_mut() {
        complete_cpu(cpu, remembered.and_then(|resources| resources.cpu().as_ref()), present)?;
    }
    let before = remembered.and_then(|resources| resources.memory().as_ref());
    if let Some(memory) = whole.memory_mut() {
        complete_memory(memory, before, present);
        check_usage(memory, before, present)?;
    }
    // Engines write an empty list for "not given", too.
    let rules = asked.devices().as_deref().filter(|rules| !rules.is_empty());
    let devices = rules.map(|rules| devices::plan(rules, &format!("{AT}.devices"), user_namespace));
    Ok(Change { writes: limits::plan(&whole, AT)?, devices: devices.transpose()? })
}

fn complete_cpu(cpu: &mut LinuxCpu, before: Option<&LinuxCpu>, present: &Present) -> Result<()> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_none() && period.is_none() && cpu.burst().is_none() {
        return Ok(());
    }
    let kept = present.quota.and_then(|quota| i64::try_from(quota).ok());
    cpu.set_quota(quota.or(kept));
    // systemd keeps no period without a quota.
    let asked_before = before.and_then(LinuxCpu::period).filter(|period| *period != 0 && present.quota.is_none());
    cpu.set_period(period.or(asked_before).or(present.period));
    let too_small = quota.and_then(|quota| u64::try_from(quota).ok()).zip(present.burst);
    match too_small.filter(|(quota, burst)| burst > quota && cpu.burst().is_none()) {
        Some((quota, burst)) => Err(Error::refused(
            Code::CgroupLimitInvalid,
            format!("{AT}.cpu.quota"),
            format!("{quota} is less than the present burst, {burst}"),
        )
        .hint("change the burst too")),
        None => Ok(()),
    }
}

/// A total of memory and swap that was asked for once holds when the memory limit changes.
fn complete_memory(memory: &mut LinuxMemory, before: Option<&LinuxMemory>, present: &Present) {
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    match (set(memory.limit()), set(memory.swap())) {
        (Some(1..), None) => {
            memory.set_swap(set(before.and_then(LinuxMemory::swap)));
        }
        (None, Some(1..)) => {
            let now = present.memory_limit.and_then(|limit| i64::try_from(limit).ok());
            let unlimited = || before.and_then(LinuxMemory::limit).filter(|limit| *limit == -1);
            memory.set_limit(now.or_else(unlimited));
        }
        _ => {}
    }
}

/// With `checkBeforeUpdate` a limit that would have processes killed at once is refused, in runc's words.
fn check_usage(memory: &LinuxMemory, before: Option<&LinuxMemory>, present: &Present) -> Result<()> {
    let wanted = memory.check_before_update().or_else(|| before?.check_before_update());
    let Some(usage) = present.memory_usage.filter(|_| wanted == Some(true)) else { return Ok(()) };
    for (name, what, limit) in [("swap", "memory+swap limit", memory.swap()), ("limit", "memory limit", memory.limit())]
    {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { continue };
        if limit.unsigned_abs() <= usage {
            return Err(Error::refused(
                Code::CgroupLimitInvalid,
                format!("{AT}.memory.{name}"),
                format!("rejecting {what} {limit} <= usage {usage}"),
            )
            .hint("processes would be killed; leave checkBeforeUpdate out to do it all the same"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Present = Present {
        quota: Some(50_000),
        period: Some(200_000),
        burst: Some(1000),
        memory_limit: Some(8 << 20),
        memory_usage: Some(4 << 20),
    };

    fn resources(json: Value) -> LinuxResources {
        serde_json::from_value(json).unwrap()
    }

    fn change(asked: Value, remembered: Value, present: &Present) -> Result<Change> {
        plan_change(&resources(asked), Some(&resources(remembered)), present, false)
    }

    #[track_caller]
    fn written(asked: Value, remembered: Value, present: &Present) -> Vec<String> {
        let writes = change(asked, remembered, present).unwrap().writes;
        writes.into_iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[track_caller]
    fn refused(asked: Value, remembered: Value) -> String {
        change(asked, remembered, &NOW).unwrap_err().to_string()
    }

    #[test]
    fn quota_and_period_keep_each_other() {
        let cpu = |cpu: Value| written(json!({ "cpu": cpu }), json!({}), &NOW);
        assert_eq!(cpu(json!({"quota": 60_000})), ["cpu.max=60000 200000"]);
        assert_eq!(cpu(json!({"period": 90_000})), ["cpu.max=50000 90000"]);
        assert_eq!(cpu(json!({"quota": -1})), ["cpu.max=max 200000"]);
        assert_eq!(cpu(json!({"quota": 0, "period": 0, "shares": 1024})), ["cpu.weight=100"]);
        assert_eq!(cpu(json!({"burst": 2000})), ["cpu.max=50000 200000", "cpu.max.burst=2000"]);
        let unlimited = Present { quota: None, period: Some(100_000), ..Present::default() };
        assert_eq!(written(json!({"cpu": {"period": 50_000}}), json!({}), &unlimited), ["cpu.max=max 50000"]);
        assert_eq!(written(json!({"cpu": {"quota": 30_000}}), json!({}), &unlimited), ["cpu.max=30000 100000"]);
        assert_eq!(
            written(json!({"cpu": {"quota": 30_000}}), json!({"cpu": {"period": 70_000}}), &unlimited),
            ["cpu.max=30000 70000"]
        );
        // Without a cpu controller the usual period; the write will fail and say so.
        let nothing = Present::default();
        assert_eq!(written(json!({"cpu": {"quota": 30_000}}), json!({}), &nothing), ["cpu.max=30000 100000"]);
    }

    #[test]
    fn a_quota_below_the_burst_is_explained() {
        let present = Present { burst: Some(20_000), ..NOW };
        let error = change(json!({"cpu": {"quota": 10_000}}), json!({}), &present).unwrap_err();
        assert_eq!(
            error.to_string(),
            "linux.resources.cpu.quota: 10000 is less than the present burst, 20000; change the burst too"
        );
        assert!(change(json!({"cpu": {"quota": 10_000, "burst": 0}}), json!({}), &present).is_ok());
        assert_eq!(
            refused(json!({"cpu": {"burst": 50_001}}), json!({})),
            "linux.resources.cpu.burst: 50001 is greater than the quota, 50000"
        );
    }

    #[test]
    fn memory_and_swap_keep_each_other() {
        let total = json!({"memory": {"limit": 8 << 20, "swap": 20 << 20}});
        let none = json!({});
        let memory = |asked: Value, before: &Value| written(json!({ "memory": asked }), before.clone(), &NOW);
        assert_eq!(memory(json!({"limit": 12 << 20}), &total), ["memory.swap.max=8388608", "memory.max=12582912"]);
        assert_eq!(memory(json!({"limit": 12 << 20}), &none), ["memory.max=12582912"]);
        assert_eq!(memory(json!({"swap": 10 << 20}), &none), ["memory.swap.max=2097152", "memory.max=8388608"]);
        assert_eq!(memory(json!({"limit": -1}), &total), ["memory.swap.max=max", "memory.max=max"]);
        assert_eq!(memory(json!({"swap": -1}), &total), ["memory.swap.max=max"]);
        assert_eq!(
            refused(json!({"memory": {"limit": 32 << 20}}), total),
            "linux.resources.memory.swap: 20971520 is memory plus swap and less than the memory limit, 33554432"
        );
        let unlimited = Present { memory_limit: None, ..NOW };
        let swap = json!({"memory": {"swap": 4096}});
        assert_eq!(
            written(swap.clone(), json!({"memory": {"limit": -1}}), &unlimited),
            ["memory.swap.max=4096", "memory.max=max"]
        );
        let error = change(swap, none, &unlimited).unwrap_err().to_string();
        assert!(
            error.starts_with("linux.resources.memory.swap: is memory plus swap and needs a memory limit"),
            "{error}"
        );
    }

    #[test]
    fn a_limit_below_the_usage_is_refused_when_that_was_asked() {
        let (low, high) = (json!({"memory": {"limit": 2 << 20}}), json!({"memory": {"limit": 5 << 20}}));
        let checked = json!({"memory": {"checkBeforeUpdate": true}});
        assert!(change(low.clone(), json!({}), &NOW).is_ok() && change(high, checked.clone(), &NOW).is_ok());
        assert_eq!(
            refused(low, checked.clone()),
            "linux.resources.memory.limit: rejecting memory limit 2097152 <= usage 4194304; processes would be killed; \
             leave checkBeforeUpdate out to do it all the same"
        );
        let asked = json!({"memory": {"limit": 2 << 20, "checkBeforeUpdate": false}});
        assert!(change(asked, checked, &NOW).is_ok());
    }

    #[test]
    fn device_rules_change_only_when_there_are_some() {
        let devices = |asked: Value| change(asked, json!({}), &NOW).unwrap().devices;
        assert_eq!(devices(json!({"pids": {"limit": 5}})), None);
        assert_eq!(devices(json!({"devices": []})), None);
        assert_eq!(devices(json!({"devices": [{"allow": true, "access": "rwm"}]})), Some(Devices::AllowAll));
        let denied = devices(json!({"devices": [{"allow": false, "access": "rwm"}]}));
        assert!(matches!(denied, Some(Devices::Enforced(_))));
    }
}
