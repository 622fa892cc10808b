//! Session keyrings. Source: keyctl(2).
//!
//! World: all.

use std::ffi::CStr;

use rustix::io::Errno;

/// KEYCTL_JOIN_SESSION_KEYRING.
const JOIN_SESSION_KEYRING: libc::c_int = 1;
/// KEYCTL_SETPERM.
const SET_PERMISSIONS: libc::c_int = 5;

/// Replaces the session keyring of this thread by the one called `name`, which is made if there is none
/// that may be searched; returns its serial number.
///
/// # Errors
/// ENOSYS where the kernel has no keyrings, EDQUOT when the user has too many, EPERM under a seccomp filter.
pub fn join_session(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: `name` ends in NUL.
    let value = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    super::check(value).and_then(|serial| i32::try_from(serial).map_err(|_| Errno::OVERFLOW))
}

/// Replaces the permission mask of the key `serial`.
///
/// # Errors
/// EACCES when the key is not this user's.
pub fn set_permissions(serial: i32, permissions: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    let value = unsafe { libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, serial, permissions) };
    super::check(value).map(drop)
}
