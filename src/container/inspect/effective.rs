//! What the kernel has of a container: read through init's pid, which its pidfd proves, and through the open cgroup.
//!
//! World: parent. Promises: nothing in the container is changed, and no lock is taken; what is read is bounded, because
//! the container decides about its length; no path of the container is looked up in a filesystem that a program may
//! serve (FUSE) or that may be far away, since it might not answer.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::mount_table::MountTable;
use super::namespaces::KINDS;
use super::{Configured, Rlimit};
use crate::cgroup::{self, AttachedProgram, holds};
use crate::container::join::open_of_init;
use crate::container::record::Record;
use crate::container::status;
use crate::error::{Code, Context, Error, Result};
use crate::mountinfo::entries;
use crate::network::statistics;
use crate::process::capabilities::Masks;

/// Bytes of one file of procfs that are read; those of a table of mounts.
const FILE: u64 = 1 << 20;
const TABLE: u64 = 16 << 20;

/// A living container.
#[derive(Debug)]
pub(super) struct Effective {
    /// Init waits for `start`.
    pub waiting: bool,
    /// As `KINDS`: the numbers of init's namespace, of the caller's, and of the one at the path that the config names.
    pub namespaces: Vec<[Option<u64>; 3]>,
    /// uid_map and gid_map, as the caller sees them.
    pub mappings: [String; 2],
    /// setgroups(2) is permitted in init's user namespace.
    pub sets_groups: bool,
    pub process: ProcessAttributes,
    pub oom_score_adj: Option<i64>,
    /// Empty if they cannot be read.
    pub rlimits: Vec<Rlimit>,
    /// The label of the security module.
    pub label: Option<String>,
    /// The session keyring is one that the caller may see.
    pub keyring: bool,
    pub cgroup_path: Option<String>,
    /// What the files of the cgroup say, and those of the unit above it.
    pub limits: Vec<LimitFile>,
    /// `None` if they are not known.
    pub devices: Option<Vec<AttachedProgram>>,
    pub mounts: MountTable,
    /// What paths of the container lead to.
    pub places: Vec<(CString, Place)>,
    /// The interfaces of the network namespace; `None` if they cannot be read.
    pub interfaces: Option<Vec<String>>,
}

/// /proc/PID/status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessAttributes {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub umask: Option<u32>,
    pub capabilities: Masks,
    pub no_new_privs: Option<bool>,
    pub seccomp_mode: Option<u32>,
    /// Kernel: 5.9.
    pub seccomp_filters: Option<u64>,
}

/// A file of the cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LimitFile {
    pub name: String,
    pub content: Option<String>,
    pub of_unit: Option<String>,
}

/// What a path of the container leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Nothing,
    There {
        /// The number of its mount.
        mount: u64,
        /// It is the root of that mount.
        is_mount_point: bool,
        kind: PlaceKind,
    },
    /// It was not looked up, or could not be.
    Unknown,
}

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    Directory,
    /// The device /dev/null.
    Null,
    Other,
}

/// The files of init in procfs.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub record: &'a Record,
    pub init: BorrowedFd<'a>,
}

