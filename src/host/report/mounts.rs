//! Id-mapped mounts, by filesystem: tried on a detached copy of a mount, which nobody sees and which ends at once.
//!
//! World: parent. Only filesystems that keep files on this host are tried: those of a server might not answer.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use serde_json::{Value, json};

use super::{Answer, Impossible, refused};
use crate::mountinfo;
use crate::sys::mount::{Attributes, Change, number, set_attributes};
use crate::sys::namespace::NamespaceSet;
use crate::sys::parked::Parked;

/// Without a device, but with files of this host.
const WITHOUT_DEVICE: [&str; 3] = ["overlay", "tmpfs", "zfs"];
/// With a device, but behind a process.
const BEHIND_PROCESS: &str = "fuseblk";

/// The filesystems that are mounted.
#[derive(Debug)]
pub(super) enum IdMapped {
    /// The kernel's answer for each.
    Tried(BTreeMap<String, Answer>),
    /// This caller may not make id-mapped mounts: what was refused.
    Refused(String),
}

impl IdMapped {
    pub(super) fn ask() -> Self {
        // The namespace lasts as long as its descriptor.
        let namespace = match user_namespace() {
            Ok(namespace) => namespace,
            Err(errno) => return Self::Refused(refused("create a user namespace", errno)),
        };
        let kinds = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mut tried = BTreeMap::new();
        for mount in mountinfo::lines(&table) {
            let kind = String::from_utf8_lossy(mount.kind);
            if !is_local(&kinds, &kind) || tried.contains_key(&*kind) {
                continue;
            }
            match map(mount, namespace.as_fd()) {
                Err(Refusal::Clone(Errno::PERM)) => return Self::Refused(refused("open_tree(2)", Errno::PERM)),
                // Another mount hides it, or the caller may not go there.
                Err(Refusal::Clone(_)) => {}
                Err(Refusal::Map(errno)) => drop(tried.insert(kind.into_owned(), Err(errno))),
                Ok(()) => drop(tried.insert(kind.into_owned(), Ok(()))),
            }
        }
        Self::Tried(tried)
    }

    /// Null for a caller that may not make them.
    pub(super) fn report(&self) -> Value {
        match self {
            Self::Tried(tried) => tried.iter().map(|(kind, answer)| (kind.clone(), json!(answer.is_ok()))).collect(),
            Self::Refused(_) => Value::Null,
        }
    }

    pub(super) fn impossible(&self) -> Vec<Impossible> {
        match self {
            Self::Refused(why) => vec![Impossible::new("id-mapped mounts", why, "run tare as root of the host")],
            Self::Tried(tried) => {
                let refusal = |(kind, answer): (&String, &Answer)| {
                    let why = refused("mount_setattr(2)", answer.err()?);
                    let remedy = "keep what is mounted on a filesystem that supports them, such as ext4, xfs or btrfs";
                    Some(Impossible::new(format!("id-mapped mounts of {kind}"), why, remedy))
                };
                tried.iter().filter_map(refusal).collect()
            }
        }
    }
}

enum Refusal {
    Clone(Errno),
    Map(Errno),
}

fn map(mount: mountinfo::Line<'_>, namespace: BorrowedFd<'_>) -> Result<(), Refusal> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_NO_AUTOMOUNT | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let point = mountinfo::unescape(mount.point);
    let open = |flags| rustix::mount::open_tree(CWD, &*point, flags).map_err(Refusal::Clone);
    if number(open(flags)?.as_fd()).map_err(Refusal::Clone)? != mount.number {
        return Err(Refusal::Clone(Errno::NOENT));
    }
    let tree = open(flags | OpenTreeFlags::OPEN_TREE_CLONE)?;
    let change = Change { set: Attributes::IDMAP, user_namespace: Some(namespace), ..Change::default() };
    set_attributes(tree.as_fd(), c"", false, &change).map_err(Refusal::Map)
}

/// One that maps the caller's root to itself: any mapping will do.
fn user_namespace() -> Result<OwnedFd, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let parked = Parked::new(NamespaceSet::USER, None)?;
    let directory = format!("/proc/{}", parked.pid());
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    std::fs::write(format!("{directory}/setgroups"), "deny").map_err(errno)?;
    std::fs::write(format!("{directory}/uid_map"), format!("0 {uid} 1\n")).map_err(errno)?;
    std::fs::write(format!("{directory}/gid_map"), format!("0 {gid} 1\n")).map_err(errno)?;
    File::open(format!("{directory}/ns/user")).map(OwnedFd::from).map_err(errno)
}

/// `kinds` is /proc/filesystems: those without a device are marked.
fn is_local(kinds: &str, kind: &str) -> bool {
    let has_device = |line: &str| line.strip_prefix('\t').is_some_and(|name| name == kind);
    WITHOUT_DEVICE.contains(&kind) || (kind != BEHIND_PROCESS && kinds.lines().any(has_device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_are_read_from_the_kernels_table() {
        let kinds = "nodev\tsysfs\nnodev\ttmpfs\n\text3\n\tfuseblk\n";
        let local = ["ext3", "tmpfs", "sysfs", "fuseblk", "nfs"].map(|kind| is_local(kinds, kind));
        assert_eq!(local, [true, true, false, false, false]);
    }

    #[test]
    fn each_filesystem_that_refuses_is_named() {
        let answers = [("ext4", Ok(())), ("overlay", Err(Errno::INVAL))];
        let tried = IdMapped::Tried(answers.into_iter().map(|(kind, answer)| (kind.to_owned(), answer)).collect());
        assert_eq!(tried.report(), json!({ "ext4": true, "overlay": false }));
        let found = tried.impossible().remove(0);
        assert_eq!((&*found.what, &*found.why), ("id-mapped mounts of overlay", "mount_setattr(2): invalid argument"));
        let refused = IdMapped::Refused("open_tree(2): operation not permitted".into());
        assert_eq!((refused.report(), refused.impossible().len()), (Value::Null, 1));
    }
}
