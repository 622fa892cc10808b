//! Classes 4, 5, 21, 22: mounts, devices and bind sources on paths that an image or another container chooses.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, Done, finish, runtime};
use crate::support::{Bait, Storm, mount, rounds, try_both};

fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Mounts of the host on a path of this bundle.
#[track_caller]
fn assert_no_mount(bundle: &Bundle) {
    let mounts = mountinfo();
    assert!(!mounts.contains(&bundle.name), "{mounts}");
}

/// Mount points of the image that lead out: they stay inside. (CVE-2019-18837, and every runtime of 2015.)
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_04_mount_points_are_links() {
    let bait = Bait::new();
    let mut bundle = Bundle::new();
    let up = "../".repeat(20) + bait.text();
    let rootfs = bundle.file("rootfs");
    symlink(bait.path(), rootfs.join("absolute")).unwrap();
    symlink(&up, rootfs.join("upwards")).unwrap();
    symlink("upwards/sub", rootfs.join("chain")).unwrap();
    symlink(bait.path().join("secret"), rootfs.join("file")).unwrap();
    symlink(bait.path().join("new"), rootfs.join("dangling")).unwrap();
    fs::write(bundle.file("source"), "mine\n").unwrap();
    let base = bundle.config["mounts"].as_array().unwrap().len();
    bundle.set("/mounts/-", json!({}));
    for target in ["/absolute", "/upwards", "/chain", "/absolute/new", "/upwards/sub/deeper/still", "/dangling"] {
        bundle.set(&format!("/mounts/{base}"), mount(target, "tmpfs", "tmpfs", &[]));
        try_both(&bundle, &|_| bait.assert_untouched());
    }
    for target in ["/file", "/absolute/secret", "/upwards/new", "/dangling", "/chain/x/y"] {
        bundle.set(&format!("/mounts/{base}"), mount(target, "bind", "source", &["bind"]));
        try_both(&bundle, &|_| bait.assert_untouched());
        assert_no_mount(&bundle);
    }
}

/// CVE-2021-30465, CVE-2024-45310: a component changes place with a link while the runtime walks. runc before 1.0-rc95
/// mounts on the host's directory, before 1.1.14 it makes empty files and directories there.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_04_components_are_swapped() {
    let bait = Bait::new();
    let mut bundle = Bundle::new();
    let rootfs = bundle.file("rootfs");
    fs::create_dir(rootfs.join("volume")).unwrap();
    symlink(bait.path(), rootfs.join("link")).unwrap();
    fs::write(bundle.file("source"), "mine\n").unwrap();
    for (target, kind, options) in [
        ("/volume/sub/made", "tmpfs", &[][..]),
        ("/volume/sub/file", "bind", &["bind"]),
        ("/volume/secret", "bind", &["bind"]),
        ("/volume", "tmpfs", &[]),
    ] {
        bundle.set("/mounts/-", mount(target, kind, "source", options));
    }
    bundle.write();
    let _storm = Storm::exchange(rootfs.join("volume"), rootfs.join("link"));
    for _ in 0..rounds() {
        // It may be refused, when a component is no directory at the time.
        bundle.on("run");
        bait.assert_untouched();
    }
    assert_no_mount(&bundle);
}

/// CVE-2026-41579, CVE-2026-47766: devices, links and the console are made in whatever /dev leads to.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_05_dev_is_a_link() {
    let bait = Bait::new();
    for (own, terminal) in [(true, false), (false, false), (true, true), (false, true)] {
        for target in [bait.text().to_string(), format!("{}{}", "../".repeat(20), bait.text())] {
            let mut bundle = Bundle::new();
            fs::remove_dir(bundle.file("rootfs/dev")).unwrap();
            symlink(target, bundle.file("rootfs/dev")).unwrap();
            if !own {
                bundle.set("/mounts", json!([mount("/proc", "proc", "proc", &[])]));
            }
            bundle.set("/linux/devices", json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]));
            if terminal {
                bundle.set("/process/terminal", json!(true));
            }
            try_both(&bundle, &|_| bait.assert_untouched());
        }
    }
}

