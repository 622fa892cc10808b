//! The filesystem context of a procfs, which belongs to a pid namespace from its beginning.
//!
//! World: child. Kernel: since 6.17 the namespace can be named; before, a context belongs to the pid namespace of the
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
        Err(Errno::INVAL) => context_before_6_17(namespace, root),
        set => set.map(|()| context),
    }
}

/// By a process in the pid namespace. Others there can see it: so a first process closes everything of the host and
/// takes the container's root, and its child, which is born like that, opens the context and hands it over.
fn context_before_6_17(namespace: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let first = match clone3(Parent::Caller, NamespaceSet::empty(), None)? {
        Side::Child => {
            let failed = enter(namespace, root, theirs.as_fd()).is_err();
            exit_now(i32::from(failed))
        }
        Side::Parent { pidfd, .. } => own_pidfd(pidfd),
    };
    drop(theirs);
    let mut byte = [0; 1];
    let received = net::receive_fd(ours.as_fd(), &mut byte);
    rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED))?;
    received?.1.ok_or(Errno::PERM)
}

fn enter(pid_namespace: BorrowedFd<'_>, root: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    namespace::join(pid_namespace, NamespaceSet::PID)?;
    descriptors::close_all_but(3, &mut [socket.as_raw_fd()])?;
    match clone3(Parent::Caller, NamespaceSet::empty(), None)? {
        Side::Child => {
            let sent = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)
                .and_then(|context| net::send_fd(socket, b"+", context.as_fd()));
            exit_now(i32::from(sent.is_err()))
        }
        Side::Parent { pidfd, .. } => {
            let pidfd = own_pidfd(pidfd);
            rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)).map(drop)
        }
    }
}
