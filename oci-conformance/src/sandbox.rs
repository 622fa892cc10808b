//! Runs one validation program so that nothing of it stays behind and nothing of another reaches it.
//!
//! Three processes: the runner starts `sandbox`, which makes an own cgroup subtree and new mount,
//! UTS, IPC and pid namespaces and keeps the time limit; `sandbox` starts `inside` as pid 1 of
//! them, which takes the subtree as its cgroup namespace, mounts what belongs to the namespaces
//! and reaps every orphan; `inside` starts the program. When the program ends or is late, pid 1
//! ends, and the kernel ends all that is left.
//! /sys/fs/cgroup is a pure cgroup2 mount, whatever the machine itself has there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};

use crate::arguments::Job;
use crate::host::load;
use crate::subtree::{Subtree, enter, offer_controllers};

/// Exit code of `sandbox` when the program was still running at its time limit.
pub const LATE: i32 = 124;
/// Exit code of `sandbox` and `inside` when they could not do their part.
pub const BROKEN: i32 = 125;

/// Where the programs expect cgroup2.
const CGROUP: &str = "/sys/fs/cgroup";
/// Directory for temporary files inside, on the /run that only the program sees.
const TMPDIR: &str = "/run/tmp";

/// Runs a program in new namespaces for at most `limit`; returns its exit code.
///
/// # Errors
/// A namespace, mount or cgroup that could not be made.
pub fn sandbox(job: &Job, limit: Duration) -> io::Result<i32> {
    private_mounts()?;
    let subtree = Subtree::make(Path::new(&job.program))?;
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
    let mut first = Command::new("/proc/self/exe")
        .arg0("oci-conformance")
        .arg("inside")
        .args(job.words())
        .arg(subtree.path())
        .spawn()?;
    let status = wait_until(&mut first, Instant::now() + limit)?;
    subtree.remove();
    Ok(status.map_or(LATE, exit_code))
}

/// As pid 1 of the new pid namespace: mounts, starts the program, reaps until it ends.
///
/// # Errors
/// A mount that failed, or a program that could not be started.
pub fn inside(job: &Job, subtree: &str) -> io::Result<i32> {
    set_pdeathsig(Signal::SIGKILL)?;
    enter(subtree)?;
    mount_own_cgroups()?;
    // A process in the subtree's root would stand in the way of a runtime that enables
    // controllers there (no internal processes).
    let leaf = format!("{CGROUP}/leaf");
    fs::create_dir(&leaf)?;
    enter(&leaf)?;
    offer_controllers(Path::new(CGROUP));
    mount_fresh("proc", "/proc")?;
    mount_fresh("tmpfs", "/run")?;
    fs::create_dir(TMPDIR)?;
    let runtime = if job.pause { pausing(&job.runtime)? } else { job.runtime.clone() };
    let child = Command::new(&job.program)
        .env("RUNTIME", runtime)
        .env("TMPDIR", TMPDIR)
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .spawn()?;
    reap_until(child.id())
}

/// Writes a script that is the runtime with a pause after `start`; returns its path.
///
/// The pause is one to three seconds by load: half a second was once too short at load 8.
fn pausing(runtime: &str) -> io::Result<String> {
    const SCRIPT: &str = "/run/pausing-runtime";
    let quoted = runtime.replace('\'', "'\\''");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = start ] || exec '{quoted}' \"$@\"\n'{quoted}' \"$@\"\ncode=$?\n\
         sleep {:.1}\nexit $code\n",
        load().min(3.0)
    );
    fs::write(SCRIPT, text)?;
    fs::set_permissions(SCRIPT, Permissions::from_mode(0o755))?;
    Ok(SCRIPT.to_owned())
}

/// A mount namespace from which nothing reaches the machine's own.
fn private_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?)
}

/// Leaves cgroup2 alone on /sys/fs/cgroup, with the subtree as its top.
fn mount_own_cgroups() -> io::Result<()> {
    // Only in the new cgroup namespace: from the first one, a mount would change the options
    // of the machine's own cgroup2 (nsdelegate, memory_recursiveprot), which are global.
    unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS)?;
    // MNT_DETACH takes the v1 hierarchies below it along.
    umount2(CGROUP, MntFlags::MNT_DETACH)?;
    mount_fresh("cgroup2", CGROUP)
}

fn mount_fresh(kind: &str, at: &str) -> io::Result<()> {
    let data = (kind == "tmpfs").then_some("mode=755");
    mount(Some(kind), at, Some(kind), MsFlags::empty(), data)
        .map_err(|errno| io::Error::other(format!("mount {kind} on {at}: {}", errno.desc())))
}

/// Waits without a signal handler: polls, because std has no wait with a limit.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn reap_until(wanted: u32) -> io::Result<i32> {
    loop {
        let (pid, code) = match wait()? {
            WaitStatus::Exited(pid, code) => (pid, code),
            WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
            _ => continue,
        };
        if pid.as_raw().unsigned_abs() == wanted {
            return Ok(code);
        }
    }
}
