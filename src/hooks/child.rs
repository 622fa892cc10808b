//! World: child. From the runtime's process to the hook's program.
//!
//! A short-lived intermediate joins the container's namespaces (setns(2) into a pid namespace only holds for children)
//! and clones the hook process as a child of the runtime. Order: non-dumpable before anything of the container is
//! joined (docs/security.md, class 13), groups before ids, descriptors last.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::plan::Hook;
use crate::sys::clone::{Parent, Side, clone3, exit_now, in_intermediate};
use crate::sys::namespace::{self, NamespaceSet};
use crate::sys::{descriptors, exec, process_attributes, signals};
use crate::wire::{At, ChildResult, Fault, Packet, Step};

/// What a hook process is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// With its environment.
    pub(super) hook: &'a Hook,
    pub(super) stdin: BorrowedFd<'a>,
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// Takes the [`Packet::Failed`] of a start that fails after the clone; end-of-file means executed or dead.
    pub(super) report: BorrowedFd<'a>,
    pub(super) join: Option<Join<'a>>,
    /// The working directory.
    pub(super) directory: Option<BorrowedFd<'a>>,
}

/// The container that a hook process joins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Join<'a> {
    pub(super) pidfd: BorrowedFd<'a>,
    /// Its namespaces that are not the runtime's.
    pub(super) namespaces: NamespaceSet,
    /// Its root, where no mount namespace brings it along.
    pub(super) root: Option<BorrowedFd<'a>>,
}

/// Exit code of a hook process that could not execute its program: the convention of shells.
const NOT_EXECUTED: i32 = 127;

/// Starts the hook; its pid and the number of its pidfd, both of the calling process.
///
/// # Errors
/// A fault of the clone or of joining; `None` when the intermediate died.
pub(super) fn start(task: &Task<'_>) -> Option<ChildResult<(i32, RawFd)>> {
    // Own memory: being non-dumpable belongs to the memory, and the runtime's own must stay as it is.
    let started = in_intermediate(task.join.is_some(), || start_joined(task));
    match started {
        Ok(started) => started,
        Err(errno) => Some(Err(Fault::new(Step::Clone, 0, errno))),
    }
}

fn start_joined(task: &Task<'_>) -> ChildResult<(i32, RawFd)> {
    if let Some(join) = &task.join {
        process_attributes::set_dumpable(false).at(Step::JoinNamespace)?;
        if !join.namespaces.is_empty() {
            namespace::join(join.pidfd, join.namespaces).at(Step::JoinNamespace)?;
        }
    }
    match clone3(Parent::OfCaller, NamespaceSet::empty(), None).at(Step::Clone)? {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Side::Child => {
            if let Err(fault) = become_hook(task) {
                let _lost = Packet::Failed(fault).send(task.report);
            }
            exit_now(NOT_EXECUTED)
        }
    }
}

/// Returns only when a step failed.
fn become_hook(task: &Task<'_>) -> ChildResult {
    // A runtime that was killed leaves no hook behind.
    process_attributes::set_parent_death_signal(libc::SIGKILL).at(Step::Session)?;
    // A session of its own is a process group of its own, and no way to the caller's terminal.
    rustix::process::setsid().at(Step::Session)?;
    if let Some(join) = &task.join {
        enter(join)?;
    }
    if let Some(directory) = task.directory {
        rustix::process::fchdir(directory).at(Step::WorkingDirectory)?;
    }
    rustix::stdio::dup2_stdin(task.stdin).at(Step::Session)?;
    rustix::stdio::dup2_stdout(task.stdout).at(Step::Session)?;
    rustix::stdio::dup2_stderr(task.stderr).at(Step::Session)?;
    signals::reset().at(Step::Session)?;
    descriptors::close_on_exec_from(3).at(Step::CloseDescriptors)?;
    let hook = task.hook;
    let Some(env) = &hook.env else { return Err(Fault::new(Step::Exec, 0, rustix::io::Errno::INVAL)) };
    Err(Fault::new(Step::Exec, 0, exec::execute(&hook.path, &hook.args, env)))
}

fn enter(join: &Join<'_>) -> ChildResult {
    if let Some(root) = join.root {
        rustix::process::fchdir(root).at(Step::WorkingDirectory)?;
        rustix::process::chroot(c".").at(Step::WorkingDirectory)?;
    }
    if join.namespaces.contains(NamespaceSet::USER) {
        // Denied where setgroups(2) is denied in the namespace; the groups are then nobody's.
        match set_thread_groups(&[]) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(Fault::new(Step::Groups, 0, errno)),
        }
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::BecomeRoot)?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::BecomeRoot)?;
    }
    Ok(())
}
