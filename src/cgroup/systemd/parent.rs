//! Making the cgroup of a unit, and what later commands do with the unit. World: parent.
//!
//! Order rules: what a killed runtime left at that place goes first; then the unit begins, around a process that only
//! sleeps; then the cgroup is looked at: it must be the planned one, with that process alone in it. From there on it
//! is as with the file driver: tag, limits, devices, and init is cloned into it.

use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::address::Instance;
use super::parked::Parked;
use super::properties::{self, Property};
use super::unit::Unit;
use super::units::{Look, Systemd};
use super::value::Value;
use crate::cgroup::delegate::refusal;
use crate::cgroup::hierarchy::{Hierarchy, own_path, path_of};
use crate::cgroup::limits::Write;
use crate::cgroup::parent::{Cgroup, Tag, Unsettled, clear_leftover_at, open_root};
use crate::cgroup::plan::{Plan, Scope};
use crate::error::{Context, Error, ErrorKind, Result};

/// What the record keeps of a unit: enough to stop it, whatever has become of the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitName {
    /// With its suffix.
    pub name: String,
    /// It belongs to the user's own systemd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
}

impl UnitName {
    fn systemd(&self) -> Systemd {
        Systemd::new(if self.user { Instance::User } else { Instance::System })
    }

    /// Stops the unit, with whatever is in it, and has systemd forget it; one that is gone is fine.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails.
    pub fn stop(&self) -> Result<()> {
        self.systemd().stop(&self.name)
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
        self.systemd().start(&unit, &properties, Some(pid), &look).context(context)?;
        match refusal(hierarchy, path)? {
            None => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Denied, context()).detail(why)),
        }
    }

    /// Tells systemd of new limits, so that it does not put the old ones back; the files are the caller's to write.
    ///
    /// # Errors
    /// systemd cannot be reached, refuses, or fails.
    pub fn set_limits(&self, writes: &[Write]) -> Result<()> {
        let properties = properties::of_writes(writes);
        if properties.is_empty() { Ok(()) } else { self.systemd().set(&self.name, &properties) }
    }
}

/// Makes the cgroup of `plan`, which is that of `scope`; the sleeper is in it until it is settled.
///
/// # Errors
/// As [`Cgroup::create`]; and whatever systemd says. The unit is gone then.
pub(in crate::cgroup) fn make(plan: &Plan, scope: &Scope, hierarchy: &Hierarchy, tag: &Tag) -> Result<Cgroup> {
    scope.name().approach(hierarchy, &plan.path())?;
    let root = open_root(hierarchy)?;
    clear_leftover_at(root.as_fd(), &scope.unit.components, &plan.path(), tag)?;
    let parked = if scope.unit.is_slice() { None } else { Some(Parked::new()?) };
    let begun = begin(plan, scope, hierarchy, tag, parked.as_ref());
    match begun {
        Ok(directory) => Ok(Cgroup { unsettled: Unsettled::new(parked, plan), ..directory }),
        Err(error) => {
            drop(parked);
            // An empty scope is collected anyway; the error that counts is the first.
            if error.kind() != ErrorKind::Exists {
                let _gone = scope.name().stop();
            }
            Err(error)
        }
    }
}

fn begin(plan: &Plan, scope: &Scope, hierarchy: &Hierarchy, tag: &Tag, parked: Option<&Parked>) -> Result<Cgroup> {
    let path = plan.path();
    let pid = parked.map(|parked| parked.pid);
    let look = || look(hierarchy, &path, pid);
    let properties = first_properties(scope, parked.is_some());
    let mut systemd = scope.name().systemd();
    systemd.start(&scope.unit, &properties, pid.and_then(|pid| u32::try_from(pid).ok()), &look)?;
    let cgroup = match Cgroup::open(hierarchy, &path)? {
        Some(cgroup) => cgroup,
        None => return Err(elsewhere(&scope.unit, &path, pid)),
    };
    match (self::look(hierarchy, &path, pid)?, parked) {
        (Look::Ours, _) | (Look::Empty, None) => {}
        (Look::Empty, Some(_)) => return Err(elsewhere(&scope.unit, &path, pid)),
        (Look::Taken, _) => {
            let what = format!("cgroup {path} already has processes");
            return Err(Error::new(ErrorKind::System, what).at("linux.cgroupsPath"));
        }
    }
    if cgroup.frozen()? {
        let what = format!("cgroup {path} is frozen, or a cgroup above it is");
        return Err(Error::new(ErrorKind::System, what).at("linux.cgroupsPath"));
    }
    crate::cgroup::parent::hand_on_what_is_needed(hierarchy, &scope.unit.components, &plan.writes)?;
    cgroup.set_up(plan, tag)?;
    Ok(cgroup)
}

/// The sleeper and init must both fit, for the moment of the clone.
fn first_properties(scope: &Scope, parked: bool) -> Vec<Property> {
    let mut properties = scope.properties.clone();
    for property in properties.iter_mut().filter(|property| parked && property.name == "TasksMax") {
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

/// The unit has started, and its cgroup is not where it was planned: systemd lives in another tree than assumed.
fn elsewhere(unit: &Unit, path: &str, pid: Option<i32>) -> Error {
    let what = format!("unit {} has started, but not in cgroup {path}", unit.name);
    let found = pid.and_then(|pid| path_of(pid).ok());
    Error::new(ErrorKind::System, what)
        .detail(found.map_or_else(|| "its process is gone".to_owned(), |found| format!("its process is in {found}")))
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
    }
    Systemd::new(if user { Instance::User } else { Instance::System }).control_group()
}
