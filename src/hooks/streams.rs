//! World: parent. stdio of a hook: the state on stdin, the end of stderr kept, nothing of the runtime's own.

use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::plan::Output;
use crate::error::{Context, Error, Result};

/// Bytes of stderr that an error shows: its end, which is where the reason is.
const SHOWN: usize = 1024;
/// What a pipe holds by default: pipe(7).
const PIPE: usize = 64 * 1024;

/// What a wait for a hook ends with at the latest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until<'a> {
    pub(super) deadline: Option<Instant>,
    /// The container's init, for hooks without which it does not go on.
    pub(super) init: Option<BorrowedFd<'a>>,
}

/// What it did end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Hook,
    Deadline,
    Init,
}

/// The hook's ends.
pub(super) struct Ends {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Our ends.
pub(super) struct Streams {
    /// Takes the state; `None` once all is written.
    state: Option<OwnedFd>,
    /// Gives stderr; `None` at end-of-file or when it goes to a file.
    errors: Option<OwnedFd>,
    /// The end of what was read from it.
    said: Vec<u8>,
}

/// Makes the pipes and opens the files.
pub(super) fn open(output: &Output) -> Result<(Ends, Streams)> {
    let (stdin, state) = pipe("stdin")?;
    fcntl_setfl(&state, OFlags::NONBLOCK).context(|| "make a pipe non-blocking")?;
    let stdout = match &output.stdout {
        Some(path) => append(path, "run.oci.hooks.stdout")?,
        None => {
            openat(CWD, c"/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).context(|| "open /dev/null")?
        }
    };
    let (errors, stderr) = match &output.stderr {
        Some(path) => (None, append(path, "run.oci.hooks.stderr")?),
        None => {
            let (errors, stderr) = pipe("stderr")?;
            fcntl_setfl(&errors, OFlags::NONBLOCK).context(|| "make a pipe non-blocking")?;
            (Some(errors), stderr)
        }
    };
    Ok((Ends { stdin, stdout, stderr }, Streams { state: Some(state), errors, said: Vec::new() }))
}

/// The reading and the writing end.
pub(super) fn pipe(name: &str) -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).context(|| format!("make the pipe for {name} of the hook"))
}

/// Opens a file of the annotations; a FIFO that nobody reads is an error, not a wait.
fn append(path: &Path, key: &str) -> Result<OwnedFd> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
    let file = options.open(path).context(|| format!("open {} of the annotation {key}", path.display()))?;
    fcntl_setfl(&file, OFlags::APPEND).context(|| format!("make {} blocking", path.display()))?;
    Ok(file.into())
}

impl Streams {
    /// Writes the state and reads stderr until the process of `pidfd` has ended, or there is no sense in waiting for it.
    pub(super) fn serve(&mut self, pidfd: BorrowedFd<'_>, state: &[u8], until: Until<'_>) -> Result<End> {
        let mut left = state;
        loop {
            self.write_state(&mut left)?;
            let end = self.wait(pidfd, until)?;
            self.read_errors();
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// What stderr said last.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    /// Writes what the pipe takes; closes it after the last byte.
    fn write_state(&mut self, left: &mut &[u8]) -> Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        while !left.is_empty() {
            match rustix::io::write(state, left) {
                Ok(count) => *left = &left[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(Error::system("write the state to the hook", errno)),
            }
        }
        self.state = None;
        Ok(())
    }

    /// Waits until something can be done.
    fn wait(&self, pidfd: BorrowedFd<'_>, until: Until<'_>) -> Result<Option<End>> {
        let mut list = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        list.extend(until.init.map(|init| PollFd::from_borrowed_fd(init, PollFlags::IN)));
        list.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        list.extend(self.state.as_ref().map(|state| PollFd::new(state, PollFlags::OUT)));
        loop {
            let left = until.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A time that does not fit is for ever.
            let time = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut list, time.as_ref()) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(Some(End::Deadline)),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) if !list[0].revents().is_empty() => return Ok(Some(End::Hook)),
                Ok(_) if until.init.is_some() && !list[1].revents().is_empty() => return Ok(Some(End::Init)),
                Ok(_) => return Ok(None),
                Err(errno) => return Err(Error::system("poll the hook", errno)),
            }
        }
    }

    /// Takes what is there, and no more than a pipe holds: a descendant may write for ever.
    fn read_errors(&mut self) {
        let Some(errors) = &self.errors else { return };
        let mut part = [0; 4096];
        let mut taken = 0;
        while taken < PIPE {
            match rustix::io::read(errors, &mut part) {
                Ok(count) if count > 0 => {
                    taken += count;
                    self.said.extend_from_slice(&part[..count]);
                    let surplus = self.said.len().saturating_sub(SHOWN);
                    self.said.drain(..surplus);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Ok(_) | Err(_) => {
                    self.errors = None;
                    return;
                }
            }
        }
    }
}
