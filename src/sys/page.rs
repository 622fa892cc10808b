//! The text of small files of the kernel's, in /proc and /sys, as a string.
//!
//! World: parent.

use rustix::io::Errno;

/// Reads a file that fits into a page: the kernel gives the text of all of them in one read. Three system calls.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: &str) -> Result<String, Errno> {
    let mut buffer = [0; 4096];
    super::text::read(path, &mut buffer).map(|text| String::from_utf8_lossy(text).into_owned())
}
