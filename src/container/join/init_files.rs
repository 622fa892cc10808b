//! World: parent. What /proc shows of a container's init, for a process that joins the container.
//!
//! Each file is opened by the recorded pid; a signal through the pidfd of init then proves that the pid was still init's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::container::record::Record;
use crate::error::{Context, Result};
use crate::host::Host;
use crate::namespaces::NamespaceSet;
use crate::plan::Program;
use crate::process::user;

/// Sets HOME from the container's passwd file if the environment has none.
///
/// # Errors
/// init has ended; the passwd file cannot be read.
pub(in crate::container) fn complete_home(program: &mut Program, record: &Record, init: BorrowedFd<'_>) -> Result<()> {
    if !program.process.lacks_home() {
        return Ok(());
    }
    let root = root(record, init)?;
    let home = user::home(root.as_fd(), program.process.uid)?;
    program.process.set_env("HOME", home)
}

/// Whether setgroups(2) is permitted in the user namespace of the container.
///
/// # Errors
/// init has ended.
pub(in crate::container) fn may_set_groups(record: &Record, init: BorrowedFd<'_>, host: &Host) -> Result<bool> {
    if !record.namespaces.contains(NamespaceSet::USER) && !host.in_user_namespace()? {
        return Ok(true);
    }
    let mut word = [0; 16];
    let file = open_of_init(record, init, "setgroups", OFlags::RDONLY)?;
    let length =
        rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut word)).context(|| "read setgroups of init")?;
    Ok(!word[..length].starts_with(b"deny"))
}

/// The container's own cgroup namespace. Opened here, because the process may no longer be able to open the path when it
/// joins.
pub(super) fn cgroup_namespace(record: &Record, init: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if !record.namespaces.contains(NamespaceSet::CGROUP) {
        return Ok(None);
    }
    open_of_init(record, init, "ns/cgroup", OFlags::RDONLY).map(Some)
}

/// The root of init, if the container has no mount namespace that leads to it.
pub(super) fn root_without_mount_namespace(record: &Record, init: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if record.namespaces.contains(NamespaceSet::MOUNT) {
        return Ok(None);
    }
    root(record, init).map(Some)
}

fn root(record: &Record, init: BorrowedFd<'_>) -> Result<OwnedFd> {
    open_of_init(record, init, "root", OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens a file of init in /proc.
///
/// # Errors
/// init has ended; it cannot be opened.
pub(in crate::container) fn open_of_init(
    record: &Record,
    init: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
) -> Result<OwnedFd> {
    let path = format!("/proc/{}/{name}", record.pid);
    let opened = rustix::fs::open(&*path, flags | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {path}"))?;
    crate::sys::pidfd::send_signal(init, 0).context(|| format!("look at init, process {}", record.pid))?;
    Ok(opened)
}
