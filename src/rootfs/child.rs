//! Builds the container's tree in its mount namespace, by descriptor, from what the parent opened.
//!
//! World: child (no allocation, no formatting, no panics). Order: propagation, attach_root, mounts, devices, console,
//! pivot, finish. umask must be 0 from `mounts` to `console`. The working directory is undefined until `pivot`.
//! Descriptors of the first elements are left open (close-on-exec) to spare the calls: close them all together.

pub mod added;
mod console;
mod copy_up;
mod devices;
pub(super) mod filesystem;
mod masks;
mod mounts;
mod procfs;
mod root;
pub(super) mod source;
mod target;

pub use console::console;
pub use devices::devices;
pub use masks::finish;
pub use mounts::mounts;
pub use root::{attach_root, enter, pivot, propagation};

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MoveMountFlags, OpenTreeFlags};

use super::options::Wanted;
use super::plan::TreeChange;
use crate::sys::mount::{Change, MountFlags, set_attributes};

/// Descriptors of these numbers may stay open: a caller whose limit on open files is 64 has room for the others.
const LEFT_OPEN: std::ffi::c_int = 48;

/// Gives a descriptor up: it stays open until the program is executed, unless there are many of them.
fn leave(descriptor: OwnedFd) {
    if descriptor.as_raw_fd() < LEFT_OPEN {
        let _ = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
    }
}

/// Attaches a detached mount; both ends are descriptors.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags)
}

/// A detached copy of the mount at a descriptor.
fn clone_mount(of: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(of, c"", flags)
}

fn change(mount: BorrowedFd<'_>, wanted: Wanted, propagation: MountFlags, recursive: bool) -> Result<(), Errno> {
    let change = Change { set: wanted.set, clear: wanted.clear, propagation, user_namespace: None };
    set_attributes(mount, c"", recursive, &change)
}

/// The same, where what no word asked to clear stays if it is locked: a mount that comes from a more privileged mount
/// namespace keeps the flags that it has there. Source: mount_namespaces(7).
fn change_unless_locked(mount: BorrowedFd<'_>, asked: &TreeChange) -> Result<(), Errno> {
    match change(mount, asked.wanted, asked.propagation, asked.recursive) {
        Err(Errno::PERM) if !asked.implied.is_empty() => {
            let wanted = Wanted { clear: asked.wanted.clear - asked.implied, ..asked.wanted };
            change(mount, wanted, asked.propagation, asked.recursive)
        }
        done => done,
    }
}

/// The root of the tree that this process sees.
fn change_slash(wanted: Wanted, propagation: MountFlags, recursive: bool) -> Result<(), Errno> {
    let change = Change { set: wanted.set, clear: wanted.clear, propagation, user_namespace: None };
    set_attributes(rustix::fs::CWD.as_fd(), SLASH, recursive, &change)
}

/// The context of an empty tmpfs with room for its root alone: by default one may take half of the memory. 0 would be
/// no limit. Source: Documentation/filesystems/tmpfs.rst.
fn smallest_tmpfs() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for limit in [c"nr_blocks", c"nr_inodes"] {
        rustix::mount::fsconfig_set_string(&context, limit, c"1")?;
    }
    Ok(context)
}

const SLASH: &CStr = c"/";
