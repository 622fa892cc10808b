//! Signal dispositions and the mask of a new process.
//!
//! World: all.

use rustix::io::Errno;

/// Gives every signal its default action and blocks none, whatever the caller left behind: an ignored SIGCHLD would lose
/// exit codes, and execve keeps what is ignored.
///
/// # Errors
/// None in practice.
pub fn reset() -> Result<(), Errno> {
    /// `_NSIG` of the kernel.
    const LAST: i32 = 64;
    (1..=LAST).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)).try_for_each(default)?;
    unblock_all()
}

/// Gives SIGCHLD its default action: where it is ignored, children cannot be waited for.
///
/// # Errors
/// None in practice.
pub fn reset_child() -> Result<(), Errno> {
    default(libc::SIGCHLD)
}

fn default(signal: i32) -> Result<(), Errno> {
    /// struct sigaction of the kernel with SIG_DFL, no flags and no mask: all zero.
    const DEFAULT: [u64; 4] = [0; 4];
    let before: *mut u64 = std::ptr::null_mut();
    // SAFETY: the kernel reads one struct, which is no larger than the live array, and installs no code. The C library's
    // own function refuses the two signals that it keeps for itself.
    let value = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), before, size_of::<u64>()) };
    super::check(value).map(drop)
}

/// Gives SIGPIPE its default action back ([`ignore_pipe`]) and unblocks all signals.
///
/// # Errors
/// None in practice.
pub fn set_default() -> Result<(), Errno> {
    // SAFETY: SIG_DFL installs no code.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR {
        return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
    }
    unblock_all()
}

/// Signals by which somebody outside ends a process.
const ENDING: [i32; 6] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// Has these signals end the process, with 128 + signal, until it executes a program: the first process of a pid namespace
/// takes no signal from outside that has its default action.
///
/// # Errors
/// None in practice.
pub fn end_at_once() -> Result<(), Errno> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe and never returns.
        unsafe { libc::_exit(super::exit_code::of_signal(signal)) }
    }
    for signal in ENDING {
        // SAFETY: the handler only makes a system call, and execve puts the default action back.
        let before = unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
        if before == libc::SIG_ERR {
            return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
        }
    }
    Ok(())
}

fn unblock_all() -> Result<(), Errno> {
    let mask = nix::sys::signal::SigSet::empty();
    mask.thread_set_mask().map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Ignores SIGPIPE: a reader that went away is an error of the write, not the end of tare.
pub fn ignore_pipe() {
    // SAFETY: SIG_IGN installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
