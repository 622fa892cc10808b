//! World: parent. The pid file that engines poll: digits only, never seen half-written.

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
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Error::system(what(), e))
}
