//! World: parent. HOME of a new container's program, which many programs expect.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Result};
use crate::plan::ContainerPlan;
use crate::process::user;
use crate::rootfs::{self, parent::Passwd};
use crate::timings;

/// Sets HOME from the container's passwd file if the config has none.
///
/// # Errors
/// The passwd file or the rootfs cannot be read.
pub(super) fn complete(plan: &mut ContainerPlan, rootfs: &rootfs::OpenRootfs) -> Result<()> {
    let Some(program) = plan.program.as_mut().filter(|program| program.process.lacks_home()) else { return Ok(()) };
    let _span = timings::span("look up HOME");
    let home = match rootfs.passwd(&plan.rootfs)? {
        Passwd::Mounted(file) => user::home_in(file.as_fd(), program.process.uid)?,
        Passwd::Missing => user::DEFAULT_HOME.into(),
        Passwd::Rootfs => in_rootfs(&plan.rootfs_path, program.process.uid)?,
    };
    program.process.set_env("HOME", home)
}

fn in_rootfs(path: &Path, uid: u32) -> Result<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open the rootfs {}", path.display()))?;
    user::home(root.as_fd(), uid)
}
