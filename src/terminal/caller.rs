//! World: parent. The terminal of whoever called tare: its size, and raw mode while it is relayed.
//!
//! Promises: the modes found are put back on every way out but SIGKILL; a caller in the background of its
//! terminal is neither read from nor changed.

use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::getpgrp;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

/// The size of the first of stdin, stdout, stderr that is a terminal and knows its size; when all of them are
/// redirected, that of the controlling terminal, as runc does.
pub(super) fn size() -> Option<Winsize> {
    let known = |size: &Winsize| size.ws_row != 0 && size.ws_col != 0;
    let stdio = [stdin(), stdout(), stderr()].into_iter().filter_map(|fd| tcgetwinsize(fd).ok()).find(known);
    stdio.or_else(|| {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let terminal = openat(CWD, c"/dev/tty", flags, Mode::empty()).ok()?;
        tcgetwinsize(&terminal).ok().filter(known)
    })
}

/// Whether reading from `terminal` is denied to this process: it belongs to its session, but to a background job.
pub(super) fn in_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
}

/// stdin in raw mode, until dropped.
#[derive(Debug, Default)]
pub(super) struct RawMode {
    before: Option<Termios>,
}

impl RawMode {
    /// Every key goes to the container; output is processed as before, since the container's pty leaves that to us.
    /// Nothing happens when stdin is no terminal or not ours.
    pub(super) fn enter(&mut self) {
        if in_background(stdin()) {
            return;
        }
        let Ok(found) = tcgetattr(stdin()) else { return };
        let mut raw = found.clone();
        raw.make_raw();
        raw.output_modes = found.output_modes;
        // A terminal that refuses (hung up) will say so when it is read.
        if tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok() {
            self.before.get_or_insert(found);
        }
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && !in_background(stdin())
        {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}
