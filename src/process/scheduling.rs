//! Scheduler, io priority, memory policy and cpu affinity as the kernel's numbers.
//!
//! World: plan (pure). Sources: sched(7), sched_setattr(2), ioprio_set(2), set_mempolicy(2).

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy,
    MemoryPolicyFlagType, MemoryPolicyModeType as Mode, Scheduler,
};

use super::plan::path;
use crate::error::{Code, Error, Result};
use crate::number_list;
use crate::sys::scheduling::{ATTRIBUTES_SIZE, Attributes};

/// The arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* with its flags.
    pub mode: u32,
    /// Bit mask of the nodes.
    pub nodes: Vec<u64>,
}

/// The scheduling policy.
///
/// # Errors
/// A value out of range, or one that belongs to another policy.
pub(super) fn scheduler(
    scheduler: Option<&Scheduler>,
    at: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Attributes>> {
    let Some(scheduler) = scheduler else { return Ok(None) };
    let here = |field: &str| path(at, &format!("scheduler.{field}"));
    let policy = *scheduler.policy();
    let number = policy_number(policy).ok_or_else(|| {
        Error::refused(Code::SchedulerUnsupported, here("policy"), format!("Linux does not implement {policy}"))
    })?;
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::refused(Code::SchedulerInvalid, here("nice"), format!("{nice} is not between -20 and 19")));
    }
    if nice != 0 && !matches!(policy, Policy::SchedOther | Policy::SchedBatch) {
        warnings.push(format!("{}: has no effect with {policy}", here("nice")));
    }
    let deadline =
        [("runtime", scheduler.runtime()), ("deadline", scheduler.deadline()), ("period", scheduler.period())];
    for (field, value) in deadline {
        if policy != Policy::SchedDeadline && value.is_some_and(|value| value != 0) {
            return Err(Error::refused(
                Code::SchedulerInvalid,
                here(field),
                format!("is for SCHED_DEADLINE, not for {policy}"),
            ));
        }
    }
    Ok(Some(Attributes {
        size: ATTRIBUTES_SIZE,
        policy: number,
        flags: scheduler.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag)),
        nice,
        priority: priority(scheduler.priority().unwrap_or(0), policy).map_err(|error| error.at(here("priority")))?,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
        util_min: 0,
        util_max: 0,
    }))
}

/// The real-time policies demand 1 to 99, the others 0.
fn priority(priority: i32, policy: Policy) -> Result<u32> {
    let realtime = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    let refuse = |what: String| Error::new(Code::SchedulerInvalid, what);
    if realtime && !(1..=99).contains(&priority) {
        return Err(refuse(format!("{policy} needs a priority between 1 and 99, not {priority}")));
    }
    if !realtime && priority != 0 {
        return Err(refuse(format!("is for SCHED_FIFO and SCHED_RR, not for {policy}")));
    }
    Ok(priority.unsigned_abs())
}

fn policy_number(policy: Policy) -> Option<u32> {
    match policy {
        Policy::SchedOther => Some(0),
        Policy::SchedFifo => Some(1),
        Policy::SchedRr => Some(2),
        Policy::SchedBatch => Some(3),
        Policy::SchedIso => None,
        Policy::SchedIdle => Some(5),
        Policy::SchedDeadline => Some(6),
    }
}

fn flag_bit(flag: Flag) -> u64 {
    match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    }
}

/// The value for ioprio_set.
///
/// # Errors
/// A priority outside 0 to 7.
pub(super) fn io_priority(priority: Option<&LinuxIOPriority>, at: &str) -> Result<Option<u32>> {
    let Some(io) = priority else { return Ok(None) };
    let class = match io.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(io.priority()).ok().filter(|level| *level <= 7).ok_or_else(|| {
        Error::refused(
            Code::SchedulerInvalid,
            path(at, "ioPriority.priority"),
            format!("{} is not between 0 and 7", io.priority()),
        )
    })?;
    Ok(Some(class << 13 | level))
}

/// The arguments of set_mempolicy.
///
/// # Errors
/// Nodes where the mode takes none, none where it needs some, flags that exclude each other.
pub(super) fn memory_policy(policy: Option<&LinuxMemoryPolicy>) -> Result<Option<MemoryPolicy>> {
    let Some(policy) = policy else { return Ok(None) };
    let refuse = |field: &str, what: String| {
        Error::refused(Code::ProcessAttributeInvalid, format!("linux.memoryPolicy.{field}"), what)
    };
    let mode = policy.mode();
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = number_list::mask(&number_list::parse(list).map_err(|what| refuse("nodes", what))?);
    let (number, takes, needs) = match mode {
        Mode::MpolDefault => (0, false, false),
        Mode::MpolPreferred => (1, true, false),
        Mode::MpolBind => (2, true, true),
        Mode::MpolInterleave => (3, true, true),
        Mode::MpolLocal => (4, false, false),
        Mode::MpolPreferredMany => (5, true, true),
        Mode::MpolWeightedInterleave => (6, true, true),
    };
    if needs && nodes.is_empty() {
        return Err(refuse("nodes", format!("{mode} needs nodes")));
    }
    if !takes && !nodes.is_empty() {
        return Err(refuse("nodes", format!("{mode} takes no nodes")));
    }
    let flags = policy.flags().iter().flatten().fold(0, |flags, flag| flags | mode_flag(*flag));
    if flags & STATIC_AND_RELATIVE == STATIC_AND_RELATIVE {
        return Err(refuse("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".to_string()));
    }
    Ok(Some(MemoryPolicy { mode: number | flags, nodes }))
}

/// MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES.
const STATIC_AND_RELATIVE: u32 = 1 << 15 | 1 << 14;

