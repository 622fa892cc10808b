//! World: plan. What is decided otherwise for a caller who is not the host's root.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder, Spec};

use super::Request;
use crate::annotation::annotation;
use crate::cgroup::{self, Driver, READ_ONLY, Refusal};
use crate::error::{Code, Error, Result};
use crate::host::{HostFacts, Range, TTY};
use crate::namespaces::{self, NamespaceKind};

/// The config with a user namespace, for a caller who cannot do without one when the config has none: the caller is the
/// process's user there, and the subordinate ids are the others (as crun). `None`: nothing is missing.
///
/// # Errors
/// None in practice.
pub(super) fn with_user_namespace(spec: &Spec, host: &HostFacts) -> Result<Option<Spec>> {
    let caller = &host.caller;
    let has = |namespace: &LinuxNamespace| namespace.typ() == NamespaceKind::User;
    let present = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    if caller.administers || present.is_some_and(|namespaces| namespaces.iter().any(has)) {
        return Ok(None);
    }
    let (uid, gid) = spec.process().as_ref().map_or((0, 0), |process| (process.user().uid(), process.user().gid()));
    let [uids, gids] = &host.subordinate_ids;
    // One helper without the other would leave a user without groups, or the other way round.
    let (uids, gids): (&[Range], &[Range]) = if uids.is_empty() || gids.is_empty() { (&[], &[]) } else { (uids, gids) };
    let user = LinuxNamespaceBuilder::default().typ(NamespaceKind::User).build();
    let user = user.map_err(|e| Error::new(Code::Internal, "a user namespace").detail(e.to_string()))?;
    // The model's own default is a whole container.
    let empty = || serde_json::from_str("{}");
    let linux = spec.linux().clone().map_or_else(empty, Ok);
    let mut linux: Linux = linux.map_err(|e| Error::new(Code::Internal, "an empty linux").detail(e.to_string()))?;
    let mut namespaces = present.cloned().unwrap_or_default();
    namespaces.push(user);
    linux.set_namespaces(Some(namespaces));
    linux.set_uid_mappings(Some(mappings(uid, caller.uid, uids)?));
    linux.set_gid_mappings(Some(mappings(gid, caller.gid, gids)?));
    let mut spec = spec.clone();
    spec.set_linux(Some(linux));
    Ok(Some(spec))
}

/// `own` of the container is `outside`; the ids below and above it are taken from `ranges`, in order.
fn mappings(own: u32, outside: u32, ranges: &[Range]) -> Result<Vec<LinuxIdMapping>> {
    let mut lines = Vec::new();
    let mut next = 0;
    for range in ranges {
        let (mut first, mut left) = (range.first, range.count);
        while left > 0 && lines.len() < 300 {
            if next == own {
                next += 1;
            }
            let count = if next < own { left.min(own - next) } else { left.min(u32::MAX - 1 - next) };
            if count == 0 {
                break;
            }
            lines.push((next, first, count));
            (next, first, left) = (next + count, first + count, left - count);
        }
    }
    lines.push((own, outside, 1));
    lines.sort_unstable();
    let line = |(inside, outside, count)| {
        let built = LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(count).build();
        built.map_err(|e| Error::new(Code::Internal, "an id mapping").detail(e.to_string()))
    };
    lines.into_iter().map(line).collect()
}

/// Whether the group tty exists in the container.
pub(super) fn maps_tty(spec: &Spec, own: &namespaces::NamespacePlan, host: &HostFacts) -> Result<bool> {
    if !own.is_new(NamespaceKind::User) {
        // The mappings of one that is joined are not known, and those who made it knew them.
        return if own.has(NamespaceKind::User) { Ok(true) } else { host.maps_tty.clone() };
    }
    let maps = spec.linux().as_ref().and_then(|linux| linux.gid_mappings().as_ref());
    let inside = |map: &LinuxIdMapping| TTY.checked_sub(map.container_id()).is_some_and(|offset| offset < map.size());
    Ok(maps.into_iter().flatten().any(inside))
}

/// Whether setgroups(2) is permitted in the container.
pub(super) fn may_set_groups(own: &namespaces::NamespacePlan, host: &HostFacts) -> Result<bool> {
    Ok(host.set_groups.clone()? && !own.mappings.as_ref().is_some_and(|mappings| mappings.deny_set_groups))
}

/// Whether `podman run --group-add keep-groups` was asked for.
pub(crate) fn keeps_groups(spec: &Spec) -> bool {
    annotation(spec, "run.oci.keep_original_groups") == Some("1")
}

/// What to do about a cgroup that belongs to somebody else.
const UNDELEGATED: &str = "use --systemd-cgroup, or start tare in a delegated cgroup, for example with `systemd-run --user \
    --scope -p Delegate=yes`";

/// A caller who is not the host's root has a cgroup only where one was delegated, or systemd makes it. A container that
/// asks nothing of a cgroup does without; what is asked is never dropped.
pub(super) fn without_delegation(
    plan: cgroup::CgroupPlan,
    spec: &Spec,
    request: &Request<'_>,
    host: &HostFacts,
) -> Result<Option<cgroup::CgroupPlan>> {
    let tolerated = request.rootless.unwrap_or(host.rootless);
    if !tolerated || !matches!(plan.driver, Driver::File(_)) {
        return Ok(Some(plan));
    }
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.filter(|path| !path.as_os_str().is_empty()).map(|_| "linux.cgroupsPath".to_string());
    let asked = plan.writes.first().map(|write| write.at.clone()).or(path);
    if host.hierarchy.is_err() && asked.is_none() {
        return Ok(None);
    }
    let Some(Refusal { why, read_only }) = host.cgroup_refusal.clone()? else { return Ok(Some(plan)) };
    let Some(at) = asked else { return Ok(None) };
    let what = format!("needs cgroup {}, which is not delegated to this user", plan.path());
    let hint = if read_only { READ_ONLY } else { UNDELEGATED };
    Err(Error::new(Code::CgroupDelegationMissing, what).at(at).detail(why).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_the_processs_user_and_the_rest_is_subordinate() {
        let range = |first, count| Range { first, count };
        let lines = |own, ranges: &[Range]| -> Vec<(u32, u32, u32)> {
            let maps = mappings(own, 1000, ranges).unwrap();
            maps.iter().map(|map| (map.container_id(), map.host_id(), map.size())).collect()
        };
        assert_eq!(lines(0, &[]), [(0, 1000, 1)]);
        assert_eq!(lines(0, &[range(100_000, 65536)]), [(0, 1000, 1), (1, 100_000, 65536)]);
        assert_eq!(lines(5, &[range(100_000, 10)]), [(0, 100_000, 5), (5, 1000, 1), (6, 100_005, 5)]);
        assert_eq!(lines(5, &[range(100_000, 3)]), [(0, 100_000, 3), (5, 1000, 1)]);
        assert_eq!(lines(3, &[range(100, 2), range(200, 3)]), [(0, 100, 2), (2, 200, 1), (3, 1000, 1), (4, 201, 2)]);
    }
}
