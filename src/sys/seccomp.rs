//! seccomp(2) with a filter. Source: seccomp(2); listeners Linux 5.0, TSYNC_ESRCH 5.7.
//!
//! World: all.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use seccompiler::sock_filter;

const NEW_LISTENER: u32 = 1 << 3;

#[repr(C)]
struct Program {
    len: u16,
    filter: *const sock_filter,
}
const _: () = assert!(size_of::<Program>() == size_of::<libc::sock_fprog>());
const _: () = assert!(size_of::<sock_filter>() == size_of::<libc::sock_filter>());

/// Installs `program` for the calling thread; the listener when `flags` ask for one.
///
/// # Errors
/// EACCES without no_new_privs and CAP_SYS_ADMIN; EINVAL for a program or a flag that the kernel refuses;
/// ESRCH when TSYNC cannot reach a thread.
pub fn set_filter(flags: u32, program: &[sock_filter]) -> Result<Option<OwnedFd>, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { len, filter: program.as_ptr() };
    // SAFETY: `program` points to `len` live instructions with the layout of `struct sock_filter`; the kernel copies.
    let value = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &raw const program)
    };
    let value = super::check(value)?;
    if flags & NEW_LISTENER != 0 {
        let descriptor = i32::try_from(value).map_err(|_| Errno::BADF)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
    }
    // Without TSYNC_ESRCH a positive value is the thread that could not be reached.
    if value == 0 { Ok(None) } else { Err(Errno::SRCH) }
}
