//! World: parent, child. The exit code that stands for the end of a process, as shells report it.
//!
//! Source: POSIX.1-2024, Shell Command Language, "Exit Status": greater than 128 for a death by signal.

/// Added to the number of the signal that killed a process.
const SIGNALED: i32 = 128;

/// The exit code of a process that `signal` killed.
#[must_use]
pub const fn of_signal(signal: i32) -> i32 {
    SIGNALED + signal
}

/// The exit code for what wait(2) reported: an exit status or a signal; `None` if it reported neither.
#[must_use]
pub fn exit_code(exit_status: Option<i32>, terminating_signal: Option<i32>) -> Option<i32> {
    exit_status.or_else(|| terminating_signal.map(of_signal))
}

/// The signal that an exit code stands for; `None` if the process exited by itself.
#[must_use]
pub fn signal(code: i32) -> Option<i32> {
    (code > SIGNALED).then_some(code - SIGNALED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_by_signal_is_told_from_an_exit() {
        assert_eq!(exit_code(Some(3), None), Some(3));
        assert_eq!(exit_code(None, Some(9)), Some(137));
        assert_eq!(exit_code(None, None), None);
        assert_eq!(signal(137), Some(9));
        assert_eq!((signal(128), signal(0)), (None, None));
    }
}
