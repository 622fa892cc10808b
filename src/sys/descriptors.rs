//! Descriptor ranges. Source: close_range(2), Linux 5.9; CLOEXEC flag 5.11.

use rustix::io::Errno;

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// ENOMEM.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: close_range with CLOEXEC touches no memory and closes nothing now.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    super::check(value).map(drop)
}

/// Clears close-on-exec of `first..first + count`, for descriptors that the program shall inherit.
///
/// # Errors
/// EBADF when one of them is not open.
pub fn keep_on_exec(first: i32, count: u32) -> Result<(), Errno> {
    for offset in 0..count {
        let number = first.saturating_add_unsigned(offset);
        // SAFETY: F_SETFD takes an integer and touches no memory.
        super::check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }))?;
    }
    Ok(())
}
