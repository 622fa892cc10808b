//! The mounts of the config, in its order.
//!
//! World: child. Each is made detached and attached to a descriptor of its place, so nothing is half done in the
//! tree, and nothing that happens to a name meanwhile matters.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::target::{self, Make, Target};
use super::{copy_up, filesystem, source};
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::{Prepared, Source};
use crate::rootfs::plan::{Bind, Filesystem, Kind, Mount, OldCall, Plan, Remount};
use crate::sys::mount::mount_here;
use crate::wire::{At, Done, Step};

/// Mounts everything; if a mount covers "/", its descriptor, which is the root from then on.
///
/// # Errors
/// Steps MountTarget, Mount, MountAttributes, MountPropagation, CopyUp with the index of the mount (and its
/// parameter, see `plan::split_index`).
pub fn mounts(plan: &Plan, prepared: &Prepared, root: BorrowedFd<'_>) -> Done<Option<OwnedFd>> {
    let mut covered: Option<OwnedFd> = None;
    for (number, mount) in plan.mounts.iter().enumerate() {
        let root = covered.as_ref().map_or(root, AsFd::as_fd);
        let slash = mount.target.to_bytes() == b"/";
        let attached = one(plan, prepared, root, mount, number)?;
        if let Some(attached) = attached {
            if slash {
                covered = Some(attached);
            } else if let Some(late) = prepared.late.get(number).filter(|_| mount.late_readonly) {
                late.set(Some(attached));
            }
        }
    }
    Ok(covered)
}

/// The mount, if the caller has a use for it.
fn one(plan: &Plan, prepared: &Prepared, root: BorrowedFd<'_>, mount: &Mount, number: usize) -> Done<Option<OwnedFd>> {
    let attached = match &mount.kind {
        Kind::Remount(change) => {
            remount(root, mount, change, number)?;
            return Ok(None);
        }
        Kind::Filesystem(filesystem) => match &filesystem.old_call {
            None => new_filesystem(root, mount, filesystem, number)?,
            Some(call) => by_mount_2(root, mount, filesystem, call, number)?,
        },
        Kind::Bind(bind) => match bound(prepared, bind, number)? {
            Bound::Link(text) => {
                copy_up::link(root, mount, text).at_index(Step::MountTarget, number)?;
                return Ok(None);
            }
            Bound::Mine(tree) => {
                attach_source(root, mount, tree.as_fd(), number)?;
                tree
            }
            Bound::Parents(tree) => {
                attach_source(root, mount, tree, number)?;
                if plan.shared_mounts {
                    propagate(tree, mount, number)?;
                }
                // The descriptor is the parent's and stays with `Prepared`, unless it has to outlive it.
                let keep = mount.target.to_bytes() == b"/";
                return keep
                    .then(|| rustix::io::fcntl_dupfd_cloexec(tree, 3))
                    .transpose()
                    .at_index(Step::Mount, number);
            }
        },
    };
    propagate(attached.as_fd(), mount, number)?;
    Ok(Some(attached))
}

fn propagate(attached: BorrowedFd<'_>, mount: &Mount, number: usize) -> Done {
    for asked in &mount.propagation {
        super::change(attached, Wanted::default(), asked.kind, asked.recursive)
            .at_index(Step::MountPropagation, number)?;
    }
    Ok(())
}

fn new_filesystem(root: BorrowedFd<'_>, mount: &Mount, new: &Filesystem, number: usize) -> Done<OwnedFd> {
    let Target { file: target, made } =
        target::open(root, &mount.target, mount.rule, Make::Directory).at_index(Step::MountTarget, number)?;
    let mode = if new.inherit_mode && !made {
        Some(rustix::fs::fstat(&target).at_index(Step::MountTarget, number)?.st_mode & 0o7777)
    } else {
        None
    };
    let created = filesystem::create(new, mode, number)?;
    if new.copy_up && !made {
        copy_up::tree(target.as_fd(), created.as_fd()).at_index(Step::CopyUp, number)?;
    }
    super::attach(created.as_fd(), target.as_fd()).at_index(Step::Mount, number)?;
    super::leave(target, number);
    Ok(created)
}

/// mount(2) on the working directory, which is the place by descriptor. Then the mount is found by its name.
fn by_mount_2(root: BorrowedFd<'_>, mount: &Mount, new: &Filesystem, call: &OldCall, number: usize) -> Done<OwnedFd> {
    let target =
        target::open(root, &mount.target, mount.rule, Make::Directory).at_index(Step::MountTarget, number)?.file;
    rustix::process::fchdir(&target).at_index(Step::MountTarget, number)?;
    mount_here(&call.source, &new.name, call.flags, &call.data).at_index(Step::Mount, number)?;
    let attached =
        target::open(root, &mount.target, mount.rule, Make::Nothing).at_index(Step::MountTarget, number)?.file;
    super::change(attached.as_fd(), new.attributes, 0, false).at_index(Step::MountAttributes, number)?;
    if new.copy_up {
        copy_up::tree(target.as_fd(), attached.as_fd()).at_index(Step::CopyUp, number)?;
    }
    Ok(attached)
}

/// A source, and whose descriptor it is.
enum Bound<'a> {
    Mine(OwnedFd),
    Parents(BorrowedFd<'a>),
    Link(&'a std::ffi::CStr),
}

fn bound<'a>(prepared: &'a Prepared, bind: &Bind, number: usize) -> Done<Bound<'a>> {
    match prepared.sources.get(number).and_then(Option::as_ref) {
        Some(Source::Tree(tree)) => Ok(Bound::Parents(tree.as_fd())),
        Some(Source::Link(text)) => Ok(Bound::Link(text)),
        None => source::open(bind, None).at_index(Step::Mount, number).map(Bound::Mine),
    }
}

fn attach_source(root: BorrowedFd<'_>, mount: &Mount, tree: BorrowedFd<'_>, number: usize) -> Done {
    let open = |make| target::open(root, &mount.target, mount.rule, make);
    let target = match open(Make::Nothing) {
        // Only now the kind of the source matters.
        Err(Errno::NOENT) => {
            let status = rustix::fs::fstat(tree).at_index(Step::Mount, number)?;
            let directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
            open(if directory { Make::Directory } else { Make::File })
        }
        result => result,
    };
    let target = target.at_index(Step::MountTarget, number)?.file;
    super::attach(tree, target.as_fd()).at_index(Step::Mount, number)?;
    super::leave(target, number);
    Ok(())
}

fn remount(root: BorrowedFd<'_>, mount: &Mount, change: &Remount, number: usize) -> Done {
    let target = target::open(root, &mount.target, mount.rule, Make::Nothing).at_index(Step::MountTarget, number)?.file;
    if change.superblock {
        filesystem::reconfigure(target.as_fd(), &change.parameters, number)?;
    }
    for (wanted, recursive) in [(change.top, false), (change.tree, true)] {
        if !wanted.is_empty() {
            super::change(target.as_fd(), wanted, 0, recursive).at_index(Step::MountAttributes, number)?;
        }
    }
    propagate(target.as_fd(), mount, number)
}
