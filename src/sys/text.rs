//! Small files of the kernel's, in /proc and /sys: open, one read, close.
//!
//! World: all.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Reads a file whose text fits into `buffer`: the kernel makes it when it is read, and gives all of it in one read.
///
/// # Errors
/// As open(2) and read(2); EFBIG when it does not fit.
pub fn read<'b>(path: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    if length < buffer.len() { Ok(buffer.get(..length).unwrap_or_default()) } else { Err(Errno::FBIG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let whole = std::fs::read("/proc/self/cgroup").unwrap();
        assert_eq!(read("/proc/self/cgroup", &mut [0; 16384]).unwrap(), whole);
        assert_eq!(read("/proc/self/cgroup", &mut [0; 2]), Err(Errno::FBIG));
        assert_eq!(read("/proc/self/nothing", &mut [0; 2]), Err(Errno::NOENT));
    }
}
