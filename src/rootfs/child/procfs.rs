//! The filesystem context of a procfs, which belongs to a pid namespace from its beginning.
//!
//! World: child. Kernel: since 6.18 the namespace can be named; before, a context belongs to the pid namespace of the
//! process that opens it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_set_fd, fsopen};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::clone::{Parent, Side, clone3, exit_now, own_pidfd};
use crate::sys::namespace::{self, NamespaceSet};
use crate::sys::{descriptors, net};

/// A context for the caller's pid namespace, or for `namespace`, which the caller is to join later. `root` is the
/// container's root.
pub fn context(namespace: Option<BorrowedFd<'_>>, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let Some(namespace) = namespace else { return Ok(context) };
    match fsconfig_set_fd(&context, c"pidns", namespace) {
        Err(Errno::INVAL) => context_before_6_18(namespace, root),
        set => set.map(|()| context),
    }
}

/// By a process in the pid namespace. Others there can see it: so a first process closes everything of the host and
/// takes the container's root, and its child, which is born like that, opens the context and hands it over.
fn context_before_6_18(namespace: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let first = match clone3(Parent::Caller, NamespaceSet::empty(), None)? {
        Side::Child => end(enter(namespace, root, theirs.as_fd())),
        Side::Parent { pidfd, .. } => own_pidfd(pidfd),
    };
    drop(theirs);
    let mut byte = [0; 1];
    let received = net::receive_fd(ours.as_fd(), &mut byte);
    wait(first.as_fd())?;
    received?.1.ok_or(Errno::PERM)
}

/// Ends a process with its error number as exit code.
fn end(outcome: Result<(), Errno>) -> ! {
    exit_now(outcome.map_or_else(Errno::raw_os_error, |()| 0))
}

/// Waits for a process; the error is that of its [`end`].
fn wait(process: BorrowedFd<'_>) -> Result<(), Errno> {
    let ended = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(process), WaitIdOptions::EXITED))?;
    match ended.and_then(|ended| ended.exit_status()) {
        None => Err(Errno::PERM),
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(code)),
    }
}

fn enter(pid_namespace: BorrowedFd<'_>, root: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    namespace::join(pid_namespace, NamespaceSet::PID)?;
    descriptors::close_all_but(3, &mut [socket.as_raw_fd()])?;
    match clone3(Parent::Caller, NamespaceSet::empty(), None)? {
        Side::Child => {
            let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC);
            end(context.and_then(|context| net::send_fd(socket, b"+", context.as_fd()).map(drop)))
        }
        Side::Parent { pidfd, .. } => wait(own_pidfd(pidfd).as_fd()),
    }
}
