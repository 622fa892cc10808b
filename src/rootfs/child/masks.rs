//! The last touches after the root was changed: read-only paths, masked paths, read-only root, final propagation.
//!
//! World: child. Masks are inodes that the runtime opened or made: /dev/null of the host, verified, and one empty
//! read-only tmpfs for all directories. A path that does not exist needs no mask. Symbolic links are followed inside the
//! root, as runc and crun do: what is covered or read-only is what the path shows.
//! Propagation comes last: an unbindable tree could not be cloned any more.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, MountAttrFlags};

use super::target;
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::OpenRootfs;
use crate::rootfs::plan::RootfsPlan;
use crate::sys::mount::Attributes;
use crate::wire::{At, ChildResult, Step};

const READONLY: Wanted = Wanted { set: Attributes::RDONLY, clear: Attributes::empty() };

/// Finishes the tree; `root` is the root of this process.
///
/// # Errors
/// Steps ReadonlyPath, MaskedPath, MountAttributes, ReadonlyRootfs, RootPropagation.
pub fn finish(plan: &RootfsPlan, prepared: &OpenRootfs, root: BorrowedFd<'_>) -> ChildResult {
    for (number, path) in plan.readonly_paths.iter().enumerate() {
        readonly(root, path).at_index(Step::ReadonlyPath, number)?;
    }
    let mut masks = Masks { null: prepared.null.take(), null_attached: false, directory: None };
    for (number, path) in plan.masked_paths.iter().enumerate() {
        masks.mask(plan, root, path).at_index(Step::MaskedPath, number)?;
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

/// The path with all that is mounted below it, read-only, over itself.
fn readonly(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let there = match find(root, path)? {
        Found::Nothing => return Ok(()),
        // What is mounted over the root of a process is not seen by it.
        Found::Root => return super::change(root, READONLY, 0, false),
        Found::Below(there) => there,
    };
    let tree = super::clone_mount(there.as_fd(), true)?;
    super::change(tree.as_fd(), READONLY, 0, true)?;
    super::attach(tree.as_fd(), there.as_fd())?;
    super::leave(there);
    super::leave(tree);
    Ok(())
}

/// What a path leads to.
enum Found {
    Nothing,
    /// The root itself.
    Root,
    Below(OwnedFd),
}

/// Follows symbolic links inside the root. A circle of them is ELOOP, and so is a magic link of /proc.
fn find(root: BorrowedFd<'_>, path: &CStr) -> Result<Found, Errno> {
    // Most paths have no link in them; then the name says whether this is the root.
    let (there, maybe_root) = match target::resolve(root, path, OFlags::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::LOOP) => (target::resolve(root, path, OFlags::empty(), ResolveFlags::empty()), true),
        there => (there, path.to_bytes() == b"/"),
    };
    match there {
        Ok(there) if maybe_root && is_same(there.as_fd(), root)? => Ok(Found::Root),
        Ok(there) => Ok(Found::Below(there)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Nothing),
        Err(errno) => Err(errno),
    }
}

/// Whether both are the same file of the same mount.
fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let facts = |file| rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID);
    let (one, other) = (facts(one)?, facts(other)?);
    Ok((one.stx_mnt_id, one.stx_ino) == (other.stx_mnt_id, other.stx_ino))
}

/// The two inodes that cover things. Each is attached itself once; copies can only be made of attached mounts.
struct Masks {
    null: Option<OwnedFd>,
    null_attached: bool,
    directory: Option<OwnedFd>,
}

impl Masks {
    fn mask(&mut self, plan: &RootfsPlan, root: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
        let there = match find(root, path)? {
            Found::Nothing => return Ok(()),
            // It cannot be covered, and the program would see all of it.
            Found::Root => return Err(Errno::BUSY),
            Found::Below(there) => there,
        };
        let directory = FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode) == FileType::Directory;
        if directory {
            self.cover_directory(plan, there.as_fd())?;
        } else {
            self.cover_file(there.as_fd())?;
        }
        super::leave(there);
        Ok(())
    }

    fn cover_file(&mut self, there: BorrowedFd<'_>) -> Result<(), Errno> {
        let Some(null) = &self.null else { return Err(Errno::NOENT) };
        if self.null_attached {
            return cover_with_copy(null.as_fd(), there);
        }
        super::attach(null.as_fd(), there)?;
        self.null_attached = true;
        Ok(())
    }

    fn cover_directory(&mut self, plan: &RootfsPlan, there: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(directory) = &self.directory {
            return cover_with_copy(directory.as_fd(), there);
        }
        let empty = empty_directory(plan)?;
        super::attach(empty.as_fd(), there)?;
        self.directory = Some(empty);
        Ok(())
    }

    fn leave(self) {
        self.null.into_iter().chain(self.directory).for_each(super::leave);
    }
}

fn cover_with_copy(of: BorrowedFd<'_>, there: BorrowedFd<'_>) -> Result<(), Errno> {
    let copy = super::clone_mount(of, false)?;
    super::attach(copy.as_fd(), there)?;
    super::leave(copy);
    Ok(())
}

fn empty_directory(plan: &RootfsPlan) -> Result<OwnedFd, Errno> {
    let context = super::smallest_tmpfs()?;
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
