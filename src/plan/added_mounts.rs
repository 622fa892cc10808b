//! World: plan. Mounts for a container that exists, from its config and from facts about its init.

use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount, Spec};

use crate::error::{Code, Error, Result};
use crate::host::TTY;
use crate::namespaces::NamespaceSet;
use crate::rootfs::plan::TreePlan;
use crate::rootfs::{self, RootfsFacts, RootfsPlan};
use crate::wire::Fault;

/// What is known of the container besides its config.
#[derive(Debug)]
pub struct MountsRequest<'a> {
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// The container's namespaces.
    pub namespaces: NamespaceSet,
    /// Those of them that were joined.
    pub joined: NamespaceSet,
    /// tare's own user namespace is not the initial one.
    pub in_user_namespace: bool,
    /// uid_map and gid_map of init.
    pub mappings: [&'a str; 2],
    /// The container's cgroup as a directory of the host, if it has one.
    pub cgroup_path: Option<&'a Path>,
    /// SELinux is in force.
    pub selinux: bool,
}

/// Plans mounts that a container gets while it exists.
///
/// # Errors
/// The first value that cannot be done, with its JSON path.
pub fn plan_mounts(spec: &Spec, list: &[Mount], request: &MountsRequest<'_>) -> Result<RootfsPlan> {
    rootfs::plan_added(spec, list, request.own_mappings()?, &request.facts())
}

/// Plans the tree of a container that exists again, to compare it with what the kernel has.
///
/// # Errors
/// As [`plan_mounts`].
pub fn plan_tree_again(spec: &Spec, request: &MountsRequest<'_>) -> Result<TreePlan> {
    rootfs::plan_again(spec, request.own_mappings()?, &request.facts())
}

impl MountsRequest<'_> {
    fn has(&self, kind: NamespaceSet) -> bool {
        self.namespaces.contains(kind)
    }

    fn is_new(&self, kind: NamespaceSet) -> bool {
        self.has(kind) && !self.joined.contains(kind)
    }

    fn facts(&self) -> RootfsFacts<'_> {
        let foreign = |kind| self.is_new(NamespaceSet::USER) && self.has(kind) && !self.is_new(kind);
        let [_, gids] = self.mappings;
        RootfsFacts {
            bundle: self.bundle,
            user_namespace: self.has(NamespaceSet::USER) || self.in_user_namespace,
            mount_namespace: true,
            new_mount_namespace: false,
            hooks_before_pivot: false,
            network_namespace: self.has(NamespaceSet::NETWORK),
            foreign_network_namespace: foreign(NamespaceSet::NETWORK),
            pid_namespace: self.has(NamespaceSet::PID),
            foreign_pid_namespace: foreign(NamespaceSet::PID),
            ipc_namespace: self.has(NamespaceSet::IPC),
            foreign_ipc_namespace: foreign(NamespaceSet::IPC),
            maps_tty: lines(gids)
                .any(|[inside, _, count]| TTY.checked_sub(inside).is_some_and(|offset| offset < count)),
            cgroup_namespace: self.is_new(NamespaceSet::CGROUP),
            cgroup_path: self.cgroup_path,
            console: false,
            no_pivot: false,
            selinux: self.selinux,
        }
    }

    fn own_mappings(&self) -> Result<Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>> {
        let [uids, gids] = self.mappings;
        if self.has(NamespaceSet::USER) { Ok(Some((mappings(uids)?, mappings(gids)?))) } else { Ok(None) }
    }
}

/// Turns a failed step of the child into the error that the user sees.
#[must_use]
pub fn explain_mounts(plan: &RootfsPlan, fault: &Fault) -> Error {
    plan.explain(fault).unwrap_or_else(|| super::explain_step(fault)).coded(super::fault_codes::code(fault.step))
}

/// Lines of "inside outside count".
fn lines(text: &str) -> impl Iterator<Item = [u32; 3]> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some([words.next()??, words.next()??, words.next()??])
    })
}

fn mappings(text: &str) -> Result<Vec<LinuxIdMapping>> {
    let mapping = |[inside, outside, count]: [u32; 3]| {
        let built = LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(count).build();
        built.map_err(|error| Error::new(Code::Internal, "an id mapping").detail(error.to_string()))
    };
    lines(text).map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(list: &str, namespaces: NamespaceSet) -> Result<RootfsPlan> {
        let config = r#"{"ociVersion": "1.2.0", "root": {"path": "rootfs"}}"#;
        let request = MountsRequest {
            bundle: Path::new("/bundle"),
            namespaces,
            joined: NamespaceSet::empty(),
            in_user_namespace: false,
            mappings: ["0 100000 65536\n"; 2],
            cgroup_path: None,
            selinux: false,
        };
        plan_mounts(
            &serde_json::from_str(config).unwrap(),
            &serde_json::from_str::<Vec<Mount>>(list).unwrap(),
            &request,
        )
    }

    fn refused(mount: &str) -> String {
        let list = format!(r#"[{{"destination": "/a", "type": "tmpfs"}}, {mount}]"#);
        plan(&list, NamespaceSet::MOUNT).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        let line = refused(r#"{"destination": "/b/..", "type": "tmpfs"}"#);
        assert!(line.starts_with("mounts[1].destination: the root of a container that exists"), "{line}");
        let line = refused(r#"{"destination": "/b", "options": ["remount", "ro"]}"#);
        assert!(line.starts_with("mounts[1].options: \"remount\" adds no mount"), "{line}");
        let line = refused(r#"{"destination": "/b", "source": "/c", "options": ["bind", "copy-symlink"]}"#);
        assert!(line.starts_with("mounts[1].options: \"copy-symlink\" makes a link"), "{line}");
    }

    #[test]
    fn errors_name_the_option() {
        let line = refused(r#"{"destination": "/b", "source": "/c", "options": ["bind", "nosiud"]}"#);
        assert!(line.starts_with("mounts[1].options[1]: ") && line.contains("nosuid"), "{line}");
    }

    #[test]
    fn ids_are_those_of_the_container() {
        let list = r#"[{"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}]"#;
        let plan = plan(list, NamespaceSet::MOUNT | NamespaceSet::USER).unwrap();
        assert!(format!("{:?}", plan.mounts).contains("host_id: 100000"), "{:?}", plan.mounts);
    }
}
