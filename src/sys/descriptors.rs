//! Descriptor ranges. Source: close_range(2), Linux 5.9; CLOEXEC flag 5.11.
//!
//! World: all; `note_reach` is the parent's. Where a sandbox around tare denies close_range, the parent notes how far its
//! descriptors reach, as its own procfs shows them, and the child takes them one by one: it cannot trust a procfs itself.

use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// No descriptor of this process and of its children has this number or a higher one; 0 where close_range(2) is there.
static REACH: AtomicI32 = AtomicI32::new(0);

/// More descriptors than a child opens in addition to those that it inherits. The kernel gives the lowest free
/// number, so that a process never has a higher one than it has had descriptors.
const OPENED_BY_CHILD: i32 = 4096;

/// Notes how far the open descriptors reach, for a host that denies close_range(2). To be called again before a clone if
/// more have been opened.
///
/// # Errors
/// /proc is not a procfs.
pub fn note_reach() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&directory)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Errno::NOENT);
    }
    let mut highest: i32 = 0;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let number = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    REACH.store(highest.saturating_add(OPENED_BY_CHILD), Ordering::Relaxed);
    Ok(())
}

/// Whether [`note_reach`] has been called.
pub fn reach_is_noted() -> bool {
    REACH.load(Ordering::Relaxed) > 0
}

/// Has `act` done to each number of a range, if [`note_reach`] has been called; else `denied` is the error.
fn one_by_one(from: i32, to: i32, denied: Errno, act: impl Fn(i32)) -> Result<(), Errno> {
    if !reach_is_noted() {
        return Err(denied);
    }
    (from..=to.min(REACH.load(Ordering::Relaxed))).for_each(act);
    Ok(())
}

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// ENOMEM.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: close_range with CLOEXEC touches no memory and closes nothing now.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    super::check(value).map(drop).or_else(|errno| {
        one_by_one(first.cast_signed(), i32::MAX, errno, |number| {
            // SAFETY: F_SETFD takes an integer and touches no memory.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        })
    })
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

/// Whether the number is that of an open descriptor.
#[must_use]
pub fn is_open(number: i32) -> bool {
    // SAFETY: F_GETFD touches no memory.
    super::check(libc::c_long::from(unsafe { libc::fcntl(number, libc::F_GETFD) })).is_ok()
}

/// A copy of a descriptor that a caller named by its number, close-on-exec.
///
/// # Errors
/// EBADF when it is not open.
pub fn duplicate(number: i32) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_DUPFD_CLOEXEC touches no memory.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    super::check(libc::c_long::from(copy))?;
    // SAFETY: the number is new, and nobody else owns it.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(copy) })
}

/// Has the number of `descriptor` mean the file of `other`; for the child, which has its own table.
///
/// # Errors
/// None in practice.
pub fn replace(descriptor: std::os::fd::BorrowedFd<'_>, other: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: both are open; the number stays open, and its owner in the parent has another table.
    super::check(libc::c_long::from(unsafe { libc::dup2(other.as_raw_fd(), descriptor.as_raw_fd()) })).map(drop)
}

/// Closes a descriptor that somebody else owns in the parent; for the child, which has its own table.
pub fn close(descriptor: std::os::fd::BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;
    // SAFETY: the number is open in this process's table, and the child never uses the borrowed owner again.
    unsafe { libc::close(descriptor.as_raw_fd()) };
}

/// Closes a descriptor by a close(2) whose three last argument registers hold `mark`, which the kernel ignores and a
/// seccomp filter can see.
pub fn close_marked(descriptor: std::os::fd::OwnedFd, mark: [u32; 3]) {
    use std::os::fd::IntoRawFd;
    let [one, two, three] = mark.map(|word| word as libc::c_ulong);
    // SAFETY: the number is owned, and nobody uses it afterwards.
    unsafe { libc::syscall(libc::SYS_close, descriptor.into_raw_fd(), 0, 0, one, two, three) };
}

/// Closes every descriptor from `first` on but `kept`, and marks those as close-on-exec. `kept` is sorted on the way.
///
/// # Errors
/// None in practice.
pub fn close_all_but(first: i32, kept: &mut [i32]) -> Result<(), Errno> {
    kept.sort_unstable();
    close_all_but_sorted(first, kept)
}

/// The same for numbers that are in order.
///
/// # Errors
/// None in practice.
pub fn close_all_but_sorted(first: i32, kept: &[i32]) -> Result<(), Errno> {
    let mut from = first;
    for number in kept.iter().copied().filter(|number| *number >= first) {
        close_range(from, number - 1)?;
        from = number + 1;
    }
    close_range(from, i32::MAX)?;
    close_on_exec_from(first.cast_unsigned())
}

fn close_range(from: i32, to: i32) -> Result<(), Errno> {
    if from > to {
        return Ok(());
    }
    // SAFETY: the child owns its descriptor table, and what it still uses is not in the range.
    let value = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    super::check(value).map(drop).or_else(|errno| {
        one_by_one(from, to, errno, |number| {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        })
    })
}

/// Opens /dev/null on every one of 0, 1 and 2 that the caller closed: what is opened later would take its place and
/// be written to or inherited as stdio.
///
/// # Errors
/// /dev/null cannot be opened.
pub fn open_stdio() -> Result<(), Errno> {
    let closed = |number| libc::pollfd { fd: number, events: 0, revents: 0 };
    let mut stdio = [closed(0), closed(1), closed(2)];
    // SAFETY: three live structs are passed, and poll without a timeout returns at once.
    super::check(libc::c_long::from(unsafe { libc::poll(stdio.as_mut_ptr(), 3, 0) }))?;
    for descriptor in stdio.iter().filter(|descriptor| descriptor.revents & libc::POLLNVAL != 0) {
        // SAFETY: the path ends in NUL; the lowest free number is the closed one, since they are visited in order.
        let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        super::check(libc::c_long::from(opened))?;
        if opened != descriptor.fd {
            return Err(Errno::BADF);
        }
    }
    Ok(())
}
