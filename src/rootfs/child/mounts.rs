//! The mounts of the config, in its order.
//!
//! World: child. Each is made detached and attached to a descriptor of its place, so nothing is half done in the
//! tree, and nothing that happens to a name meanwhile matters.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::target::{self, Make, Target};
use super::{copy_up, filesystem, source};
use crate::rootfs::options::Wanted;
use crate::rootfs::parent::{OpenRootfs, Source};
use crate::rootfs::plan::{Bind, Filesystem, Mount, MountKind, OldCall, Remount, RootfsPlan, TreeChange};
use crate::sys::mount::{Attributes, mount_here};
use crate::wire::{At, ChildResult, Fault, Packet, Step, receive_go_on};

/// Mounts everything; if a mount covers "/", its descriptor, which is the root from then on. At the other end of
/// `socket` the parent maps the ids of sources that are in the rootfs.
///
/// # Errors
/// Steps MountTarget, Mount, MountAttributes, MountPropagation, CopyUp with the index of the mount and, where
/// the kernel refuses one, of its parameter.
pub fn mounts(
    plan: &RootfsPlan,
    prepared: &OpenRootfs,
    root: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
) -> ChildResult<Option<OwnedFd>> {
    let mut covered: Option<OwnedFd> = None;
    for (number, mount) in plan.mounts.iter().enumerate() {
        let root = covered.as_ref().map_or(root, AsFd::as_fd);
        let Some(attached) = one(plan, prepared, root, socket, mount, number)? else { continue };
        if mount.target.to_bytes() == b"/" {
            covered = Some(rustix::io::fcntl_dupfd_cloexec(attached.as_fd(), 3).at_index(Step::Mount, number)?);
        }
        if let (AttachedMount::Mine(attached), true, Some(late)) =
            (attached, mount.late_readonly, prepared.late.get(number))
        {
            late.set(Some(attached));
        }
    }
    Ok(covered)
}

/// An attached mount, and whose descriptor it is.
pub(super) enum AttachedMount<'a> {
    Mine(OwnedFd),
    Parents(BorrowedFd<'a>),
}

impl AsFd for AttachedMount<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Mine(mount) => mount.as_fd(),
            Self::Parents(mount) => *mount,
        }
    }
}

/// `None` where nothing new was mounted.
fn one<'a>(
    plan: &RootfsPlan,
    prepared: &'a OpenRootfs,
    root: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    mount: &Mount,
    number: usize,
) -> ChildResult<Option<AttachedMount<'a>>> {
    let Some(attached) = place(prepared, root, socket, mount, number, |_| Ok(()))? else { return Ok(None) };
    settle(plan, attached.as_fd(), mount, number)?;
    Ok(Some(attached))
}

/// Attaches a mount. On an error nothing is attached. `announce` gets the mount before; with mount(2) afterwards.
pub(super) fn place<'a>(
    prepared: &'a OpenRootfs,
    root: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    mount: &Mount,
    number: usize,
    announce: impl Fn(BorrowedFd<'_>) -> ChildResult,
) -> ChildResult<Option<AttachedMount<'a>>> {
    match &mount.kind {
        MountKind::Remount(change) => {
            remount(root, mount, change, number)?;
            Ok(None)
        }
        MountKind::Filesystem(filesystem) => {
            let attached = match &filesystem.old_call {
                None => new_filesystem(prepared, root, mount, filesystem, number, announce)?,
                Some(call) => by_mount_2(root, mount, (filesystem, call), number, announce)?,
            };
            Ok(Some(AttachedMount::Mine(attached)))
        }
        MountKind::Bind(bind) => {
            let tree = match prepared.sources.get(number).and_then(Option::as_ref) {
                Some(Source::Tree(tree)) => AttachedMount::Parents(tree.as_fd()),
                Some(Source::Link(text)) => {
                    copy_up::link(root, mount, text).at_index(Step::MountTarget, number)?;
                    return Ok(None);
                }
                None => AttachedMount::Mine(
                    match (&bind.inside, prepared.shared.get(number).and_then(std::cell::Cell::take)) {
                        (Some(path), _) => source_inside(bind, root, path, socket, number)?,
                        // A copy is as young as its place in the config wants. Before Linux 6.15 there is none to be had.
                        (None, Some(early)) => super::clone_mount(early.as_fd(), bind.recursive).unwrap_or(early),
                        (None, None) => source::open(bind, None).at_index(Step::MountSource, number)?,
                    },
                ),
            };
            attach_source(root, mount, tree.as_fd(), number, announce)?;
            Ok(Some(tree))
        }
    }
}

/// What is left to do with an attached mount.
pub(super) fn settle(plan: &RootfsPlan, attached: BorrowedFd<'_>, mount: &Mount, number: usize) -> ChildResult {
    match mount.kind {
        // The tree has its propagation already, but below a shared mount it has just become shared again.
        MountKind::Bind(_) if !plan.shared_mounts => Ok(()),
        _ => propagate(attached, mount, number),
    }
}

