//! World: parent. Files of the caller that others read at any time: never visible half-written.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `content` to a temporary file in the directory of `path` and renames it. `number` is in the temporary name. If
/// that fails, nothing is left.
///
/// # Errors
/// `path` has no name; the directory is missing or not writable.
pub(crate) fn replace(path: &Path, number: impl Display, content: &[u8]) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::from_raw_os_error(libc::EISDIR))?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{number}"));
    let mut file = create(&temporary)?;
    file.write_all(content).and_then(|()| std::fs::rename(&temporary, path)).inspect_err(|_| {
        let _left = std::fs::remove_file(&temporary);
    })
}

/// Creates the temporary file. The directory may be /tmp and the name can be guessed, so another user may have planted a
/// link there that leads to a file of the host: an existing file is removed, never opened. Nothing else uses that name.
fn create(path: &Path) -> Result<File> {
    let new = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
    match new() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => std::fs::remove_file(path).and_then(|()| new()),
        file => file,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_left_of_what_could_not_be_renamed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::create_dir(&path).unwrap();
        super::replace(&path, 1, b"text").unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        super::replace(&path, 1, b"text").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
