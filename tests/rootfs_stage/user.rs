//! Containers with a user namespace: built in forked processes, since threads cannot enter one.

#![allow(unsafe_code, reason = "fork")]

use std::io::{PipeReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Gid, Uid, fork, setresgid, setresuid};

use super::Bundle;

/// The host's id of the container's root; 65536 ids.
const FIRST: u32 = 100_000;

/// Who runs the runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Root,
    /// The user who is root inside.
    Rootless,
}

impl Bundle {
    /// Builds the tree in a user namespace and looks at it from inside; `look` panics if it is wrong.
    pub fn run_in_user_namespace(&self, config: &str, caller: Caller, look: impl FnOnce()) {
        let open = if caller == Caller::Rootless { 0o755 } else { 0o700 };
        std::fs::set_permissions(self.path(""), std::fs::Permissions::from_mode(open)).unwrap();
        give(&self.path("rootfs"));
        let (mut ready, mut tell) = std::io::pipe().unwrap();
        let (mapped, mut map) = std::io::pipe().unwrap();
        let (mut result, mut report) = std::io::pipe().unwrap();
        // SAFETY: the process goes on with its one thread and ends in `exit_with`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => exit_with(report.try_clone().unwrap(), || {
                self.container(config, caller, (&mut tell, mapped), look);
            }),
            ForkResult::Parent { child } => {
                drop((tell, mapped));
                drop(report.flush());
                drop(report);
                if ready.read_exact(&mut [0]).is_ok() {
                    for file in ["uid_map", "gid_map"] {
                        std::fs::write(format!("/proc/{child}/{file}"), format!("0 {FIRST} 65536")).unwrap();
                    }
                    map.write_all(b"x").unwrap();
                }
                let mut text = String::new();
                result.read_to_string(&mut text).unwrap();
                nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(text, "");
            }
        }
    }

    fn container(
        &self,
        config: &str,
        caller: Caller,
        (tell, mut mapped): (&mut dyn Write, PipeReader),
        look: impl FnOnce(),
    ) {
        if caller == Caller::Rootless {
            setresgid(Gid::from_raw(FIRST), Gid::from_raw(FIRST), Gid::from_raw(FIRST)).unwrap();
            setresuid(Uid::from_raw(FIRST), Uid::from_raw(FIRST), Uid::from_raw(FIRST)).unwrap();
        }
        let (plan, prepared) = super::prepare(&self.path(""), config, |facts| facts.user_namespace = true).unwrap();
        let namespaces = CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWCGROUP;
        unshare(namespaces).unwrap();
        tell.write_all(b"x").unwrap();
        mapped.read_exact(&mut [0]).unwrap();
        let (mut result, report) = std::io::pipe().unwrap();
        // SAFETY: as above; this one is init of the pid namespace, which procfs needs.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => exit_with(report, || {
                setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).unwrap();
                setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).unwrap();
                nix::sys::stat::umask(nix::sys::stat::Mode::empty());
                super::carry_out(&plan, &prepared).map_err(|fault| super::render(&plan, &fault)).unwrap();
                look();
            }),
            ForkResult::Parent { child } => {
                drop(report);
                let mut text = String::new();
                result.read_to_string(&mut text).unwrap();
                nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(text, "");
            }
        }
    }
}

/// Runs the work and ends; a panic's text goes to the parent.
fn exit_with(mut report: std::io::PipeWriter, work: impl FnOnce()) -> ! {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if let Err(panic) = done {
        let text = panic.downcast_ref::<String>().map_or("panic", String::as_str);
        let _ = report.write_all(text.as_bytes());
    }
    // SAFETY: ends the process at once, without the destructors of the threads that are not here.
    unsafe { libc::_exit(0) }
}

/// The tree belongs to the container's root.
fn give(path: &Path) {
    chown(path, Some(FIRST), Some(FIRST)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}
