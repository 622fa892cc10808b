//! World: parent. The passwd file that the container will see, when one of its mounts brings it.
//!
//! It is found here and not opened: what it is decides the room that reads it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use super::{OpenRootfs, Source};
use crate::error::{Context, Result};
use crate::rootfs::plan::{MountKind, RootfsPlan};

/// Where /etc/passwd comes from.
#[derive(Debug)]
pub enum Passwd {
    /// From the rootfs.
    Rootfs,
    /// From a mount on it or on /etc (O_PATH).
    Mounted(OwnedFd),
    /// A mount covers it and has none.
    Missing,
}

impl RootfsPlan {
    /// The number of the last mount on /etc/passwd or on /etc.
    pub(super) fn passwd_mount(&self) -> Option<usize> {
        self.mounts.iter().rposition(|mount| {
            matches!(mount.target.to_bytes(), b"/etc" | b"/etc/passwd") && !matches!(mount.kind, MountKind::Remount(_))
        })
    }
}

impl OpenRootfs {
    /// The passwd file, for HOME.
    ///
    /// # Errors
    /// It cannot be looked up in its mount.
    pub fn passwd(&self, plan: &RootfsPlan) -> Result<Passwd> {
        let Some(number) = plan.passwd_mount() else { return Ok(Passwd::Rootfs) };
        let bind = match &plan.mounts[number].kind {
            MountKind::Filesystem(filesystem) if filesystem.copy_up => return Ok(Passwd::Rootfs),
            MountKind::Bind(bind) => bind,
            _ => return Ok(Passwd::Missing),
        };
        let found = match self.sources.get(number) {
            Some(Some(Source::Tree(tree))) => find(tree.as_fd()),
            // The child opens it, and says so if it cannot: this caller may not clone mounts.
            _ => match openat(CWD, &*bind.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(source) => find(source.as_fd()),
                Err(_) => Ok(None),
            },
        };
        let found = found.context(|| format!("look up passwd in mounts[{number}]"))?;
        Ok(found.map_or(Passwd::Missing, Passwd::Mounted))
    }
}

/// The file itself, or the one of a directory; neither is opened.
fn find(tree: BorrowedFd<'_>) -> std::result::Result<Option<OwnedFd>, Errno> {
    if FileType::from_raw_mode(fstat(tree)?.st_mode) != FileType::Directory {
        return tree.try_clone_to_owned().map(Some).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO));
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(tree, c"passwd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
