//! What can be told of a program before there is a process for it. Nothing is changed.
//!
//! World: parent. The words are those of the child's faults, so that `check` and `create` say the same.

use std::ffi::CStr;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::Resource;

use super::ProcessPlan;
use super::child::{MAKING, STAT, check_kind, find};
use super::limits::Rlimit;
use crate::wire::{Fault, Step};

/// What is at a path of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A file of this kind; whether the program's user may execute it.
    File(FileType, bool),
    /// The look-up fails.
    Refused(Errno),
    /// That is known only in the container.
    Unknown,
}

/// What [`super::child::limits`] would find.
#[must_use]
pub fn limits(plan: &ProcessPlan) -> Vec<Fault> {
    const SYS_RESOURCE: u64 = 1 << 24;
    let may_raise = crate::sys::credentials::capabilities().is_ok_and(|sets| sets.effective & SYS_RESOURCE != 0);
    let most_files = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let exceeds = |limit: &Rlimit, most: Option<u64>| {
        most.is_some_and(|most| limit.value.maximum.is_none_or(|maximum| maximum > most))
    };
    let refused = |limit: &Rlimit| {
        (limit.resource == Resource::Nofile && exceeds(limit, most_files))
            || (!may_raise && exceeds(limit, rustix::process::getrlimit(limit.resource).maximum))
    };
    let limits = plan.rlimits.iter().enumerate().filter(|(_, limit)| refused(limit));
    limits.map(|(number, _)| Fault::new(Step::Rlimit, number, Errno::PERM)).collect()
}

/// What [`super::child::working_directory`] would find; a directory that is missing is made, unless its place is
/// read-only (EROFS).
#[must_use]
pub fn working_directory(plan: &ProcessPlan, look: impl Fn(&CStr) -> Look) -> Option<Fault> {
    let errno = match look(&plan.cwd) {
        Look::File(FileType::Directory, _) | Look::Unknown | Look::Refused(Errno::NOENT) => return None,
        Look::File(..) => Errno::NOTDIR,
        Look::Refused(errno @ Errno::ROFS) => return Some(Fault::new(Step::WorkingDirectory, 0, errno).text(MAKING)),
        Look::Refused(errno) => errno,
    };
    Some(Fault::new(Step::WorkingDirectory, 0, errno))
}

/// What setting the capabilities would find: tare cannot give what it does not have.
#[must_use]
pub fn capabilities(plan: &ProcessPlan) -> Option<Fault> {
    let masks = &plan.capabilities;
    let missing = (masks.permitted | masks.inheritable) & !plan.callers_capabilities;
    (missing != 0 && !plan.user_namespace).then(|| Fault::new(Step::Capabilities, 0, Errno::PERM))
}

/// What the search for the program would find. A file that is known only in the container ends the search.
#[must_use]
pub fn program(plan: &ProcessPlan, look: impl Fn(&CStr) -> Look) -> Option<Fault> {
    let fault = |errno| Fault::new(Step::FindProgram, 0, errno);
    let check = |path: &CStr| match look(path) {
        Look::Unknown => Ok(()),
        Look::Refused(errno) => Err(fault(errno).text(STAT)),
        Look::File(kind, executable) => {
            check_kind(kind).and(if executable { Ok(()) } else { Err(Errno::ACCESS) }).map_err(fault)
        }
    };
    find(plan, check).err()
}
