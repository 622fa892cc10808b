//! Walking the cgroups below one, whatever a container has nested there. World: parent.
//!
//! Promise: any depth and number; two descriptors and no recursion, because the tree is the container's doing.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Calls `visit` for `top` and every cgroup below it.
pub fn visit(top: BorrowedFd<'_>, visit: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>) -> Result<(), Errno> {
    walk(top, visit, &mut |_, _| Ok(()))
}

/// Removes every cgroup below `top`, the deepest first.
pub fn remove_below(top: BorrowedFd<'_>) -> Result<(), Errno> {
    walk(top, &mut |_| Ok(()), &mut |parent, name| match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    })
}

/// `enter` is called on the way down with each cgroup, `leave` on the way up with each but `top`.
fn walk(
    top: BorrowedFd<'_>,
    enter: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut here = open(top, c".")?;
    enter(here.as_fd())?;
    let mut siblings = vec![children(here.as_fd())?];
    let mut names: Vec<CString> = Vec::new();
    while let Some(rest) = siblings.last_mut() {
        if let Some(name) = rest.pop() {
            // A cgroup that has gone meanwhile is no loss.
            let Some(below) = unless_gone(open(here.as_fd(), &name))? else { continue };
            unless_gone(enter(below.as_fd()))?;
            siblings.push(unless_gone(children(below.as_fd()))?.unwrap_or_default());
            names.push(name);
            here = below;
            continue;
        }
        siblings.pop();
        if let Some(name) = names.pop() {
            here = open(here.as_fd(), c"..")?;
            leave(here.as_fd(), &name)?;
        }
    }
    Ok(())
}

fn open(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, name, DIRECTORY, Mode::empty())
}

fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The cgroups directly below.
fn children(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
