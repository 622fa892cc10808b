//! Everything about a container's cgroup, decided. World: plan; nothing here asks the kernel.

use std::path::Path;

use oci_spec::runtime::{Mount, Spec};

use super::devices::{self, Devices};
use super::limits::{self, Write};
use super::path;
use super::systemd::{self, Property, Unit, UnitName};
use crate::annotation::annotation;
use crate::error::{Code, Error, Result};

/// What the plan must know about the caller.
pub struct CgroupFacts<'a> {
    /// The runtime is in a user namespace: no device programs, and only a delegated subtree can be written.
    pub user_namespace: bool,
    /// The runtime's own cgroup below the root of the hierarchy, or why it is not known; see [`is_relative`].
    pub own_path: &'a Result<String>,
    /// The container makes a cgroup namespace.
    pub new_cgroup_namespace: bool,
    /// The container is in a user namespace that is new or joined: ids of the config are not the runtime's.
    pub other_ids: bool,
    /// systemd is to make the cgroup.
    pub systemd: Option<Systemd<'a>>,
}

/// What the plan must know about systemd.
pub struct Systemd<'a> {
    /// The user's own one, not that of the machine.
    pub user: bool,
    /// The cgroup of systemd itself, above its units, or why it is not known.
    pub control_group: &'a Result<String>,
}

/// What creates the cgroup of a container, as the caller chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// Nothing: the container stays in the caller's cgroup.
    Disabled,
    /// tare, in the hierarchy itself.
    #[default]
    File,
    /// systemd, as a transient unit.
    Systemd,
}

/// Who makes the cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// tare makes directories in the cgroup filesystem; components below the root of the hierarchy.
    File(Vec<String>),
    /// systemd makes a transient unit.
    Systemd(Scope),
}

/// A unit as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name and its place.
    pub unit: Unit,
    /// It belongs to the user's own systemd.
    pub user: bool,
    /// Its properties, without the process.
    pub properties: Vec<Property>,
    /// The cgroup below the unit's that init is born in, see [`INIT_CGROUP`].
    pub init_cgroup: Option<String>,
}

/// The name of init's own cgroup in a scope with a limit of memory; the limits are set on both.
///
/// The kernel notifies the watchers of memory.events at most once in 10 ms. In a scope alone, the event of the limit that
/// is reached delays that of the OOM kill, and by then systemd has removed the empty scope: Docker loses OOMKilled of one
/// container in six. With a cgroup below, the limit is reached in the scope, which is charged for that cgroup too, and the
/// first event below is the kill. Without a limit of its own a scope has no other event. The name is crun's, which engines
/// know.
const INIT_CGROUP: &str = "container";

impl Scope {
    /// What the record keeps of it.
    #[must_use]
    pub fn name(&self) -> UnitName {
        UnitName { name: self.unit.name.clone(), user: self.user, nested: self.init_cgroup.is_some() }
    }

    /// The path of the unit's cgroup below the root of the hierarchy, with a leading slash.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.unit.components.join("/"))
    }
}

/// A cgroup as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPlan {
    /// Where, and who makes it.
    pub driver: Driver,
    /// Values for its files, in order.
    pub writes: Vec<Write>,
    /// Device nodes that can be used.
    pub devices: Devices,
    /// Who owns it, where the container may manage what is below it: an id of the runtime's user namespace.
    pub owner: Option<u32>,
    /// The cgroup below it that init moves to before its program starts. It has no limits, and is the container's to manage.
    pub delegated: Option<String>,
}

impl CgroupPlan {
    /// The path below the root of the hierarchy, with a leading slash, as /proc/PID/cgroup shows it.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.driver {
            Driver::File(components) => format!("/{}", components.join("/")),
            Driver::Systemd(scope) => match &scope.init_cgroup {
                Some(name) => format!("{}/{name}", scope.path()),
                None => scope.path(),
            },
        }
    }

    /// The unit, when systemd makes the cgroup.
    #[must_use]
    pub fn unit(&self) -> Option<UnitName> {
        match &self.driver {
            Driver::File(_) => None,
            Driver::Systemd(scope) => Some(scope.name()),
        }
    }

    /// The limit of memory in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        self.writes.iter().rfind(|write| write.file == "memory.max")?.value.trim().parse().ok()
    }

    /// What is written before init is there: all but [`Self::late_write`].
    pub(super) fn early_writes(&self) -> impl Iterator<Item = &Write> {
        let late = self.late_write();
        self.writes.iter().filter(move |write| Some(*write) != late)
    }

    /// The limit that is set when init is in the cgroup already, before which init must not run its program. With
    /// systemd a second process is there at the clone, and a limit of one process would refuse init.
    #[must_use]
    pub fn late_write(&self) -> Option<&Write> {
        let is_scope = matches!(&self.driver, Driver::Systemd(scope) if !scope.unit.is_slice());
        let is_low =
            |write: &&Write| write.file == "pids.max" && write.value.trim().parse::<u64>().is_ok_and(|limit| limit < 2);
        self.writes.iter().rfind(is_low).filter(|_| is_scope)
    }
}

