//! Tells a procfs from what only looks like one. Writes to a fake are accepted and change nothing.
//!
//! World: all. Source: linux/magic.h, linux/proc_fs.h.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// PROC_ROOT_INO: the inode of the root of every procfs, and of nothing else in it.
const ROOT: u64 = 1;

/// Whether a file is in a procfs.
///
/// # Errors
/// fstatfs(2).
pub fn contains(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatfs(file)?.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Whether a file is the root directory of a procfs.
///
/// # Errors
/// fstatfs(2), fstat(2).
pub fn is_root(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(contains(file)? && rustix::fs::fstat(file)?.st_ino == ROOT)
}
