//! World: parent. The pid file that engines poll: only digits, and never visible half-written.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Code, Error, Result};

/// Writes `pid` to a temporary file in the directory of `path` and renames it.
///
/// # Errors
/// The directory is missing or not writable.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", path.display());
    let name = path
        .file_name()
        .ok_or_else(|| Error::system(what(), libc::EISDIR).coded(Code::PidFileFailed))?
        .to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{pid}"));
    create(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Error::system(what(), e).coded(Code::PidFileFailed))
}

/// Creates the temporary file. The directory may be /tmp and the name can be guessed, so another user may have planted a
/// link there that leads to a file of the host: an existing file is removed, never opened. Nothing else uses that name.
pub(super) fn create(path: &Path) -> std::io::Result<File> {
    let new = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match new() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::remove_file(path).and_then(|()| new()),
        file => file,
    }
}
