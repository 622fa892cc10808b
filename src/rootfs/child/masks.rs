//! The last touches after the root was changed: read-only paths, masked paths, read-only root, final propagation.
//!
//! World: child. Masks are inodes that the runtime opened or made: /dev/null of the host, verified, and one empty
//! read-only tmpfs for all directories. A path that does not exist needs no mask.
//! Propagation comes last: an unbindable tree could not be cloned any more.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::target;
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::Prepared;
use crate::rootfs::plan::Plan;
use crate::sys::mount::Attributes;
use crate::wire::{At, Done, Step};

const READONLY: Wanted = Wanted { set: Attributes::RDONLY, clear: Attributes::empty() };

/// Finishes the tree; `root` is the root of this process.
///
/// # Errors
/// Steps ReadonlyPath, MaskedPath, MountAttributes, ReadonlyRootfs, RootPropagation.
pub fn finish(plan: &Plan, prepared: &Prepared, root: BorrowedFd<'_>) -> Done {
    for (number, path) in plan.readonly_paths.iter().enumerate() {
        readonly(root, path, number).at_index(Step::ReadonlyPath, number)?;
    }
    let mut masks = Masks { null: prepared.null.take(), null_attached: false, directory: None };
    for (number, path) in plan.masked_paths.iter().enumerate() {
        masks.mask(plan, root, path, number).at_index(Step::MaskedPath, number)?;
    }
    masks.leave();
    for (number, late) in prepared.late.iter().enumerate() {
        if let Some(mount) = late.take() {
            super::change(mount.as_fd(), READONLY, 0, false).at_index(Step::MountAttributes, number)?;
        }
    }
    if plan.readonly {
        super::change(root, READONLY, 0, false).at(Step::ReadonlyRootfs)?;
    }
    if let Some(finished) = plan.finished {
        super::change(root, Wanted::default(), finished.kind, finished.recursive).at(Step::RootPropagation)?;
    }
    Ok(())
}

/// The path with all that is mounted below it, read-only, over itself. Links are followed inside the root: what the
/// path shows is what must not be written.
fn readonly(root: BorrowedFd<'_>, path: &CStr, number: usize) -> Result<(), Errno> {
    let Some(there) = find(root, path, OFlags::empty())? else { return Ok(()) };
    let tree = super::clone_mount(there.as_fd(), true)?;
    super::change(tree.as_fd(), READONLY, 0, true)?;
    super::attach(tree.as_fd(), there.as_fd())?;
    super::leave(there, number);
    super::leave(tree, number);
    Ok(())
}

/// `None`: there is nothing of that name.
fn find(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
    match target::resolve(root, path, flags, ResolveFlags::empty()) {
        Ok(there) => Ok(Some(there)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The two inodes that cover things. Each is attached itself once; copies can only be made of attached mounts.
struct Masks {
    null: Option<OwnedFd>,
    null_attached: bool,
    directory: Option<OwnedFd>,
}

impl Masks {
    fn mask(&mut self, plan: &Plan, root: BorrowedFd<'_>, path: &CStr, number: usize) -> Result<(), Errno> {
        // A link is covered itself, not what it points to: an image cannot choose what is masked.
        let Some(there) = find(root, path, OFlags::NOFOLLOW)? else { return Ok(()) };
        let directory = FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) == FileType::Directory;
        if directory {
            self.cover_directory(plan, there.as_fd(), number)?;
        } else {
            self.cover_file(there.as_fd(), number)?;
        }
        super::leave(there, number);
        Ok(())
    }

    fn cover_file(&mut self, there: BorrowedFd<'_>, number: usize) -> Result<(), Errno> {
        let Some(null) = &self.null else { return Err(Errno::NOENT) };
        if self.null_attached {
            return cover_with_copy(null.as_fd(), there, number);
        }
        super::attach(null.as_fd(), there)?;
        self.null_attached = true;
        Ok(())
    }

    fn cover_directory(&mut self, plan: &Plan, there: BorrowedFd<'_>, number: usize) -> Result<(), Errno> {
        if let Some(directory) = &self.directory {
            return cover_with_copy(directory.as_fd(), there, number);
        }
        let empty = empty_directory(plan)?;
        super::attach(empty.as_fd(), there)?;
        self.directory = Some(empty);
        Ok(())
    }

    fn leave(self) {
        self.null.into_iter().chain(self.directory).for_each(|mount| super::leave(mount, 0));
    }
}

fn cover_with_copy(of: BorrowedFd<'_>, there: BorrowedFd<'_>, number: usize) -> Result<(), Errno> {
    let copy = super::clone_mount(of, false)?;
    super::attach(copy.as_fd(), there)?;
    super::leave(copy, number);
    Ok(())
}

fn empty_directory(plan: &Plan) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(&context, c"ro")?;
    if let Some(label) = &plan.context {
        rustix::mount::fsconfig_set_string(&context, c"context", &**label)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
