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
    with_numbers(libc::PR_CAPBSET_DROP, [capability.into(), 0]).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// None in practice (Linux 4.3).
pub fn clear_ambient_set() -> Result<(), Errno> {
    with_numbers(libc::PR_CAP_AMBIENT, [libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned().into(), 0]).map(drop)
}

/// Adds the capability number `capability` to the ambient set.
///
/// # Errors
/// EPERM when it is not both permitted and inheritable.
pub fn raise_in_ambient_set(capability: u8) -> Result<(), Errno> {
    let raise = libc::PR_CAP_AMBIENT_RAISE.cast_unsigned().into();
    with_numbers(libc::PR_CAP_AMBIENT, [raise, capability.into()]).map(drop)
}

/// The options whose arguments are numbers. Each has the size of a register: the C library takes a larger one on 32-bit
/// processors for two arguments.
fn with_numbers(option: libc::c_int, arguments: [libc::c_ulong; 2]) -> Result<libc::c_long, Errno> {
    const UNUSED: libc::c_ulong = 0;
    let [one, two] = arguments;
    // SAFETY: integers only.
    let value = unsafe { libc::syscall(libc::SYS_prctl, option, one, two, UNUSED, UNUSED) };
    super::check(value)
}

#[cfg(test)]
mod tests {
    use super::super::clone::status_of_fork;
    use super::super::credentials::{capabilities, set_capabilities};
    use super::*;

    #[test]
    #[allow(clippy::print_stdout, reason = "a test that is skipped says why")]
    fn sets_of_capabilities_change_as_asked() {
        const SETPCAP: u8 = 8;
        let mut sets = capabilities().unwrap();
        if sets.permitted & 1 << SETPCAP == 0 {
            println!("skipped: CAP_SETPCAP is missing");
            return;
        }
        sets.inheritable = sets.permitted;
        let is_ambient = || {
            let is_set = libc::PR_CAP_AMBIENT_IS_SET.cast_unsigned().into();
            with_numbers(libc::PR_CAP_AMBIENT, [is_set, SETPCAP.into()])
        };
        let change = || {
            set_capabilities(&sets)?;
            raise_in_ambient_set(SETPCAP)?;
            let raised = is_ambient()?;
            clear_ambient_set()?;
            let cleared = is_ambient()?;
            drop_from_bounding_set(SETPCAP)?;
            Ok::<_, Errno>([raised, cleared, with_numbers(libc::PR_CAPBSET_READ, [SETPCAP.into(), 0])?] == [1, 0, 0])
        };
        let status = status_of_fork(|| match change() {
            Ok(as_asked) => i32::from(!as_asked),
            Err(errno) => errno.raw_os_error(),
        });
        assert_eq!(status.exit_status(), Some(0), "1 or an errno");
    }
}
