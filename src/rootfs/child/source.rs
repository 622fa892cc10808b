//! Opens trees of the host as detached mounts: by the parent, or by the child of a caller that may not.
//!
//! World: all; therefore child rules.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::change;
use crate::rootfs::plan::{Bind, Plan, Rule};
use crate::sys::mount::{Attributes, Change, set_attributes};

/// The source that shall cover /proc is no whole procfs.
pub const NO_PROCFS: Errno = Errno::XDEV;

/// The inode of a procfs root. Source: PROC_ROOT_INO, include/linux/proc_fs.h.
const PROC_ROOT_INODE: u64 = 1;

/// The rootfs with all that is mounted below, cut off from the host.
pub fn open_root(plan: &Plan) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, &*plan.root, flags)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    change(tree.as_fd(), crate::rootfs::options::Wanted::default(), plan.building, true)?;
    Ok(tree)
}

/// A mount namespace with the rootfs, and all that is mounted below it, as its root; `None` where the kernel or the
/// caller's rights do not go that far, and init gets a copy of the host's namespace instead. Kernel: 7.0.
pub fn open_namespace(plan: &Plan) -> Option<OwnedFd> {
    const NAMESPACE: OpenTreeFlags = OpenTreeFlags::from_bits_retain(2); // OPEN_TREE_NAMESPACE
    let flags = NAMESPACE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, &*plan.root, flags).ok()
}

/// A bind mount's source with all its attributes.
pub fn open(bind: &Bind, namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, bind.recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, bind.nofollow || bind.copy_symlink);
    finish(rustix::mount::open_tree(CWD, &*bind.source, flags)?, bind, namespace)
}

/// The same for a source in the rootfs, which is `path` below `root`.
pub fn open_inside(bind: &Bind, root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let rule = if bind.nofollow { Rule::NoFollowLast } else { Rule::Follow };
    let found = super::target::open(root, path, rule, || Ok(super::target::Make::Nothing))?.file;
    finish(super::clone_mount(found.as_fd(), bind.recursive)?, bind, None)
}

fn finish(tree: OwnedFd, bind: &Bind, namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    if bind.procfs && !(super::target::is_procfs(tree.as_fd())? && rustix::fs::fstat(&tree)?.st_ino == PROC_ROOT_INODE)
    {
        return Err(NO_PROCFS);
    }
    if let (Some(idmap), Some(namespace)) = (&bind.idmap, namespace) {
        let change = Change { set: Attributes::IDMAP, user_namespace: Some(namespace), ..Change::default() };
        set_attributes(tree.as_fd(), c"", idmap.recursive, &change)?;
    }
    for next in &bind.changes {
        super::change_unless_locked(tree.as_fd(), next)?;
    }
    Ok(tree)
}

/// /dev/null of the host, detached; anything else of that name is refused.
pub fn open_null() -> Result<OwnedFd, Errno> {
    let file = rustix::fs::open(c"/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    check_device(file.as_fd(), FileType::CharacterDevice, 1, 3)?;
    own_copy(file.as_fd())
}

/// A detached mount of one file, cut off from its mount on the host: where that is shared, a container that may mount
/// could otherwise cover the host's file by mounting over its own.
pub fn own_copy(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let copy = super::clone_mount(file, false)?;
    change(copy.as_fd(), crate::rootfs::options::Wanted::default(), libc::MS_PRIVATE, false)?;
    Ok(copy)
}

/// ENODEV unless the file is this device.
pub fn check_device(file: BorrowedFd<'_>, kind: FileType, major: u32, minor: u32) -> Result<(), Errno> {
    let status = rustix::fs::fstat(file)?;
    let same = FileType::from_raw_mode(status.st_mode) == kind
        && (kind == FileType::Fifo || status.st_rdev == rustix::fs::makedev(major, minor));
    if same { Ok(()) } else { Err(Errno::NODEV) }
}
