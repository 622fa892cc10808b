//! execve(2) on pointer arrays that were prepared beforehand.
//!
//! World: [`Strings`] is built while planning (that allocates); [`execute`] is for the child.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Strings together with the NULL-terminated pointer array that execve wants.
#[derive(Debug)]
pub struct Strings {
    /// Never changed without `pointers`: these point into the heap buffers of these.
    strings: Vec<CString>,
    /// One per string, then NULL.
    pointers: Vec<*const c_char>,
}

impl Clone for Strings {
    fn clone(&self) -> Self {
        Self::new(self.strings.clone())
    }
}

impl Strings {
    /// The environment of this process.
    #[must_use]
    pub fn of_environment() -> Self {
        let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let entry = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
            // What came from the environment has no NUL in it.
            CString::new(entry).unwrap_or_default()
        };
        Self::new(std::env::vars_os().map(entry).collect())
    }

    /// Takes the strings over.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn as_slice(&self) -> &[CString] {
        &self.strings
    }

    /// Adds one at the end.
    pub fn push(&mut self, string: CString) {
        self.pointers.pop();
        self.pointers.extend([string.as_ptr(), std::ptr::null()]);
        self.strings.push(string);
    }

    /// The array for execve: as many pointers as strings, then NULL; valid while `self` is not changed.
    #[must_use]
    pub fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

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

/// Executes the file behind `file` with the caller's environment; returns only when that failed. Kernel: 3.19.
///
/// # Errors
/// As [`execute`].
#[must_use]
pub fn execute_file(file: BorrowedFd<'_>, args: &Strings) -> Errno {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library keeps `environ` valid, and tare has one thread and changes it nowhere.
    let env = unsafe { environ };
    // SAFETY: the path is empty, and both arrays end in NULL and point to live strings that end in NUL.
    let value = unsafe {
        libc::syscall(libc::SYS_execveat, file.as_raw_fd(), c"".as_ptr(), args.as_ptr(), env, libc::AT_EMPTY_PATH)
    };
    super::check(value).err().unwrap_or(Errno::IO)
}
