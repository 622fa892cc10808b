//! The terminal on /dev/console.
//!
//! World: child. The slave is bound by its descriptor, so it is the pty that the runtime made, whatever /dev holds.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::devices;
use crate::rootfs::plan::RootfsPlan;
use crate::wire::{At, ChildResult, Step};

/// Binds the slave, which must have been opened in this mount namespace, on /dev/console; no link is followed.
///
/// # Errors
/// Step Console; ELOOP where /dev or /dev/console is a symbolic link.
pub fn console(plan: &RootfsPlan, root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> ChildResult {
    if plan.console { bind(root, slave).at(Step::Console) } else { Ok(()) }
}

fn bind(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), Errno> {
    let dev = devices::open_dev(root)?;
    let place = devices::file(dev.as_fd(), c"console")?;
    let tree = super::clone_mount(slave, false)?;
    super::attach(tree.as_fd(), place.as_fd())
}
