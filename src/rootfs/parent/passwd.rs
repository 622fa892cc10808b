//! World: parent. The passwd file that the container will see, when one of its mounts brings it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{Prepared, Source};
use crate::rootfs::plan::{Kind, Plan};

/// Where /etc/passwd comes from.
#[derive(Debug)]
pub enum Passwd {
    /// From the rootfs.
    Rootfs,
    /// From a mount on it or on /etc.
    Mounted(File),
    /// A mount covers it and has none.
    Missing,
}

impl Plan {
    /// The number of the last mount on /etc/passwd or on /etc.
    pub(super) fn passwd_mount(&self) -> Option<usize> {
        self.mounts.iter().rposition(|mount| {
            matches!(mount.target.to_bytes(), b"/etc" | b"/etc/passwd") && !matches!(mount.kind, Kind::Remount(_))
        })
    }
}

impl Prepared {
    /// The passwd file, for HOME.
    #[must_use]
    pub fn passwd(&self, plan: &Plan) -> Passwd {
        let Some(number) = plan.passwd_mount() else { return Passwd::Rootfs };
        match &plan.mounts[number].kind {
            Kind::Filesystem(filesystem) if filesystem.copy_up => return Passwd::Rootfs,
            Kind::Bind(_) => {}
            _ => return Passwd::Missing,
        }
        match self.sources.get(number) {
            Some(Some(Source::Tree(tree))) => open(tree.as_fd()).map_or(Passwd::Missing, Passwd::Mounted),
            // The child opens it: this caller may not clone mounts.
            _ => Passwd::Rootfs,
        }
    }
}

/// The file itself, or the one of a directory.
fn open(tree: BorrowedFd<'_>) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(tree, c"passwd", flags, Mode::empty(), resolve) {
        // Not by its name: the descriptor is what will be mounted.
        Err(rustix::io::Errno::NOTDIR) => {
            rustix::fs::open(format!("/proc/self/fd/{}", tree.as_raw_fd()), flags, Mode::empty())
        }
        file => file,
    };
    file.ok().map(File::from)
}
