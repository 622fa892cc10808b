//! The rootfs room: the container's tree of mounts, its devices, what is masked and read-only, and pivot_root.
//!
//! World: door.
//! `plan` decides (pure), `parent::open` opens every source in the host's mount namespace, the functions of `child`
//! attach them by descriptor in the container's. A path of the container is resolved by openat2 below the root's
//! descriptor alone; a path of the host is resolved once, by the parent.
//! Order in the child: propagation, attach_root, mounts, devices, console, (hooks), pivot, (sysctls), finish; with
//! umask 0 from `mounts` to `console`.

pub mod check;
pub mod child;
pub mod options;
pub mod parent;
pub mod plan;
pub mod view;

use std::path::Path;

pub use parent::OpenRootfs;
pub use plan::{Removal, RootfsPlan, destinations, plan, plan_added, plan_again};

/// What the plan has to know besides the Spec.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct RootfsFacts<'a> {
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// The container is in a user namespace that is not the initial one: no mknod, sysfs only with its own network.
    pub user_namespace: bool,
    /// The container has a mount namespace of its own, new or joined.
    pub mount_namespace: bool,
    /// It is made for the container, not joined.
    pub new_mount_namespace: bool,
    /// Hooks run before the root is changed.
    pub hooks_before_pivot: bool,
    /// The container has a network namespace of its own, new or joined.
    pub network_namespace: bool,
    /// That one was there before the user namespace that is made for the container.
    pub foreign_network_namespace: bool,
    /// The container has a pid namespace of its own, new or joined.
    pub pid_namespace: bool,
    /// That one was there before the user namespace that is made for the container.
    pub foreign_pid_namespace: bool,
    /// The container has an IPC namespace of its own, new or joined.
    pub ipc_namespace: bool,
    /// That one was there before the user namespace that is made for the container.
    pub foreign_ipc_namespace: bool,
    /// The group 5 exists in the container's user namespace.
    pub maps_tty: bool,
    /// The container has a cgroup namespace of its own, new or joined, whose root is its cgroup; never the initial one,
    /// where a mount of cgroup2 without options would change those of the host.
    pub cgroup_namespace: bool,
    /// The container's cgroup as a directory of the host, if it has one.
    pub cgroup_path: Option<&'a Path>,
    /// `process.terminal`.
    pub console: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// SELinux is enabled on the host.
    pub selinux: bool,
}
