//! Opens trees of the host as detached mounts: by the parent, or by the child of a caller that may not.
//!
//! World: all; therefore child rules.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::rootfs::plan::{Bind, RootfsPlan, Rule};
use crate::sys::mount::{Attributes, Change, OPEN_TREE_NAMESPACE, set_attributes};

/// The source that shall cover /proc is no whole procfs.
pub const NO_PROCFS: Errno = Errno::XDEV;

/// The rootfs with all that is mounted below, cut off from the host.
pub fn open_root(plan: &RootfsPlan) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, &*plan.root, flags)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR);
    }
    super::change(tree.as_fd(), crate::rootfs::options::Wanted::default(), plan.building, true)?;
    Ok(tree)
}

/// A mount namespace with the rootfs, and all that is mounted below it, as its root; `None` where the kernel or the
/// caller's rights do not go that far, and init gets a copy of the host's namespace instead. Kernel: 7.0.
pub fn open_namespace(plan: &RootfsPlan) -> Option<OwnedFd> {
    let flags = OPEN_TREE_NAMESPACE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, &*plan.root, flags).ok()
}

/// A bind mount's source with all its attributes.
pub fn open(bind: &Bind, namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, bind.recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, bind.nofollow || bind.copy_symlink);
    let tree = rustix::mount::open_tree(CWD, &*bind.source, flags)?;
    check_procfs(tree.as_fd(), bind)?;
    if let Some(namespace) = namespace {
        map_ids(tree.as_fd(), bind, namespace)?;
    }
    change(tree.as_fd(), bind)?;
    Ok(tree)
}

/// A source in the rootfs, which is `path` below `root`; [`map_ids`] and [`change`] are still to come.
pub fn open_inside(bind: &Bind, root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let rule = if bind.nofollow { Rule::NoFollowLast } else { Rule::Follow };
    let found = super::target::open(root, path, rule, || Ok(super::target::Make::Nothing))?.file;
    let tree = super::clone_mount(found.as_fd(), bind.recursive)?;
    check_procfs(tree.as_fd(), bind)?;
    Ok(tree)
}

fn check_procfs(tree: BorrowedFd<'_>, bind: &Bind) -> Result<(), Errno> {
    if bind.procfs && !crate::sys::procfs::is_root(tree)? { Err(NO_PROCFS) } else { Ok(()) }
}

/// Maps the ids of a detached tree as `namespace` does, if the mount wants that.
pub fn map_ids(tree: BorrowedFd<'_>, bind: &Bind, namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(idmap) = &bind.idmap else { return Ok(()) };
    let change = Change { set: Attributes::IDMAP, user_namespace: Some(namespace), ..Change::default() };
    set_attributes(tree, c"", idmap.recursive, &change)
}

/// The other attributes of the tree, and its propagation.
pub fn change(tree: BorrowedFd<'_>, bind: &Bind) -> Result<(), Errno> {
    bind.changes.iter().try_for_each(|next| super::change_unless_locked(tree, next))
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
    super::change(copy.as_fd(), crate::rootfs::options::Wanted::default(), libc::MS_PRIVATE, false)?;
    Ok(copy)
}

/// ENODEV unless the file is this device.
pub fn check_device(file: BorrowedFd<'_>, kind: FileType, major: u32, minor: u32) -> Result<(), Errno> {
    let status = rustix::fs::fstat(file)?;
    let same = FileType::from_raw_mode(status.st_mode) == kind
        && (kind == FileType::Fifo || status.st_rdev == rustix::fs::makedev(major, minor));
    if same { Ok(()) } else { Err(Errno::NODEV) }
}
