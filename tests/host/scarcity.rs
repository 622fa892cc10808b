//! Machines that are full or locked down: a clear error or success, and nothing left.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, Done, finish, give, is_tare, reap, runtime};

/// A tmpfs of its own for the state root, gone with the value.
struct Small<'b>(&'b Bundle);

impl<'b> Small<'b> {
    fn new(bundle: &'b Bundle, options: &str) -> Self {
        fs::create_dir(bundle.root()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "tmpfs"]).arg(bundle.root());
        finish(mount).silent();
        Self(bundle)
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{options}")]).arg(self.0.root());
        finish(mount).silent();
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _busy = Command::new("umount").arg(self.0.root()).status();
    }
}

/// Nothing but the filesystem of the state root is there.
#[track_caller]
fn is_clean(bundle: &Bundle) {
    crate::bundle::eventually("nothing left", || bundle.leftovers().iter().all(|left| left.starts_with("mount ")));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_full_disk_at_any_file() {
    let mut bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: other runtimes leave their state behind");
    }
    // The copy of the config needs more than a page.
    bundle.set("/annotations", json!({ "filler": "x".repeat(20_000) }));
    bundle.write();
    let small = Small::new(&bundle, "size=400k");
    let mut good = 0;
    // A ballast takes the disk, to the last page and to one page more each time.
    for pages in 0..=24 {
        let ballast = bundle.root().join(".ballast");
        fs::write(&ballast, vec![1; 400 * 1024 - pages * 4096]).unwrap();
        let done = bundle.on("create");
        if done.code == 0 {
            good += 1;
            // Without space a container can be started, run and deleted.
            fs::write(bundle.root().join(".rest"), vec![1; 400 * 1024]).unwrap_err();
            bundle.on("start").silent();
            bundle.exec("true").silent();
            bundle.on("pause").silent();
            bundle.tare(&["delete", "--force", &bundle.id]).silent();
        } else {
            assert!(done.refused().contains("no space left on device"));
        }
        let _absent = fs::remove_file(bundle.root().join(".rest"));
        fs::remove_file(&ballast).unwrap();
        is_clean(&bundle);
    }
    assert!((1..24).contains(&good), "{good} creates were good");
    drop(small);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn no_inodes_left() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: other runtimes leave their state behind");
    }
    bundle.write();
    let small = Small::new(&bundle, "nr_inodes=40");
    for free in 0..=10 {
        let names: Vec<_> = (0..39 - free).map(|n| bundle.root().join(format!(".{n}"))).collect();
        names.iter().for_each(|name| fs::write(name, "").unwrap());
        let done = bundle.on("create");
        if done.code == 0 {
            assert!(free > 3, "with {free} inodes");
            bundle.tare(&["delete", "--force", &bundle.id]).silent();
        } else {
            assert!(done.refused().contains("no space left on device"));
            assert!(free < 9, "with {free} inodes");
        }
        names.iter().for_each(|name| fs::remove_file(name).unwrap());
        is_clean(&bundle);
    }
    drop(small);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_read_only_state_root() {
    let bundle = Bundle::script("sleep 1000");
    let small = Small::new(&bundle, "size=400k");
    bundle.begin();
    small.remount("ro");
    if is_tare() {
        assert_eq!(bundle.status(), "running");
        bundle.exec("true").silent();
        assert!(bundle.tare(&["create", "other"]).refused().contains("read-only file system"));
        let line = bundle.tare(&["delete", "--force", &bundle.id]).refused();
        assert!(line.contains("read-only file system"), "{line}");
    }
    small.remount("rw");
    let _again = bundle.tare(&["delete", "--force", &bundle.id]);
    is_clean(&bundle);
    drop(small);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_noexec_state_root_works() {
    let bundle = Bundle::script("exit 3");
    let small = Small::new(&bundle, "noexec,nosuid,nodev");
    assert_eq!(bundle.run().code, 3);
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    assert_eq!(reap(pid), 3);
    bundle.on("delete").silent();
    is_clean(&bundle);
    drop(small);
}

fn shell(bundle: &Bundle, line: &str) -> Done {
    let mut shell = Command::new("bash");
    shell.args(["-c", line]).arg(runtime()).arg(bundle.root()).arg(&bundle.id).current_dir(bundle.path());
    finish(shell)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn three_to_twenty_descriptors_for_any_command() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc hangs with 19 of them");
    }
    bundle.write();
    for limit in 3..=20 {
        for command in ["create", "start", "exec", "pause", "resume", "kill", "delete --force"] {
            let rest = match command {
                "exec" => "true",
                "kill" => "CONT",
                _ => "",
            };
            let done = shell(&bundle, &format!("ulimit -n {limit}; exec \"$0\" --root \"$1\" {command} \"$2\" {rest}"));
            if done.code != 0 {
                // A binary that is not static may fail before it is tare's.
                let known = ["too many open files", "error while loading shared libraries"];
                assert!(known.iter().any(|words| done.stderr.contains(words)), "{command} with {limit}: {done:?}");
                assert_eq!(done.stderr.lines().count(), 1, "{command} with {limit}: {done:?}");
            }
            // Whatever did not work is made up for, so that the next command has its container.
            match command {
                "create" if done.code != 0 => bundle.on("create").silent(),
                "start" if bundle.status() == "created" => bundle.on("start").silent(),
                "pause" if bundle.status() == "running" => bundle.on("pause").silent(),
                "resume" if bundle.status() == "paused" => bundle.on("resume").silent(),
                "delete --force" => bundle.tare(&["delete", "--force", &bundle.id]).silent(),
                _ => {}
            }
        }
        bundle.reap_orphans();
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn no_process_can_be_created() {
    // RLIMIT_NPROC binds ordinary users; the controller of the cgroup is not in every world.
    let mut bundle = Bundle::script("true");
    if !is_tare() {
        return eprintln!("skipped: runc's threads die of it");
    }
    const USER: u32 = 64_123;
    let kinds = ["pid", "mount", "uts", "ipc", "network", "user"].map(|kind| json!({ "type": kind }));
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    bundle.set("/linux/namespaces", json!(kinds)).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/linux/resources", json!({})).unset("/linux/cgroupsPath");
    bundle.set("/mounts", json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]));
    bundle.user = Some(USER);
    give(bundle.path(), USER);
    bundle.write();
    let mut codes = Vec::new();
    for limit in [1, 2, 3, 50] {
        let mut command = Command::new("prlimit");
        let plain = bundle.command(&["run", &bundle.id]);
        command.arg(format!("--nproc={limit}")).arg("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        command.arg(plain.get_program()).args(plain.get_args()).current_dir(bundle.path());
        command.env("XDG_RUNTIME_DIR", bundle.path());
        let done = finish(command);
        codes.push(done.code);
        if done.code != 0 {
            let line = done.refused();
            assert!(line.contains("resource temporarily unavailable"), "{limit}: {line}");
        }
        bundle.assert_nothing_left();
    }
    assert!(codes[0] != 0 && codes[3] == 0, "{codes:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn five_hundred_mounts() {
    let mut bundle = Bundle::script("grep -c /many/ /proc/self/mountinfo");
    for n in 0..500 {
        let source = if n % 2 == 0 { ("tmpfs", json!(["size=4k"])) } else { ("bind", json!(["rbind", "ro"])) };
        bundle.set("/mounts/-", json!({ "destination": format!("/tmp/many/{n}"), "type": source.0, "source": if n % 2 == 0 { "tmpfs" } else { "/proc/self" }, "options": source.1 }));
    }
    let done = bundle.run();
    assert_eq!((done.code, done.stdout.trim()), (0, "500"), "{}", done.stderr);
    bundle.assert_nothing_left();
    // And they are taken back when the last one is impossible.
    bundle.set(
        "/mounts/-",
        json!({ "destination": "/tmp/last", "type": "bind", "source": "/nonexistent", "options": ["bind"] }),
    );
    bundle.create().refused();
    bundle.assert_nothing_left();
}
