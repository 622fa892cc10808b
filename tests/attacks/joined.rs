//! Class 39: a namespace that the config joins is the host's own, and the config sets something in it.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::support::both_refuse;

/// A container that joins the runtime's own namespace of this kind.
fn joins(kind: &str, file: &str) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.without_namespace(kind);
    bundle.set("/linux/namespaces/-", json!({ "type": kind, "path": format!("/proc/self/ns/{file}") }));
    bundle.unset("/hostname");
    bundle
}

/// Sysctls, devices and names would be the host's; the host's values stay as they are.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_39_nothing_is_set_in_the_hosts_namespaces() {
    let sysctl = |key: &str, value: &str| ("/linux/sysctl", json!({ key: value }));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let watched = || {
        ["net/ipv4/ip_default_ttl", "kernel/msgmax", "kernel/shm_rmid_forced", "kernel/hostname", "kernel/domainname"]
            .map(|name| read(&format!("/proc/sys/{name}")))
    };
    let before = watched();
    let cases: [(&str, &str, (&str, Value), &str); 8] = [
        ("network", "net", sysctl("net.ipv4.ip_default_ttl", "99"), "linux.sysctl[\"net.ipv4.ip_default_ttl\"]: "),
        ("network", "net", sysctl("net/ipv4/ip_default_ttl", "99"), "linux.sysctl[\"net/ipv4/ip_default_ttl\"]: "),
        ("ipc", "ipc", sysctl("kernel.msgmax", "99"), "linux.sysctl[\"kernel.msgmax\"]: "),
        ("ipc", "ipc", sysctl("fs.mqueue.msg_max", "99"), "linux.sysctl[\"fs.mqueue.msg_max\"]: "),
        ("uts", "uts", sysctl("kernel.domainname", "evil"), "linux.sysctl[\"kernel.domainname\"]: "),
        ("uts", "uts", ("/hostname", json!("evil")), "hostname: "),
        ("uts", "uts", ("/domainname", json!("evil")), "domainname: "),
        ("network", "net", ("/linux/netDevices", json!({ "lo": {} })), "linux.netDevices[\"lo\"]: "),
    ];
    for (kind, file, (pointer, value), at) in cases {
        let mut bundle = joins(kind, file);
        bundle.set(pointer, value);
        for line in both_refuse(&bundle) {
            assert!(!crate::bundle::is_tare() || line.starts_with(at), "{line}");
            assert!(!crate::bundle::is_tare() || line.contains("the runtime's own"), "{line}");
        }
        assert_eq!(watched(), before, "{at}");
    }
}

/// The host's mount namespace is no container's: its root would be changed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_39_mount_namespace() {
    let bundle = joins("mount", "mnt");
    if !crate::support::only_tare() {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in both_refuse(&bundle) {
        assert!(line.contains("].path: the mount namespace is the runtime's own"), "{line}");
    }
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

/// To share the host's namespaces and set nothing in them is allowed; what the container joins of another may be set.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_39_what_is_shared_is_still_joined() {
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let mut bundle = joins(kind, file);
        bundle.set("/process/args", json!(["/bin/readlink", format!("/proc/self/ns/{file}")]));
        let own = fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
        assert_eq!(bundle.run().good().trim(), own.to_str().unwrap());
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let mut second = Bundle::script("cat /proc/sys/net/ipv4/ip_default_ttl");
    second.without_namespace("network");
    let path = format!("/proc/{}/ns/net", bundle.pid());
    second.set("/linux/namespaces/-", json!({ "type": "network", "path": path }));
    second.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "99" }));
    assert_eq!(second.run().good(), "99\n");
}
