//! Adds mounts to the tree of a running container, and removes such mounts.
//!
//! World: child. The process is in the container's mount namespace, as root of its user namespace, and stays out of its pid
//! namespace. The container runs meanwhile and is hostile: a path is resolved below the root's descriptor, and a mount that
//! is removed is known by its number, because a container can move what leads to it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::{mounts, source, target};
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::OpenRootfs;
use crate::rootfs::plan::{MountKind, Removal, RootfsPlan};
use crate::sys::mount::{self, Attributes};
use crate::wire::{At, ChildResult, Fault, Packet, Step, receive_go_on};

/// Opens the sources that the parent may not clone, in a copy of the host's mount namespace.
///
/// # Errors
/// Step MountSource with the index of the mount.
pub fn open_sources(plan: &RootfsPlan, prepared: &OpenRootfs) -> ChildResult {
    for (number, room) in prepared.shared.iter().enumerate() {
        if let Some(MountKind::Bind(bind)) = plan.mounts.get(number).map(|mount| &mount.kind)
            && bind.inside.is_none()
        {
            room.set(Some(source::open(bind, None).at_index(Step::MountSource, number)?));
        }
    }
    Ok(())
}

/// Mounts everything; the parent records each mount before it is attached.
///
/// # Errors
/// As [`mounts::mounts`]; what was attached before stays.
pub fn add(plan: &RootfsPlan, prepared: &OpenRootfs, socket: BorrowedFd<'_>) -> ChildResult {
    let root = open_root().at(Step::Rootfs)?;
    for (number, mount) in plan.mounts.iter().enumerate() {
        let announce = |detached: BorrowedFd<'_>| announce(detached, socket, number).at_index(Step::Mount, number);
        let placed = mounts::place(prepared, root.as_fd(), socket, mount, number, announce)?;
        let Some(attached) = &placed else { continue };
        let attached = attached.as_fd();
        if mount.late_readonly {
            let readonly = Wanted { set: Attributes::RDONLY, clear: Attributes::empty() };
            super::change(attached, readonly, 0, false).at_index(Step::MountAttributes, number)?;
        }
        mounts::settle(plan, attached, mount, number)?;
    }
    Ok(())
}

fn announce(detached: BorrowedFd<'_>, socket: BorrowedFd<'_>, number: usize) -> Result<(), Errno> {
    let mount = u32::try_from(number).map_err(|_| Errno::OVERFLOW)?;
    Packet::Attaching { mount, number: mount::number(detached)? }.send(socket)?;
    if receive_go_on(socket)? { Ok(()) } else { Err(Errno::PIPE) }
}

/// Removes mounts, with what is mounted below them.
///
/// # Errors
/// Step Unmount with the index; ESTALE when there is another mount by now, or none.
pub fn remove(list: &[Removal]) -> ChildResult {
    let root = open_root().at(Step::Rootfs)?;
    list.iter().enumerate().try_for_each(|(number, removal)| {
        let removed = remove_one(root.as_fd(), removal);
        removed.map_err(|errno| Fault::new(Step::Unmount, number, errno))
    })
}

/// A directory is unmounted as the working directory, a file by its name in the working directory: a mount point cannot
/// be renamed or removed in its own mount namespace.
fn remove_one(root: BorrowedFd<'_>, removal: &Removal) -> Result<(), Errno> {
    let (directory, name) = target::split(&removal.point)?;
    let directory = target::resolve(root, directory.as_c_str()?, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)?;
    let file = target::resolve(directory.as_fd(), name, OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)?;
    if mount::number(file.as_fd())? != removal.number {
        return Err(Errno::STALE);
    }
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory;
    let (place, name) = if is_directory { (file, c".") } else { (directory, name) };
    rustix::process::fchdir(&place)?;
    rustix::mount::unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

fn open_root() -> Result<std::os::fd::OwnedFd, Errno> {
    rustix::fs::open(super::SLASH, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
