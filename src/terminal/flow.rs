//! World: parent. Bytes on their way in one direction: one buffer that is emptied before it is filled again.

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, read, retry_on_intr, write};

/// Bytes under way at the most: what a pty gives in one read (N_TTY_BUF_SIZE), and what a pipe that is ready takes
/// without blocking (PIPE_BUF).
pub(super) const SIZE: usize = 4096;

/// A buffer on the stack.
pub(super) struct Flow {
    bytes: [u8; SIZE],
    start: usize,
    end: usize,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self { bytes: [0; SIZE], start: 0, end: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads what is there; the number of bytes, 0 at end-of-file. Only while empty.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>) -> Result<usize, Errno> {
        let count = retry_on_intr(|| read(from, &mut self.bytes[..]))?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// Puts in bytes of our own. Only while empty.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(SIZE);
        self.bytes[..count].copy_from_slice(&bytes[..count]);
        (self.start, self.end) = (0, count);
    }

    /// Writes what the other side takes.
    pub(super) fn pour(&mut self, to: BorrowedFd<'_>) -> Result<(), Errno> {
        let count = retry_on_intr(|| write(to, &self.bytes[self.start..self.end]))?;
        self.start += count;
        Ok(())
    }

    /// Forgets what is under way.
    pub(super) fn discard(&mut self) {
        self.start = self.end;
    }

    /// The last of the bytes under way.
    pub(super) fn last(&self) -> Option<u8> {
        self.end.checked_sub(1).map(|last| self.bytes[last])
    }
}
