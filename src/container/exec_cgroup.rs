//! World: parent. The cgroup that a process of exec is born in.
//!
//! The container's own one, or the sub-cgroup that was asked for. A container that manages its cgroups itself (systemd
//! as its init) hands controllers on, and then its own cgroup takes no processes: they are born where init is now.

use super::record::Record;
use super::status::cgroup;
use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Program;
use crate::wire::{Fault, Step};

/// The first choice; `below` is `--cgroup`. `None`: the container has no cgroup.
///
/// # Errors
/// There is no such sub-cgroup, or it is frozen: the process would never come to life.
pub fn choose(record: &Record, below: Option<&str>, ignore_frozen: bool) -> Result<Option<Cgroup>> {
    let cgroup = match cgroup(record)? {
        None => of_init(record)?,
        found => found,
    };
    if let (Some(cgroup), Some(unit)) = (&cgroup, &record.unit) {
        unit.approach(&crate::cgroup::mount()?, cgroup.path())?;
    }
    let Some(below) = below else { return Ok(cgroup) };
    let absent = |what: String| Err(Error::new(ErrorKind::NotFound, format!("--cgroup: {what}")));
    let Some(cgroup) = cgroup else {
        return Err(Error::new(ErrorKind::Unsupported, "--cgroup: the container has no cgroup"));
    };
    match cgroup.below(below)? {
        Some(cgroup) if !ignore_frozen && cgroup.frozen()? => {
            let what = format!("--cgroup: the sub-cgroup {below:?} is frozen");
            Err(Error::new(ErrorKind::WrongStatus, what).hint("write 0 to its cgroup.freeze first"))
        }
        Some(cgroup) => Ok(Some(cgroup)),
        None => absent(format!("the container has no sub-cgroup {below:?}")),
    }
}

/// Where init is now, when its own cgroup is gone: a container with the host's cgroups in it can move, and remove the one
/// that it had. The caller's cgroup would be outside of all limits.
fn of_init(record: &Record) -> Result<Option<Cgroup>> {
    let Some(recorded) = &record.cgroup else { return Ok(None) };
    let path = crate::cgroup::path_of(record.pid)?;
    let found = Cgroup::open(&crate::cgroup::mount()?, &path)?;
    let absent = || {
        let what =
            format!("the container's cgroup {recorded} is gone, and that of its init, {path}, cannot be reached");
        Error::new(ErrorKind::System, what)
    };
    found.map(Some).ok_or_else(absent)
}

/// The second choice, after the first one gave `fault`.
///
/// # Errors
/// The fault in words: a sub-cgroup that was asked for has no second choice, and other faults are not the cgroup's.
pub fn after(record: &Record, first: Option<Cgroup>, asked: bool, program: &Program, fault: &Fault) -> Result<Cgroup> {
    let refused = || Err(explain(first.as_ref(), program, fault));
    let full = fault.step == Step::Clone && matches!(fault.errno, libc::EBUSY | libc::EOPNOTSUPP);
    if !full || asked {
        return refused();
    }
    let Some(own) = &first else { return refused() };
    match own.of_process(record.pid)? {
        Some(live) if live.path() != own.path() && !live.frozen()? => Ok(live),
        _ => refused(),
    }
}

/// The words for a fault before the process existed.
pub fn explain(cgroup: Option<&Cgroup>, program: &Program, fault: &Fault) -> Error {
    let cgroup = cgroup.filter(|_| fault.step == Step::Clone);
    cgroup.and_then(|cgroup| cgroup.explain_entry(fault.errno)).unwrap_or_else(|| program.explain(fault))
}
