//! Reading and writing the small files of a cgroup. World: parent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Nothing below the root of the hierarchy may lead out of it.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a cgroup at `path` below `directory`; `.` is the directory itself.
pub fn open_directory(directory: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), BENEATH)
}

/// Opens a file of a cgroup.
pub fn open(directory: BorrowedFd<'_>, file: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, file, access | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a file from its beginning.
pub fn read_open(file: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let offset = u64::try_from(content.len()).unwrap_or(u64::MAX);
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer[..], offset))? {
            0 => break,
            read => content.extend(buffer.iter().take(read)),
        }
        // The files of a cgroup end with a newline; a short read that does is the whole of it.
        if content.len() % buffer.len() != 0 && content.ends_with(b"\n") {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Reads a file of a cgroup.
pub fn read(directory: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    read_open(open(directory, file, OFlags::RDONLY)?.as_fd())
}

/// Reads a file that only some kernels or controllers have; a disabled pressure file says EOPNOTSUPP.
pub fn read_if_there(directory: BorrowedFd<'_>, file: &str) -> Result<Option<String>, Errno> {
    match read(directory, file) {
        Ok(content) => Ok(Some(content)),
        Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Writes a value in one write(2), as the kernel wants it.
pub fn write(directory: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let file = open(directory, file, OFlags::WRONLY)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// The value of `key` in a file of lines `key value`.
pub fn value_of<'c>(content: &'c str, key: &str) -> Option<&'c str> {
    content.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}
