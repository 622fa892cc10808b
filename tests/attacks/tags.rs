//! Classes 37, 38: tags of cgroups that are planted or collide, and doctor's repairs beside other commands.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::Value;

use crate::bundle::{Bundle, eventually, finish, runtime};
use crate::support::{only_tare, skip};

/// `--repair` removes what other tests here have just left behind, too.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cgroup of somebody's, and what it is tagged with.
struct Planted(PathBuf);

impl Planted {
    fn new(bundle: &Bundle, name: &str, attribute: &str, tag: &[u8], owner: u32) -> Option<Self> {
        let path = Path::new("/sys/fs/cgroup").join(format!("{}-{name}", bundle.name));
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        let planted = Self(path);
        match setxattr(&planted.0, attribute, tag, XattrFlags::empty()) {
            Ok(()) => Some(planted),
            Err(_) => {
                skip("no such attributes of cgroups here");
                None
            }
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _killed = fs::write(self.0.join("cgroup.kill"), "1");
        eventually("removal", || fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}

fn begun() -> Option<Bundle> {
    if !only_tare() {
        return None;
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    Some(bundle)
}

/// The tag of a cgroup that tare made.
fn tag_of(cgroup: &Path) -> (&'static str, Vec<u8>) {
    let mut value = [0; 8192];
    for name in ["trusted.tare", "user.tare"] {
        if let Ok(length) = getxattr(cgroup, name, &mut value) {
            return (name, value[..length].to_vec());
        }
    }
    panic!("{} has no tag", cgroup.display());
}

/// Whatever the owner of a delegated cgroup writes there: doctor goes on, and the terminal obeys nothing of it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_37_planted() {
    let _alone = alone();
    let Some(bundle) = begun() else { return };
    fs::create_dir(bundle.root().join("left")).unwrap();
    let foreign = bundle.file("foreign");
    fs::create_dir_all(foreign.join("evil")).unwrap();
    chown(&foreign, Some(1000), Some(1000)).unwrap();
    let root = bundle.root().display().to_string();
    let mut tags: Vec<Vec<u8>> = [
        "0\0evil\0/nonexistent\x1b]0;TITLE\x07\n\x1b[31mtare: all is well\x1b[0m/x".to_string(),
        "0\0evil\0/nonexistent\x1b]0;TITLE\x07\n/evil\x001:2".to_string(),
        format!("0\0evil\0{}/evil", foreign.display()),
        format!("0\0../evil\0{root}/evil"),
        format!("0\0..\0{root}/.."),
        "0\0evil\0".to_string() + &"/x".repeat(1500),
        "0\0evil\0/etc/passwd/evil".to_string(),
        "0\0evil\0relative/evil".to_string(),
        format!("0\0\0{root}/"),
        String::new(),
        "\0\0\0\0".to_string(),
    ]
    .map(String::into_bytes)
    .to_vec();
    tags.push(b"\xff\xfe".to_vec());
    tags.push(vec![b'x'; 16 << 10]);
    let (_, own) = tag_of(&bundle.cgroup());
    tags.push(own[..own.len() / 2].to_vec());
    for (attribute, owner) in [("user.tare", 1000), ("user.tare", 0), ("trusted.tare", 0)] {
        for tag in &tags {
            let Some(_planted) = Planted::new(&bundle, "\x1b[31m", attribute, tag, owner) else { return };
            for options in [&["doctor"][..], &["doctor", "--json"]] {
                let done = bundle.tare(options);
                let obeyed = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
                assert!(done.code == 1 && done.stderr.is_empty(), "{tag:?}: {done:?}");
                assert!(done.stdout.contains("left"), "{tag:?}: {done:?}");
                assert!(!obeyed(&done.stdout), "{tag:?}: {done:?}");
            }
            serde_json::from_str::<Value>(&bundle.tare(&["doctor", "--json"]).stdout).unwrap();
        }
    }
    assert_eq!(bundle.status(), "running");
}

/// The tag of a container, copied by the owner of a delegated cgroup: the processes there are not that container's.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_37_copied() {
    let _alone = alone();
    let Some(bundle) = begun() else { return };
    let (name, tag) = tag_of(&bundle.cgroup());
    if name != "trusted.tare" {
        return skip("tags can be copied where only user attributes can be had");
    }
    let Some(planted) = Planted::new(&bundle, "copy", "user.tare", &tag, 1000) else { return };
    let mut neighbour = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    fs::write(planted.0.join("cgroup.procs"), neighbour.id().to_string()).unwrap();
    fs::remove_file(bundle.root().join(&bundle.id).join("record")).unwrap();
    let _reaped = std::thread::spawn({
        let pid = bundle.members().first().copied().unwrap();
        move || crate::bundle::reap(pid)
    });
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert!(neighbour.try_wait().unwrap().is_none(), "the neighbour was killed");
    assert!(planted.0.exists());
    bundle.assert_nothing_left();
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}

/// The same id and path in another mount namespace: neither delete nor doctor there touches the container.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_37_the_same_path_elsewhere() {
    let _alone = alone();
    let Some(bundle) = begun() else { return };
    let elsewhere = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "/bin/bash", "-c"]);
        command.arg(format!("set -e; mount -t tmpfs -o mode=755 none \"$1\"; {line}"));
        command.arg("bash").arg(bundle.root()).arg(runtime()).arg(&bundle.id).current_dir(bundle.path());
        finish(command)
    };
    let done = elsewhere("mkdir -m 700 \"$1/$3\"; \"$2\" --root \"$1\" delete --force \"$3\"");
    assert_eq!((done.code, bundle.status()), (0, "running".into()), "{done:?}");
    let done = elsewhere("mkdir -m 700 \"$1/$3\"; \"$2\" --root \"$1\" doctor --repair");
    assert_eq!((done.code, bundle.status()), (0, "running".into()), "{done:?}");
    // Its cgroup is empty when it has stopped, and is its own all the same.
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    crate::bundle::reap(pid);
    eventually("the end", || bundle.status() == "stopped");
    let done = elsewhere("\"$2\" --root \"$1\" doctor --repair || true");
    assert!(bundle.cgroup().exists() && done.stdout.contains("a state directory that does not exist here"), "{done:?}");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

