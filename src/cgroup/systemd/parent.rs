//! Making the cgroup of a unit, and what later commands do with the unit. World: parent.
//!
//! Order rules: what a killed runtime left at that place goes first; then the unit begins, around a parked process; then
//! the cgroup is looked at: it must be the planned one, with that process alone in it. From there on it is as with the
//! file driver: tag, limits, devices, and init is cloned into it.
//!
//! systemd moves the process that a scope begins with, and moving costs an RCU grace period: hence the parked one, which
//! ends when init is there. Where init has a cgroup below the scope's, a second one is cloned into that first. Parked
//! processes die with tare, and systemd removes an empty scope: nothing is left whatever happens.

use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};

use super::address::Instance;
use super::properties::{self, Property};
use super::unit::{SLICE, Unit};
use super::units::{Look, Systemd, outer_uid};
use super::value::Value;
use crate::cgroup::Tag;
use crate::cgroup::delegate::refusal;
use crate::cgroup::hierarchy::{Hierarchy, own_path, path_of};
use crate::cgroup::limits::Write;
use crate::cgroup::parent::{
    Cgroup, Unsettled, clear_leftover_at, frozen, hand_on_what_is_needed, not_empty, open_root,
};
use crate::cgroup::plan::{CgroupPlan, Scope};
use crate::error::{Code, Context, Error, ErrorKind, Result};
use crate::sys::namespace::NamespaceSet;
use crate::sys::parked::Parked;
use crate::timings;

/// What the record keeps of a unit: enough to stop it, whatever has become of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitName {
    /// With its suffix.
    pub name: String,
    /// It belongs to the user's own systemd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
    /// init's cgroup is one below the unit's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
}

impl UnitName {
    fn systemd(&self) -> Systemd {
        Systemd::new(if self.user { Instance::User } else { Instance::System })
    }

    /// Stops the unit, with whatever is in it, and has systemd forget it; one that is gone is fine. Where nobody listens
    /// the scope is forgotten with systemd.
    ///
    /// # Errors
    /// systemd refuses or fails, or cannot be asked; nobody listens, and the unit is a slice.
    pub fn stop(&self) -> Result<()> {
        let _span = timings::span("stop the systemd unit");
        match self.systemd().stop(&self.name) {
            Err(error) if error.kind() == ErrorKind::Unsupported && !self.name.ends_with(SLICE) => Ok(()),
            result => result,
        }
    }

    /// The unit that has the cgroup at `path`, if its name is one of a unit.
    #[must_use]
    pub fn at(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().filter(|name| name.ends_with(".scope") || name.ends_with(SLICE))?;
        Some(Self { name: name.to_owned(), user: path.contains("/user@"), nested: false })
    }

    /// Stops the unit if the cgroup at `path` is, or was, its.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn stop_at(&self, path: &str) -> Result<()> {
        let interface = if self.name.ends_with(SLICE) { "Slice" } else { "Scope" };
        match self.systemd().cgroup_of(&self.name, interface) {
            Ok(its) if its == path => self.stop(),
            Err(error) if error.kind() != ErrorKind::Unsupported || self.name.ends_with(SLICE) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes sure that tare may have a process born in the cgroup at `path`, which belongs to the user's own systemd.
    /// A login is outside of that one's cgroup, where the kernel permits no way over: then tare is put into a scope of
    /// its own there, which ends with it.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub fn approach(&self, hierarchy: &Hierarchy, path: &str) -> Result<()> {
        if !self.user || refusal(hierarchy, path)?.is_none() {
            return Ok(());
        }
        let pid = std::process::id();
        let unit = Unit { name: format!("run-tare-{pid}.scope"), slice: String::new(), components: Vec::new() };
        let look = || Ok(if own_path()?.ends_with(&unit.name) { Look::Ours } else { Look::Empty });
        let properties = [
            Property::new("Description", Value::text("tare at work")),
            Property::new("CollectMode", Value::text("inactive-or-failed")),
        ];
        let context = || "move tare to where the container's cgroup is".to_owned();
        let remedy =
            |error: Error| error.hint("start tare there, for example with `systemd-run --user --scope tare ...`");
        self.systemd().start(&unit, &properties, Some(pid), &look).context(context).map_err(remedy)?;
        match refusal(hierarchy, path)? {
            None => Ok(()),
            Some(refusal) => Err(remedy(Error::new(Code::SystemdDenied, context()).detail(refusal.why))),
        }
    }

