//! Class 43: a container that gets mounts while it runs decides about the paths that lead to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done};
use crate::support::{Bait, Storm, mount, only_tare, rounds};

fn sleeper(configure: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = Bundle::script("sleep 1000");
    fs::write(bundle.file("source"), "mine\n").unwrap();
    configure(&mut bundle);
    bundle.begin();
    bundle
}

fn mounts(bundle: &Bundle, action: &str, list: &[Value]) -> Done {
    fs::write(bundle.file("mounts.json"), json!(list).to_string()).unwrap();
    bundle.tare(&["mounts", action, &bundle.id, "mounts.json"])
}

/// The container's mount points.
fn points(bundle: &Bundle) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", bundle.pid())).unwrap();
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_string).collect()
}

fn recorded(bundle: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(bundle.root().join(&bundle.id).join("record")).unwrap();
    let record: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    record["mounts"].as_array().cloned().unwrap_or_default()
}

#[track_caller]
fn assert_no_mount(bundle: &Bundle) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&bundle.name), "{table}");
}

/// Links of the container that lead out of it stay inside.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_43_destinations_are_links() {
    if !only_tare() {
        return;
    }
    let bait = Bait::new();
    for user in [false, true] {
        let bundle = sleeper(|bundle| {
            let rootfs = bundle.file("rootfs");
            symlink(bait.path(), rootfs.join("absolute")).unwrap();
            symlink("../".repeat(20) + bait.text(), rootfs.join("upwards")).unwrap();
            symlink(bait.path().join("secret"), rootfs.join("file")).unwrap();
            symlink(bait.path().join("new"), rootfs.join("dangling")).unwrap();
            symlink("/proc", rootfs.join("procfs")).unwrap();
            symlink("/proc/self/cwd", rootfs.join("magic")).unwrap();
            if user {
                bundle.map_ids();
            }
        });
        for target in ["/absolute", "/upwards/sub", "/absolute/new", "/dangling", "/../../absolute/other"] {
            mounts(&bundle, "add", &[mount(target, "tmpfs", "tmpfs", &[])]).silent();
            bait.assert_untouched();
            assert_no_mount(&bundle);
            mounts(&bundle, "remove", &[mount(target, "tmpfs", "tmpfs", &[])]).silent();
            bait.assert_untouched();
        }
        for target in ["/file", "/upwards/secret", "/absolute/name"] {
            mounts(&bundle, "add", &[mount(target, "bind", "source", &["bind"])]);
            bait.assert_untouched();
            assert_no_mount(&bundle);
        }
        for target in ["/procfs/1", "/magic", "/magic/x", "/procfs"] {
            let line = mounts(&bundle, "add", &[mount(target, "tmpfs", "tmpfs", &[])]).refused();
            assert!(line.starts_with("mounts[0].destination: "), "{line}");
        }
    }
}

/// A component changes place with a link that leads out while tare walks.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_43_destinations_are_swapped() {
    if !only_tare() {
        return;
    }
    let bait = Bait::new();
    for user in [false, true] {
        let bundle = sleeper(|bundle| {
            fs::create_dir(bundle.file("rootfs/volume")).unwrap();
            symlink(bait.path(), bundle.file("rootfs/link")).unwrap();
            if user {
                bundle.map_ids();
            }
        });
        let list = [
            mount("/volume/sub/made", "tmpfs", "tmpfs", &[]),
            mount("/volume/sub/file", "bind", "source", &["bind"]),
            mount("/volume/secret", "bind", "source", &["bind"]),
        ];
        let storm = Storm::exchange(bundle.file("rootfs/volume"), bundle.file("rootfs/link"));
        for _ in 0..rounds() / 4 {
            if mounts(&bundle, "add", &list).code == 0 {
                mounts(&bundle, "remove", &list);
            }
            bait.assert_untouched();
        }
        drop(storm);
        assert_no_mount(&bundle);
        // What could not be found in the storm is still known.
        let left: Vec<_> = recorded(&bundle).iter().map(|left| json!({ "destination": left["destination"] })).collect();
        mounts(&bundle, "remove", &left).silent();
        assert!(points(&bundle).iter().all(|point| !point.contains("/sub/") && !point.ends_with("/secret")));
        assert_eq!(recorded(&bundle).len(), 0);
    }
}

/// What lies in the rootfs is looked up as the container has it: a link there names nothing of the host.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_43_sources_in_the_rootfs_are_links() {
    if !only_tare() {
        return;
    }
    let bait = Bait::new();
    let bundle = sleeper(|bundle| symlink(bait.path(), bundle.file("rootfs/link")).unwrap());
    for options in [&["bind"][..], &["rbind"], &["bind", "src-nofollow"]] {
        for source in ["rootfs/link", "rootfs/link/sub"] {
            let done = mounts(&bundle, "add", &[mount("/data", "bind", source, options)]);
            if done.code == 0 {
                assert!(!bundle.exec("ls /data").stdout.contains("secret"), "{source}");
                mounts(&bundle, "remove", &[mount("/data", "bind", source, options)]).silent();
            }
        }
    }
    bait.assert_untouched();
}

/// A container renames directories, so that a mount is elsewhere when it is to go. It goes all the same, and it alone.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_43_mounts_are_moved() {
    if !only_tare() {
        return;
    }
    let bundle = sleeper(|bundle| {
        for directory in ["one", "other"] {
            fs::create_dir(bundle.file("rootfs").join(directory)).unwrap();
        }
        bundle.set("/mounts/-", mount("/other/file", "bind", "source", &["bind", "ro"]));
        bundle.set("/mounts/-", mount("/other/directory", "tmpfs", "tmpfs", &["ro"]));
    });
    let list = [mount("/one/file", "bind", "source", &["bind"]), mount("/one/directory", "tmpfs", "tmpfs", &[])];
    mounts(&bundle, "add", &list).silent();
    fs::rename(bundle.file("rootfs/one"), bundle.file("rootfs/elsewhere")).unwrap();
    assert!(points(&bundle).contains(&"/elsewhere/file".to_string()));
    mounts(&bundle, "remove", &list).silent();
    assert!(points(&bundle).iter().all(|point| !point.starts_with("/elsewhere")), "{:?}", points(&bundle));
    fs::rename(bundle.file("rootfs/elsewhere"), bundle.file("rootfs/one")).unwrap();
    let count = points(&bundle).len();
    let mut removed = 0;
    let storm = Storm::exchange(bundle.file("rootfs/one"), bundle.file("rootfs/other"));
    for _ in 0..rounds() / 4 {
        if mounts(&bundle, "add", &list).code == 0 {
            removed += usize::from(mounts(&bundle, "remove", &list).code == 0);
        }
    }
    drop(storm);
    let left: Vec<_> = recorded(&bundle).iter().map(|left| json!({ "destination": left["destination"] })).collect();
    mounts(&bundle, "remove", &left).silent();
    let points = points(&bundle);
    assert_eq!(points.len(), count, "{points:?}");
    for name in ["file", "directory"] {
        let of_config = |point: &&String| Path::new(point).file_name().is_some_and(|last| last == name);
        assert_eq!(points.iter().filter(of_config).count(), 1, "{points:?}");
    }
    assert!(removed > 0, "nothing was removed in the storm");
}
