//! World: parent. Copies the caller's stdin to the pty and the pty to the caller's stdout.
//!
//! Promises: no byte that the container wrote before it ended is lost; nothing blocks but poll(2); no memory grows;
//! the caller's descriptors keep their flags (O_NONBLOCK would hit everyone who shares them).
//! A slave held open here keeps the pty alive when every process of the container has closed it for a while, as
//! init systems do with /dev/console.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{SpecialCodeIndex, isatty, tcgetattr, tcsetwinsize};

use super::caller::{self, RawMode};
use super::flow::Flow;
use crate::error::{Context, Result};

/// Bytes that a pty holds at the most: 64 KiB on their way (TTYB_DEFAULT_MEM_LIMIT) and 4 KiB ready to be read.
/// More than twice of that after the end of the process are of others, which may never stop writing.
const DRAIN: usize = 160 * 1024;

/// What becomes of the caller's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// It is read.
    Open,
    /// It belongs to another job of the terminal until SIGCONT.
    Paused,
    /// End-of-file was read and is still to be told to the container.
    Ended,
    /// Nothing more will come.
    Closed,
}

/// The relay of one pty.
pub(super) struct Relay {
    /// Non-blocking; `None` after hang-up.
    master: Option<OwnedFd>,
    slave: Option<OwnedFd>,
    /// A description of our own of the terminal that is stdout, non-blocking; else stdout itself is written to.
    output: Option<OwnedFd>,
    input: Input,
    /// The last byte that was read from stdin.
    last: Option<u8>,
    to_container: Flow,
    to_caller: Flow,
    raw: RawMode,
}