    /// Tells systemd of new limits, so that it does not put the old ones back; the files are the caller's to write.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails.
    pub fn set_limits(&self, writes: &[Write]) -> Result<()> {
        let mut properties = properties::of_writes(writes);
        properties.retain(|property| property.name != properties::OOM_POLICY);
        if properties.is_empty() { Ok(()) } else { self.systemd().set(&self.name, &properties) }
    }

    /// Waits until systemd has written the limits that it was told to the cgroup: that may be after its answer, but it is
    /// before it looks at another request.
    ///
    /// # Errors
    /// systemd cannot be reached.
    pub fn await_writes(&self) -> Result<()> {
        let interface = if self.name.ends_with(SLICE) { "Slice" } else { "Scope" };
        self.systemd().cgroup_of(&self.name, interface).map(drop)
    }
}

/// Creates the first process of a scope, in `cgroup` if that is given.
fn park(cgroup: Option<BorrowedFd<'_>>) -> Result<Parked> {
    Parked::new(NamespaceSet::empty(), cgroup).context(|| "make the first process of the scope")
}

/// Ends the first process of a scope.
///
/// # Errors
/// It cannot be killed, and stays until tare ends.
pub(in crate::cgroup) fn unpark(parked: Parked) -> Result<()> {
    parked.end().context(|| "end the first process of the scope")
}

/// Makes the cgroup of `plan`, which is that of `scope`; the parked process is in it until it is settled.
///
/// # Errors
/// As [`Cgroup::create`]; and whatever systemd says. The unit is gone then.
pub(in crate::cgroup) fn make(plan: &CgroupPlan, scope: &Scope, hierarchy: &Hierarchy, tag: &Tag) -> Result<Cgroup> {
    scope.name().approach(hierarchy, &scope.path())?;
    let root = open_root(hierarchy)?;
    let path = scope.path();
    clear_leftover_at(root.as_fd(), &scope.unit.components, &path, tag)?;
    let parked = if scope.unit.is_slice() { None } else { Some(park(None)?) };
    let pid = parked.as_ref().map(Parked::pid);
    let look = || look(hierarchy, &path, pid);
    let properties = first_properties(scope, parked.is_some());
    let starting = timings::span("start the systemd unit");
    scope.name().systemd().start(&scope.unit, &properties, pid.and_then(|pid| u32::try_from(pid).ok()), &look)?;
    drop(starting);
    let made =
        take(plan, scope, hierarchy, tag, pid, look()).and_then(|unit| settle_in(unit, plan, scope, tag, parked));
    made.inspect_err(|_| {
        // An empty scope is collected anyway; the error that counts is the first.
        let _gone = scope.name().stop();
    })
}

/// Sets the limits of the unit's cgroup, and makes the one for init below it. The second parked process keeps the scope: a
/// cgroup can enable controllers for its children only while it contains no processes.
fn settle_in(unit: Cgroup, plan: &CgroupPlan, scope: &Scope, tag: &Tag, parked: Option<Parked>) -> Result<Cgroup> {
    let Some(name) = &scope.init_cgroup else {
        unit.set_up(plan, tag)?;
        return Ok(Cgroup { unsettled: Unsettled::new(parked, plan), ..unit });
    };
    let make = || -> Result<Cgroup> {
        unit.write_all(plan.early_writes())?;
        let init = unit.make_below(name)?;
        let below = park(Some(init.directory()))?;
        parked.map_or(Ok(()), unpark)?;
        unit.hand_on_to_init(&plan.writes)?;
        init.set_up(plan, tag)?;
        Ok(Cgroup { unsettled: Unsettled::new(Some(below), plan), ..init })
    };
    match make() {
        Ok(init) => Ok(Cgroup { unit: Some(Box::new(unit)), ..init }),
        // A limit may be too low for a process that only sleeps; an empty scope is gone soon.
        Err(error) => Err(match unit.explain_kill(plan.memory_limit()) {
            Some(why) => Error::new(Code::ContainerKilled, "the first process of the scope was killed").detail(why),
            None => error,
        }),
    }
}

