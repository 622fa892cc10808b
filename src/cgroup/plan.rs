//! Everything about a container's cgroup, decided. World: plan; nothing here asks the kernel.

use oci_spec::runtime::{Mount, Spec};

use super::devices::{self, Devices};
use super::limits::{self, Write};
use super::path;
use crate::error::Result;

/// What the plan must know about the caller.
pub struct Facts<'a> {
    /// The runtime is in a user namespace: no device programs, and only a delegated subtree can be written.
    pub user_namespace: bool,
    /// The runtime's own cgroup below the root of the hierarchy, asked for only when it matters;
    /// [`super::own_path`] outside of tests.
    pub own_path: &'a dyn Fn() -> Result<String>,
    /// The container makes a cgroup namespace.
    pub new_cgroup_namespace: bool,
    /// The container is in a user namespace that is new or joined: ids of the config are not the runtime's.
    pub other_ids: bool,
}

/// Who makes the cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// tare makes directories in the cgroup filesystem; components below the root of the hierarchy.
    File(Vec<String>),
}

/// A cgroup as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where, and who makes it.
    pub driver: Driver,
    /// Values for its files, in order.
    pub writes: Vec<Write>,
    /// Device nodes that can be used.
    pub devices: Devices,
    /// Who owns it, where the container may manage what is below it: an id of the runtime's user namespace.
    pub owner: Option<u32>,
}

impl Plan {
    /// The path below the root of the hierarchy, with a leading slash, as /proc/PID/cgroup shows it.
    #[must_use]
    pub fn path(&self) -> String {
        let Driver::File(components) = &self.driver;
        format!("/{}", components.join("/"))
    }
}

/// Plans the cgroup of container `id`.
///
/// # Errors
/// A setting that cannot be accepted or done, with its JSON path.
pub fn plan(spec: &Spec, id: &str, facts: &Facts<'_>) -> Result<Plan> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let cgroups_path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    Ok(Plan {
        driver: Driver::File(path::resolve(cgroups_path, id, facts.user_namespace, facts.own_path)?),
        writes: resources.map_or(Ok(Vec::new()), |resources| limits::plan(resources, "linux.resources"))?,
        devices: devices::plan(rules, "linux.resources.devices", facts.user_namespace)?,
        owner: if facts.new_cgroup_namespace { owner(spec, facts.other_ids) } else { None },
    })
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
