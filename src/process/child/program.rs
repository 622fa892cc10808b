//! Finds the program, as the user and with the capabilities that will execute it, and executes it.
//!
//! World: child. Found by `create` already, so that a missing program is create's error, as engines expect.

use std::ffi::CStr;

use rustix::fs::{Access, CWD, FileType};
use rustix::io::Errno;

use crate::process::ProcessPlan;
use crate::sys;
use crate::wire::{ChildResult, Fault, Step};

/// The text of a fault that stat(2) gave.
pub(in crate::process) const STAT: &[u8] = b"stat";
/// The index of a fault without a file that comes near.
pub(in crate::process) const NOWHERE: usize = u32::MAX as usize;

/// The number of the candidate to execute.
///
/// # Errors
/// Of a program with a slash what is wrong with it; of one searched in PATH ENOENT, or EACCES with the
/// number of the first candidate that exists but cannot be executed.
pub fn find_program(plan: &ProcessPlan) -> ChildResult<usize> {
    find(plan, check)
}

/// The same with another way to look at a file: `check` returns what is wrong with it.
pub(in crate::process) fn find(plan: &ProcessPlan, check: impl Fn(&CStr) -> ChildResult) -> ChildResult<usize> {
    let mut refused = None;
    for (i, candidate) in plan.candidates.iter().enumerate() {
        match check(candidate) {
            Ok(()) => return Ok(i),
            Err(fault) if !plan.searched => return Err(fault),
            Err(fault) if fault.text_len == 0 && refused.is_none() => refused = Some((i, fault.errno)),
            Err(_) => {}
        }
    }
    let (i, errno) = refused.unwrap_or((NOWHERE, Errno::NOENT.raw_os_error()));
    Err(Fault::new(Step::FindProgram, i, Errno::from_raw_os_error(errno)))
}

/// A regular file that may be executed; EISDIR for a directory, EACCES for everything else.
fn check(path: &CStr) -> ChildResult {
    let fault = |errno| Fault::new(Step::FindProgram, 0, errno);
    let stat = rustix::fs::stat(path).map_err(|errno| fault(errno).text(STAT))?;
    check_kind(FileType::from_raw_mode(stat.st_mode)).map_err(fault)?;
    sys::access::accessible(CWD, path, Access::EXEC_OK).map_err(fault)
}

/// Only a regular file can be executed.
pub(in crate::process) fn check_kind(kind: FileType) -> Result<(), Errno> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}

/// Executes candidate number `program`; returns only when that failed.
pub fn exec(plan: &ProcessPlan, program: usize) -> Errno {
    match plan.candidates.get(program) {
        Some(path) => sys::exec::execute(path, &plan.args, &plan.env),
        None => Errno::NOENT,
    }
}
