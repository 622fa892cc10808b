//! World: child. Enters namespaces, sets names and sysctls.
//!
//! `join`, `join_mount`, `enter_cgroup`, `join_cgroup_first`, `clocks` and `new_time` run in the intermediate process,
//! `join_container` and `join_container_cgroup` in the preparing process of exec, `root` in that or in init, the rest in
//! init, or in the process that prepares it if a watched pid namespace is joined.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::parent::{Joined, OpenNamespaces};
use super::plan::NamespacePlan;
use super::{NamespaceKind, NamespaceSet};
use crate::sys::namespace::{join as setns, unshare};
use crate::wire::{At, ChildResult, Fault, Step};

/// Joins the foreign namespaces, except a cgroup namespace and a pid namespace that is watched.
///
/// The user namespace is the last in the list, since joining it gives up the rights over those of the caller; but it
/// may be what gives the right to the others, for a caller without privileges.
///
/// # Errors
/// A fault of [`Step::JoinNamespace`] with the index in linux.namespaces.
pub fn join(prepared: &OpenNamespaces) -> ChildResult {
    let last = prepared.watched_pid().map(|joined| joined.kind);
    let now = |joined: &Joined| joined.kind != NamespaceKind::Cgroup && Some(joined.kind) != last;
    let others = || prepared.join.iter().enumerate().filter(|(_, joined)| now(joined));
    let with_user = prepared.user_namespace().is_some();
    let mut refused = 0_u64;
    for (number, joined) in others() {
        match setns(joined.fd.as_fd(), joined.kind.into()) {
            Err(Errno::PERM) if with_user && joined.kind != NamespaceKind::User => refused |= bit_of(number),
            result => result.at_index(Step::JoinNamespace, joined.index)?,
        }
    }
    for (_, joined) in others().filter(|(number, _)| refused & bit_of(*number) != 0) {
        setns(joined.fd.as_fd(), joined.kind.into()).at_index(Step::JoinNamespace, joined.index)?;
    }
    Ok(())
}

/// There are eight kinds of namespaces, and each is listed once.
fn bit_of(number: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0)
}

/// Joins the mount namespace that was made for the container; its root is the caller's root then.
///
/// # Errors
/// A fault of [`Step::Rootfs`].
pub fn join_mount(namespace: BorrowedFd<'_>) -> ChildResult {
    setns(namespace, NamespaceSet::MOUNT).at(Step::Rootfs)
}

/// Joins the pid namespace that [`join`] left out, for the children of the calling process, which stays out of sight.
///
/// # Errors
/// A fault of [`Step::JoinNamespace`] with the index in linux.namespaces.
pub fn join_pid(joined: &Joined) -> ChildResult {
    setns(joined.fd.as_fd(), NamespaceSet::PID).at_index(Step::JoinNamespace, joined.index)
}

/// Makes the new namespaces around the calling process, where clone3 could not.
///
/// # Errors
/// A fault of [`Step::Clone`].
pub fn new(plan: &NamespacePlan) -> ChildResult {
    unshare(plan.new_with_clone()).at(Step::Clone)
}

/// Joins a foreign cgroup namespace. Only a process that is in its cgroup already may do so: where cgroup2 is mounted
/// with nsdelegate, as by systemd, the cgroup of clone3 has to lie below the root of the caller's cgroup namespace,
/// and so has the caller's own (ENOENT).
///
/// # Errors
/// A fault of [`Step::JoinNamespace`] with the index in linux.namespaces.
pub fn join_cgroup(prepared: &OpenNamespaces) -> ChildResult {
    for joined in prepared.join.iter().filter(|joined| joined.kind == NamespaceKind::Cgroup) {
        setns(joined.fd.as_fd(), NamespaceSet::CGROUP).at_index(Step::JoinNamespace, joined.index)?;
    }
    Ok(())
}

