//! World: parent. The host's procfs for the child, which writes its OOM score and security labels there.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{Code, Context, Error, Result};
use crate::plan::Program;

/// Opens /proc if the program needs it.
///
/// # Errors
/// /proc cannot be opened, or is not a procfs.
pub(super) fn open(program: Option<&Program>) -> Result<Option<OwnedFd>> {
    if !program.is_some_and(|program| program.process.needs_proc()) {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context(|| "open /proc")?;
    // Another filesystem would accept the write of a label and enforce nothing.
    if !crate::sys::procfs::contains(proc.as_fd()).context(|| "examine /proc")? {
        return Err(Error::new(Code::ProcfsMissing, "/proc is not a procfs"));
    }
    Ok(Some(proc))
}
