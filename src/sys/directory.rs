//! getcwd(2) without the C library, which hides what it says about unreachable directories.
//!
//! World: all.

use rustix::io::Errno;

/// Writes the path of the working directory, without its NUL, and returns its length. A directory that
/// is not below the root of this process gets the prefix `(unreachable)`.
///
/// # Errors
/// ENOENT for a removed directory, ERANGE for a buffer too small, ENAMETOOLONG beyond PATH_MAX.
pub fn working_directory(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the pointer and the length describe a live, writable slice.
    let value = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let length = usize::try_from(super::check(value)?).unwrap_or(0);
    Ok(length.saturating_sub(1))
}
