//! Facts about this machine, read once and only when they are asked for.
//!
//! World: parent; plans get [`HostFacts`], which are gathered before.

pub mod calls;
mod facts;
mod report;
mod subordinate;

use std::cell::OnceCell;
use std::path::Path;

use rustix::io::Errno;

pub use facts::{HostFacts, ProgramFacts, TTY, Wanted};
pub use report::info;
pub use subordinate::Range;

use crate::cgroup::Hierarchy;
use crate::error::{Code, Context, Error, Result};
use crate::sys::credentials::Sets;
use crate::sys::page::read as read_small;

/// The machine as far as plans need it.
#[derive(Debug, Default)]
pub struct Host {
    hierarchy: OnceCell<Hierarchy>,
    in_user_namespace: OnceCell<bool>,
    capabilities: OnceCell<std::result::Result<Sets, Errno>>,
    set_groups: OnceCell<bool>,
    last_capability: OnceCell<u8>,
    apparmor: OnceCell<bool>,
    selinux: OnceCell<bool>,
}

impl Host {
    /// Where cgroup v2 is mounted.
    ///
    /// # Errors
    /// It is not mounted.
    pub fn hierarchy(&self) -> Result<&Hierarchy> {
        get(&self.hierarchy, crate::cgroup::mount)
    }

    /// Whether tare itself runs in a user namespace that is not the initial one: it may not make device nodes then.
    ///
    /// # Errors
    /// /proc is not mounted.
    ///
    /// # Source
    /// USER_NS_INIT_INO of linux/nsfs.h: the number of the initial one since Linux 3.8.
    pub fn in_user_namespace(&self) -> Result<bool> {
        const INITIAL: u64 = 0xefff_fffd;
        get(&self.in_user_namespace, || {
            let facts = rustix::fs::stat("/proc/self/ns/user").context(|| "stat /proc/self/ns/user")?;
            Ok(facts.st_ino != INITIAL)
        })
        .copied()
    }

    /// The effective capabilities of the caller over its own user namespace.
    #[must_use]
    pub fn capabilities(&self) -> u64 {
        // Without an answer nothing is held to be permitted.
        self.asked_capabilities().map_or(0, |sets| sets.effective)
    }

    /// Whether the caller may look at processes that cannot be dumped: CAP_SYS_PTRACE over its own user namespace.
    #[must_use]
    pub fn traces(&self) -> bool {
        const SYS_PTRACE: u64 = 1 << 19;
        self.capabilities() & SYS_PTRACE != 0
    }

    /// The capabilities that the caller may have; all of them if they are not known.
    #[must_use]
    pub fn permitted_capabilities(&self) -> u64 {
        self.asked_capabilities().map_or(u64::MAX, |sets| sets.permitted)
    }

    fn asked_capabilities(&self) -> std::result::Result<Sets, Errno> {
        *self.capabilities.get_or_init(crate::sys::credentials::capabilities)
    }

    /// Whether the caller lacks the host's privileges: an ordinary user, or root of a user namespace alone.
    ///
    /// # Errors
    /// /proc is not mounted; capget(2) fails: that must not make another container of the one that was asked for.
    pub fn rootless(&self) -> Result<bool> {
        let own = self.asked_capabilities().context(|| "read the caller's capabilities")?;
        Ok(own.effective & crate::process::capabilities::SYS_ADMIN == 0 || self.in_user_namespace()?)
    }

    /// Whether setgroups(2) is permitted in the caller's user namespace, which those below inherit.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn set_groups(&self) -> Result<bool> {
        get(&self.set_groups, || {
            if !self.in_user_namespace()? {
                return Ok(true);
            }
            let path = "/proc/self/setgroups";
            Ok(read_small(path).context(|| format!("read {path}"))?.trim() != "deny")
        })
        .copied()
    }

    /// Whether setgroups(2) is permitted in the user namespace at `path`, as far as can be told: those of engines are
    /// named by a process, /proc/PID/ns/user, and other names are those of somebody with privileges.
    ///
    /// # Errors
    /// The process is gone.
    pub fn set_groups_at(&self, path: &Path) -> Result<bool> {
        let Some(process) = path.to_str().and_then(|path| path.strip_suffix("/ns/user")) else { return Ok(true) };
        if !process.starts_with("/proc/") {
            return Ok(true);
        }
        let path = format!("{process}/setgroups");
        Ok(read_small(&path).context(|| format!("read {path}"))?.trim() != "deny")
    }

    /// Whether a group of the caller's user namespace exists there.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn maps_group(&self, group: u32) -> Result<bool> {
        if !self.in_user_namespace()? {
            return Ok(true);
        }
        let path = "/proc/self/gid_map";
        let map = read_small(path).context(|| format!("read {path}"))?;
        Ok(map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse::<u32>().unwrap_or(0));
            let (first, count) = (numbers.next().unwrap_or(0), numbers.nth(1).unwrap_or(0));
            group.checked_sub(first).is_some_and(|offset| offset < count)
        }))
    }

    /// Who tare is when it writes id mappings.
    #[must_use]
    pub fn caller(&self) -> crate::namespaces::plan::Caller {
        const SET_GID: u64 = 1 << 6;
        const SET_UID: u64 = 1 << 7;
        crate::namespaces::plan::Caller {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            sets_uids: self.capabilities() & SET_UID != 0,
            sets_gids: self.capabilities() & SET_GID != 0,
            administers: self.capabilities() & crate::process::capabilities::SYS_ADMIN != 0,
        }
    }

    /// The subordinate user and group ids of the caller.
    #[must_use]
    pub fn subordinate_ids(&self) -> [Vec<Range>; 2] {
        let uid = self.caller().uid;
        ["/etc/subuid", "/etc/subgid"].map(|database| subordinate::ranges(database, uid))
    }

    /// Whether newuidmap or newgidmap lets the caller map `count` ids of the host from `first` on; `file` is `uid_map` or
    /// `gid_map`.
    #[must_use]
    pub fn may_map(&self, file: &str, first: u64, count: u64) -> bool {
        let (caller, [users, groups]) = (self.caller(), self.subordinate_ids());
        let (ranges, own) = if file == "uid_map" { (users, caller.uid) } else { (groups, caller.gid) };
        subordinate::permits(&ranges, own, first, count)
    }

    /// Whether AppArmor is in force. Source: /sys/module/apparmor/parameters/enabled.
    #[must_use]
    pub fn apparmor(&self) -> bool {
        *self.apparmor.get_or_init(|| {
            read_small("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
        })
    }

    /// Whether SELinux is in force: its filesystem is mounted.
    #[must_use]
    pub fn selinux(&self) -> bool {
        *self.selinux.get_or_init(|| std::path::Path::new("/sys/fs/selinux/enforce").exists())
    }

    /// The highest capability that the kernel knows. Kernel: 3.2.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn last_capability(&self) -> Result<u8> {
        get(&self.last_capability, || {
            let path = "/proc/sys/kernel/cap_last_cap";
            let text = read_small(path).context(|| format!("read {path}"))?;
            text.trim().parse().map_err(|_| Error::system(format!("read {path}: {text:?}"), libc::EINVAL))
        })
        .copied()
    }
}

fn get<T>(cell: &OnceCell<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let _already = cell.set(read()?);
    }
    cell.get().ok_or_else(|| Error::new(Code::Internal, "a host fact was lost"))
}
