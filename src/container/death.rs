//! World: parent. Why a process of a container died: what its cgroup knows about it (OOM kills, the pids limit).

use super::record::Record;
use super::{StoredContainer, saved_config, status};
use crate::cgroup::{self, Cgroup};
use crate::error::{Code, Error};
use crate::plan::ContainerPlan;
use crate::spawn::{self, Child};

/// The container's memory limit in bytes.
pub(super) fn memory_limit(plan: &ContainerPlan) -> Option<u64> {
    plan.cgroup.as_ref().and_then(cgroup::CgroupPlan::memory_limit)
}

/// Why init could not be cloned into the cgroup, for the errno of clone3(2); `None` when the cgroup is not the reason. The
/// process that keeps a unit alive until then may be killed for lack of memory, and systemd removes the cgroup.
pub(super) fn explain_entry(cgroup: &Cgroup, plan: &ContainerPlan, errno: i32) -> Option<Error> {
    let error = cgroup.explain_entry(errno)?;
    let gone = matches!(errno, libc::ENODEV | libc::ENOENT);
    let unit = plan.cgroup.as_ref().and_then(cgroup::CgroupPlan::unit);
    match memory_limit(plan).filter(|_| gone && unit.is_some()) {
        Some(limit) => Some(error.detail(cgroup::explain_gone(limit))),
        None => Some(error),
    }
}

/// Kills and reaps a child that died during its set-up, and returns the error that says why it died. `memory_limit` is that
/// of its cgroup.
pub(super) fn explain_early(child: &Child, cgroup: Option<&Cgroup>, memory_limit: Option<u64>) -> Error {
    // Before the child is reaped: systemd removes the cgroup as soon as it is empty.
    let why = cgroup.and_then(|cgroup| cgroup.explain_death(memory_limit));
    let error = spawn::died(child.kill_and_reap());
    match why {
        Some(why) => error.detail(why),
        None => error,
    }
}

/// The warning for a program that SIGKILL ended: an OOM kill looks like any other SIGKILL, so the cgroup's counters are
/// checked to tell them apart. `None` if the kernel did not kill it.
pub(super) fn explain_kill(record: &Record, memory_limit: Option<u64>) -> Option<Error> {
    let why = oom_kill(record, memory_limit)?;
    Some(Error::new(Code::ContainerKilled, format!("container \"{}\" was killed", record.id)).detail(why))
}

/// Why the kernel may have ended init of a container that has stopped. `None` if it did not, or nothing is known.
pub(super) fn explain_stop(container: &StoredContainer) -> Option<String> {
    let spec = saved_config::spec(&container.directory).ok()?;
    let memory = spec.linux().as_ref()?.resources().as_ref().and_then(|resources| resources.memory().as_ref());
    let limit = memory.and_then(|memory| u64::try_from(memory.limit()?).ok());
    oom_kill(&container.record, limit)
}

fn oom_kill(record: &Record, memory_limit: Option<u64>) -> Option<String> {
    match status::cgroup(record) {
        Ok(Some(cgroup)) => cgroup.explain_kill(memory_limit),
        // systemd has removed the empty cgroup already.
        Ok(None) if record.unit.is_some() => memory_limit.map(cgroup::explain_gone),
        _ => None,
    }
}
