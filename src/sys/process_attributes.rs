//! prctl(2): the package `prctl` for what it covers without allocating, bare calls for the rest.
//!
//! World: all; nothing here allocates but `set_name`, which is the parent's. The package is called from this file alone,
//! so that it can be replaced.

use std::ffi::CStr;

use rustix::io::Errno;

/// Turns what the package returns into an [`Errno`].
fn checked(result: Result<(), i32>) -> Result<(), Errno> {
    result.map_err(Errno::from_raw_os_error)
}

/// Whether the process may be traced and dumped, and who owns its files in /proc.
///
/// # Errors
/// None in practice.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    checked(prctl::set_dumpable(dumpable))
}

/// Whether [`set_dumpable`] is in force; the C library never changes it, execve does.
///
/// # Errors
/// None in practice.
pub fn is_dumpable() -> Result<bool, Errno> {
    prctl::get_dumpable().map_err(Errno::from_raw_os_error)
}

/// The signal for the death of the parent thread; cleared by a change of ids or capabilities.
///
/// # Errors
/// EINVAL for a number that is no signal.
pub fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    checked(prctl::set_death_signal(isize::try_from(signal).map_err(|_| Errno::INVAL)?))
}

/// Orphaned descendants become children of this process.
///
/// # Errors
/// None in practice.
pub fn set_child_subreaper(subreaper: bool) -> Result<(), Errno> {
    checked(prctl::set_child_subreaper(subreaper))
}

/// No execution raises privileges from now on; cannot be undone.
///
/// # Errors
/// None in practice.
pub fn set_no_new_privileges() -> Result<(), Errno> {
    checked(prctl::set_no_new_privileges(true))
}

/// The permitted capabilities survive a change from user id 0 to another; until execve.
///
/// # Errors
/// EPERM when the securebits lock it.
pub fn set_keep_capabilities(keep: bool) -> Result<(), Errno> {
    checked(prctl::set_keep_capabilities(keep))
}

/// The name of this thread, of which the kernel keeps 15 bytes.
///
/// # Errors
/// None in practice.
pub fn set_name(name: &CStr) -> Result<(), Errno> {
    checked(prctl::set_name(&name.to_string_lossy()))
}

/// Takes the capability number `capability` out of the bounding set for good.
///
/// # Errors
/// EPERM without CAP_SETPCAP, EINVAL for a number that the kernel does not know.
pub fn drop_from_bounding_set(capability: u8) -> Result<(), Errno> {
    // SAFETY: integers only.
    let value =
        unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, u64::from(capability), 0_u64, 0_u64, 0_u64) };
    super::check(value).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// None in practice (Linux 4.3).
pub fn clear_ambient_set() -> Result<(), Errno> {
    // SAFETY: integers only.
    let value = unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0_u64, 0_u64, 0_u64)
    };
    super::check(value).map(drop)
}

/// Adds the capability number `capability` to the ambient set.
///
/// # Errors
/// EPERM when it is not both permitted and inheritable.
pub fn raise_in_ambient_set(capability: u8) -> Result<(), Errno> {
    let capability = u64::from(capability);
    // SAFETY: integers only.
    let value = unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0_u64, 0_u64)
    };
    super::check(value).map(drop)
}
