//! The root of the tree: cut off from the host, attached, and made the process's root.
//!
//! World: child. No mount of the container may reach the host: "/" of the new namespace is made a slave (or private)
//! before anything is attached.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};

use super::source;
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::OpenRootfs;
use crate::rootfs::plan::{ChangeRoot, MountKind, RootfsPlan};
use crate::wire::{At, ChildResult, Fault, Step};

/// Cuts the new mount namespace off from the one it was copied from; shared sources are opened before, while they
/// are still peers of the host's own mounts.
///
/// # Errors
/// Steps Propagation and MountSource.
pub fn propagation(plan: &RootfsPlan, prepared: &OpenRootfs) -> ChildResult {
    if plan.mount_namespace {
        for (number, room) in prepared.shared.iter().enumerate() {
            let opened = prepared.sources.get(number).is_some_and(Option::is_some);
            match plan.mounts.get(number).map(|mount| &mount.kind) {
                Some(MountKind::Bind(bind)) if bind.is_shared() && !opened && bind.inside.is_none() => {
                    room.set(Some(source::open(bind, None).at_index(Step::MountSource, number)?));
                }
                _ => {}
            }
        }
        super::change_slash(Wanted::default(), plan.building, true).at(Step::Propagation)?;
    }
    Ok(())
}

/// Attaches the rootfs where the host has it, so that hooks find it there; from now on the descriptor is the root.
///
/// # Errors
/// Step Rootfs.
pub fn attach_root(plan: &RootfsPlan, prepared: &OpenRootfs) -> ChildResult<OwnedFd> {
    if prepared.mount_namespace.is_some() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return rustix::fs::open(super::SLASH, flags, Mode::empty()).at(Step::Rootfs);
    }
    let opened = prepared.root.take();
    let root = match opened {
        Some(root) => root,
        None => {
            if !plan.masked_paths.is_empty() {
                prepared.null.set(Some(source::open_null().at(Step::Rootfs)?));
            }
            source::open_root(plan).at(Step::Rootfs)?
        }
    };
    if plan.attached {
        match move_onto(root.as_fd(), &plan.root) {
            // The way to it may be closed to the ids of a user namespace. Any place will do for pivot_root.
            Err(Errno::ACCESS) if plan.mount_namespace => move_onto(root.as_fd(), super::SLASH),
            done => done,
        }
        .at(Step::Rootfs)?;
    }
    Ok(root)
}

fn move_onto(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(root, c"", CWD, path, flags)
}

/// Makes the container's root the root of this process; the working directory is "/".
///
/// # Errors
/// Steps PivotRoot and DetachOldRoot.
pub fn pivot(plan: &RootfsPlan, prepared: &OpenRootfs, root: BorrowedFd<'_>) -> ChildResult {
    match plan.change_root {
        // It is the root already.
        _ if prepared.mount_namespace.is_some() => {}
        ChangeRoot::Pivot => {
            rustix::process::fchdir(root).at(Step::PivotRoot)?;
            // The old root ends up on top of the new one, where "." is: pivot_root(2), NOTES.
            rustix::process::pivot_root(c".", c".").at(Step::PivotRoot)?;
            rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Step::DetachOldRoot)?;
        }
        ChangeRoot::Move => {
            prepared.reachable.iter().try_for_each(|path| put_out_of_reach(path))?;
            rustix::process::fchdir(root).at(Step::PivotRoot)?;
            move_onto(root, super::SLASH).at(Step::PivotRoot)?;
            rustix::process::chroot(c".").at(Step::PivotRoot)?;
        }
        ChangeRoot::Chroot => return enter(root),
    }
    rustix::process::chdir(super::SLASH).at(Step::PivotRoot)
}

/// chroot(2), where no mount namespace has a root of its own.
///
/// # Errors
/// Step PivotRoot.
pub fn enter(root: BorrowedFd<'_>) -> ChildResult {
    rustix::process::fchdir(root).at(Step::PivotRoot)?;
    rustix::process::chroot(c".").at(Step::PivotRoot)?;
    rustix::process::chdir(super::SLASH).at(Step::PivotRoot)
}

/// A full procfs or sysfs outside the new root would let a user namespace mount an unmasked one of its own.
/// Locked mounts cannot be unmounted; they are covered.
fn put_out_of_reach(path: &std::ffi::CStr) -> ChildResult {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        // Gone with the one above it.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::INVAL | Errno::PERM) => cover(path).at(Step::DetachOldRoot),
        Err(errno) => Err(Fault::new(Step::DetachOldRoot, 0, errno)),
    }
}

fn cover(path: &std::ffi::CStr) -> Result<(), Errno> {
    let context = super::smallest_tmpfs()?;
    rustix::mount::fsconfig_create(&context)?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    match rustix::mount::move_mount(&mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
        // It was below one that is unmounted by now, or it is no directory any more.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        done => done,
    }
}
