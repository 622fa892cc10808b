//! Whose cgroup it is: a tag in an extended attribute, so that orphans are found without any state. World: parent.
//!
//! The tag names the state root by device and inode: the same id below the same path is another container in another
//! mount namespace. It is an attribute of the kind `trusted.`, which only the host's root can set; an ordinary user or
//! root of a user namespace takes `user.`, and that one counts only where the cgroup belongs to the reader: the owner of
//! a delegated cgroup can write anything there. Earlier builds wrote `user.` alone, without device and inode.
//!
//! Kernel: 5.7 (user attributes of a cgroup). Source: xattr(7).

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr, fstat};
use rustix::io::Errno;

const TRUSTED: &str = "trusted.tare";
const USER: &str = "user.tare";

/// Bytes of a tag at the most: a path (PATH_MAX), an id, numbers. A longer one is not tare's.
const LONGEST: usize = 8192;

/// A directory, whatever its name is in which mount namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the filesystem.
    pub device: u64,
    /// Of the directory in it.
    pub inode: u64,
}

impl Identity {
    /// That of the directory with this status.
    #[must_use]
    pub fn of(status: &rustix::fs::Stat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }
}

/// Whose cgroup it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Effective uid of the runtime that made it.
    pub owner: u32,
    /// Container id.
    pub id: String,
    /// The container's own directory below the state root: where that is in the mount namespace of its maker.
    pub state_directory: PathBuf,
    /// The state root; `None` in the tag of an earlier build.
    pub root: Option<Identity>,
}

impl Tag {
    /// Whether a tag that was found is that of this container.
    #[must_use]
    pub fn names(&self, own: &Self) -> bool {
        let same_root = match self.root {
            Some(root) => own.root == Some(root),
            None => self.state_directory == own.state_directory,
        };
        same_root && self.owner == own.owner && self.id == own.id
    }

    /// The path of the state root; `None` where the tag cannot be one of tare's.
    #[must_use]
    pub fn root_path(&self) -> Option<&Path> {
        let path = &self.state_directory;
        let plain = path.is_absolute() && path.file_name() == Some(self.id.as_ref());
        path.parent().filter(|_| plain)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{}\0{}\0", self.owner, self.id).into_bytes();
        bytes.extend(self.state_directory.as_os_str().as_bytes());
        if let Some(Identity { device, inode }) = self.root {
            bytes.extend(format!("\0{device}:{inode}").as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.split(|byte| *byte == 0);
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let (owner, id) = (text()?.parse().ok()?, text()?.to_owned());
        let state_directory = PathBuf::from(OsString::from_vec(parts.next()?.to_vec()));
        let root = match parts.next() {
            None => None,
            Some(numbers) => {
                let (device, inode) = std::str::from_utf8(numbers).ok()?.split_once(':')?;
                Some(Identity { device: device.parse().ok()?, inode: inode.parse().ok()? })
            }
        };
        let tag = Self { owner, id, state_directory, root };
        parts.next().is_none().then_some(tag)
    }
}

/// Tags a cgroup.
pub(super) fn write(cgroup: BorrowedFd<'_>, tag: &Tag) -> Result<(), Errno> {
    let set = |name| fsetxattr(cgroup, name, &tag.encode(), XattrFlags::empty());
    match set(TRUSTED) {
        Err(Errno::PERM | Errno::OPNOTSUPP) => set(USER),
        result => result,
    }
}

/// The tag of a cgroup, if it has one that counts.
pub(super) fn read(cgroup: BorrowedFd<'_>) -> Result<Option<Tag>, Errno> {
    if let Some(tag) = read_trusted(cgroup)? {
        return Ok(Some(tag));
    }
    let Some(bytes) = attribute(cgroup, USER)? else { return Ok(None) };
    let own = fstat(cgroup)?.st_uid == rustix::process::geteuid().as_raw();
    Ok(Tag::decode(&bytes).filter(|_| own))
}

/// The tag of a cgroup, if it has one that nobody but the host's root can have set.
pub(super) fn read_trusted(cgroup: BorrowedFd<'_>) -> Result<Option<Tag>, Errno> {
    Ok(attribute(cgroup, TRUSTED)?.and_then(|bytes| Tag::decode(&bytes)))
}

fn attribute(cgroup: BorrowedFd<'_>, name: &str) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = [0; LONGEST];
    match fgetxattr(cgroup, name, &mut value) {
        Ok(length) => Ok(value.get(..length).map(<[u8]>::to_vec)),
        // None, none that we may read, none of tare's length; the cgroup was removed.
        Err(
            Errno::NODATA
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NODEV
            | Errno::NOENT,
        ) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> Tag {
        let state_directory = PathBuf::from(OsString::from_vec(b"/run/t\xffre/a".to_vec()));
        Tag { owner: 7, id: "a".into(), state_directory, root: Some(Identity { device: 25, inode: u64::MAX }) }
    }

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let old = Tag { root: None, ..tag() };
        assert_eq!(Tag::decode(&tag().encode()), Some(tag()));
        assert_eq!(Tag::decode(&old.encode()), Some(old));
    }

    #[test]
    fn what_is_damaged_is_no_tag() {
        let good = tag().encode();
        let bad: [&[u8]; 10] = [
            b"",
            b"0",
            b"0\0a",
            b"-1\0a\0/s/a",
            b"0\0\xff\0/s/a",
            b"0\0a\0/s/a\0",
            b"0\0a\0/s/a\x001",
            b"0\0a\0/s/a\x001:x",
            b"0\0a\0/s/a\x001:2\0",
            b"0\0a\0/s/a\x001:2\x003:4",
        ];
        for bytes in bad {
            assert_eq!(Tag::decode(bytes), None, "{bytes:?}");
        }
        for length in 0..good.len() {
            assert_ne!(Tag::decode(&good[..length]), Some(tag()));
        }
    }

    #[test]
    fn the_root_and_not_its_path_says_whose_it_is() {
        let moved = Tag { state_directory: "/elsewhere/a".into(), ..tag() };
        let other = Tag { root: Some(Identity { device: 26, inode: u64::MAX }), ..tag() };
        let old = Tag { root: None, ..tag() };
        assert!(moved.names(&tag()) && old.names(&tag()));
        assert!(!other.names(&tag()) && !Tag { id: "b".into(), ..tag() }.names(&tag()));
        assert!(!Tag { owner: 0, ..tag() }.names(&tag()));
        assert!(!Tag { state_directory: "/elsewhere/a".into(), ..old }.names(&tag()));
    }

    #[test]
    fn a_path_that_tare_would_not_write_leads_nowhere() {
        for path in ["a", "s/a", "/", "/s/..", "/s/b", ""] {
            assert_eq!(Tag { state_directory: path.into(), ..tag() }.root_path(), None, "{path}");
        }
        assert_eq!(Tag { state_directory: "/s/a".into(), ..tag() }.root_path(), Some(Path::new("/s")));
    }
}
