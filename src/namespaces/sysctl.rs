//! World: plan. Which sysctls a container may set: those of its own namespaces.
//!
//! A sysctl outside them would change the host (attacks: "net/../kernel", a container without its own namespace).
//! Source: namespaces(7), sysctl(8); the list of keys is the one engines rely on.

use std::collections::HashMap;
use std::ffi::CString;

use super::kind::{NamespaceKind, word};
use super::plan::NamespacePlan;
use crate::error::{Code, Error, Result, c_string};

/// One file below /proc/sys and the text for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Path below the procfs root: `sys/net/ipv4/ip_forward`.
    pub path: CString,
    /// The value.
    pub value: Vec<u8>,
    /// The key as the config has it.
    pub key: String,
    /// The kind of namespace that it belongs to.
    pub kind: NamespaceKind,
}

/// Keys of the IPC namespace besides fs.mqueue.
const IPC: [&str; 8] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// Checks every key against the namespaces in `plan`; sorted by key, since JSON objects have no order.
///
/// # Errors
/// A key that is not namespaced, or whose namespace is the host's; a path trick; a NUL byte.
pub fn plan(sysctls: Option<&HashMap<String, String>>, plan: &NamespacePlan) -> Result<Vec<Sysctl>> {
    let mut entries: Vec<_> = sysctls.into_iter().flatten().collect();
    entries.sort();
    entries.into_iter().map(|(key, value)| check(key, value, plan)).collect()
}

fn check(key: &str, value: &str, plan: &NamespacePlan) -> Result<Sysctl> {
    let at = format!("linux.sysctl[{key:?}]");
    let parts = split(key);
    if parts.iter().any(|part| part.is_empty() || *part == "." || *part == ".." || part.contains('\0')) {
        return Err(Error::refused(Code::SysctlInvalid, at, "not a sysctl name"));
    }
    if parts == ["kernel", "hostname"] {
        return Err(
            Error::refused(Code::SysctlInvalid, at, "the hostname is not set by sysctl").hint("use the field hostname")
        );
    }
    let Some(kind) = namespace_of(&parts) else {
        let what = "this sysctl is not namespaced, setting it would change the host";
        return Err(Error::refused(Code::SysctlNotNamespaced, at, what).hint("set it on the host"));
    };
    if !plan.has(kind) {
        let word = word(kind);
        let what = format!("this sysctl belongs to the {word} namespace, and the container shares the host's");
        return Err(Error::refused(Code::NamespaceMissing, at, what)
            .hint(format!("add {{\"type\": \"{word}\"}} to linux.namespaces")));
    }
    let path = c_string(format!("sys/{}", parts.join("/")), || at.clone())?;
    if value.contains('\0') {
        return Err(Error::refused(Code::NulCharacter, at, "the value contains a NUL byte"));
    }
    Ok(Sysctl { path, value: value.as_bytes().to_vec(), key: key.to_string(), kind })
}

/// As sysctl(8): the separator that comes first separates, so that `net/ipv4/conf/eth0.1/forwarding` works; in a
/// dotted name a slash stands for a dot.
fn split(key: &str) -> Vec<String> {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') => key.split('/').map(str::to_string).collect(),
        _ => key.split('.').map(|part| part.replace('/', ".")).collect(),
    }
}

fn namespace_of(parts: &[String]) -> Option<NamespaceKind> {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["net", _, ..] => Some(NamespaceKind::Network),
        ["fs", "mqueue", _] => Some(NamespaceKind::Ipc),
        ["kernel", name] if IPC.contains(name) => Some(NamespaceKind::Ipc),
        ["kernel", "domainname"] => Some(NamespaceKind::Uts),
        ["user", _] => Some(NamespaceKind::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::NamespaceSet;
    use super::*;

    fn own(kinds: &[NamespaceKind]) -> NamespacePlan {
        NamespacePlan { new: kinds.iter().map(|kind| NamespaceSet::from(*kind)).collect(), ..NamespacePlan::default() }
    }

    fn result(key: &str, kinds: &[NamespaceKind]) -> Result<Sysctl> {
        check(key, "1", &own(kinds))
    }

    #[test]
    fn own_namespaces_only() {
        let all = [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::User];
        for (key, path) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("kernel.shmmax", "sys/kernel/shmmax"),
            ("fs.mqueue.msg_max", "sys/fs/mqueue/msg_max"),
            ("kernel.domainname", "sys/kernel/domainname"),
            ("user.max_user_namespaces", "sys/user/max_user_namespaces"),
        ] {
            assert_eq!(result(key, &all).unwrap().path.to_str().unwrap(), path);
            assert!(result(key, &[NamespaceKind::Pid]).is_err(), "{key}");
        }
    }

    #[test]
    fn hostile_keys_are_refused() {
        let all = [NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::User];
        for key in [
            "net/../kernel/core_pattern",
            "net.",
            "net",
            "",
            "kernel.core_pattern",
            "/net/ipv4/ip_forward",
            "net.ipv4.\0x",
            "kernel.hostname",
            "vm.swappiness",
            "net/./x",
            "fs.mqueue",
            "kernel/shmmax/../core_pattern",
        ] {
            assert!(result(key, &all).is_err(), "{key:?}");
        }
    }
}
