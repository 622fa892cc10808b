//! Where resctrl is mounted; its directories and small files, by descriptor. World: parent.
//!
//! A group is opened below the root's descriptor, never by a path from `/`, and nothing below the root leads out of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Code, Context, Error, Result};
use crate::mountinfo;

/// Where it is mounted unless somebody chose another place. The kernel makes this directory if the CPU has RDT.
const DEFAULT: &str = "/sys/fs/resctrl";
/// RDTGROUP_SUPER_MAGIC. Source: linux/magic.h.
const MAGIC: i64 = 0x0765_5821;
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Finds the mount.
///
/// # Errors
/// There is none.
pub fn mount() -> Result<String> {
    if rustix::fs::statfs(DEFAULT).is_ok_and(|facts| is_resctrl(&facts)) {
        return Ok(DEFAULT.to_owned());
    }
    let mounts = std::fs::read("/proc/self/mountinfo")
        .map_err(|e| Error::new(Code::SystemCallFailed, "read /proc/self/mountinfo").detail(e.to_string()))?;
    mount_point(&mounts).ok_or_else(not_mounted)
}

/// The error of a host without it.
pub(super) fn not_mounted() -> Error {
    Error::new(Code::ResctrlMissing, "resctrl is not mounted on this host").hint(
        "mount -t resctrl resctrl /sys/fs/resctrl; that needs a CPU with RDT and a kernel with CONFIG_X86_CPU_RESCTRL",
    )
}

/// The first mount of resctrl as a whole.
pub(super) fn mount_point(table: &[u8]) -> Option<String> {
    let mount = mountinfo::lines(table).find(|line| line.kind == b"resctrl" && line.root == b"/")?;
    Some(String::from_utf8_lossy(&mountinfo::unescape(mount.point)).into_owned())
}

/// The word size of `f_type` differs between architectures.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions, reason = "not useless everywhere")]
fn is_resctrl(facts: &rustix::fs::StatFs) -> bool {
    i64::try_from(facts.f_type).is_ok_and(|kind| kind == MAGIC)
}

/// The root of resctrl, which is the default group as well.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// For texts.
    path: String,
}

impl Root {
    /// Opens it; `None` if it is not mounted there any more, and all groups are gone with it.
    pub(super) fn open(path: &str) -> Result<Option<Self>> {
        let directory = match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            result => result.context(|| format!("open {path}"))?,
        };
        let facts = rustix::fs::fstatfs(&directory).context(|| format!("statfs {path}"))?;
        Ok(is_resctrl(&facts).then(|| Self::at(directory, path)))
    }

    /// What is open already.
    pub(super) fn at(directory: OwnedFd, path: &str) -> Self {
        Self { directory, path: path.to_owned() }
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens a group; `None` if there is no such group.
    pub(super) fn group(&self, name: Option<&str>) -> Result<Option<OwnedFd>> {
        match open_directory(self.directory(), name.unwrap_or(".")) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system(format!("open {}", self.shown(name)), errno).coded(Code::ResctrlFailed)),
        }
    }

    /// A group in texts.
    pub(super) fn shown(&self, name: Option<&str>) -> String {
        name.map_or_else(|| format!("the default group of {}", self.path), |name| format!("resctrl group {name:?}"))
    }

    /// The error of a call that resctrl refused, with the reason that the kernel gives in `info/last_cmd_status`.
    pub(super) fn refused(&self, what: String, errno: Errno) -> Error {
        let error = Error::system(what, errno).coded(Code::ResctrlFailed);
        let said = read(self.directory(), "info/last_cmd_status").unwrap_or_default();
        let error = if said.trim() == "ok" { error } else { error.detail(said.trim()) };
        match errno {
            Errno::ACCESS | Errno::PERM | Errno::ROFS if !rustix::process::geteuid().is_root() => {
                error.hint("only root of the host can use resctrl")
            }
            Errno::NOSPC => error.hint(format!(
                "the CPU has a limited number of groups: num_closids and num_rmids below {}/info",
                self.path
            )),
            _ => error,
        }
    }

    /// What is written to the schemata file of every group.
    pub(super) fn schema_hint(&self) -> String {
        format!("{}/schemata has the resources and domains of this host", self.path)
    }

    /// A number in `info`; `None` if the host has no such resource.
    pub(super) fn number(&self, file: &str) -> Option<u64> {
        read(self.directory(), file).ok()?.trim().parse().ok()
    }
}

/// Opens a directory below another one.
pub(super) fn open_directory(directory: BorrowedFd<'_>, path: &str) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat2(directory, path, DIRECTORY, Mode::empty(), BENEATH)
}

/// Reads a file.
pub(super) fn read(directory: BorrowedFd<'_>, path: &str) -> std::result::Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(directory, path, flags, Mode::empty(), BENEATH)?;
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut buffer[..]))? {
            0 => return Ok(String::from_utf8_lossy(&content).into_owned()),
            length => content.extend(buffer.iter().take(length)),
        }
    }
}

/// Writes a value in one write(2), as the kernel wants it.
pub(super) fn write(directory: BorrowedFd<'_>, path: &str, value: &str) -> std::result::Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(directory, path, flags, Mode::empty(), BENEATH)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Removes a group; the kernel moves tasks that are in it to the group above.
pub(super) fn remove(directory: BorrowedFd<'_>, name: &str) -> std::result::Result<(), Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
