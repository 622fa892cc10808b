//! What can be told of a container's cgroup before it is made. Nothing is made or written. World: parent.
//!
//! The words are those of [`super::parent`] and [`super::controllers`], so that `check` and `create` say the same. What
//! the kernel says to a value is known only when it is written. A unit is systemd's to make: only what is in its place is
//! looked at.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Access;
use rustix::io::Errno;

use super::controllers::{self, Level};
use super::devices::Devices;
use super::hierarchy::Hierarchy;
use super::parent::{load_device_program, not_made, open_root, refuse_in_use, refuse_others};
use super::plan::{CgroupPlan, Driver};
use super::tag::Tag;
use super::{Cgroup, files};
use crate::error::{Error, Result};
use crate::sys::access::accessible;

/// What create would refuse, in its order; `tag` is that of the container to be.
#[must_use]
pub fn check(plan: &CgroupPlan, hierarchy: &Hierarchy, tag: &Tag) -> Vec<Error> {
    let place = match &plan.driver {
        Driver::File(components) => way(plan, components, hierarchy, tag),
        Driver::Systemd(scope) => open_root(hierarchy).and_then(|root| {
            let path = scope.path();
            find(root.as_fd(), path.trim_start_matches('/'), &path)?
                .map_or(Ok(()), |directory| leaf(directory, &path, tag))
        }),
    };
    let devices = match &plan.devices {
        Devices::Enforced(program) => load_device_program(program).map(drop),
        Devices::AllowAll | Devices::NotEnforcedInUserNamespace => Ok(()),
    };
    place.err().into_iter().chain(devices.err()).collect()
}

/// The levels that exist; those below can be made when the last of them can be written to.
fn way(plan: &CgroupPlan, components: &[String], hierarchy: &Hierarchy, tag: &Tag) -> Result<()> {
    let root = open_root(hierarchy)?;
    let Some((name, above)) = components.split_last() else { return Ok(()) };
    let parent = if above.is_empty() { ".".to_owned() } else { above.join("/") };
    if let Some(parent) = find(root.as_fd(), &parent, &format!("/{parent}"))?
        && controllers::are_handed_on(root.as_fd(), parent.as_fd(), &plan.writes)?
    {
        return last(parent.as_fd(), name, plan, tag);
    }
    let (mut directory, mut path) = (root, "/".to_owned());
    for (depth, name) in components.iter().enumerate() {
        let level = Level { directory: directory.as_fd(), path: &path, hybrid: hierarchy.hybrid };
        level.check(&plan.writes)?;
        if depth + 1 == components.len() {
            return last(directory.as_fd(), name, plan, tag);
        }
        path = format!("{}/{name}", path.trim_end_matches('/'));
        match find(directory.as_fd(), name, &path)? {
            Some(below) => directory = below,
            None => return may_make(directory.as_fd(), &path),
        }
    }
    Ok(())
}

fn find(above: BorrowedFd<'_>, name: &str, path: &str) -> Result<Option<OwnedFd>> {
    match files::open_directory(above, name) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::system(format!("open cgroup {path}"), errno)),
    }
}

fn last(parent: BorrowedFd<'_>, name: &str, plan: &CgroupPlan, tag: &Tag) -> Result<()> {
    let path = plan.path();
    match find(parent, name, &path)? {
        Some(directory) => leaf(directory, &path, tag),
        None => may_make(parent, &path),
    }
}

/// One that exists must be empty, thawed and nobody's.
fn leaf(directory: OwnedFd, path: &str, tag: &Tag) -> Result<()> {
    let present = Cgroup::at(directory, path.to_owned());
    refuse_in_use(present.directory(), path)?;
    present.tag()?.map_or(Ok(()), |found| refuse_others(&found, tag, path))
}

fn may_make(parent: BorrowedFd<'_>, path: &str) -> Result<()> {
    accessible(parent, ".", Access::WRITE_OK).map_err(|errno| not_made(path, errno))
}
