//! Whether the caller may access a file, by what open(2) and execve(2) look at: its effective ids and capabilities.
//! Source: faccessat2(2), Linux 5.8; faccessat(2).
//!
//! World: all.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, AtFlags, FileType};
use rustix::io::Errno;
use rustix::path::Arg;

use super::credentials::{DAC_OVERRIDE, capabilities};

/// A filter around tare denies faccessat2(2), whatever the error number.
static DENIED: AtomicBool = AtomicBool::new(false);

/// Has this process and its children do without faccessat2(2), whose answers are those of a filter.
pub fn do_without_faccessat2() {
    DENIED.store(true, Ordering::Relaxed);
}

/// Checks access to the file at `path` below `directory`.
///
/// # Errors
/// EACCES, EROFS and those of the path's resolution.
pub fn accessible(directory: impl AsFd, path: impl Arg, access: Access) -> Result<(), Errno> {
    path.into_with_c_str(|path| {
        let directory = directory.as_fd();
        match faccessat2(directory, path, access) {
            // EPERM is also the kernel's answer for an immutable file, and then that of the other call.
            Err(Errno::NOSYS | Errno::PERM) => accessible_before_5_8(directory, path, access),
            Err(_) if DENIED.load(Ordering::Relaxed) => accessible_before_5_8(directory, path, access),
            answer => answer,
        }
    })
}

fn faccessat2(directory: BorrowedFd<'_>, path: &CStr, access: Access) -> Result<(), Errno> {
    let (directory, access) = (directory.as_raw_fd(), access.bits());
    // SAFETY: the path ends in NUL and lives through the call.
    let value = unsafe { libc::syscall(libc::SYS_faccessat2, directory, path.as_ptr(), access, libc::AT_EACCESS) };
    super::check(value).map(drop)
}

/// faccessat(2) looks at the real ids, which are the effective ones in every process of tare. For a user that is not root
/// it leaves out the capabilities, so that CAP_DAC_OVERRIDE has to be looked at here. Where this permits what the kernel
/// refuses (a mount without execution, a file of an id that is not mapped), open(2) or execve(2) refuses it in their turn.
/// Can go when no filter denies faccessat2.
fn accessible_before_5_8(directory: BorrowedFd<'_>, path: &CStr, access: Access) -> Result<(), Errno> {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    if (getuid(), getgid()) != (geteuid(), getegid()) {
        return Err(Errno::NOSYS);
    }
    let answer = rustix::fs::accessat(directory, path, access, AtFlags::empty());
    let overrides = || capabilities().is_ok_and(|sets| sets.effective & DAC_OVERRIDE != 0);
    if answer != Err(Errno::ACCESS) || getuid().is_root() || !overrides() {
        return answer;
    }
    let facts = rustix::fs::statat(directory, path, AtFlags::empty())?;
    // The capability makes no program of a file without any execute permission.
    let is_directory = FileType::from_raw_mode(facts.st_mode).is_dir();
    let executable = is_directory || facts.st_mode & 0o111 != 0;
    if access.contains(Access::EXEC_OK) && !executable { answer } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn both_ways_give_the_same_answers() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "x").unwrap();
        let plain = plain.to_str().unwrap();
        for path in ["/bin/sh", "/etc/passwd", "/etc/shadow", "/nothing", "/etc/passwd/below", "/proc/self", "/", plain]
        {
            for access in [Access::EXISTS, Access::READ_OK, Access::WRITE_OK, Access::EXEC_OK] {
                let older = path.into_with_c_str(|path| accessible_before_5_8(CWD, path, access));
                assert_eq!(accessible(CWD, path, access), older, "{path} {access:?}");
            }
        }
        assert_eq!(accessible(CWD, plain, Access::EXEC_OK), Err(Errno::ACCESS));
    }
}
