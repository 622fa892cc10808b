//! What this host offers to containers, for people and for reports of errors.
//!
//! World: parent. `features` says what this build can do on any host; this is about the kernel and its settings. Nothing
//! is tried out: what the kernel does not say is null.

use std::path::Path;

use rustix::system::uname;
use serde_json::{Value, json};

use super::Host;

/// What this host offers: the kernel, cgroups, user namespaces, security modules and seccomp.
///
/// ```
/// assert!(tare::info()["kernel"]["release"].is_string());
/// ```
#[must_use]
pub fn info() -> Value {
    let host = Host::default();
    let names = uname();
    let caller = json!({
        "uid": rustix::process::geteuid().as_raw(),
        "rootless": host.rootless().ok(),
        "inUserNamespace": host.in_user_namespace().ok(),
    });
    json!({
        "tare": { "version": env!("CARGO_PKG_VERSION"), "commit": env!("TARE_COMMIT") },
        "kernel": { "release": names.release().to_string_lossy(), "machine": names.machine().to_string_lossy() },
        "caller": caller,
        "cgroup": cgroup(&host),
        "userNamespaces": user_namespaces(),
        "securityModules": modules(),
        "seccomp": { "actions": words(&text("/proc/sys/kernel/seccomp/actions_avail"), ' ') },
    })
}

fn cgroup(host: &Host) -> Value {
    let hierarchy = host.hierarchy().ok();
    let root = hierarchy.map(|hierarchy| hierarchy.root.display().to_string());
    let controllers = root.as_ref().and_then(|root| text(&format!("{root}/cgroup.controllers")));
    json!({
        "v2": root,
        "hybrid": hierarchy.is_some_and(|hierarchy| hierarchy.hybrid),
        "controllers": words(&controllers, ' '),
        "own": crate::cgroup::own_path().ok(),
        "systemd": Path::new("/run/systemd/system").exists(),
    })
}

/// The settings of mainline, Debian and Ubuntu; a kernel has those that it knows.
fn user_namespaces() -> Value {
    let number = |path: &str| text(path).and_then(|text| text.parse::<u64>().ok());
    json!({
        "most": number("/proc/sys/user/max_user_namespaces"),
        "unprivileged": number("/proc/sys/kernel/unprivileged_userns_clone").map(|value| value != 0),
        "restrictedByAppArmor": number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").map(|value| value != 0),
    })
}

/// Null without securityfs.
fn modules() -> Value {
    text("/sys/kernel/security/lsm").map_or(Value::Null, |list| json!(words(&Some(list), ',')))
}

fn text(path: &str) -> Option<String> {
    crate::sys::page::read(path).ok().map(|text| text.trim().to_owned())
}

fn words(list: &Option<String>, between: char) -> Vec<&str> {
    list.iter().flat_map(|list| list.split(between)).filter(|word| !word.is_empty()).collect()
}
