//! /dev: the nodes, the links, the terminal's place.
//!
//! World: child. /dev is opened once without following a link; then only single names in it are used, so that an
//! image cannot lead a node or a removal out of its root.
//! Source: runtime-spec config-linux.md "Default Devices".

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::copy_up::same_link;
use super::{source, target};
use crate::rootfs::parent::OpenRootfs;
use crate::rootfs::plan::{Device, DeviceFile, NodeKind, RootfsPlan};
use crate::wire::{At, ChildResult, Step};

/// The links that every container has.
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
];

/// Makes the nodes and links.
///
/// # Errors
/// Steps DevDirectory, Device and DevLink.
pub fn devices(plan: &RootfsPlan, prepared: &OpenRootfs, root: BorrowedFd<'_>) -> ChildResult {
    let devices = &plan.devices;
    if devices.nodes.is_empty() && !devices.own {
        return Ok(());
    }
    let dev = open_dev(root).at(Step::DevDirectory)?;
    for (number, node) in devices.nodes.iter().enumerate() {
        let host = prepared.devices.get(number).and_then(Option::as_ref).map(AsFd::as_fd);
        device(node, host, root, dev.as_fd()).at_index(Step::Device, number)?;
    }
    if devices.own {
        for (number, (text, name)) in LINKS.iter().enumerate() {
            link(dev.as_fd(), text, name).at_index(Step::DevLink, number)?;
        }
        if prepared.kcore {
            link(dev.as_fd(), c"/proc/kcore", c"core").at_index(Step::DevLink, LINKS.len())?;
        }
        ptmx(dev.as_fd()).at_index(Step::DevLink, LINKS.len() + 1)?;
    }
    Ok(())
}

/// /dev, which must be a directory and no link.
pub fn open_dev(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let open = || target::resolve(root, c"/dev", OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS);
    match open() {
        Err(Errno::NOENT) => match rustix::fs::mkdirat(root, c"dev", Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => open(),
            Err(errno) => Err(errno),
        },
        result => result,
    }
}

fn device(node: &Device, host: Option<BorrowedFd<'_>>, root: BorrowedFd<'_>, dev: BorrowedFd<'_>) -> Result<(), Errno> {
    if let Some(name) = &node.in_dev {
        return place(node, host, dev, name);
    }
    let (directory, name) = target::parent(root, &node.path)?;
    place(node, host, directory.as_fd(), name)
}

/// A node in an open directory.
fn place(node: &Device, host: Option<BorrowedFd<'_>>, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match node.file {
        DeviceFile::Made => {
            match rustix::fs::mknodat(directory, name, kind(node), Mode::from_raw_mode(node.mode), id(node)) {
                Ok(()) => match node.owner {
                    Some((uid, gid)) => own(directory, name, uid, gid),
                    None => Ok(()),
                },
                Err(Errno::EXIST) => check(node, directory, name),
                Err(errno) => Err(errno),
            }
        }
        DeviceFile::Expected => check(node, directory, name),
        DeviceFile::Bound => {
            let mine;
            let host = match host {
                Some(host) => host,
                // A caller without rights on mounts: here "/" is still what it was for that caller.
                None => {
                    let file = rustix::fs::open(
                        &*node.path,
                        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?;
                    source::check_device(file.as_fd(), kind(node), node.major, node.minor)?;
                    mine = super::clone_mount(file.as_fd(), false)?;
                    mine.as_fd()
                }
            };
            let place = file(directory, name)?;
            super::attach(host, place.as_fd())?;
            super::leave(place);
            Ok(())
        }
    }
}

/// A plain file (O_PATH) to mount on: made if missing, never a link.
pub fn file(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(made) => Ok(made),
        Err(Errno::EXIST) => {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            let status = rustix::fs::fstat(&there)?;
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Symlink => Err(Errno::LOOP),
                _ => Ok(there),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// EEXIST unless the node that is there is the one that was asked for.
fn check(node: &Device, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    source::check_device(there.as_fd(), kind(node), node.major, node.minor).map_err(|_| Errno::EXIST)
}

fn own(directory: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

fn kind(node: &Device) -> FileType {
    match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Fifo => FileType::Fifo,
    }
}

fn id(node: &Device) -> rustix::fs::Dev {
    rustix::fs::makedev(node.major, node.minor)
}

/// What an image has there already is its own affair.
fn link(dev: BorrowedFd<'_>, text: &CStr, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::symlinkat(text, dev, name) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// The container's own devpts, whatever was there.
fn ptmx(dev: BorrowedFd<'_>) -> Result<(), Errno> {
    let make = || rustix::fs::symlinkat(c"pts/ptmx", dev, c"ptmx");
    match make() {
        Err(Errno::EXIST) if same_link(dev, c"ptmx", c"pts/ptmx") => Ok(()),
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dev, c"ptmx", AtFlags::empty())?;
            make()
        }
        result => result,
    }
}
