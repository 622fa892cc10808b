//! The one place where Rust tests get a root file system from: the static busybox of this machine.
//!
//! Shared by all programs that create containers; in shell and Python it is `scripts/bundle`.
#![allow(dead_code, reason = "no program uses all of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Debian: busybox-static.
pub const PROGRAM: &str = "/bin/busybox";

/// Tests that create containers are ignored unless they are asked for; then a missing precondition is a failure.
pub fn require() {
    assert!(rustix::process::geteuid().is_root(), "needs root");
    assert!(Path::new(PROGRAM).exists(), "needs a static {PROGRAM} (Debian: busybox-static)");
}

/// Creates these directories in a root file system, and busybox with links to it as `/bin/APPLET`.
pub fn rootfs(root: &Path, directories: &[&str], applets: &[&str]) {
    for below in ["bin"].iter().chain(directories) {
        fs::create_dir_all(root.join(below)).unwrap();
    }
    copy_program(Path::new(PROGRAM), &root.join("bin/busybox"));
    applets.iter().for_each(|applet| symlink("busybox", root.join("bin").join(applet)).unwrap());
}

/// Copies a program. Not by this process: the fork of another thread would hold it open for writing, and executing it
/// would fail with ETXTBSY meanwhile.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}
