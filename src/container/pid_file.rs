//! World: parent. The pid file that engines poll: only digits, and never visible half-written.

use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::whole_file;

/// Writes `pid` to `path`.
///
/// # Errors
/// The directory is missing or not writable.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    whole_file::replace(path, pid, pid.to_string().as_bytes())
        .map_err(|e| Error::system(format!("write the pid file {}", path.display()), e).coded(Code::PidFileFailed))
}