/// Moves the process into `cgroup` by hand: what it creates then is born there. For the rights that a user namespace takes
/// away. The move costs an RCU grace period of the kernel, and the limit on processes counts this one too.
///
/// # Errors
/// A fault of [`Step::Clone`] when the cgroup takes no processes.
pub fn enter_cgroup(cgroup: BorrowedFd<'_>) -> ChildResult {
    let file = openat(cgroup, c"cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).at(Step::Clone)?;
    write_whole(file.as_fd(), b"0").at(Step::Clone)
}

/// Joins a cgroup namespace of the caller's before a user namespace is entered that has no right over it, from the cgroup
/// that has been entered, see [`join_cgroup`].
///
/// # Errors
/// A fault of [`Step::JoinNamespace`] with `index`.
pub fn join_cgroup_first(namespace: BorrowedFd<'_>, index: usize) -> ChildResult {
    setns(namespace, NamespaceSet::CGROUP).at_index(Step::JoinNamespace, index)
}

/// Joins the cgroup namespace of a container, as [`join_cgroup`].
///
/// # Errors
/// A fault of [`Step::JoinNamespace`].
pub fn join_container_cgroup(namespace: BorrowedFd<'_>) -> ChildResult {
    setns(namespace, NamespaceSet::CGROUP).at(Step::JoinNamespace)
}

/// Joins the namespaces `kinds` of the process behind `pidfd` in one call. Kernel: 5.8.
///
/// # Errors
/// A fault of [`Step::JoinNamespace`].
pub fn join_container(pidfd: BorrowedFd<'_>, kinds: NamespaceSet) -> ChildResult {
    // setns(2) takes no empty set.
    if kinds.is_empty() {
        return Ok(());
    }
    setns(pidfd, kinds).at(Step::JoinNamespace)
}

/// Joins the user namespace of the process behind `pidfd`, and a copy of the caller's mount namespace that belongs to it.
///
/// # Errors
/// A fault of [`Step::JoinNamespace`] or [`Step::BecomeRoot`].
pub fn copy_mounts_as_root(pidfd: BorrowedFd<'_>) -> ChildResult {
    setns(pidfd, NamespaceSet::USER).at(Step::JoinNamespace)?;
    root()?;
    unshare(NamespaceSet::MOUNT).at(Step::JoinNamespace)
}

/// Opens the file for the clocks of a time namespace to be made: before a foreign mount namespace is joined, in which
/// /proc is what somebody else says.
///
/// # Errors
/// A fault of [`Step::TimeNamespace`].
pub fn clocks(plan: &NamespacePlan) -> ChildResult<Option<OwnedFd>> {
    if !plan.is_new(NamespaceKind::Time) || plan.time_offsets.is_empty() {
        return Ok(None);
    }
    let file = openat(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    file.map(Some).at(Step::TimeNamespace)
}

/// Makes a time namespace for the children of the calling process and sets its clocks, before anyone is in it.
///
/// # Errors
/// A fault of [`Step::TimeNamespace`].
pub fn new_time(plan: &NamespacePlan, clocks: Option<OwnedFd>) -> ChildResult {
    if !plan.is_new(NamespaceKind::Time) {
        return Ok(());
    }
    unshare(NamespaceSet::TIME).at(Step::TimeNamespace)?;
    match clocks {
        Some(file) => write_whole(file.as_fd(), &plan.time_offsets).at(Step::TimeNamespace),
        None => Ok(()),
    }
}

/// The same for a new user namespace, which has to own the time namespace: a caller without privileges may make one in
/// no other way. The parent writes the clocks together with the id mappings.
///
/// # Errors
/// A fault of [`Step::TimeNamespace`].
pub fn new_time_of_user_namespace(plan: &NamespacePlan) -> ChildResult {
    if !plan.is_new(NamespaceKind::Time) { Ok(()) } else { unshare(NamespaceSet::TIME).at(Step::TimeNamespace) }
}

/// Enters that namespace, alone in its memory as init is.
///
/// # Errors
/// A fault of [`Step::TimeNamespace`].
pub fn enter_time_of_user_namespace(plan: &NamespacePlan) -> ChildResult {
    if !plan.is_new(NamespaceKind::Time) {
        return Ok(());
    }
    let namespace = openat(CWD, c"/proc/self/ns/time_for_children", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let namespace = namespace.at(Step::TimeNamespace)?;
    setns(namespace.as_fd(), NamespaceSet::TIME).at(Step::TimeNamespace)
}

/// Makes the cgroup namespace. It must be made by init itself: clone3 would root it in the cgroup of the caller.
///
/// # Errors
/// A fault of [`Step::CgroupNamespace`].
pub fn new_cgroup(plan: &NamespacePlan) -> ChildResult {
    if !plan.is_new(NamespaceKind::Cgroup) {
        return Ok(());
    }
    unshare(NamespaceSet::CGROUP).at(Step::CgroupNamespace)
}

/// Sets hostname and domainname.
///
/// # Errors
/// A fault of [`Step::Hostname`] or [`Step::Domainname`].
pub fn names(plan: &NamespacePlan) -> ChildResult {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).at(Step::Hostname)?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).at(Step::Domainname)?;
    }
    Ok(())
}

/// Writes the sysctls; `root` is the container's root.
///
/// # Errors
/// A fault of [`Step::PrivateProc`], or of [`Step::Sysctl`] with the index in the plan.
pub fn sysctls(plan: &NamespacePlan, root: BorrowedFd<'_>) -> ChildResult {
    let procfs = procfs(root).at(Step::PrivateProc)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    for (index, sysctl) in plan.sysctls.iter().enumerate() {
        let file = openat2(&procfs, &sysctl.path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
            .at_index(Step::Sysctl, index)?;
        write_whole(file.as_fd(), &sysctl.value).at_index(Step::Sysctl, index)?;
    }
    Ok(())
}

/// The container's own procfs when /proc really is one (a fake would take the values), else a private one.
fn procfs(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    if let Ok(proc) = openat2(root, c"proc", flags, Mode::empty(), resolve)
        && crate::sys::procfs::is_root(proc.as_fd())?
    {
        return Ok(proc);
    }
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// procfs files take a value in one write or not at all.
fn write_whole(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    match rustix::io::write(file, bytes)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Waits until the parent has written the id mappings, then becomes root of the new user namespace.
///
/// # Errors
/// A fault of [`Step::IdMappings`] when the parent is gone, of [`Step::BecomeRoot`].
pub fn become_root(socket: BorrowedFd<'_>) -> ChildResult {
    crate::wire::Packet::MapMe.send(socket).at(Step::IdMappings)?;
    if !crate::wire::receive_go_on(socket).at(Step::IdMappings)? {
        return Err(Fault::new(Step::IdMappings, 0, Errno::PIPE));
    }
    root()
}

/// Becomes root of the user namespace that was joined or made: without an id in it, nothing could be created.
///
/// # Errors
/// A fault of [`Step::BecomeRoot`], EINVAL when the namespace has no root.
pub fn root() -> ChildResult {
    let (user, group) = (Uid::ROOT, Gid::ROOT);
    set_thread_res_gid(group, group, group).at(Step::BecomeRoot)?;
    set_thread_res_uid(user, user, user).at(Step::BecomeRoot)
}
