//! Delegation: what a caller without privileges may do in the hierarchy, and handing a container's cgroup over to the
//! container. World: parent.
//!
//! Promise: only the directory and the files that the kernel names for it change hands, never a limit.
//! Source: cgroup-v2.rst "Model of Delegation", runtime-spec config-linux.md "Cgroup ownership".

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, Uid};
use rustix::io::Errno;

use super::files;
use super::hierarchy::{Hierarchy, own_path, path_of};
use super::parent::Cgroup;
use crate::error::{Code, Context, Error, Result, errno_text};
use crate::sys::access::accessible;

/// The kernel's list. Kernel: 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// What the list begins with, for a host whose /sys is not mounted.
const ALWAYS: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

/// Why the caller may not make a cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, in words.
    pub why: String,
    /// The filesystem is mounted read-only, as engines do in containers: no delegation helps.
    pub read_only: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why, read_only: false }
    }
}

/// Why the caller may not make the cgroup at `path` and have a process born in it; `None` when it may.
///
/// The kernel asks for the right to write to the parent directory, and to cgroup.procs of the nearest cgroup above both
/// the caller's own cgroup and the new one.
///
/// # Errors
/// The hierarchy cannot be opened; /proc is not mounted.
pub fn refusal(hierarchy: &Hierarchy, path: &str) -> Result<Option<Refusal>> {
    let parts = |path: &str| -> Vec<String> { path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect() };
    let (wanted, own) = (parts(path), parts(&own_path()?));
    let root = &hierarchy.root;
    // Beyond the root of the caller's cgroup namespace.
    if own.first().is_some_and(|part| part == "..") {
        return Ok(Some(format!("tare's own cgroup is outside {}", root.display()).into()));
    }
    let above = |count: usize| wanted.iter().take(count).fold(root.clone(), |path, part| path.join(part));
    let existing = (0..=wanted.len()).rev().map(above).find(|path| path.exists()).unwrap_or_else(|| root.clone());
    if let Some(why) = unwritable(&existing)? {
        return Ok(Some(why));
    }
    let common = wanted.iter().zip(&own).take_while(|(one, other)| one == other).count();
    unwritable(&above(common).join("cgroup.procs"))
}

fn unwritable(path: &Path) -> Result<Option<Refusal>> {
    match accessible(CWD, path, Access::WRITE_OK) {
        Ok(()) => Ok(None),
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            let why = format!("write to {}: {}", path.display(), errno_text(errno.raw_os_error()));
            Ok(Some(Refusal { why, read_only: errno == Errno::ROFS || is_read_only(path) }))
        }
        Err(errno) => Err(Error::system(format!("look at {}", path.display()), errno).coded(Code::CgroupFailed)),
    }
}

/// The kernel looks at the mode of a file before it looks at the mount.
fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::RDONLY))
}

impl Cgroup {
    /// Gives it to `uid` (an id of the runtime's own user namespace), unless that is the owner already.
    ///
    /// A caller that may not give files away is not in the way of the container: it is the owner then, and the
    /// container's root is that same user or cannot be given anything.
    ///
    /// # Errors
    /// The kernel refuses for another reason.
    pub fn hand_over(&self, uid: u32) -> Result<()> {
        let owner = rustix::fs::fstat(self.directory()).context(|| format!("stat cgroup {}", self.path()))?.st_uid;
        if owner == uid {
            return Ok(());
        }
        let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| ALWAYS.to_string());
        let files = list.lines().filter(|name| !name.is_empty() && !name.contains('/'));
        for name in [""].into_iter().chain(files) {
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::chownat(self.directory(), name, Some(Uid::from_raw(uid)), None, flags) {
                // Files of controllers that this cgroup does not have.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::PERM) if !rustix::process::geteuid().is_root() => return Ok(()),
                Err(errno) => {
                    return Err(Error::system(format!("give cgroup {} to uid {uid}", self.path()), errno)
                        .coded(Code::CgroupFailed));
                }
            }
        }
        Ok(())
    }

    /// Creates the cgroup `name` below this one, moves process `pid` there, enables the controllers for it, and gives it to
    /// `owner`. The move costs an RCU grace period of the kernel.
    ///
    /// # Errors
    /// The kernel refuses a step.
    pub fn delegate(&self, name: &str, pid: i32, owner: Option<u32>) -> Result<()> {
        let below = self.make_below(name)?;
        files::write(below.directory(), "cgroup.procs", &pid.to_string())
            .context(|| format!("move process {pid} to cgroup {}", below.path()))?;
        self.hand_on_to_init(&[])?;
        owner.map_or(Ok(()), |uid| below.hand_over(uid))
    }

    /// The cgroup below this one in which process `pid` is now; `None` when it is in none of them.
    ///
    /// # Errors
    /// The process is gone, or its cgroup cannot be opened.
    pub fn of_process(&self, pid: i32) -> Result<Option<Self>> {
        let path = path_of(pid)?;
        match path.strip_prefix(self.path()) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => self.below(rest),
            _ => Ok(None),
        }
    }

    /// Why no process can be born in this cgroup, for the errno of clone3(2); `None` when the cgroup is not the reason.
    ///
    /// # Source
    /// kernel/cgroup/cgroup.c, `cgroup_css_set_fork` and `cgroup_migrate_vet_dst`.
    #[must_use]
    pub fn explain_entry(&self, errno: i32) -> Option<Error> {
        let hint = match errno {
            libc::EBUSY => "it enables controllers for its children, so it cannot contain processes",
            libc::EOPNOTSUPP => "its cgroup.type is \"domain invalid\", since a cgroup above it has threaded ones",
            libc::ENOENT if self.exists() => {
                "it is outside of the cgroup namespace of tare; mount cgroup2 in this namespace, or run the outer \
                 container in the cgroup namespace of the host (Docker: --cgroupns host)"
            }
            libc::ENODEV | libc::ENOENT => "it was removed meanwhile",
            libc::EACCES => {
                "the cgroups of the caller and of the container are not both in one subtree that is delegated to this \
                 user; start tare there, for example with `systemd-run --user --scope`"
            }
            libc::EAGAIN if self.is_full() => "its limit on processes, pids.max, is reached",
            _ => return None,
        };
        Some(
            Error::system(format!("create the process in cgroup {}", self.path()), errno)
                .coded(Code::CloneFailed)
                .hint(hint),
        )
    }

    /// A removed cgroup has no files.
    fn exists(&self) -> bool {
        files::read(self.directory.as_fd(), "cgroup.events").is_ok()
    }

    fn is_full(&self) -> bool {
        let number = |file| files::read(self.directory.as_fd(), file).ok()?.trim().parse::<u64>().ok();
        matches!((number("pids.current"), number("pids.max")), (Some(current), Some(max)) if current >= max)
    }
}
