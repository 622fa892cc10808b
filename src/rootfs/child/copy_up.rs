//! Copies what a tmpfs covers into it (`tmpcopyup`), and links for `copy-symlink`.
//!
//! World: child. Works on descriptors and single names; never follows a link; needs a few KB of stack a level.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::target;
use crate::rootfs::plan::Mount;

/// Deeper trees are an error: each level takes stack and a descriptor.
const DEPTH: usize = 64;

/// Bytes a sendfile call.
const CHUNK: usize = 1 << 20;

/// Copies the content, owner and mode of directory `from` to directory `to`.
pub fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let status = rustix::fs::fstat(from)?;
    directory(&open_directory(from, c".")?, &open_directory(to, c".")?, DEPTH)?;
    dress(to, c".", &status)
}

fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    let Some(depth) = depth.checked_sub(1) else { return Err(Errno::NAMETOOLONG) };
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from.as_fd(), to.as_fd(), name, depth)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            directory(&open_directory(from, name)?, &open_directory(to, name)?, depth)?;
        }
        FileType::RegularFile => file(from, to, name, mode)?,
        FileType::Symlink => {
            let mut text = [MaybeUninit::uninit(); 4096];
            let (text, _) = rustix::fs::readlinkat_raw(from, name, &mut text[..])?;
            let mut target = [0; 4097];
            target.get_mut(..text.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
            let target = CStr::from_bytes_until_nul(&target).map_err(|_| Errno::INVAL)?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, status.st_rdev)?,
    }
    dress(to, name, &status)
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to, name, flags, mode)?;
    while rustix::io::retry_on_intr(|| rustix::fs::sendfile(&copy, &source, None, CHUNK))? > 0 {}
    Ok(())
}

/// Owner first: chown clears the set-id bits.
fn dress(to: BorrowedFd<'_>, name: &CStr, status: &Stat) -> Result<(), Errno> {
    let owner = (rustix::fs::Uid::from_raw(status.st_uid), rustix::fs::Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
        // The tree is not attached yet: nobody can put a link here.
        rustix::fs::chmodat(to, name, Mode::from_raw_mode(status.st_mode & 0o7777), AtFlags::empty())?;
    }
    let time = |seconds: i64, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(status.st_atime, i64::try_from(status.st_atime_nsec).unwrap_or(0)),
        last_modification: time(status.st_mtime, i64::try_from(status.st_mtime_nsec).unwrap_or(0)),
    };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
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
