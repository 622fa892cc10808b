//! Facts about this machine, read once and only when they are asked for.
//!
//! World: parent; plans get it as an argument, tests make one from given facts.

use std::cell::OnceCell;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::cgroup::Hierarchy;
use crate::error::{Context, Error, Result};

/// The machine as far as plans need it.
#[derive(Debug, Default)]
pub struct Host {
    hierarchy: OnceCell<Hierarchy>,
    in_user_namespace: OnceCell<bool>,
    last_capability: OnceCell<u8>,
    apparmor: OnceCell<bool>,
    selinux: OnceCell<bool>,
}

impl Host {
    /// A host with given facts, for tests.
    #[must_use]
    pub fn with(hierarchy: Hierarchy, in_user_namespace: bool, last_capability: u8) -> Self {
        Self {
            hierarchy: OnceCell::from(hierarchy),
            in_user_namespace: OnceCell::from(in_user_namespace),
            last_capability: OnceCell::from(last_capability),
            apparmor: OnceCell::from(false),
            selinux: OnceCell::from(false),
        }
    }

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
    pub fn in_user_namespace(&self) -> Result<bool> {
        get(&self.in_user_namespace, || {
            let map = read_small("/proc/self/uid_map").context(|| "read /proc/self/uid_map")?;
            // The initial namespace maps all 2^32-1 ids to themselves.
            Ok(map.split_whitespace().ne(["0", "0", "4294967295"]))
        })
        .copied()
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

/// Reads a file of the kernel's that fits into a page, as they all give their text in one read: three system calls.
///
/// # Errors
/// As open(2) and read(2).
pub fn read_small(path: &str) -> std::result::Result<String, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; 4096];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut bytes))?;
    Ok(String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned())
}

fn get<T>(cell: &OnceCell<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let _already = cell.set(read()?);
    }
    cell.get().ok_or_else(|| Error::new(crate::error::ErrorKind::Internal, "a host fact was lost"))
}
