//! Classes 16, 17, 18: the state directory in the wrong hands, pids that mean somebody else, records that are damaged.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::json;

use crate::bundle::{Bundle, is_tare, reap, stat};
use crate::support::{Bait, digest, mount, only_tare, skip, through_shell};

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = vec![below.to_path_buf()];
    if fs::symlink_metadata(below).unwrap().is_dir() {
        let entries = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.flat_map(|path| files(&path)));
    }
    found
}

/// A caller's umask of 0 leaves files that anybody can write; one of 077 makes the container's own unreadable.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_16_umask() {
    for umask in ["0", "077", "0777"] {
        let mut bundle = Bundle::script("sleep 1000");
        bundle.set("/mounts/-", mount("/made/by/mount", "tmpfs", "tmpfs", &[]));
        bundle.set("/process/cwd", json!("/made/for/cwd"));
        bundle.write();
        through_shell(&bundle, &format!("umask {umask}; \"$@\""), &["create", "--pid-file", "pid", &bundle.id])
            .silent();
        for path in files(&bundle.root()) {
            let mode = fs::symlink_metadata(&path).unwrap().mode() & 0o7777;
            // The way to a container's own directory is closed; that is enough for others.
            let below = path.starts_with(bundle.root().join(&bundle.id)) && !is_tare();
            assert!(
                below || mode & 0o077 == 0 || mode & 0o022 == 0 && path == bundle.root(),
                "{} {mode:o}",
                path.display()
            );
        }
        for made in ["made", "made/by", "made/by/mount", "made/for", "made/for/cwd"] {
            let facts = fs::metadata(bundle.file("rootfs").join(made)).unwrap();
            assert_eq!((facts.mode() & 0o7777, facts.uid()), (0o755, 0), "{umask}: {made}");
        }
        bundle.on("start").silent();
        through_shell(&bundle, &format!("umask {umask}; \"$@\""), &["--log", "log", "start", &bundle.id]).refused();
        assert_eq!(fs::metadata(bundle.file("log")).unwrap().mode() & 0o022, 0, "log");
        if is_tare() {
            assert_eq!(fs::metadata(bundle.file("pid")).unwrap().mode() & 0o022, 0, "pid file");
        }
    }
}

/// What others can write is not believed, and what others planted is not used.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_16_the_state_root_is_anothers() {
    if !only_tare() {
        return;
    }
    let bundle = Bundle::new();
    bundle.write();
    let root = bundle.root();
    fs::create_dir(&root).unwrap();
    for (mode, owner) in [(0o777, 0), (0o770, 0), (0o1777, 0), (0o700, 65_533)] {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        chown(&root, Some(owner), None).unwrap();
        for args in
            [&["create", &*bundle.id][..], &["state", &bundle.id], &["delete", "--force", &bundle.id], &["list"]]
        {
            let line = bundle.tare(args).refused();
            assert!(line.contains("other users could change files that tare trusts"), "{mode:o} {owner}: {line}");
        }
    }
    chown(&root, Some(0), None).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    let bait = Bait::new();
    symlink(bait.path(), root.join(&bundle.id)).unwrap();
    for command in ["create", "run", "state", "start", "delete"] {
        bundle.on(command).refused();
    }
    bait.assert_untouched();
    fs::remove_file(root.join(&bundle.id)).unwrap();
    bundle.run().silent();
    fs::remove_dir(&root).unwrap();
    fs::write(&root, "").unwrap();
    bundle.on("create").refused();
    fs::remove_file(&root).unwrap();
}

/// The pid file is made where others may be: a link that they planted under its temporary name is not followed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_16_the_pid_file() {
    let bundle = Bundle::script("sleep 1000");
    let bait = Bait::new();
    let directory = bundle.file("open");
    fs::create_dir(&directory).unwrap();
    bundle.write();
    // Pids are given in order, so the next thousand names are a good guess.
    let next: u32 = fs::read_to_string("/proc/loadavg").unwrap().split_whitespace().last().unwrap().parse().unwrap();
    for pid in next..next + 1000 {
        for name in [format!(".pid.{pid}"), format!(".pid-{pid}"), ".pid".to_string(), "pid.tmp".to_string()] {
            let _twice = symlink(bait.path().join("secret"), directory.join(name));
        }
    }
    bundle.create_with(&["--pid-file", "open/pid"]);
    bundle.tare(&["exec", "--detach", "--pid-file", "open/pid", &bundle.id, "/bin/true"]);
    bait.assert_untouched();
    if is_tare() {
        let text = fs::read_to_string(directory.join("pid")).unwrap();
        assert!(
            text.parse::<i32>().is_ok() && fs::symlink_metadata(directory.join("pid")).unwrap().is_file(),
            "{text}"
        );
    }
}

