//! Everything about a container's cgroup, decided. World: plan; nothing here asks the kernel.

use oci_spec::runtime::Spec;

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
    })
}