impl Reader<'_> {
    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        open_of_init(self.record, self.init, name, flags)
    }

    /// At most `limit` bytes, and whether there are more.
    fn bytes(&self, name: &str, limit: u64) -> Result<(Vec<u8>, bool)> {
        let mut bytes = Vec::new();
        let file = std::fs::File::from(self.open(name, OFlags::RDONLY)?);
        file.take(limit + 1).read_to_end(&mut bytes).context(|| format!("read /proc/{}/{name}", self.record.pid))?;
        let is_longer = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit;
        Ok((bytes, is_longer))
    }

    pub(super) fn text(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(name, FILE)?.0).into_owned())
    }

    /// uid_map and gid_map.
    pub(super) fn mappings(&self) -> Result<[String; 2]> {
        Ok([self.text("uid_map")?, self.text("gid_map")?])
    }

    /// Everything that `configured` is compared with.
    pub(super) fn read(self, configured: &Configured<'_>, mappings: [String; 2], waiting: bool) -> Result<Effective> {
        let mounts = self.mount_table()?;
        let root = self.open("root", OFlags::PATH | OFlags::DIRECTORY)?;
        let places = places(&root, &mounts, configured);
        let (limits, devices) = self.limits(configured)?;
        Ok(Effective {
            waiting,
            namespaces: KINDS.iter().map(|kind| self.namespace(kind.file, configured.joined(kind))).collect(),
            mappings,
            sets_groups: self.text("setgroups").is_ok_and(|text| text.trim() != "deny"),
            process: process(&self.text("status")?)?,
            oom_score_adj: self.text("oom_score_adj").ok().and_then(|text| text.trim().parse().ok()),
            rlimits: rlimits(&self.text("limits")?),
            label: self.label(),
            keyring: has_keyring(&self.record.id),
            cgroup_path: cgroup::path_of(self.record.pid).ok(),
            limits,
            devices,
            mounts,
            places,
            interfaces: self.text("net/dev").ok().map(|table| statistics::names(&table)),
        })
    }

    fn namespace(&self, file: &str, joined: Option<&std::path::Path>) -> [Option<u64>; 3] {
        let own = self.open(&format!("ns/{file}"), OFlags::PATH).ok().and_then(|file| rustix::fs::fstat(&file).ok());
        let callers = rustix::fs::stat(format!("/proc/self/ns/{file}")).ok();
        let named = joined.and_then(|path| rustix::fs::stat(path).ok());
        [own, callers, named].map(|facts| facts.map(|facts| facts.st_ino))
    }

    fn mount_table(&self) -> Result<MountTable> {
        let root = self.open("root", OFlags::PATH | OFlags::DIRECTORY)?;
        let root = crate::sys::mount::number(root.as_fd()).context(|| "stat the root of init")?;
        let (mut table, is_longer) = self.bytes("mountinfo", TABLE)?;
        if is_longer {
            // The last line is not whole.
            table.truncate(table.iter().rposition(|byte| *byte == b'\n').unwrap_or_default());
        }
        Ok(MountTable::new(entries(&table), root, is_longer))
    }

    /// AppArmor's, or that of the first module: SELinux's.
    fn label(&self) -> Option<String> {
        let label = |name: &str| self.text(name).ok().map(|text| text.trim_end_matches(['\0', '\n']).to_owned());
        label("attr/apparmor/current").or_else(|| label("attr/current")).filter(|label| !label.is_empty())
    }

    fn limits(&self, configured: &Configured<'_>) -> Result<(Vec<LimitFile>, Option<Vec<AttachedProgram>>)> {
        let Some(cgroup) = status::cgroup(self.record)? else { return Ok((Vec::new(), None)) };
        let usual = holds::USUAL.iter().map(|(name, _)| (*name).to_owned());
        let mut names: Vec<String> = usual.chain(configured.files()).collect();
        names.dedup();
        let read = |name: String| {
            // A file that can only be written has no content to compare.
            let content = cgroup.content(&name).unwrap_or_default();
            let of_unit = cgroup.of_unit().and_then(|unit| unit.content(&name).ok().flatten());
            LimitFile { name, content, of_unit }
        };
        Ok((names.into_iter().map(read).collect(), cgroup.device_programs()?))
    }
}

/// Source: proc_pid_status(5). The name of the program stands there too, on one line whatever it is.
fn process(text: &str) -> Result<ProcessAttributes> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    let missing = |key: &str| Error::new(Code::SystemCallFailed, format!("the status of init has no {key}"));
    // Real, effective, saved, of the filesystem.
    let id = |key: &str| {
        let id = value(key).and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
        id.ok_or_else(|| missing(key))
    };
    let set = |key: &str| value(key).and_then(|mask| u64::from_str_radix(mask, 16).ok()).ok_or_else(|| missing(key));
    Ok(ProcessAttributes {
        uid: id("Uid")?,
        gid: id("Gid")?,
        groups: value("Groups").unwrap_or_default().split_whitespace().filter_map(|id| id.parse().ok()).collect(),
        umask: value("Umask").and_then(|mask| u32::from_str_radix(mask, 8).ok()),
        capabilities: Masks {
            bounding: set("CapBnd")?,
            effective: set("CapEff")?,
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            ambient: set("CapAmb")?,
        },
        no_new_privs: value("NoNewPrivs").map(|value| value != "0"),
        seccomp_mode: value("Seccomp").and_then(|mode| mode.parse().ok()),
        seccomp_filters: value("Seccomp_filters").and_then(|count| count.parse().ok()),
    })
}