impl Relay {
    /// Takes the master over and puts the caller's terminal into raw mode.
    ///
    /// # Errors
    /// fcntl(2) on the master.
    pub(super) fn new(master: OwnedFd) -> Result<Self> {
        let flags = fcntl_getfl(&master).context(|| "read the flags of the terminal")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).context(|| "make the terminal non-blocking")?;
        let mut relay = Self {
            slave: open_slave(master.as_fd()),
            master: Some(master),
            output: reopen_terminal(),
            input: Input::Open,
            last: None,
            to_container: Flow::new(),
            to_caller: Flow::new(),
            raw: RawMode::default(),
        };
        relay.resume();
        relay.resize();
        Ok(relay)
    }

    /// Called at the start and on SIGCONT: the terminal may have become ours.
    pub(super) fn resume(&mut self) {
        self.raw.enter();
        if matches!(self.input, Input::Open | Input::Paused) {
            self.input = if caller::in_background(stdin()) { Input::Paused } else { Input::Open };
        }
    }

    /// Gives the pty the size of the caller's terminal; the kernel tells the container.
    pub(super) fn resize(&self) {
        if let (Some(master), Some(size)) = (&self.master, caller::size()) {
            // The container may be gone.
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Adds what is waited for.
    pub(super) fn wants<'a>(&'a self, mut add: impl FnMut(PollFd<'a>)) {
        let Some(master) = &self.master else { return };
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, self.to_caller.is_empty());
        events.set(PollFlags::OUT, !self.to_container.is_empty());
        if !events.is_empty() {
            add(PollFd::from_borrowed_fd(master.as_fd(), events));
        }
        if self.to_container.is_empty() && self.input == Input::Open {
            add(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        if !self.to_caller.is_empty() {
            add(PollFd::from_borrowed_fd(self.output(), PollFlags::OUT));
        }
    }

    /// Moves bytes after poll(2) said which descriptors are ready.
    pub(super) fn advance(&mut self, ready: Ready) {
        if ready.stdin {
            self.read_stdin();
        }
        if ready.master {
            self.write_master();
            self.read_master();
        }
        if ready.stdout {
            self.write_stdout();
        }
        self.tell_end_of_file();
    }

    /// Which descriptor this is, by its number.
    pub(super) fn mark(&self, polled: &PollFd<'_>, ready: &mut Ready) {
        use std::os::fd::AsRawFd;
        let number = polled.as_fd().as_raw_fd();
        let is = |fd: BorrowedFd<'_>| fd.as_raw_fd() == number;
        ready.stdin |= is(stdin());
        ready.stdout |= is(self.output());
        ready.master |= self.master.as_ref().is_some_and(|master| is(master.as_fd()));
    }

    /// After the end of the process: everything that it wrote goes out. `wait` waits for stdout, `false` gives up.
    pub(super) fn drain(&mut self, mut wait: impl FnMut(PollFd<'_>) -> bool) {
        let mut left = DRAIN;
        loop {
            while !self.to_caller.is_empty() {
                if !wait(PollFd::from_borrowed_fd(self.output(), PollFlags::OUT)) {
                    return;
                }
                self.write_stdout();
            }
            let Some(master) = &self.master else { return };
            // The kernel completes what is on its way before it says EAGAIN (n_tty_read flushes the port's work).
            match self.to_caller.fill(master.as_fd()) {
                Ok(count) if count > 0 && left > 0 => left = left.saturating_sub(count),
                _ => return,
            }
        }
    }

    fn output(&self) -> BorrowedFd<'_> {
        or_stdout(self.output.as_ref())
    }

    fn read_stdin(&mut self) {
        match self.to_container.fill(stdin()) {
            Ok(0) => self.input = Input::Ended,
            Ok(_) => self.last = self.to_container.last(),
            Err(Errno::AGAIN) => {}
            // SIGTTIN is blocked, therefore EIO; other reasons for EIO are the end of the terminal.
            Err(Errno::IO) if caller::in_background(stdin()) => self.input = Input::Paused,
            Err(Errno::IO) => self.input = Input::Ended,
            Err(_) => self.input = Input::Closed,
        }
    }

    /// A pty has no end-of-file of its own: the character for it is written, twice when a line is unfinished, since
    /// the first one then only completes that line.
    fn tell_end_of_file(&mut self) {
        if self.input != Input::Ended || !self.to_container.is_empty() {
            return;
        }
        self.input = Input::Closed;
        let Some(master) = &self.master else { return };
        let Ok(attributes) = tcgetattr(master) else { return };
        let end = attributes.special_codes[SpecialCodeIndex::VEOF];
        match (end, self.last) {
            // _POSIX_VDISABLE
            (0, _) => {}
            (_, None | Some(b'\n')) => self.to_container.put(&[end]),
            (_, Some(_)) => self.to_container.put(&[end, end]),
        }
    }

    fn write_master(&mut self) {
        let Some(master) = &self.master else { return };
        if self.to_container.is_empty() {
            return;
        }
        match self.to_container.pour(master.as_fd()) {
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(_) => self.to_container.discard(),
        }
    }

    fn read_master(&mut self) {
        let Some(master) = &self.master else { return };
        if !self.to_caller.is_empty() {
            return;
        }
        match self.to_caller.fill(master.as_fd()) {
            Ok(0) | Err(Errno::IO) => self.reopen_slave(),
            Ok(_) | Err(_) => {}
        }
    }

    /// Someone called vhangup(2) on the terminal, which closes our slave too; it may be opened again.
    fn reopen_slave(&mut self) {
        self.slave = None;
        self.slave = self.master.as_ref().and_then(|master| open_slave(master.as_fd()));
        if self.slave.is_none() {
            self.master = None;
        }
    }

    fn write_stdout(&mut self) {
        if self.to_caller.is_empty() {
            return;
        }
        match self.to_caller.pour(or_stdout(self.output.as_ref())) {
            Ok(()) | Err(Errno::AGAIN) => {}
            // Nobody sees the terminal any more: the container gets SIGHUP and end-of-file, as from any terminal.
            Err(_) => {
                self.to_caller.discard();
                self.slave = None;
                self.master = None;
            }
        }
    }
}

/// What poll(2) found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ready {
    stdin: bool,
    stdout: bool,
    master: bool,
}

fn or_stdout(output: Option<&OwnedFd>) -> BorrowedFd<'_> {
    match output {
        Some(output) => output.as_fd(),
        None => stdout(),
    }
}

fn open_slave(master: BorrowedFd<'_>) -> Option<OwnedFd> {
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).ok()
}

/// A terminal takes less than poll(2) promises and would then block us, so it is opened anew. Where that is not
/// permitted (another user's terminal), stdout is used as it is.
fn reopen_terminal() -> Option<OwnedFd> {
    if !isatty(stdout()) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(CWD, c"/proc/self/fd/1", flags, Mode::empty()).ok()
}
