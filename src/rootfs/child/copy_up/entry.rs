//! Copies one entry of a directory: its kind, content, owner, mode and times.
//!
//! World: child. The copy cannot be reached by anybody else: it lies in directories of mode 0700.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// Bytes a sendfile call.
const CHUNK: u64 = 1 << 20;

/// Bytes of a file that says it has none, as those of procfs and sysfs do.
const LONGEST_OF_NO_SIZE: u64 = 16 << 20;

/// PATH_MAX, which bounds the text of a symbolic link.
const LINK: usize = 4096;

/// Whether an entry was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    Yes,
    /// It is a directory.
    Directory,
}

/// Copies an entry unless it is a directory.
///
/// # Errors
/// The kernel's; ESTALE for a file that something else took the place of, EFBIG for one without a size or an end.
pub fn copy(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<Copied, Errno> {
    let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => return Ok(Copied::Directory),
        FileType::RegularFile => file(from, to, name)?,
        FileType::Symlink => {
            link(from, to, name)?;
            own(to.as_fd(), name, &status)?;
        }
        kind => {
            rustix::fs::mknodat(to, name, kind, mode(&status), status.st_rdev)?;
            own(to.as_fd(), name, &status)?;
            // It was made just now, so it is not a link.
            rustix::fs::chmodat(to, name, mode(&status), AtFlags::empty())?;
        }
    }
    // A regular file has its times already; the others have no descriptor.
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        rustix::fs::utimensat(to, name, &times(&status), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(Copied::Yes)
}

/// Owner, mode and times of an open file or directory. Owner first: chown clears the set-id bits.
pub fn dress(copy: BorrowedFd<'_>, status: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(copy, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    rustix::fs::fchmod(copy, mode(status))?;
    rustix::fs::futimens(copy, &times(status))
}

fn own(to: BorrowedFd<'_>, name: &CStr, status: &Stat) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

fn mode(status: &Stat) -> Mode {
    Mode::from_raw_mode(status.st_mode & 0o7777)
}

fn times(status: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps {
        last_access: time(status.st_atime, i64::try_from(status.st_atime_nsec).unwrap_or(0)),
        last_modification: time(status.st_mtime, i64::try_from(status.st_mtime_nsec).unwrap_or(0)),
    }
}

fn link(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let mut text = [0; LINK];
    let length = rustix::fs::readlinkat_raw(from, name, &mut text[..])?;
    let text = text.get(..=length).ok_or(Errno::NAMETOOLONG)?;
    rustix::fs::symlinkat(CStr::from_bytes_with_nul(text).map_err(|_| Errno::INVAL)?, to, name)
}

fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let status = rustix::fs::fstat(&source)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::STALE);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    match u64::try_from(status.st_size).unwrap_or(0) {
        0 => {
            if copy_range(&source, &copy, 0, LONGEST_OF_NO_SIZE)? == LONGEST_OF_NO_SIZE {
                return Err(Errno::FBIG);
            }
        }
        size => copy_data(&source, &copy, size)?,
    }
    dress(copy.as_fd(), &status)
}

/// Holes stay holes. What is added to the file meanwhile is not copied, or there might be no end.
fn copy_data(source: &OwnedFd, copy: &OwnedFd, size: u64) -> Result<(), Errno> {
    let mut end = 0;
    while end < size {
        let start = match rustix::fs::seek(source, SeekFrom::Data(end)) {
            // No more data.
            Err(Errno::NXIO) => break,
            // This filesystem has no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => end,
            start => start?,
        };
        let hole = match rustix::fs::seek(source, SeekFrom::Hole(start)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => size,
            hole => hole?,
        };
        let wanted = hole.min(size);
        if start >= wanted {
            break;
        }
        end = copy_range(source, copy, start, wanted)?;
        if end < wanted {
            break;
        }
    }
    if end < size { rustix::fs::ftruncate(copy, size) } else { Ok(()) }
}

/// Copies the bytes from `start` to `end`; returns where it ended, which is earlier when the file does.
fn copy_range(source: &OwnedFd, copy: &OwnedFd, start: u64, end: u64) -> Result<u64, Errno> {
    rustix::fs::seek(source, SeekFrom::Start(start))?;
    rustix::fs::seek(copy, SeekFrom::Start(start))?;
    let mut at = start;
    while at < end {
        let count = usize::try_from((end - at).min(CHUNK)).unwrap_or(usize::MAX);
        match rustix::io::retry_on_intr(|| rustix::fs::sendfile(copy, source, None, count))? {
            0 => break,
            copied => at = at.saturating_add(u64::try_from(copied).unwrap_or(u64::MAX)),
        }
    }
    Ok(at)
}
