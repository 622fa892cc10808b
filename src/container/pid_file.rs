//! World: parent. The pid file that engines poll: digits only, never seen half-written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes `pid` to a temporary file beside `path` and renames it.
///
/// # Errors
/// The directory is missing or not writable.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", path.display());
    let name = path.file_name().ok_or_else(|| Error::system(what(), libc::EISDIR))?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{pid}"));
    make(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Error::system(what(), e))
}

/// A new file: a link that somebody planted under this name (the directory may be /tmp, and pids can be guessed) would
/// have a file of the host written. What is there is in nobody's use.
fn make(path: &Path) -> std::io::Result<File> {
    let new = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match new() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::remove_file(path).and_then(|()| new()),
        file => file,
    }
}
