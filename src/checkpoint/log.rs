//! World: plan. The cause of a failure, from the text of CRIU's log.

/// Lines that are in the log of successful runs too, or that only repeat that the whole failed.
const NOISE: [&str; 4] = ["Can't setup RLIMIT_NOFILE", "Dumping FAILED", "Restoring FAILED", "Pre-dumping FAILED"];

/// The first error of a log, without its time and place in CRIU's source: `Can't lookup mount=22 for fd=0 path=/dev/x`.
pub(super) fn cause(log: &str) -> Option<&str> {
    let errors = log.lines().filter_map(|line| line.split_once("Error ("));
    let mut texts = errors.filter_map(|(_, rest)| rest.split_once("): ")).map(|(_, text)| text.trim());
    texts.find(|text| !text.is_empty() && !NOISE.iter().any(|noise| text.contains(noise)))
}

/// Whether the cause is that a process did not stop in time. One in vfork(2) cannot, while its child is frozen.
pub(super) fn is_timeout(cause: &str) -> bool {
    cause.starts_with("Timeout reached")
}

#[cfg(test)]
mod tests {
    use super::{cause, is_timeout};

    #[test]
    fn a_process_that_does_not_stop_is_told_from_other_causes() {
        let log = "(10.3) Error (criu/seize.c:133): Timeout reached. Try to interrupt: 0\n";
        assert!(cause(log).is_some_and(is_timeout));
        assert!(!is_timeout("Can't lookup mount=22"));
    }

    #[test]
    fn the_first_error_counts() {
        let log = "\
(00.026797) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.027000) Warn  (criu/x.c:1): not this
(00.028000) Error (criu/tty.c:1222): tty: Found dangling tty with sid 1 pgid 1 (pts) on peer fd 0.
(00.029000) Error (criu/cr-dump.c:2098): Dumping FAILED.
";
        assert_eq!(cause(log), Some("tty: Found dangling tty with sid 1 pgid 1 (pts) on peer fd 0."));
        assert_eq!(cause("(00.1) Error (criu/cr-dump.c:2098): Dumping FAILED.\n"), None);
        assert_eq!(cause(""), None);
    }
}
