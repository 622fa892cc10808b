//! Facts about this machine that decide which programs can pass here, and how long they may take.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::error::{Error, Result};

/// Number of the capability to raise a hard limit, linux/capability.h.
const CAP_SYS_RESOURCE: u32 = 24;

/// Finds a program as a shell would, and makes its path absolute: it is started elsewhere.
///
/// # Errors
/// There is no such file, or the sandbox's own /run would cover it.
pub fn find_program(name: &str) -> Result<PathBuf> {
    let found = if name.contains('/') {
        Some(PathBuf::from(name))
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
    };
    let path = found.ok_or_else(|| Error::Failed(format!("{name}: not found in PATH")))?;
    let path = fs::canonicalize(&path).map_err(Error::at(&path))?;
    outside_run(&path)?;
    Ok(path)
}

/// Refuses a path that the programs could not see.
///
/// # Errors
/// The path lies below /run.
pub fn outside_run(path: &Path) -> Result<()> {
    if path.starts_with("/run") {
        let path = path.display();
        return Err(Error::Failed(format!("{path}: each program has a /run of its own; use another place")));
    }
    Ok(())
}

/// Whether a container may be given CAP_SYS_RESOURCE here.
pub fn may_grant_sys_resource() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bounding
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> CAP_SYS_RESOURCE & 1 == 1)
}

/// Whether a request for this AppArmor profile can be met: a runtime that leaves it out where AppArmor is off makes a
/// weaker container than was asked for.
pub fn applies_apparmor_profile(name: &str) -> bool {
    // Readable by root alone, and absent where AppArmor is off.
    fs::read_to_string("/sys/kernel/security/apparmor/profiles")
        .is_ok_and(|profiles| profiles.lines().any(|line| line.split(' ').next() == Some(name)))
}

/// Whether SELinux is on, so that a label of files means something.
pub fn applies_labels() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// How many times as long as on an idle machine things take: runnable processes per processor.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    (minute / processors).max(1.0)
}
