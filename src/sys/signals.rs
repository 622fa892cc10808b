//! Signal dispositions and the mask of a new process.

use rustix::io::Errno;

/// Gives SIGPIPE its default action back (the Rust runtime ignores it) and unblocks all signals.
///
/// # Errors
/// None in practice.
pub fn set_default() -> Result<(), Errno> {
    // SAFETY: SIG_DFL installs no code.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
    }
    let mask = nix::sys::signal::SigSet::empty();
    mask.thread_set_mask().map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Ignores SIGPIPE: a reader that went away is an error of the write, not the end of tare.
pub fn ignore_pipe() {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
