//! execve(2) on pointer arrays that were prepared beforehand.
//!
//! World: all.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

pub use super::strings::Strings;

/// Executes `path`; returns only when that failed.
///
/// # Errors
/// What is returned: ENOENT (also for a missing interpreter), EACCES, ENOEXEC, E2BIG, ETXTBSY, ...
#[must_use]
pub fn execute(path: &CStr, args: &Strings, env: &Strings) -> Errno {
    // SAFETY: `path` ends in NUL and both arrays end in NULL and point to live strings that end in NUL.
    let value = unsafe { libc::syscall(libc::SYS_execve, path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    super::check(value).err().unwrap_or(Errno::IO)
}

/// Executes the file behind `file` with `env`, or with the caller's environment; returns only when that failed. `link` is
/// its name in /proc/self/fd, for hosts that deny execveat(2). Kernel: 3.19.
///
/// # Errors
/// As [`execute`].
#[must_use]
pub fn execute_file(file: BorrowedFd<'_>, link: &CStr, args: &Strings, env: Option<&Strings>) -> Errno {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library keeps `environ` valid, and tare has one thread and changes it nowhere.
    let inherited = unsafe { environ };
    let env = env.map_or(inherited, Strings::as_ptr);
    // SAFETY: the path is empty, and both arrays end in NULL and point to live strings that end in NUL.
    unsafe {
        libc::syscall(libc::SYS_execveat, file.as_raw_fd(), c"".as_ptr(), args.as_ptr(), env, libc::AT_EMPTY_PATH)
    };
    // A seccomp filter around tare may not know the call. The link leads to the same open file, whatever its name is.
    // SAFETY: the link ends in NUL, and both arrays are as above.
    let value = unsafe { libc::syscall(libc::SYS_execve, link.as_ptr(), args.as_ptr(), env) };
    super::check(value).err().unwrap_or(Errno::IO)
}
