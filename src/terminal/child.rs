//! World: child. Opens a pty in the container's devpts, hands its master over, makes it the controlling terminal.
//!
//! The pty never comes from the host's devpts, and no name in the container decides which file it is (docs/security.md,
//! class 8): ptmx is looked up in a directory that is verified to be the root of a devpts, and the slave is
//! opened by TIOCGPTPEER from that very descriptor. Kernel: TIOCGPTPEER 4.13.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, makedev, openat2};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr, tcsetwinsize};

use super::plan::{Destination, TerminalPlan};
use crate::sys::net;
use crate::wire::{At, ChildResult, Step};

/// DEVPTS_SUPER_MAGIC of linux/magic.h; the type of f_type differs between architectures.
const DEVPTS: u32 = 0x1cd1;
/// Device major numbers of Unix98 slaves: Documentation/admin-guide/devices.txt.
const SLAVE_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// A new pty.
#[derive(Debug)]
pub struct Pty {
    /// For the one who relays.
    pub master: OwnedFd,
    /// For the container.
    pub slave: OwnedFd,
    /// N of `/dev/pts/N`.
    pub number: u32,
}

/// Opens a pty in the devpts of the container whose root is `root`, after its mounts are made.
///
/// # Errors
/// A fault of [`Step::Terminal`] with the path that was tried: ENOENT without a devpts on /dev/pts, ELOOP for
/// symlinks on the way, ENODEV when what is there is no devpts.
pub fn open(plan: &TerminalPlan, root: BorrowedFd<'_>) -> ChildResult<Pty> {
    let master = match open_in_devpts(root) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NODEV) => open_plain(root),
        opened => opened,
    };
    let master = master.map_err(|errno| crate::wire::Fault::new(Step::Terminal, 0, errno).text(b"/dev/pts/ptmx"))?;
    finish(plan, master).at(Step::Terminal)
}

const FLAGS: OFlags = OFlags::RDWR.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const BELOW: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// dev/pts/ptmx: in the root directory of a devpts nobody can make or rename anything.
fn open_in_devpts(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let devpts = openat2(root, c"dev/pts", directory, Mode::empty(), BELOW)?;
    require_devpts(devpts.as_fd())?;
    openat2(&devpts, c"ptmx", FLAGS, Mode::empty(), BELOW | ResolveFlags::NO_XDEV)
}

/// A device file dev/ptmx, for a rootfs whose devpts is elsewhere; the kernel itself finds the devpts "pts" beside it.
fn open_plain(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // An image may have the node of any device there: that is looked at before its driver hears of it.
    require_ptmx(openat2(root, c"dev/ptmx", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BELOW)?.as_fd())?;
    let master = openat2(root, c"dev/ptmx", FLAGS | OFlags::NONBLOCK, Mode::empty(), BELOW)?;
    require_ptmx(master.as_fd())?;
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR)?;
    Ok(master)
}

fn require_ptmx(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let facts = fstat(file)?;
    let same = FileType::from_raw_mode(facts.st_mode) == FileType::CharacterDevice && facts.st_rdev == makedev(5, 2);
    if same { Ok(()) } else { Err(Errno::NODEV) }
}

fn require_devpts(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match u32::try_from(fstatfs(fd)?.f_type) {
        Ok(DEVPTS) => Ok(()),
        _ => Err(Errno::NODEV),
    }
}

/// Unlocks, opens and verifies the slave, sets the size.
fn finish(plan: &TerminalPlan, master: OwnedFd) -> Result<Pty, Errno> {
    let number = crate::sys::pty::number(master.as_fd())?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    require_devpts(slave.as_fd())?;
    if !SLAVE_MAJORS.contains(&major(fstat(&slave)?.st_rdev)) {
        return Err(Errno::NODEV);
    }
    if let Some(size) = plan.size {
        tcsetwinsize(&slave, size)?;
    }
    if plan.destination == Destination::Foreground {
        // The caller's terminal turns a line feed into carriage return and line feed already.
        let mut attributes = tcgetattr(&slave)?;
        attributes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&slave, OptionalActions::Now, &attributes)?;
    }
    Ok(Pty { master, slave, number })
}

/// Sends the master on `socket`: one message, the name of the pty as payload, exactly one descriptor, as
/// conmon and containerd's shim take it.
///
/// # Errors
/// A fault of [`Step::Terminal`]: EPIPE when the listener is gone.
pub fn send_master(socket: BorrowedFd<'_>, pty: &Pty) -> ChildResult {
    let name = Name::of(pty.number);
    net::send_fd(socket, name.bytes(), pty.master.as_fd()).at(Step::Terminal).map(drop)
}

/// Makes the slave stdio.
///
/// # Errors
/// A fault of [`Step::Terminal`].
pub fn attach(slave: &OwnedFd) -> ChildResult {
    rustix::stdio::dup2_stdin(slave).at(Step::Terminal)?;
    rustix::stdio::dup2_stdout(slave).at(Step::Terminal)?;
    rustix::stdio::dup2_stderr(slave).at(Step::Terminal)
}

/// Makes the terminal on stdin the controlling one; the caller has called setsid.
///
/// # Errors
/// A fault of [`Step::Terminal`]: EPERM when the caller leads no session.
pub fn control() -> ChildResult {
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).at(Step::Terminal)
}

/// `/dev/pts/NUMBER`, built without allocation.
struct Name {
    /// Filled from the end.
    text: [u8; Name::LEN],
    start: usize,
}

impl Name {
    const PREFIX: &[u8] = b"/dev/pts/";
    /// The prefix and the ten digits of the largest u32.
    const LEN: usize = Self::PREFIX.len() + 10;

    fn of(mut number: u32) -> Self {
        let mut name = Self { text: [0; Self::LEN], start: Self::LEN };
        loop {
            // A digit is less than 10, so that nothing is lost.
            name.push_front(b'0' + u8::try_from(number % 10).unwrap_or(0));
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self::PREFIX.iter().rev().for_each(|byte| name.push_front(*byte));
        name
    }

    fn push_front(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.text.get_mut(self.start) {
            *place = byte;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Name::of(0).bytes(), b"/dev/pts/0");
        assert_eq!(Name::of(10).bytes(), b"/dev/pts/10");
        assert_eq!(Name::of(u32::MAX).bytes(), b"/dev/pts/4294967295");
    }
}
