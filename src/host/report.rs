//! What this host offers to containers, and what is not possible on it, for people and for reports of errors.
//!
//! World: parent. `features` says what this build can do on any host; this is about the kernel, its settings and the
//! programs of this host, as this caller finds them. The kernel is asked what it can do, with calls that change nothing;
//! no answer is derived from its version. What cannot be found out is null.

mod cgroups;
mod kernel;
mod mounts;
mod programs;
mod users;

use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Value, json};

use super::Host;
use crate::error::errno_text;

/// Something that tare cannot do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Impossible {
    /// The command, the option, or the member of config.json.
    what: String,
    /// What is missing, or the kernel's answer.
    why: String,
    /// How to change that.
    remedy: String,
}

impl Impossible {
    fn new(what: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), remedy: remedy.into() }
    }
}

/// Whether the kernel does something, or its answer.
type Answer = std::result::Result<(), Errno>;

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Asker {
    uid: u32,
    /// Without the privileges of the host.
    rootless: bool,
}

/// What this host offers: the kernel, cgroups, user namespaces, security modules, seccomp, id-mapped mounts, CRIU and
/// systemd; and under `notPossible` what tare cannot do here, why, and how to change that.
///
/// ```
/// assert!(tare::info()["kernel"]["release"].is_string());
/// ```
#[must_use]
pub fn info() -> Value {
    let host = Host::default();
    let rootless = host.rootless();
    let asker = Asker { uid: rustix::process::geteuid().as_raw(), rootless: *rootless.as_ref().unwrap_or(&true) };
    let kernel = kernel::Kernel::ask(&host);
    let systemd = programs::Systemd::ask(&host, asker);
    let cgroups = cgroups::Cgroups::look(&host, asker, systemd.delegated());
    let users = users::Users::ask(&host);
    let mounts = mounts::IdMapped::ask();
    let criu = programs::Criu::ask();
    let mut impossible = kernel.impossible();
    impossible.extend(users.impossible(asker));
    impossible.extend(cgroups.impossible(asker));
    impossible.extend(systemd.impossible(asker));
    impossible.extend(mounts.impossible());
    impossible.extend(criu.impossible(asker));
    impossible.extend(programs::without_resctrl());
    json!({
        "tare": { "version": env!("CARGO_PKG_VERSION"), "commit": env!("TARE_COMMIT") },
        "caller": { "uid": asker.uid, "rootless": rootless.ok(), "inUserNamespace": host.in_user_namespace().ok() },
        "kernel": kernel.report(),
        "securityModules": kernel.security_modules(),
        "seccomp": kernel.seccomp(),
        "cgroup": cgroups.report(),
        "systemd": systemd.report(),
        "userNamespaces": users.report(),
        "idMappedMounts": mounts.report(),
        "criu": criu.report(),
        "notPossible": impossible,
    })
}

/// The text of a small file of the kernel's.
fn text(path: &str) -> Option<String> {
    crate::sys::page::read(path).ok().map(|text| text.trim().to_owned())
}

/// The words of such a file.
fn words(path: &str) -> Option<Vec<String>> {
    text(path).map(|text| text.split_whitespace().map(str::to_owned).collect())
}

/// A call, and the kernel's answer to it.
fn refused(call: &str, errno: Errno) -> String {
    format!("{call}: {}", errno_text(errno.raw_os_error()))
}
