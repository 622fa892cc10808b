//! The mounts of a container, from its mountinfo: which one a path leads to.
//!
//! World: plan. Paths are walked by name in the table alone, mount by mount, so that a mount that another one hides is not
//! taken for the one that is seen. A symbolic link on the way is not seen here.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use crate::mountinfo::Entry;

/// The table.
#[derive(Debug)]
pub(super) struct MountTable {
    pub entries: Vec<Entry>,
    /// The number of the mount that is the root.
    pub root: u64,
    /// There are more mounts than are read.
    pub is_cut: bool,
    /// The position of the mount on a mount and point.
    below: BTreeMap<(u64, CString), usize>,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// The topmost mount on the path itself; `None` if it is not a mount point.
    pub point: Option<u64>,
    /// The mounts on the path itself, the lowest first.
    pub stack: Vec<u64>,
    /// A filesystem on the way might not answer.
    pub may_hang: bool,
}

/// Filesystems that a program serves, or that are far away; and those that may be layers over one.
const SLOW: [&str; 12] =
    ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "autofs", "coda", "lustre", "overlay", "ecryptfs"];

impl MountTable {
    pub(super) fn new(entries: Vec<Entry>, root: u64, is_cut: bool) -> Self {
        let key = |(position, entry): (usize, &Entry)| ((entry.parent, entry.point.clone()), position);
        let below = entries.iter().enumerate().map(key).collect();
        Self { entries, root, is_cut, below }
    }

    /// The mount with this number.
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    /// Follows an absolute path without `.`, `..` and repeated slashes.
    pub(super) fn walk(&self, path: &CStr) -> Walk {
        let bytes = path.to_bytes();
        let mut walk = Walk { point: None, stack: Vec::new(), may_hang: false };
        if bytes == b"/" {
            return Walk { point: Some(self.root), stack: vec![self.root], ..walk };
        }
        let mut current = self.root;
        // A table that changed while it was read may have a circle in it.
        let mut steps = 0;
        let ends = bytes.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([bytes.len()]) {
            let here = CString::new(&bytes[..end]).unwrap_or_default();
            while let Some(position) = self.below.get(&(current, here.clone())) {
                let entry = &self.entries[*position];
                steps += 1;
                if steps > self.entries.len() {
                    return Walk { point: None, stack: Vec::new(), may_hang: true };
                }
                current = entry.number;
                if end == bytes.len() {
                    walk.stack.push(current);
                } else {
                    walk.may_hang |= is_slow(entry);
                }
            }
        }
        walk.point = walk.stack.last().copied();
        walk
    }

    /// Whether this mount might not answer.
    pub(super) fn may_hang(&self, number: u64) -> bool {
        number != self.root && self.get(number).is_some_and(is_slow)
    }

    /// Whether any mount but the root, which the engine has chosen, might not answer.
    pub(super) fn any_may_hang(&self) -> bool {
        self.is_cut || self.entries.iter().any(|entry| entry.number != self.root && is_slow(entry))
    }
}

fn is_slow(entry: &Entry) -> bool {
    entry.kind.starts_with("fuse") || SLOW.contains(&entry.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::container::inspect) fn entry(number: u64, parent: u64, point: &str, kind: &str) -> Entry {
        Entry {
            number,
            parent,
            point: CString::new(point).unwrap(),
            options: "rw,relatime".into(),
            propagation: String::new(),
            kind: kind.into(),
            superblock: "rw".into(),
        }
    }

    #[test]
    fn a_hidden_mount_is_not_found() {
        let table = MountTable::new(
            vec![
                entry(1, 0, "/", "ext4"),
                entry(2, 1, "/a", "tmpfs"),
                entry(3, 2, "/a/b", "proc"),
                entry(4, 2, "/a", "fuse.x"),
                entry(5, 1, "/a/b/c", "tmpfs"),
            ],
            1,
            false,
        );
        assert_eq!(table.walk(c"/a"), Walk { point: Some(4), stack: vec![2, 4], may_hang: false });
        assert_eq!(table.walk(c"/a/b"), Walk { point: None, stack: vec![], may_hang: true });
        assert_eq!(table.walk(c"/a/b/c").point, None);
        assert_eq!(table.walk(c"/x"), Walk { point: None, stack: vec![], may_hang: false });
        assert_eq!(table.walk(c"/").point, Some(1));
        assert!(table.any_may_hang());
    }

    #[test]
    fn a_circle_ends() {
        let table = MountTable::new(vec![entry(1, 1, "/", "ext4"), entry(2, 2, "/a", "tmpfs")], 1, false);
        assert_eq!(table.walk(c"/a").point, None);
        let table = MountTable::new(vec![entry(2, 1, "/a", "x"), entry(1, 2, "/a", "y")], 1, false);
        assert_eq!(table.walk(c"/a/b").point, None);
    }
}