/// The names of the kernel for resource limits. Source: proc_pid_limits(5).
const RLIMITS: [(&str, &str); 16] = [
    ("RLIMIT_AS", "Max address space"),
    ("RLIMIT_CORE", "Max core file size"),
    ("RLIMIT_CPU", "Max cpu time"),
    ("RLIMIT_DATA", "Max data size"),
    ("RLIMIT_FSIZE", "Max file size"),
    ("RLIMIT_LOCKS", "Max file locks"),
    ("RLIMIT_MEMLOCK", "Max locked memory"),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
    ("RLIMIT_NICE", "Max nice priority"),
    ("RLIMIT_NOFILE", "Max open files"),
    ("RLIMIT_NPROC", "Max processes"),
    ("RLIMIT_RSS", "Max resident set"),
    ("RLIMIT_RTPRIO", "Max realtime priority"),
    ("RLIMIT_RTTIME", "Max realtime timeout"),
    ("RLIMIT_SIGPENDING", "Max pending signals"),
    ("RLIMIT_STACK", "Max stack size"),
];

fn rlimits(text: &str) -> Vec<Rlimit> {
    let limit = |(name, words): (&str, &str)| {
        let mut values = text.lines().find_map(|line| line.strip_prefix(words))?.split_whitespace();
        let mut value = || match values.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some(Rlimit { name: name.to_owned(), soft: value()?, hard: value()? })
    };
    RLIMITS.into_iter().filter_map(limit).collect()
}

/// Whether the keyring of the container is among those that the caller may see. Source: proc_keys(5).
fn has_keyring(id: &str) -> bool {
    let mut keys = Vec::new();
    let Ok(file) = std::fs::File::open("/proc/keys") else { return false };
    if file.take(FILE).read_to_end(&mut keys).is_err() {
        return false;
    }
    let name = format!("_ses.{id}:");
    let is_own = |line: &str| {
        let mut words = line.split_whitespace().skip(7);
        words.next() == Some("keyring") && words.next() == Some(&name)
    };
    String::from_utf8_lossy(&keys).lines().any(is_own)
}

/// What the paths of the config lead to. A mount point is found in the table of mounts alone.
fn places(root: &OwnedFd, mounts: &MountTable, configured: &Configured<'_>) -> Vec<(CString, Place)> {
    let tree = configured.tree;
    let targets = tree.mounts.iter().map(|mount| &mount.target).filter(|target| mounts.walk(target).point.is_none());
    let paths = targets.chain(&tree.masked_paths).chain(&tree.readonly_paths);
    paths.map(|path| (path.clone(), place(root, mounts, path))).collect()
}

fn place(root: &OwnedFd, mounts: &MountTable, path: &CString) -> Place {
    let walk = mounts.walk(path);
    // Even to open the root of a mount can ask a server.
    if let Some(mount) = walk.point.filter(|mount| mounts.may_hang(*mount)) {
        return Place::There { mount, is_mount_point: true, kind: PlaceKind::Other };
    }
    let look = |more: ResolveFlags, may_hang: bool| {
        let mut how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
        // What the kernel knows without asking; EAGAIN for all else, EINVAL before Linux 5.12.
        how.set(ResolveFlags::CACHED, may_hang);
        rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how)
    };
    let found = match look(ResolveFlags::NO_SYMLINKS, walk.may_hang) {
        // A link leads anywhere.
        Err(Errno::LOOP) => look(ResolveFlags::empty(), mounts.any_may_hang()),
        found => found,
    };
    match found {
        Ok(file) => describe(file.as_fd()).unwrap_or(Place::Unknown),
        Err(Errno::NOENT | Errno::NOTDIR) => Place::Nothing,
        Err(_) => Place::Unknown,
    }
}

fn describe(file: BorrowedFd<'_>) -> Option<Place> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let facts = rustix::fs::statx(file, c"", flags, StatxFlags::TYPE | StatxFlags::MNT_ID).ok()?;
    let kind = match FileType::from_raw_mode(facts.stx_mode.into()) {
        FileType::Directory => PlaceKind::Directory,
        FileType::CharacterDevice if (facts.stx_rdev_major, facts.stx_rdev_minor) == (1, 3) => PlaceKind::Null,
        _ => PlaceKind::Other,
    };
    let is_mount_point = facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Some(Place::There { mount: facts.stx_mnt_id, is_mount_point, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_process_are_read() {
        let own = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        let attributes = process(&own("status")).unwrap();
        assert_eq!(attributes.uid, rustix::process::geteuid().as_raw());
        assert!(attributes.umask.is_some() && attributes.seccomp_mode.is_some() && attributes.no_new_privs.is_some());
        let limits = rlimits(&own("limits"));
        assert_eq!(limits.len(), 16);
        let expected = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let files = limits.iter().find(|limit| limit.name == "RLIMIT_NOFILE").unwrap();
        assert_eq!((files.soft, files.hard), (expected.current, expected.maximum));
        assert!(process("Uid:\t0").is_err());
    }
}