fn cgroups_path(spec: &Spec) -> Option<&Path> {
    spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref())
}

/// Whether the plan of a cgroup without systemd needs the runtime's own cgroup.
#[must_use]
pub fn is_relative(spec: &Spec, rootless: bool) -> bool {
    path::is_relative(cgroups_path(spec), rootless)
}

/// The path of the cgroup that tare makes for container `id`: [`CgroupPlan::path`] before there is a plan.
///
/// # Errors
/// A path that cannot be used; `own`, where it is needed.
pub fn file_path(spec: &Spec, id: &str, rootless: bool, own: &Result<String>) -> Result<String> {
    path::resolve(cgroups_path(spec), id, rootless, own).map(|parts| format!("/{}", parts.join("/")))
}

/// Plans the cgroup of container `id`.
///
/// # Errors
/// A setting that cannot be accepted or done, with its JSON path.
pub fn plan(spec: &Spec, id: &str, facts: &CgroupFacts<'_>) -> Result<CgroupPlan> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let writes = resources.map_or(Ok(Vec::new()), |resources| limits::plan(resources, "linux.resources"))?;
    let driver = match &facts.systemd {
        None => Driver::File(path::resolve(cgroups_path(spec), id, facts.user_namespace, facts.own_path)?),
        Some(facts) => Driver::Systemd(plan_scope(spec, id, facts, &writes)?),
    };
    Ok(CgroupPlan {
        driver,
        writes,
        devices: devices::plan(rules, "linux.resources.devices", facts.user_namespace)?,
        owner: if facts.new_cgroup_namespace { owner(spec, facts.other_ids) } else { None },
        delegated: delegated(spec)?,
    })
}

/// The annotation of crun that names the delegated cgroup.
pub const DELEGATE: &str = "run.oci.delegate-cgroup";

/// The name of the delegated cgroup; an empty one asks for none.
fn delegated(spec: &Spec) -> Result<Option<String>> {
    let Some(name) = annotation(spec, DELEGATE).filter(|name| !name.is_empty()) else { return Ok(None) };
    check_name(DELEGATE, name)?;
    Ok(Some(name.to_owned()))
}

/// Files of the kernel have a dot in their names.
fn check_name(key: &str, name: &str) -> Result<()> {
    if name.len() > 255 || name.contains(['/', '.', '\0']) {
        let what = "must be the name of one directory, without a dot";
        return Err(Error::refused(Code::AnnotationInvalid, format!("annotations[{key:?}]"), what));
    }
    Ok(())
}

/// The name of init's cgroup below the unit's. crun's annotation says another one, or none when it is empty.
fn init_cgroup(spec: &Spec, unit: &Unit, writes: &[Write]) -> Result<Option<String>> {
    const NAME: &str = "run.oci.systemd.subgroup";
    let asked = annotation(spec, NAME);
    if unit.is_slice() && asked.is_none_or(str::is_empty) {
        return Ok(None);
    }
    let wrong = |what: &str| Err(Error::refused(Code::AnnotationInvalid, format!("annotations[{NAME:?}]"), what));
    match asked {
        _ if unit.is_slice() => wrong("is for a scope, and linux.cgroupsPath names a slice"),
        None if !writes.iter().any(|write| write.file == "memory.max" && write.value != "max") => Ok(None),
        None => Ok(Some(INIT_CGROUP.to_owned())),
        Some("") => Ok(None),
        Some(name) => check_name(NAME, name).map(|()| Some(name.to_owned())),
    }
}

/// What annotations say goes before what tare would say.
fn plan_scope(spec: &Spec, id: &str, facts: &Systemd<'_>, writes: &[Write]) -> Result<Scope> {
    let asked = systemd::properties::of_annotations(spec.annotations().as_ref())?;
    let unit =
        systemd::resolve(cgroups_path(spec), id, facts.user, facts.control_group.as_ref().map_err(Clone::clone)?)?;
    let mut properties = systemd::properties::usual(id, &unit);
    properties.extend(systemd::properties::of_writes(writes));
    properties.retain(|property| !asked.iter().any(|other| other.name == property.name));
    properties.extend(asked);
    let init_cgroup = init_cgroup(spec, &unit, writes)?;
    Ok(Scope { unit, user: facts.user, properties, init_cgroup })
}

