//! Names the commit for `tare --version`; "unknown" outside a checkout. Passes the linker script that `scripts/build`
//! asks for.

use std::path::Path;
use std::process::Command;

fn main() {
    // A package is built from sources without their history, and its maker knows where they come from.
    println!("cargo::rerun-if-env-changed=TARE_COMMIT");
    let commit = std::env::var("TARE_COMMIT").ok().or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=TARE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rerun-if-changed=build.rs");
    order_functions();
    begin_before_the_c_library();
    // The log of HEAD grows with every commit and checkout. In a worktree it is not below `.git`. A file that does not
    // exist would cause a rebuild each time.
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

/// `TARE_LINK_ORDER` is a linker script with the order of functions, see docs/startup.md. Without it any linker will do.
fn order_functions() {
    println!("cargo::rerun-if-env-changed=TARE_LINK_ORDER");
    if let Ok(script) = std::env::var("TARE_LINK_ORDER") {
        // A compiler as the linker hands the option on; rust-lld, for another processor, takes it as it is.
        let lld = std::env::var("RUSTC_LINKER").is_ok_and(|linker| linker.ends_with("lld"));
        println!("cargo::rustc-link-arg-bins={}{script}", if lld { "-T" } else { "-Wl,-T," });
        println!("cargo::rerun-if-changed={script}");
    }
}

/// src/sys/exe_file.rs has the entry point.
fn begin_before_the_c_library() {
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("ARCH") == "x86_64" && target("ENV") == "musl" {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=tare_entry");
    }
}