/// Somebody else's process, killed at the end.
struct Innocent(Child);

impl Drop for Innocent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Gives the number `pid` to a process that has nothing to do with containers.
fn recycle(pid: i32) -> Option<Innocent> {
    // Not in the tick of the clock that init was born in: pid and start time would be those of init.
    std::thread::sleep(std::time::Duration::from_millis(30));
    for _ in 0..2000 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if i32::try_from(child.id()).unwrap() == pid {
            return Some(Innocent(child));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}

/// The pid of a dead init is given to a stranger, who is neither shown nor killed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_17_a_recycled_pid() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "9"]).silent();
    reap(pid);
    let Some(innocent) = recycle(pid) else { return skip("pids cannot be chosen here") };
    assert_eq!(bundle.status(), "stopped");
    for args in [
        &["kill", &*bundle.id, "9"][..],
        &["exec", &bundle.id, "/bin/true"],
        &["start", &bundle.id],
        &["pause", &bundle.id],
    ] {
        bundle.tare(args).refused();
    }
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert!(stat(pid).is_some_and(|fields| fields[0] != "Z"), "the innocent was killed");
    drop(innocent);
    bundle.assert_nothing_left();
}

/// What a damaged record is.
type Damage = (&'static str, fn(&Path));

const DAMAGES: &[Damage] = &[
    ("empty", |file| fs::write(file, "").unwrap()),
    ("half", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("garbage", |file| fs::write(file, [0xff; 5000]).unwrap()),
    ("another pid", |file| {
        let text = fs::read_to_string(file).unwrap();
        let start = text.find("\"pid\":").unwrap() + 6;
        let end = start + text[start..].find(',').unwrap();
        fs::write(file, format!("{}1{}", &text[..start], &text[end..])).unwrap();
    }),
    ("removed", |file| fs::remove_file(file).unwrap()),
    ("a directory", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a link", |file| {
        fs::remove_file(file).unwrap();
        symlink("/etc/passwd", file).unwrap();
    }),
    ("a FIFO", |file| {
        fs::remove_file(file).unwrap();
        nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }),
];

/// A record that cannot be read is not "no container": nothing succeeds but `delete --force`, which leaves nothing.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_18_damaged_records() {
    if !only_tare() {
        return;
    }
    for (name, damage) in DAMAGES {
        let bundle = Bundle::script("sleep 1000");
        bundle.begin();
        let record = bundle.root().join(&bundle.id).join("record");
        damage(&record);
        for args in [
            &["state", &*bundle.id][..],
            &["start", &bundle.id],
            &["kill", &bundle.id, "9"],
            &["exec", &bundle.id, "/bin/true"],
            &["pause", &bundle.id],
            &["delete", &bundle.id],
            &["create", &bundle.id],
            &["run", &bundle.id],
        ] {
            let line = bundle.tare(args).refused();
            assert!(!line.contains("does not exist"), "{name}: {line}");
        }
        assert!(bundle.cgroup().exists(), "{name}");
        let done = bundle.tare(&["delete", "--force", &bundle.id]);
        assert_eq!(done.code, 0, "{name}: {done:?}");
        bundle.reap_orphans();
        bundle.assert_nothing_left();
    }
}

/// The other files: the saved config is replaced by one that asks for more.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_18_damaged_configs() {
    if !only_tare() {
        return;
    }
    for (name, damage) in DAMAGES.iter().filter(|(name, _)| *name != "another pid") {
        let bundle = Bundle::script("sleep 1000");
        bundle.begin();
        damage(&bundle.root().join(&bundle.id).join("config.json"));
        let line = bundle.exec("true").refused();
        assert!(!line.contains("does not exist"), "{name}: {line}");
        let done = bundle.tare(&["delete", "--force", &bundle.id]);
        assert_eq!(done.code, 0, "{name}: {done:?}");
        bundle.reap_orphans();
        bundle.assert_nothing_left();
    }
}

/// A bundle that changes after create changes nothing of what exec gives.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_18_the_bundle_is_no_state() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let before = bundle.exec("grep Cap /proc/self/status; id").stdout;
    bundle.set("/process/user/uid", json!(7));
    bundle.set("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"])).write();
    assert_eq!(bundle.exec("grep Cap /proc/self/status; id").stdout, before);
    let unchanged = digest(&bundle.root());
    bundle.state();
    assert_eq!(digest(&bundle.root()), unchanged);
}
