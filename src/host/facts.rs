//! The facts that planning needs: gathered first, so that a plan is computed from data alone.
//!
//! World: parent. What a config does not ask for is not looked at: each look is a system call or more. A fact that
//! cannot be had is an error only where the plan needs it.

use oci_spec::runtime::{LinuxNamespaceType, Mount, Process, Spec};

use super::{Host, Range};
use crate::cgroup::{self, CgroupManager, Hierarchy, Refusal};
use crate::error::{Code, Error, Result};
use crate::namespaces::plan::Caller;
use crate::resctrl;

/// TTY_GID of every distribution: engines ask for a devpts of that group.
pub const TTY: u32 = 5;

/// The machine and the caller, as far as the plan of one container needs them.
#[derive(Debug)]
pub struct HostFacts {
    /// Who tare is when it writes id mappings.
    pub caller: Caller,
    /// The caller lacks the host's privileges.
    pub rootless: bool,
    /// tare itself runs in a user namespace that is not the initial one.
    pub in_user_namespace: bool,
    /// Where cgroup v2 is mounted, where the container gets a cgroup or is to see that of the caller.
    pub hierarchy: Result<Hierarchy>,
    /// The caller's own cgroup, for a path that is relative to it.
    pub own_cgroup: Result<String>,
    /// The cgroup of systemd, above its units, where systemd is asked for the cgroup.
    pub control_group: Result<String>,
    /// Why the container's cgroup cannot be made for want of delegation, where the caller can do without.
    pub cgroup_refusal: Result<Option<Refusal>>,
    /// The subordinate user and group ids of the caller, where a user namespace has to be added.
    pub subordinate_ids: [Vec<Range>; 2],
    /// Where resctrl is mounted, if the config has `intelRdt`.
    pub resctrl: Result<String>,
    /// The group [`TTY`] exists in the caller's user namespace.
    pub maps_tty: Result<bool>,
    /// setgroups(2) is permitted in the user namespace that is joined, or the caller's.
    pub set_groups: Result<bool>,
    /// SELinux is in force, if the config labels mounts.
    pub labels_mounts: bool,
    /// What its program needs, if there is one.
    pub program: Option<ProgramFacts>,
}

/// What the plan of a program needs, for init and exec alike.
#[derive(Debug, Clone, Copy)]
pub struct ProgramFacts {
    /// tare itself runs in a user namespace that is not the initial one.
    pub in_user_namespace: bool,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
    /// The capabilities that the caller may have.
    pub callers_capabilities: u64,
    /// AppArmor is in force, if the process has a profile.
    pub apparmor: bool,
    /// SELinux is in force, if the process has a label.
    pub selinux: bool,
}

/// What of the request decides which facts are needed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Whether there is a cgroup, and who makes it.
    pub cgroup: CgroupManager,
    /// --rootless.
    pub rootless: Option<bool>,
}

impl HostFacts {
    /// Looks at what the plan of `spec` needs.
    ///
    /// # Errors
    /// /proc is not mounted; the caller's capabilities cannot be read.
    pub fn gather(spec: &Spec, wanted: &Wanted<'_>, host: &Host) -> Result<Self> {
        let (caller, rootless) = (host.caller(), host.rootless()?);
        let hierarchy = if needs_hierarchy(spec, wanted) {
            host.hierarchy().cloned()
        } else {
            Err(not_gathered("the cgroup hierarchy"))
        };
        let own_cgroup = own_cgroup(spec, wanted, rootless);
        let cgroup_refusal = cgroup_refusal(spec, wanted, rootless, &hierarchy, &own_cgroup);
        let user = namespace(spec, LinuxNamespaceType::User);
        let adds_user_namespace = user.is_none() && !caller.administers;
        let linux = spec.linux().as_ref();
        Ok(Self {
            caller,
            rootless,
            in_user_namespace: host.in_user_namespace()?,
            hierarchy,
            own_cgroup,
            control_group: match wanted.cgroup {
                CgroupManager::Systemd => cgroup::control_group(rootless),
                _ => Err(not_gathered("the cgroup of systemd")),
            },
            cgroup_refusal,
            subordinate_ids: if adds_user_namespace { host.subordinate_ids() } else { [Vec::new(), Vec::new()] },
            resctrl: match linux.and_then(|linux| linux.intel_rdt().as_ref()) {
                Some(_) => resctrl::mount(),
                None => Err(not_gathered("resctrl")),
            },
            maps_tty: if user.is_none() { host.maps_group(TTY) } else { Err(not_gathered("the group tty")) },
            set_groups: match user.flatten() {
                Some(path) => host.set_groups_at(path),
                None => host.set_groups(),
            },
            labels_mounts: linux.is_some_and(|linux| linux.mount_label().is_some()) && host.selinux(),
            program: spec.process().as_ref().map(|process| ProgramFacts::gather(process, host)).transpose()?,
        })
    }
}

impl ProgramFacts {
    /// Looks at what the plan of `process` needs.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn gather(process: &Process, host: &Host) -> Result<Self> {
        Ok(Self {
            in_user_namespace: host.in_user_namespace()?,
            last_capability: host.last_capability()?,
            callers_capabilities: host.permitted_capabilities(),
            apparmor: process.apparmor_profile().is_some() && host.apparmor(),
            selinux: process.selinux_label().is_some() && host.selinux(),
        })
    }
}

/// The namespace of this type in the config, and its path if it is joined.
fn namespace(spec: &Spec, kind: LinuxNamespaceType) -> Option<Option<&std::path::Path>> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let namespace = namespaces.iter().find(|namespace| namespace.typ() == kind)?;
    Some(namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()))
}

/// Without a cgroup of its own, a container needs the hierarchy only for a cgroup mount that shows the caller's cgroup:
/// in a new cgroup namespace the mount shows that by itself.
fn needs_hierarchy(spec: &Spec, wanted: &Wanted<'_>) -> bool {
    let is_cgroup = |mount: &Mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
    let binds_callers = || namespace(spec, LinuxNamespaceType::Cgroup) != Some(None);
    wanted.cgroup != CgroupManager::Disabled || (spec.mounts().iter().flatten().any(is_cgroup) && binds_callers())
}

fn own_cgroup(spec: &Spec, wanted: &Wanted<'_>, rootless: bool) -> Result<String> {
    if wanted.cgroup == CgroupManager::File && cgroup::is_relative(spec, rootless) {
        return cgroup::own_path();
    }
    Err(not_gathered("the caller's cgroup"))
}

fn cgroup_refusal(
    spec: &Spec,
    wanted: &Wanted<'_>,
    rootless: bool,
    hierarchy: &Result<Hierarchy>,
    own: &Result<String>,
) -> Result<Option<Refusal>> {
    if wanted.cgroup != CgroupManager::File || !wanted.rootless.unwrap_or(rootless) {
        return Ok(None);
    }
    match cgroup::file_path(spec, wanted.id, rootless, own) {
        Ok(path) => cgroup::refusal(hierarchy.as_ref().map_err(Clone::clone)?, &path),
        // The plan says so itself.
        Err(_) => Ok(None),
    }
}

fn not_gathered(what: &str) -> Error {
    Error::new(Code::Internal, format!("{what} was not looked up before the plan"))
}