/// A source in the rootfs. Only the parent has the rights over the filesystem that mapping its ids takes.
fn source_inside(
    bind: &Bind,
    root: BorrowedFd<'_>,
    path: &CStr,
    socket: BorrowedFd<'_>,
    number: usize,
) -> ChildResult<OwnedFd> {
    let tree = source::open_inside(bind, root, path).at_index(Step::MountSource, number)?;
    if bind.idmap.is_some() {
        let asked = u32::try_from(number).map_err(|_| Errno::OVERFLOW);
        let asked = asked.and_then(|number| Packet::MapIds(number).send_with(socket, tree.as_fd()));
        asked.at_index(Step::MountSource, number)?;
        if !receive_go_on(socket).at_index(Step::MountSource, number)? {
            return Err(Fault::new(Step::MountSource, number, Errno::PIPE));
        }
    }
    source::change(tree.as_fd(), bind).at_index(Step::MountSource, number)?;
    Ok(tree)
}

fn propagate(attached: BorrowedFd<'_>, mount: &Mount, number: usize) -> ChildResult {
    for asked in &mount.propagation {
        super::change(attached, Wanted::default(), asked.kind, asked.recursive)
            .at_index(Step::MountPropagation, number)?;
    }
    Ok(())
}

fn new_filesystem(
    prepared: &OpenRootfs,
    root: BorrowedFd<'_>,
    mount: &Mount,
    new: &Filesystem,
    number: usize,
    announce: impl Fn(BorrowedFd<'_>) -> ChildResult,
) -> ChildResult<OwnedFd> {
    let Target { file: target, made } =
        target::open(root, &mount.target, mount.rule, || Ok(Make::Directory)).at_index(Step::MountTarget, number)?;
    let mode = if new.inherit_mode && !made {
        Some(rustix::fs::fstat(&target).at_index(Step::MountTarget, number)?.st_mode & 0o7777)
    } else {
        None
    };
    let created = filesystem::create(new, mode, prepared.pid_namespace.as_ref().map(AsFd::as_fd), root, number)?;
    if new.copy_up && !made {
        copy_up::tree(target.as_fd(), created.as_fd()).at_index(Step::CopyUp, number)?;
    }
    announce(created.as_fd())?;
    super::attach(created.as_fd(), target.as_fd()).at_index(Step::Mount, number)?;
    super::leave(target);
    Ok(created)
}

/// mount(2) on the working directory, which is the place by descriptor. Then the mount is found by its name.
fn by_mount_2(
    root: BorrowedFd<'_>,
    mount: &Mount,
    (new, call): (&Filesystem, &OldCall),
    number: usize,
    announce: impl Fn(BorrowedFd<'_>) -> ChildResult,
) -> ChildResult<OwnedFd> {
    let target =
        target::open(root, &mount.target, mount.rule, || Ok(Make::Directory)).at_index(Step::MountTarget, number)?.file;
    rustix::process::fchdir(&target).at_index(Step::MountTarget, number)?;
    mount_here(&call.source, &new.name, call.flags, &call.data).at_index(Step::Mount, number)?;
    let complete = || {
        let attached = target::open(root, &mount.target, mount.rule, || Ok(Make::Nothing));
        let attached = attached.at_index(Step::MountTarget, number)?.file;
        super::change(attached.as_fd(), new.attributes, 0, false).at_index(Step::MountAttributes, number)?;
        if new.copy_up {
            copy_up::tree(target.as_fd(), attached.as_fd()).at_index(Step::CopyUp, number)?;
        }
        announce(attached.as_fd())?;
        Ok(attached)
    };
    complete().inspect_err(|_| {
        let _stays = rustix::mount::unmount(c".", UnmountFlags::DETACH);
    })
}

fn attach_source(
    root: BorrowedFd<'_>,
    mount: &Mount,
    tree: BorrowedFd<'_>,
    number: usize,
    announce: impl Fn(BorrowedFd<'_>) -> ChildResult,
) -> ChildResult {
    // Only where nothing is the kind of the source matters.
    let make = || {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
        Ok(if kind == FileType::Directory { Make::Directory } else { Make::File })
    };
    let target = target::open(root, &mount.target, mount.rule, make);
    let target = target.at_index(Step::MountTarget, number)?.file;
    announce(tree)?;
    super::attach(tree, target.as_fd()).at_index(Step::Mount, number)?;
    super::leave(target);
    Ok(())
}

fn remount(root: BorrowedFd<'_>, mount: &Mount, change: &Remount, number: usize) -> ChildResult {
    let target =
        target::open(root, &mount.target, mount.rule, || Ok(Make::Nothing)).at_index(Step::MountTarget, number)?.file;
    if change.superblock {
        filesystem::reconfigure(target.as_fd(), &change.parameters, number)?;
    }
    let none = Attributes::empty();
    for (wanted, implied, recursive) in [(change.top, change.implied, false), (change.tree, none, true)] {
        if !wanted.is_empty() {
            let change = TreeChange { wanted, implied, propagation: 0, recursive };
            super::change_unless_locked(target.as_fd(), &change).at_index(Step::MountAttributes, number)?;
        }
    }
    propagate(target.as_fd(), mount, number)
}
