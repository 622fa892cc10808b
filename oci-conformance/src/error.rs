//! The two ways in which the conformance runner itself can fail.

use std::fmt;
use std::io;
use std::path::Path;

/// Result with the runner's own error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no verdict.
#[derive(Debug)]
pub enum Error {
    /// The suite cannot be had on this machine: not a failure of the runtime, reported as skipped.
    NoSuite(String),
    /// Anything else.
    Failed(String),
}

impl Error {
    /// Adds a path to an I/O error.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::Failed(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoSuite(reason) | Error::Failed(reason) => out.write_str(reason),
        }
    }
}