/// Takes the cgroup of a unit that has begun, when it is the planned one and `found` is what should be in it.
fn take(
    plan: &CgroupPlan,
    scope: &Scope,
    hierarchy: &Hierarchy,
    tag: &Tag,
    pid: Option<i32>,
    found: Result<Look>,
) -> Result<Cgroup> {
    let path = scope.path();
    let elsewhere = || {
        let what = format!("unit {} has started, but its process is not in cgroup {path}", scope.unit.name);
        let found = pid.and_then(|pid| path_of(pid).ok());
        let found = found.map_or_else(|| "it is gone".to_owned(), |found| format!("it is in {found}"));
        Err(Error::new(Code::SystemdFailed, what).detail(found))
    };
    let Some(cgroup) = Cgroup::open(hierarchy, &path)? else { return elsewhere() };
    match found? {
        Look::Taken => return Err(not_empty(&path)),
        Look::Empty if !scope.unit.is_slice() => return elsewhere(),
        Look::Ours | Look::Empty => {}
    }
    if cgroup.frozen()? {
        return Err(frozen(&path));
    }
    cgroup.mark(tag)?;
    hand_on_what_is_needed(hierarchy, &scope.unit.components, &plan.writes)?;
    Ok(cgroup)
}

/// The parked process and init must both fit, for the moment of the clone.
fn first_properties(scope: &Scope, parked: bool) -> Vec<Property> {
    let mut properties = scope.properties.clone();
    let is_own = |property: &&mut Property| property.name == "TasksMax" && property.at.is_none();
    for property in properties.iter_mut().filter(|property| parked && is_own(property)) {
        if let Value::U64(limit @ ..2) = &mut property.value {
            *limit = 2;
        }
    }
    properties
}

/// Who is in the cgroup where the unit should be.
fn look(hierarchy: &Hierarchy, path: &str, pid: Option<i32>) -> Result<Look> {
    let Some(cgroup) = Cgroup::open(hierarchy, path)? else { return Ok(Look::Empty) };
    let pids = cgroup.processes()?;
    Ok(match pids.as_slice() {
        [] if !cgroup.populated()? => Look::Empty,
        [only] if Some(*only) == pid => Look::Ours,
        _ => Look::Taken,
    })
}

/// systemd's own cgroup below the root of the hierarchy, under which its units are.
///
/// # Errors
/// systemd cannot be asked.
pub fn control_group(user: bool) -> Result<String> {
    // pid 1 is in init.scope of that cgroup; if it is something else, systemd is asked.
    if !user {
        let path = path_of(1)?;
        if let Some(above) = path.strip_suffix("/init.scope") {
            return Ok(above.to_owned());
        }
    } else if let Some(above) = users(&own_path()?, outer_uid()) {
        return Ok(above.to_owned());
    }
    Systemd::new(if user { Instance::User } else { Instance::System }).control_group()
}

/// The cgroup of the systemd of user `uid`, when `path` is below it. Source: the name of user@.service.
fn users(path: &str, uid: u32) -> Option<&str> {
    let service = format!("/user@{uid}.service");
    let end = path.find(&format!("{service}/"))? + service.len();
    path.get(..end)
}

#[cfg(test)]
mod tests {
    use super::users;

    #[test]
    fn what_a_users_systemd_began_names_its_cgroup() {
        let below = "/user.slice/user-7.slice/user@7.service";
        assert_eq!(users(&format!("{below}/app.slice/run-1.scope"), 7), Some(below));
        assert_eq!(users(&format!("{below}/app.slice/run-1.scope"), 8), None);
        assert_eq!(users("/user.slice/user-7.slice/session-1.scope", 7), None);
        assert_eq!(users(below, 7), None);
    }
}
