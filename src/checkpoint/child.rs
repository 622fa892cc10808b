//! World: child. From tare's process to CRIU.
//!
//! CRIU is a process of the host, in its own mount namespace for a restore, so that the mount which it needs for the
//! rootfs ends with it. Order: mounts before descriptors, descriptors last.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::sys::clone::{Parent, Side, clone3, exit_now};
use crate::sys::exec::{self, Strings};
use crate::sys::namespace::NamespaceSet;
use crate::sys::{descriptors, signals};
use crate::wire::{At, ChildResult, Fault, Packet, Step};

/// What the process is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) program: &'a CStr,
    pub(super) args: &'a Strings,
    pub(super) env: &'a Strings,
    pub(super) stdio: [BorrowedFd<'a>; 3],
    /// Keep their numbers in CRIU.
    pub(super) inherited: &'a [BorrowedFd<'a>],
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    pub(super) root: Option<Root<'a>>,
    /// Its number is that of CRIU's end of the conversation.
    pub(super) place: BorrowedFd<'a>,
    /// Takes the parent's end of the conversation, and the [`Packet::Failed`] of a start that fails after the clone;
    /// end-of-file means executed or dead.
    pub(super) report: BorrowedFd<'a>,
}

/// The rootfs of a restore, as CRIU wants it: a mount point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    /// A detached tree.
    pub(super) tree: BorrowedFd<'a>,
    /// Where it is attached, in the new mount namespace alone.
    pub(super) mount_point: &'a CStr,
    /// The cgroup hierarchy, a detached mount, and where it is attached.
    pub(super) cgroups: Option<(BorrowedFd<'a>, &'a CStr)>,
    /// Directories that are opened again: a descriptor leads to the mount namespace in which it was opened, and CRIU
    /// mounts in its work directory.
    pub(super) reopened: &'a [(BorrowedFd<'a>, CString)],
}

/// Exit code of a process that could not execute CRIU: the convention of shells.
const NOT_EXECUTED: i32 = 127;

/// Starts CRIU; its pid and the number of its pidfd.
///
/// # Errors
/// A fault of the clone.
pub(super) fn start(task: &Task<'_>) -> ChildResult<(i32, RawFd)> {
    let namespaces = if task.root.is_some() { NamespaceSet::MOUNT } else { NamespaceSet::empty() };
    match clone3(Parent::Caller, namespaces, task.cgroup).at(Step::Clone)? {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Side::Child => {
            if let Err(fault) = become_criu(task) {
                let _lost = Packet::Failed(fault).send(task.report);
            }
            exit_now(NOT_EXECUTED)
        }
    }
}

/// Returns only when a step failed.
fn become_criu(task: &Task<'_>) -> ChildResult {
    signals::reset().at(Step::Session)?;
    if let Some(root) = &task.root {
        attach(root)?;
    }
    let [stdin, stdout, stderr] = task.stdio;
    rustix::stdio::dup2_stdin(stdin).at(Step::Session)?;
    rustix::stdio::dup2_stdout(stdout).at(Step::Session)?;
    rustix::stdio::dup2_stderr(stderr).at(Step::Session)?;
    open_conversation(task).at(Step::Session)?;
    descriptors::close_on_exec_from(3).at(Step::CloseDescriptors)?;
    for descriptor in task.inherited {
        descriptors::keep_on_exec(descriptor.as_raw_fd(), 1).at(Step::CloseDescriptors)?;
    }
    Err(Fault::new(Step::Exec, 0, exec::execute(task.program, task.args, task.env)))
}

/// CRIU opens the directories that it is given by the descriptor table of the process that made the socket pair. That has
/// to be its own: in the one of tare they belong to another mount namespace.
fn open_conversation(task: &Task<'_>) -> Result<(), Errno> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Packet::Ready.send_with(task.report, pair.0.as_fd())?;
    descriptors::replace(task.place, pair.1.as_fd())
}

/// What CRIU mounts must not propagate to the host, but what the host mounts may reach the container.
fn attach(root: &Root<'_>) -> ChildResult {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(c"/", slave).at(Step::Propagation)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.tree, c"", rustix::fs::CWD, root.mount_point, flags).at(Step::Rootfs)?;
    mount_change(root.mount_point, slave).at(Step::Propagation)?;
    if let Some((tree, mount_point)) = root.cgroups {
        move_mount(tree, c"", rustix::fs::CWD, mount_point, flags).at(Step::Rootfs)?;
    }
    root.reopened.iter().try_for_each(|(descriptor, path)| reopen(*descriptor, path)).at(Step::WorkingDirectory)
}

fn reopen(descriptor: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let again = rustix::fs::open(path, flags, Mode::empty())?;
    descriptors::replace(descriptor, again.as_fd())
}