fn mode_flag(flag: MemoryPolicyFlagType) -> u32 {
    match flag {
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
    }
}

/// The cpu mask of `process.execCPUAffinity.FIELD`; an empty list is none.
///
/// # Errors
/// A text that is not a list of cpus.
pub(super) fn affinity(list: Option<&str>, at: &str, field: &str) -> Result<Option<Vec<u64>>> {
    let Some(list) = list else { return Ok(None) };
    let numbers = number_list::parse(list);
    let numbers = numbers.map_err(|what| {
        Error::refused(Code::ProcessAttributeInvalid, path(at, &format!("execCPUAffinity.{field}")), what)
    })?;
    Ok((!numbers.is_empty()).then(|| number_list::mask(&numbers)))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Linux;
    use serde_json::{Value, json};

    use super::super::plan::plan;
    use super::super::plan::tests::{FACTS, planned, process, refusal};
    use super::*;

    #[test]
    fn affinity_is_initial_and_final() {
        let asked = || process(json!({"execCPUAffinity": {"initial": "0-1", "final": "1"}}));
        let exec = plan(&asked(), None, &super::super::plan::ProcessFacts { init: false, ..FACTS }).unwrap();
        assert_eq!((exec.initial_affinity, exec.final_affinity), (Some(vec![3]), Some(vec![2])));
        let init = plan(&asked(), None, &FACTS).unwrap();
        assert_eq!((init.initial_affinity, init.final_affinity), (None, None));
        assert_eq!(
            refusal(json!({"execCPUAffinity": {"final": "3-1"}})),
            "process.execCPUAffinity.final: \"3-1\" is not a list like 0-3,7: \"3-1\" runs backwards"
        );
    }

    #[test]
    fn scheduler_attributes() {
        let of = |scheduler: Value| planned(json!({ "scheduler": scheduler })).scheduler.unwrap();
        let fifo = of(json!({"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_RESET_ON_FORK"]}));
        assert_eq!((fifo.policy, fifo.priority, fifo.flags), (1, 10, 1));
        let batch = of(json!({"policy": "SCHED_BATCH", "nice": -5}));
        assert_eq!((batch.policy, batch.nice, batch.priority), (3, -5, 0));
        let deadline = of(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}));
        assert_eq!((deadline.policy, deadline.runtime, deadline.deadline, deadline.period), (6, 1, 2, 3));
    }

    #[test]
    fn scheduler_refusals() {
        let cases = [
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice: 20 is not between -20 and 19"),
            (
                json!({"policy": "SCHED_FIFO"}),
                "process.scheduler.priority: SCHED_FIFO needs a priority between 1 and 99, not 0",
            ),
            (
                json!({"policy": "SCHED_OTHER", "priority": 1}),
                "process.scheduler.priority: is for SCHED_FIFO and SCHED_RR, not for SCHED_OTHER",
            ),
            (
                json!({"policy": "SCHED_RR", "priority": 1, "period": 1}),
                "process.scheduler.period: is for SCHED_DEADLINE, not for SCHED_RR",
            ),
            (json!({"policy": "SCHED_ISO"}), "process.scheduler.policy: Linux does not implement SCHED_ISO"),
        ];
        for (scheduler, expected) in cases {
            assert_eq!(refusal(json!({ "scheduler": scheduler })), expected);
        }
        let plan = planned(json!({"scheduler": {"policy": "SCHED_IDLE", "nice": 5}}));
        assert_eq!(plan.warnings, ["process.scheduler.nice: has no effect with SCHED_IDLE"]);
    }

    #[test]
    fn io_priorities() {
        let of = |class: &str, priority: i64| json!({"ioPriority": {"class": class, "priority": priority}});
        assert_eq!(planned(of("IOPRIO_CLASS_BE", 4)).io_priority, Some(2 << 13 | 4));
        assert_eq!(planned(of("IOPRIO_CLASS_IDLE", 0)).io_priority, Some(3 << 13));
        assert_eq!(refusal(of("IOPRIO_CLASS_RT", 8)), "process.ioPriority.priority: 8 is not between 0 and 7");
        assert_eq!(refusal(of("IOPRIO_CLASS_RT", -1)), "process.ioPriority.priority: -1 is not between 0 and 7");
    }

    #[test]
    fn memory_policies() {
        let of = |policy: Value| {
            let linux: Linux = serde_json::from_value(json!({ "memoryPolicy": policy })).unwrap();
            plan(&process(json!({})), Some(&linux), &FACTS).map(|plan| plan.memory_policy.unwrap())
        };
        let bind = of(json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]})).unwrap();
        assert_eq!(bind, MemoryPolicy { mode: 2 | 1 << 15, nodes: vec![3] });
        let far = of(json!({"mode": "MPOL_BIND", "nodes": "1024"})).unwrap();
        assert_eq!((far.nodes.len(), far.nodes.last()), (17, Some(&1)));
        assert_eq!(of(json!({"mode": "MPOL_LOCAL"})).unwrap(), MemoryPolicy { mode: 4, nodes: vec![] });
        let refused = |policy| of(policy).unwrap_err().to_string();
        assert_eq!(refused(json!({"mode": "MPOL_BIND"})), "linux.memoryPolicy.nodes: MPOL_BIND needs nodes");
        assert_eq!(
            refused(json!({"mode": "MPOL_DEFAULT", "nodes": "0"})),
            "linux.memoryPolicy.nodes: MPOL_DEFAULT takes no nodes"
        );
        assert_eq!(
            refused(json!({"mode": "MPOL_BIND", "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]})),
            "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"
        );
    }
}
