//! Names the commit for `tare --version`; "unknown" outside a checkout. Orders the functions of the shipped binary.

use std::path::Path;
use std::process::Command;

fn main() {
    // A package is built from sources without their history, and its maker knows where they come from.
    println!("cargo::rerun-if-env-changed=TARE_COMMIT");
    let commit = std::env::var("TARE_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=TARE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rerun-if-changed=build.rs");
    order_functions();
    // The log of HEAD grows with every commit and checkout. In a worktree it is not below `.git`; a file that is not
    // there would have everything built again each time.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Of the static release binary, by a linker script; elsewhere any linker will do.
fn order_functions() {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ENV", "musl") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/src/link-order.ld");
        println!("cargo::rerun-if-changed=src/link-order.ld");
    }
}
