//! Copies what a tmpfs covers into it (`tmpcopyup`), and links for `copy-symlink`.
//!
//! World: child. Works on descriptors and single names; never follows a link. An image decides how deep and how wide
//! its tree is, so nothing here recurses: the way down is kept in memory of its own, and a handful of directories are
//! open whatever the depth. ".." is checked against the way down, because another container may rename in the same tree.
//! The number of entries and their bytes are bounded by the tmpfs alone. Hard links become separate files, as with runc
//! and crun; extended attributes are not copied.

mod entry;

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use super::target;
use crate::rootfs::plan::{DEEPEST, Mount};
use crate::sys::memory::Stack;

/// Bytes of the longest name, with its NUL.
const NAME: usize = 256;

/// Bytes of names that are read from one directory before the directories of these names are copied.
const BATCH: usize = 32 * 1024;

/// Bytes of all names that wait: one name for each level, and room for batches.
const NAMES: usize = DEEPEST * NAME + 512 * BATCH;

/// Bytes of directory entries for one getdents64(2).
const ENTRIES: usize = 4096;

/// Copies the content, owner, mode and times of directory `from` to directory `to`.
///
/// # Errors
/// ENAMETOOLONG for a tree of more than [`DEEPEST`] levels, ESTALE for one that is moved meanwhile, ENOSPC for one that
/// does not fit, and what the kernel says about an entry.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let walk = Walk {
        top: Pair { from, to },
        here: Pair { from: open_directory(from, c".")?, to: open_directory(to, c".")? },
        above: None,
        levels: Stack::new(DEEPEST)?,
        names: Stack::new(NAMES)?,
    };
    walk.go()
}

fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// A directory of the image and its copy.
struct Pair<T> {
    from: T,
    to: T,
}

/// The walk through a tree.
struct Walk<'a> {
    top: Pair<BorrowedFd<'a>>,
    here: Pair<OwnedFd>,
    /// Its parent, unless we came up: most directories have no other directories in them.
    above: Option<Pair<OwnedFd>>,
    /// The way from the top to here.
    levels: Stack<Level>,
    /// Names of directories that are not copied yet, each with its NUL: those of the top first, those of here last.
    names: Stack<u8>,
}

/// A directory on the way.
#[derive(Clone, Copy)]
struct Level {
    /// Of the directory in the image, before its entries were read.
    status: Stat,
    copy: Identity,
    /// Where its own names begin among all names.
    names: usize,
    /// Where to read on; none at the beginning.
    next: Option<u64>,
    /// All entries were read.
    ended: bool,
}

/// What a directory is known by after its descriptor was closed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(status: &Stat) -> Self {
        Self(status.st_dev, status.st_ino)
    }
}

impl Walk<'_> {
    fn go(mut self) -> Result<(), Errno> {
        self.arrive()?;
        while let Some(level) = self.levels.last() {
            if self.names.len() > level.names {
                self.down()?;
            } else if !level.ended {
                self.read()?;
            } else {
                self.up()?;
            }
        }
        Ok(())
    }

    fn arrive(&mut self) -> Result<(), Errno> {
        let status = rustix::fs::fstat(&self.here.from)?;
        let copy = Identity::of(&rustix::fs::fstat(&self.here.to)?);
        self.levels.push(Level { status, copy, names: self.names.len(), next: None, ended: false })
    }

    /// Copies entries that are not directories, and notes the names of a batch of directories. One directory at a time
    /// would do, but to find the place again in a directory of overlayfs takes time in proportion to its entries.
    fn read(&mut self) -> Result<(), Errno> {
        let below = DEEPEST.saturating_sub(self.levels.len()) * NAME;
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if let Some(next) = level.next {
            rustix::fs::seek(&self.here.from, SeekFrom::Start(next))?;
        }
        let mut buffer = [MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(&self.here.from, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." || entry::copy(&self.here.from, &self.here.to, name)? == entry::Copied::Yes
            {
                continue;
            }
            let name = name.to_bytes_with_nul();
            if name.len() > NAME {
                return Err(Errno::NAMETOOLONG);
            }
            self.names.extend(name)?;
            level.next = Some(entry.next_entry_cookie());
            // Each level below must find room for a name.
            if self.names.len() - level.names > BATCH || self.names.len() + NAME + below > NAMES {
                return Ok(());
            }
        }
        level.ended = true;
        Ok(())
    }

    /// Enters the directory of the last name.
    fn down(&mut self) -> Result<(), Errno> {
        if self.levels.is_full() {
            return Err(Errno::NAMETOOLONG);
        }
        let (start, name) = last_name(&self.names).ok_or(Errno::INVAL)?;
        let from = open_directory(self.here.from.as_fd(), name)?;
        // Its own mode may not let us in, where we are root of a user namespace.
        rustix::fs::mkdirat(&self.here.to, name, Mode::RWXU)?;
        let to = open_directory(self.here.to.as_fd(), name)?;
        self.names.truncate(start);
        self.above = Some(std::mem::replace(&mut self.here, Pair { from, to }));
        self.arrive()
    }

    /// Leaves a directory; its times are set after its content was made.
    fn up(&mut self) -> Result<(), Errno> {
        if let Some(level) = self.levels.pop() {
            entry::dress(self.here.to.as_fd(), &level.status)?;
        }
        self.here = match (self.above.take(), &*self.levels) {
            (_, []) => return Ok(()),
            (Some(above), _) => above,
            // Something may be mounted over the top by now, and ".." would lead there.
            (None, [_]) => Pair { from: open_directory(self.top.from, c".")?, to: open_directory(self.top.to, c".")? },
            (None, [.., level]) => Pair {
                from: open_parent(&self.here.from, Identity::of(&level.status))?,
                to: open_parent(&self.here.to, level.copy)?,
            },
        };
        Ok(())
    }
}

/// The last of the names, and where it begins.
fn last_name(names: &[u8]) -> Option<(usize, &CStr)> {
    let (_, before) = names.split_last()?;
    let start = before.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
    Some((start, CStr::from_bytes_with_nul(names.get(start..)?).ok()?))
}

/// ESTALE unless the parent is the one that we came from.
fn open_parent(of: &OwnedFd, expected: Identity) -> Result<OwnedFd, Errno> {
    let parent = match open_directory(of.as_fd(), c"..") {
        // Moved out of what is mounted.
        Err(Errno::NOENT) => return Err(Errno::STALE),
        parent => parent?,
    };
    if Identity::of(&rustix::fs::fstat(&parent)?) == expected { Ok(parent) } else { Err(Errno::STALE) }
}

/// A link with this text at the mount's target; one that is there and the same is fine.
pub fn link(root: BorrowedFd<'_>, mount: &Mount, text: &CStr) -> Result<(), Errno> {
    let (directory, name) = target::parent(root, &mount.target)?;
    match rustix::fs::symlinkat(text, &directory, name) {
        Err(Errno::EXIST) if same_link(directory.as_fd(), name, text) => Ok(()),
        result => result,
    }
}

/// Whether the link of this name has this text.
pub fn same_link(directory: BorrowedFd<'_>, name: &CStr, text: &CStr) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    rustix::fs::readlinkat_raw(directory, name, &mut buffer[..]).is_ok_and(|(found, _)| *found == *text.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::last_name;

    #[test]
    fn names_end_in_nul() {
        assert_eq!(last_name(b"one\0two\0"), Some((4, c"two")));
        assert_eq!(last_name(b"one\0"), Some((0, c"one")));
        assert_eq!(last_name(b""), None);
    }
}