/// The same by a link inside /dev, and by one that comes while the container is made.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_05_names_in_dev_are_links() {
    let bait = Bait::new();
    let mut bundle = Bundle::new();
    bundle.set("/mounts", json!([mount("/proc", "proc", "proc", &[])]));
    let dev = bundle.file("rootfs/dev");
    for name in ["ptmx", "console", "null", "fd", "core", "stdin"] {
        symlink(bait.path().join(name), dev.join(name)).unwrap();
    }
    try_both(&bundle, &|_| bait.assert_untouched());
    fs::remove_dir_all(&dev).unwrap();
    fs::create_dir(&dev).unwrap();
    symlink(bait.path(), bundle.file("rootfs/link")).unwrap();
    bundle.write();
    let _storm = Storm::exchange(dev, bundle.file("rootfs/link"));
    for _ in 0..rounds() {
        bundle.on("run");
        bait.assert_untouched();
    }
}

/// What is mounted is one of the two that the name stood for, and one of them as a whole.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_21_bind_sources_are_swapped() {
    let mut bundle = Bundle::script("echo $(cat /volume/a) $(cat /volume/b)");
    for name in ["one", "two"] {
        fs::create_dir(bundle.file(name)).unwrap();
        for file in ["a", "b"] {
            fs::write(bundle.file(name).join(file), name).unwrap();
        }
    }
    let source = bundle.file("one");
    bundle.set("/mounts/-", mount("/volume", "bind", source.to_str().unwrap(), &["rbind", "ro"]));
    bundle.write();
    let _storm = Storm::exchange(source, bundle.file("two"));
    let mut seen = BTreeSet::new();
    for _ in 0..rounds() {
        let text = bundle.on("run").good();
        assert!(["one one\n", "two two\n"].contains(&&*text), "{text:?}");
        seen.insert(text);
    }
    assert_eq!(seen.len(), 2, "the names never changed place");
}

/// All of the host's tree in a container; and one without a mount namespace, whose mounts are the host's: they are on its
/// own rootfs alone and go with it. (runc and crun leave them, and change what else is mounted there.)
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_21_the_hosts_own_tree() {
    let before = mountinfo();
    let mut bundle = Bundle::new();
    bundle.set("/mounts/-", mount("/host", "bind", "/", &["rbind", "ro", "rslave"]));
    bundle.run().good();
    assert_eq!(mountinfo(), before);
    bundle.set("/linux/namespaces", json!([{ "type": "pid" }, { "type": "network" }]));
    bundle.unset("/hostname");
    let name = bundle.name.clone();
    let elsewhere = || mountinfo().lines().filter(|line| !line.contains(&name)).collect::<Vec<_>>().join("\n") + "\n";
    let look = |_: &Done| assert_eq!(elsewhere(), before);
    try_both(&bundle, &look);
    assert_eq!(mountinfo(), before);
    bundle.set("/mounts", json!([])).unset("/linux/maskedPaths").unset("/linux/readonlyPaths");
    try_both(&bundle, &look);
    assert_eq!(mountinfo(), before);
}

/// On a host whose mounts are all shared (systemd's default) nothing of a container becomes the host's.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_22_nothing_reaches_a_shared_host() {
    for propagation in [None, Some("private"), Some("rprivate"), Some("slave"), Some("rslave")] {
        let mut bundle = Bundle::script("sleep 1000");
        fs::create_dir(bundle.file("volume")).unwrap();
        let source = bundle.file("volume");
        bundle.set("/mounts/-", mount("/volume", "bind", source.to_str().unwrap(), &["rbind"]));
        bundle.set("/mounts/-", mount("/volume/below", "tmpfs", "tmpfs", &[]));
        bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/sys/firmware"]));
        bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]));
        if let Some(word) = propagation {
            bundle.set("/linux/rootfsPropagation", json!(word));
        }
        bundle.write();
        let line = r#"cat /proc/self/mountinfo >before
            "$@" create "$ID" </dev/null >/dev/null && "$@" start "$ID" && "$@" exec "$ID" /bin/true
            cat /proc/self/mountinfo >after
            "$@" delete --force "$ID""#;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation", "shared", "/bin/sh", "-c", line, "sh"]).arg(runtime());
        shell.arg("--root").arg(bundle.root()).current_dir(bundle.path());
        shell.env("TARE_TEST_MARK", &bundle.name).env("ID", &bundle.id);
        finish(shell).silent();
        let [before, after] = ["before", "after"].map(|name| fs::read_to_string(bundle.file(name)).unwrap());
        assert!(before.contains(" shared:"), "{before}");
        assert_eq!(before, after, "{propagation:?}");
        assert!(Path::new(&bundle.file("volume/below")).read_dir().unwrap().next().is_none());
    }
}