/// The place of a removed cgroup is taken by another container: delete of the first does not end the second.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_37_a_place_that_was_taken() {
    let Some(first) = begun() else { return };
    let pid = first.pid();
    first.tare(&["kill", &first.id, "KILL"]).silent();
    crate::bundle::reap(pid);
    eventually("an empty cgroup", || fs::remove_dir(first.cgroup()).is_ok());
    let mut second = Bundle::script("sleep 1000");
    second.set("/linux/cgroupsPath", first.config["linux"]["cgroupsPath"].clone());
    second.begin();
    first.on("delete").silent();
    assert_eq!(second.status(), "running");
    second.kill_processes();
    second.tare(&["delete", "--force", &second.id]);
}

/// A tag of an older version: a container that it was made for can be deleted, also without its record.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_37_tags_of_older_versions() {
    let _alone = alone();
    let Some(bundle) = begun() else { return };
    let (name, _) = tag_of(&bundle.cgroup());
    let state = bundle.root().join(&bundle.id);
    rustix::fs::removexattr(bundle.cgroup(), name).unwrap();
    let old = format!("0\0{}\0{}", bundle.id, state.display());
    setxattr(bundle.cgroup(), "user.tare", old.as_bytes(), XattrFlags::empty()).unwrap();
    fs::remove_file(state.join("record")).unwrap();
    let found = bundle.tare(&["doctor"]);
    assert!(
        found.stdout.contains("was interrupted before its record was written; it still has processes"),
        "{found:?}"
    );
    let members = bundle.members();
    let _reaped = std::thread::spawn(move || members.into_iter().map(crate::bundle::reap).max());
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

/// A leftover becomes a new container before doctor acts: that one lives. strace delays doctor's opens one by one.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_38_a_new_container_of_the_same_id() {
    let _alone = alone();
    if !only_tare() {
        return;
    }
    if !Path::new("/usr/bin/strace").exists() {
        return skip("needs strace");
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.write();
    for when in 1..=12 {
        fs::create_dir_all(bundle.root().join(&bundle.id)).unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o"]).arg(bundle.file("trace")).args(["-e", "trace=openat"]);
        strace.arg("-e").arg(format!("inject=openat:delay_enter=300000:when={when}"));
        strace.arg(runtime()).arg("--root").arg(bundle.root()).args(["doctor", "--repair"]);
        let mut doctor = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        let run = bundle.tare(&["run", "--detach", &bundle.id]);
        doctor.wait().unwrap();
        if run.code == 0 {
            assert_eq!(bundle.status(), "running", "delayed at open {when}");
            let pid = bundle.pid();
            let reaper = std::thread::spawn(move || crate::bundle::reap(pid));
            bundle.tare(&["delete", "--force", &bundle.id]).silent();
            reaper.join().unwrap();
        }
    }
    bundle.assert_nothing_left();
}

/// A process that a dead command left behind holds the lock: doctor names it, and a command at work it does not.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_38_a_lock_without_a_command() {
    let _alone = alone();
    let Some(bundle) = begun() else { return };
    if !Path::new("/usr/bin/flock").exists() {
        return skip("needs flock(1)");
    }
    let directory = bundle.root().join(&bundle.id);
    let locked = |line: &str| {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", line, "bash"]).arg(&directory).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    // flock takes the lock and ends; what inherits it is the holder.
    let mut holder = locked("exec 9<\"$1\"; flock -x 9; exec -a $'evil\\e[31m' sleep 1000");
    let ours = |report: &str| {
        let report: Value = serde_json::from_str(report).unwrap();
        let found = report["findings"].as_array().unwrap().iter().find(|found| found["kind"] == "held-lock").cloned();
        found.filter(|found| found["subject"] == *bundle.id)
    };
    let mut found = None;
    eventually("a finding", || {
        found = ours(&bundle.tare(&["doctor", "--json"]).stdout);
        found.as_ref().is_some_and(|found| found["what"].as_str().unwrap().contains("evil"))
    });
    let what = found.unwrap()["what"].as_str().unwrap().to_owned();
    assert!(what.contains(&format!("process {} (evil\u{1b}[31m 1000)", holder.id())), "{what}");
    let table = bundle.tare(&["doctor", "--repair"]).stdout;
    let line = table.lines().find(|line| line.starts_with(&bundle.id)).unwrap();
    assert!(!line.contains('\u{1b}') && line.contains(&format!("kill -KILL {}", holder.id())), "{line}");
    assert_eq!(bundle.status(), "running");
    holder.kill().unwrap();
    holder.wait().unwrap();
    // flock itself waits here: it is the command, and at work.
    let mut command = locked("exec flock -x \"$1\" sleep 1000");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ours(&bundle.tare(&["doctor", "--json"]).stdout), None);
    rustix::process::kill_process_group(
        rustix::process::Pid::from_raw(i32::try_from(command.id()).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    command.wait().unwrap();
}
