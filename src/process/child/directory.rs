//! The working directory, which must be inside the container.
//!
//! World: child. Paths are resolved without magic links (`/proc/self/fd/N` could be a directory of the
//! host), and the result is checked by getcwd (attack classes of CVE-2016-9962 and CVE-2024-21626).

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::process::ProcessPlan;
use crate::process::paths::Component;
use crate::sys;
use crate::wire::{ChildResult, Fault, Step};

/// Whether the working directory is entered already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It is.
    Yes,
    /// Not permitted yet: [`super::drop_privileges`] tries again as the container's user.
    AsUser,
}

/// The text of a fault of [`make_working_directory`].
pub(in crate::process) const MAKING: &[u8] = b"mkdir";
/// The text of a fault of [`verify`].
pub(in crate::process) const OUTSIDE: &[u8] = b"outside";
/// PATH_MAX.
const LONGEST: usize = 4096;

/// Makes the working directory and what is missing above it, mode 0755, owned by the container's root.
///
/// # Errors
/// Those of mkdir(2); what is wrong with a directory that exists is left to [`working_directory`].
pub fn make_working_directory(plan: &ProcessPlan) -> ChildResult {
    // A directory that only its owner may enter exists, too (EACCES).
    if plan.cwd_components.is_empty() || !matches!(open(&plan.cwd), Err(Errno::NOENT)) {
        return Ok(());
    }
    let umask = rustix::process::umask(Mode::from_raw_mode(0o022));
    let made = plan.cwd_components.iter().try_for_each(make);
    rustix::process::umask(umask);
    made.map_err(|errno| Fault::new(Step::WorkingDirectory, 0, errno).text(MAKING))
}

/// mkdirat does not follow the last name.
fn make(component: &Component) -> Result<(), Errno> {
    let parent = open(&component.parent)?;
    match rustix::fs::mkdirat(&parent, &component.name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Enters the working directory with the privileges at hand.
///
/// # Errors
/// The kernel's; EXDEV with the text `outside` for a directory outside the container.
pub fn working_directory(plan: &ProcessPlan) -> ChildResult<Entered> {
    if plan.cwd_components.is_empty() {
        // The root of this process cannot be outside.
        let entered = rustix::process::chdir(c"/").map(|()| Entered::Yes);
        return entered.map_err(|errno| Fault::new(Step::WorkingDirectory, 0, errno));
    }
    match enter(&plan.cwd) {
        Ok(()) => verify().map(|()| Entered::Yes),
        Err(Errno::ACCESS | Errno::PERM) => Ok(Entered::AsUser),
        Err(errno) => Err(Fault::new(Step::WorkingDirectory, 0, errno)),
    }
}

/// The second attempt, as the container's user.
pub(super) fn as_user(plan: &ProcessPlan, entered: Entered) -> ChildResult {
    if entered == Entered::Yes {
        return Ok(());
    }
    enter(&plan.cwd).map_err(|errno| Fault::new(Step::WorkingDirectory, 0, errno))?;
    verify()
}

fn enter(path: &CStr) -> Result<(), Errno> {
    rustix::process::fchdir(open(path)?)
}

/// The kernel names a directory below the root by an absolute path, any other one `(unreachable)/...`.
fn verify() -> ChildResult {
    let mut buffer = [0; LONGEST];
    let errno = match sys::directory::working_directory(&mut buffer) {
        Ok(_) if buffer.first() == Some(&b'/') => return Ok(()),
        Ok(_) => Errno::XDEV,
        Err(errno) => errno,
    };
    Err(Fault::new(Step::WorkingDirectory, 0, errno).text(OUTSIDE))
}
