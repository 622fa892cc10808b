//! World: parent. The cgroup in which a process that joins a container is created.
//!
//! It is the container's own, or the one below it that was asked for. If the container delegates controllers to cgroups
//! below its own (systemd as its init does), the kernel admits no process to its own cgroup ("no internal processes",
//! cgroups(7)). The process is then created in the cgroup that init is in now.

use super::Joining;
use crate::cgroup::{self, Cgroup};
use crate::container::record::Record;
use crate::container::status;
use crate::error::{Code, Error, Result};
use crate::plan::Program;
use crate::wire::{Fault, Step};

/// The cgroup that init is in, in or below the container's own, which admits no process if it delegates controllers.
/// `None` if the container has no cgroup.
///
/// # Errors
/// It cannot be reached.
pub(in crate::container) fn of_container(record: &Record) -> Result<Option<Cgroup>> {
    let Some(own) = choose(record, None, false)? else { return Ok(None) };
    Ok(Some(own.of_process(record.pid)?.unwrap_or(own)))
}

/// The first choice; `below` is `--cgroup`. `None` if the container has no cgroup.
///
/// # Errors
/// There is no such cgroup, or it is frozen: the process would never run.
pub(super) fn choose(record: &Record, below: Option<&str>, ignore_frozen: bool) -> Result<Option<Cgroup>> {
    let cgroup = match status::cgroup(record)? {
        None => of_init(record)?,
        found => found,
    };
    if let (Some(cgroup), Some(unit)) = (&cgroup, &record.unit) {
        unit.approach(&cgroup::mount()?, cgroup.path())?;
    }
    let Some(below) = below else { return Ok(cgroup) };
    let Some(cgroup) = cgroup else {
        return Err(Error::new(Code::ContainerUnmanaged, "--cgroup: the container has no cgroup"));
    };
    match cgroup.below(below)? {
        Some(cgroup) if !ignore_frozen && cgroup.frozen()? => {
            let what = format!("--cgroup: the sub-cgroup {below:?} is frozen");
            Err(Error::new(Code::SubCgroupFrozen, what).hint("write 0 to its cgroup.freeze first"))
        }
        Some(cgroup) => Ok(Some(cgroup)),
        None => {
            let what = format!("--cgroup: the container has no sub-cgroup {below:?}");
            Err(Error::new(Code::SubCgroupNotFound, what))
        }
    }
}

/// The cgroup that init is in now, if the recorded one is gone: a container that sees the host's cgroups can move its
/// processes and remove the cgroup that it had. The caller's cgroup would be no substitute: it has none of the limits.
fn of_init(record: &Record) -> Result<Option<Cgroup>> {
    let Some(recorded) = &record.cgroup else { return Ok(None) };
    let path = cgroup::path_of(record.pid)?;
    let found = Cgroup::open(&cgroup::mount()?, &path)?;
    let absent = || {
        let what =
            format!("the container's cgroup {recorded} is gone, and that of its init, {path}, cannot be reached");
        Error::new(Code::CgroupFailed, what)
    };
    found.map(Some).ok_or_else(absent)
}

/// The second choice, after a clone into the first one failed with `fault`.
///
/// # Errors
/// The explanation of `fault`: there is no second choice for `--cgroup`, or for a fault that has another cause.
pub(super) fn second_choice(joining: &Joining<'_>, first: Option<Cgroup>, fault: &Fault) -> Result<Cgroup> {
    let refused = || Err(explain(first.as_ref(), joining.program, fault));
    let delegates = fault.step == Step::Clone && matches!(fault.errno, libc::EBUSY | libc::EOPNOTSUPP);
    if !delegates || joining.cgroup.is_some() {
        return refused();
    }
    let Some(own) = &first else { return refused() };
    match own.of_process(joining.record.pid)? {
        Some(live) if live.path() != own.path() && !live.frozen()? => Ok(live),
        _ => refused(),
    }
}

/// The error for a fault of a step before the process existed.
pub(super) fn explain(cgroup: Option<&Cgroup>, program: &Program, fault: &Fault) -> Error {
    let cgroup = cgroup.filter(|_| fault.step == Step::Clone);
    cgroup.and_then(|cgroup| cgroup.explain_entry(fault.errno)).unwrap_or_else(|| program.explain(fault))
}
