//! World: parent. The directory where CRIU finds the cgroup hierarchy.
//!
//! CRIU would mount cgroup2 itself, without options. Those of a cgroup2 mount are system-wide: the host would lose
//! `nsdelegate` and the others. So it gets the mount that exists, as `unified` in a directory of tare's: a link for a
//! dump; for a restore a mount point, since restored processes may look it up when they have another root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, mkdirat, symlinkat, unlinkat};
use rustix::io::Errno;

use crate::cgroup::Hierarchy;
use crate::container::store::{CRIU_CGROUPS, CRIU_UNIFIED, Directory};
use crate::error::{Context, Error, Result};

const OWN: &str = "/proc/self/cgroup";

/// The directory; it is removed when this is dropped.
#[derive(Debug)]
pub(in crate::container) struct Yard {
    /// That of the container.
    directory: OwnedFd,
    /// Its absolute path.
    pub(in crate::container) path: PathBuf,
}

impl Yard {
    /// For a dump; `None` if the kernel has hierarchies of cgroup v1: CRIU mounts each then.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub(super) fn of_dump(directory: &Directory, hierarchy: &Hierarchy) -> Result<Option<Self>> {
        let Some(yard) = Self::create(directory)? else { return Ok(None) };
        symlinkat(&hierarchy.root, directory, CRIU_UNIFIED).context(|| yard.what())?;
        Ok(Some(yard))
    }

    /// For a restore: with a mount point.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub(in crate::container) fn of_restore(directory: &Directory) -> Result<Option<Self>> {
        let Some(yard) = Self::create(directory)? else { return Ok(None) };
        mkdirat(directory, CRIU_UNIFIED, Mode::RWXU).context(|| yard.what())?;
        Ok(Some(yard))
    }

    fn create(directory: &Directory) -> Result<Option<Self>> {
        // CRIU wants all hierarchies that the kernel has, mounted or not. Source: cgroups(7), "/proc/pid/cgroup".
        let own = std::fs::read_to_string(OWN).map_err(|e| Error::system(format!("read {OWN}"), e))?;
        if own.lines().any(|line| !line.starts_with("0::")) {
            return Ok(None);
        }
        // What a killed checkpoint left.
        remove(directory.as_fd());
        let path = directory.path.join(CRIU_CGROUPS);
        let absolute = std::path::absolute(&path).map_err(|e| Error::system(format!("find {}", path.display()), e))?;
        let own = rustix::io::fcntl_dupfd_cloexec(directory, 3).context(|| format!("open {}", path.display()))?;
        let yard = Self { directory: own, path: absolute };
        mkdirat(directory, CRIU_CGROUPS, Mode::RWXU).context(|| yard.what())?;
        Ok(Some(yard))
    }

    fn what(&self) -> String {
        format!("create {}", self.path.display())
    }

    /// Where the hierarchy belongs.
    pub(in crate::container) fn mount_point(&self) -> PathBuf {
        self.path.join("unified")
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        remove(self.directory.as_fd());
    }
}

/// What stays is removed with the state directory.
fn remove(directory: BorrowedFd<'_>) {
    if unlinkat(directory, CRIU_UNIFIED, AtFlags::empty()) == Err(Errno::ISDIR) {
        let _stays = unlinkat(directory, CRIU_UNIFIED, AtFlags::REMOVEDIR);
    }
    let _stays = unlinkat(directory, CRIU_CGROUPS, AtFlags::REMOVEDIR);
}
