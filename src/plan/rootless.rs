//! World: plan. What is decided otherwise for a caller who is not the host's root.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType as Kind, Spec};

use super::Request;
use crate::cgroup::{self, Driver};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::namespaces;

/// TTY_GID of every distribution: engines ask for a devpts of that group.
const TTY: u32 = 5;

/// Whether the group tty exists in the container.
pub(super) fn maps_tty(spec: &Spec, own: &namespaces::Plan, host: &Host) -> Result<bool> {
    if !own.is_new(Kind::User) {
        // The mappings of one that is joined are not known, and those who made it knew them.
        return if own.has(Kind::User) { Ok(true) } else { host.maps_group(TTY) };
    }
    let maps = spec.linux().as_ref().and_then(|linux| linux.gid_mappings().as_ref());
    let inside = |map: &LinuxIdMapping| TTY.checked_sub(map.container_id()).is_some_and(|offset| offset < map.size());
    Ok(maps.into_iter().flatten().any(inside))
}

/// A caller who is not the host's root has a cgroup only where one was delegated, or systemd makes it. A container that
/// asks nothing of a cgroup does without; what is asked is never dropped.
pub(super) fn without_delegation(
    plan: cgroup::Plan,
    spec: &Spec,
    request: &Request<'_>,
    host: &Host,
) -> Result<Option<cgroup::Plan>> {
    let tolerated = request.rootless.map_or_else(|| host.rootless(), Ok)?;
    if !tolerated || !matches!(plan.driver, Driver::File(_)) {
        return Ok(Some(plan));
    }
    let Some(why) = host.refuses_cgroup(&plan.path())? else { return Ok(Some(plan)) };
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.filter(|path| !path.as_os_str().is_empty()).map(|_| "linux.cgroupsPath".to_string());
    let Some(at) = plan.writes.first().map(|write| write.at.clone()).or(path) else { return Ok(None) };
    let what = format!("needs cgroup {}, which is not delegated to this user", plan.path());
    Err(Error::new(ErrorKind::Denied, what).at(at).detail(why).hint(
        "use --systemd-cgroup, or begin in a delegated cgroup, as with `systemd-run --user --scope -p Delegate=yes`",
    ))
}
