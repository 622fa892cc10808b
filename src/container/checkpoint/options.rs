//! World: parent. What a caller may choose when it checkpoints or restores a container.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::OFlags;

pub use crate::checkpoint::messages::{CgroupMode, NetworkLock};
use crate::error::{Code, Error, Result};

/// What checkpoint and restore have in common. The default: the images are in `checkpoint` below the working directory,
/// and CRIU is the program in PATH.
#[derive(Debug, Clone, Default)]
pub struct CriuOptions {
    pub(crate) program: Option<PathBuf>,
    pub(crate) image_path: Option<PathBuf>,
    pub(crate) work_path: Option<PathBuf>,
    pub(crate) parent_path: Option<PathBuf>,
    pub(crate) tcp_established: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) cgroup_mode: Option<CgroupMode>,
    pub(crate) network_lock: Option<NetworkLock>,
}

/// Generates setters that [`CheckpointOptions`] and [`RestoreOptions`] share.
macro_rules! criu_setters {
    () => {
        /// The CRIU program instead of the one in PATH.
        pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
            self.criu.program = Some(path.into());
            self
        }

        /// The directory of the images.
        pub fn image_path(mut self, path: impl Into<PathBuf>) -> Self {
            self.criu.image_path = Some(path.into());
            self
        }

        /// The directory of CRIU's log; by default that of the images.
        pub fn work_path(mut self, path: impl Into<PathBuf>) -> Self {
            self.criu.work_path = Some(path.into());
            self
        }

        /// The images of the previous pre-dump, relative to those of this one.
        pub fn parent_path(mut self, path: impl Into<PathBuf>) -> Self {
            self.criu.parent_path = Some(path.into());
            self
        }

        /// Keeps established TCP connections.
        pub fn tcp_established(mut self, keep: bool) -> Self {
            self.criu.tcp_established = keep;
            self
        }

        /// Accepts Unix sockets whose other end is outside of the container.
        pub fn ext_unix_sk(mut self, accept: bool) -> Self {
            self.criu.ext_unix_sk = accept;
            self
        }

        /// Accepts a session or process group that began outside of the container.
        pub fn shell_job(mut self, accept: bool) -> Self {
            self.criu.shell_job = accept;
            self
        }

        /// Keeps file locks.
        pub fn file_locks(mut self, keep: bool) -> Self {
            self.criu.file_locks = keep;
            self
        }

        /// Removes pages from older images that newer ones contain.
        pub fn auto_dedup(mut self, dedup: bool) -> Self {
            self.criu.auto_dedup = dedup;
            self
        }

        /// Transfers memory pages on demand, by userfaultfd(2).
        pub fn lazy_pages(mut self, lazy: bool) -> Self {
            self.criu.lazy_pages = lazy;
            self
        }

        /// How CRIU treats cgroups.
        pub fn cgroup_mode(mut self, mode: CgroupMode) -> Self {
            self.criu.cgroup_mode = Some(mode);
            self
        }

        /// How CRIU blocks the container's network meanwhile.
        pub fn network_lock(mut self, method: NetworkLock) -> Self {
            self.criu.network_lock = Some(method);
            self
        }
    };
}

/// A page server of CRIU, which receives memory pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// An IP address.
    pub address: String,
    /// A TCP port.
    pub port: u16,
}

/// How a container is checkpointed. The default: it is deleted when the checkpoint is complete.
///
/// ```
/// let options = tare::CheckpointOptions::default().image_path("/var/lib/web").leave_running(true);
/// # let _ = options;
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct CheckpointOptions {
    pub(crate) criu: CriuOptions,
    pub(crate) leave_running: bool,
    pub(crate) pre_dump: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) link_remap: bool,
    pub(crate) page_server: Option<PageServer>,
    pub(crate) status: Option<OwnedFd>,
}

impl CheckpointOptions {
    criu_setters!();

    /// Leaves the container running.
    pub fn leave_running(self, leave_running: bool) -> Self {
        Self { leave_running, ..self }
    }

    /// Writes the memory alone and leaves the container running; a later checkpoint writes what has changed since.
    pub fn pre_dump(self, pre_dump: bool) -> Self {
        Self { pre_dump, ..self }
    }

    /// Forgets TCP connections that are not established yet.
    pub fn tcp_skip_in_flight(self, skip: bool) -> Self {
        Self { tcp_skip_in_flight: skip, ..self }
    }

    /// Links unlinked files back into the filesystem.
    pub fn link_remap(self, link_remap: bool) -> Self {
        Self { link_remap, ..self }
    }

    /// Sends memory pages to a page server instead of the images.
    pub fn page_server(self, server: PageServer) -> Self {
        Self { page_server: Some(server), ..self }
    }

    /// The number of a descriptor that receives one NUL byte as soon as lazy pages can be requested.
    ///
    /// # Errors
    /// It is not open for writing.
    pub fn status_fd(self, number: u32) -> Result<Self> {
        let wrong = |what: &str| Error::new(Code::DescriptorInvalid, format!("--status-fd {number}: {what}"));
        let number = i32::try_from(number).map_err(|_| wrong("not a descriptor"))?;
        let status = crate::sys::descriptors::duplicate(number).map_err(|errno| wrong("duplicate it").errno(errno))?;
        let flags = rustix::fs::fcntl_getfl(&status).map_err(|errno| wrong("read its flags").errno(errno))?;
        if !flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            return Err(wrong("it is not open for writing"));
        }
        Ok(Self { status: Some(status), ..self })
    }
}

/// How a container is restored.
///
/// ```
/// let options = tare::RestoreOptions::default().image_path("/var/lib/web").tcp_established(true);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RestoreOptions {
    pub(crate) criu: CriuOptions,
    pub(crate) tcp_close: bool,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}

impl RestoreOptions {
    criu_setters!();

    /// Restores TCP connections as closed.
    pub fn tcp_close(self, tcp_close: bool) -> Self {
        Self { tcp_close, ..self }
    }

    /// Another LSM profile than the one of the checkpoint: `apparmor:NAME` or `selinux:LABEL`.
    pub fn lsm_profile(self, profile: impl Into<String>) -> Self {
        Self { lsm_profile: Some(profile.into()), ..self }
    }

    /// Another SELinux mount context than the one of the checkpoint.
    pub fn lsm_mount_context(self, context: impl Into<String>) -> Self {
        Self { lsm_mount_context: Some(context.into()), ..self }
    }
}