/// The user of the container's process, when the container sees its cgroup as the root of a writable cgroup mount.
/// Source: runtime-spec config-linux.md, "Cgroup ownership".
fn owner(spec: &Spec, other_ids: bool) -> Option<u32> {
    let is_cgroup = |mount: &&Mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
    let mount = spec.mounts().iter().flatten().find(is_cgroup)?;
    let words = mount.options().iter().flatten().rev().map(String::as_str);
    if words
        .into_iter()
        .find(|word| matches!(*word, "ro" | "rro" | "rw" | "rrw"))
        .is_some_and(|word| word.ends_with("ro"))
    {
        return None;
    }
    let uid = spec.process().as_ref()?.user().uid();
    if !other_ids {
        return Some(uid);
    }
    let maps = spec.linux().as_ref()?.uid_mappings().as_deref()?;
    maps.iter().find_map(|map| {
        let offset = uid.checked_sub(map.container_id()).filter(|offset| *offset < map.size())?;
        map.host_id().checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn annotated(name: &str, value: &str) -> Spec {
        serde_json::from_value(json!({ "ociVersion": "1.2.0", "annotations": { name: value } })).unwrap()
    }

    #[test]
    fn the_delegated_cgroup_has_a_plain_name() {
        let planned = |value: &str| delegated(&annotated(DELEGATE, value)).map_err(|error| error.to_string());
        assert_eq!(planned("below").unwrap().as_deref(), Some("below"));
        assert_eq!(planned(""), Ok(None));
        for wrong in ["a/b", "..", "memory.max", &"x".repeat(256)] {
            let error = planned(wrong).unwrap_err();
            assert!(error.starts_with("annotations[\"run.oci.delegate-cgroup\"]: must be the name of one"), "{error}");
        }
    }

    #[test]
    fn init_is_below_a_scope_with_a_limit_of_memory_or_where_an_annotation_says() {
        let unit = |name: &str| Unit { name: name.to_owned(), slice: String::new(), components: Vec::new() };
        let limit = |value: &str| Write {
            file: "memory.max".into(),
            value: value.into(),
            at: String::new(),
            if_missing: limits::IfMissing::Fail,
        };
        let limited = |name: &str, value: Option<&str>, writes: &[Write]| {
            let spec = value.map_or_else(|| annotated("x", "y"), |value| annotated("run.oci.systemd.subgroup", value));
            init_cgroup(&spec, &unit(name), writes).map_err(|error| error.to_string())
        };
        let of = |name: &str, value: Option<&str>| limited(name, value, &[]);
        assert_eq!(limited("a.scope", None, &[limit("5")]), Ok(Some("container".into())));
        assert_eq!(limited("a.scope", None, &[limit("max")]), Ok(None));
        assert_eq!(limited("a.scope", Some(""), &[limit("5")]), Ok(None));
        assert_eq!(limited("a.slice", None, &[limit("5")]), Ok(None));
        assert_eq!(of("a.scope", None), Ok(None));
        assert_eq!(of("a.scope", Some("payload")), Ok(Some("payload".into())));
        assert_eq!(of("a.scope", Some("")), Ok(None));
        assert_eq!(of("a.slice", None), Ok(None));
        assert_eq!(of("a.slice", Some("")), Ok(None));
        for (name, value) in [("a.slice", "b"), ("a.scope", "b/c"), ("a.scope", ".."), ("a.scope", "cgroup.procs")] {
            let error = of(name, Some(value)).unwrap_err();
            assert!(error.starts_with("annotations[\"run.oci.systemd.subgroup\"]: "), "{error}");
        }
    }

    #[test]
    fn a_writable_cgroup_mount_gives_the_cgroup_to_the_container() {
        let spec = |uid: u32, options: &[&str]| -> Spec {
            serde_json::from_value(json!({
                "ociVersion": "1.2.0",
                "process": { "user": { "uid": uid, "gid": 0 }, "args": ["x"], "cwd": "/" },
                "mounts": [{ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": options }],
                "linux": { "uidMappings": [
                    { "containerID": 0, "hostID": 1000, "size": 1 },
                    { "containerID": 1, "hostID": 100_000, "size": 10 },
                ] },
            }))
            .unwrap()
        };
        assert_eq!(owner(&spec(0, &[]), true), Some(1000));
        assert_eq!(owner(&spec(3, &["ro", "rw"]), true), Some(100_002));
        assert_eq!(owner(&spec(11, &[]), true), None);
        assert_eq!(owner(&spec(7, &["nosuid"]), false), Some(7));
        assert_eq!(owner(&spec(0, &["nosuid", "ro"]), true), None);
        assert_eq!(owner(&spec(0, &["rro"]), true), None);
    }
}
