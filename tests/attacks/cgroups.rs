//! Classes 12, 23, 28: cgroups that a container can write, device rules with a gap, cgroups of somebody else.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::bundle::{Bundle, is_tare, stat};
use crate::support::{both_refuse, every_way, mount, only_tare, rounds, skip};
use crate::trace::{self, Aim, Blow};

/// Kernel CVE-2022-0492, CVE-2023-25809: the host's hierarchy in reach, to be written.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_12_the_container_sees_its_own_cgroup_alone() {
    let line = "mkdir /sys/fs/cgroup/new 2>/dev/null && echo made; ls /sys/fs/cgroup; cat /proc/self/mountinfo";
    for own in [true, false] {
        let configure = move |bundle: &mut Bundle| {
            bundle.set("/mounts/-", mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]));
            if !own {
                let kinds = ["pid", "mount", "uts", "ipc", "network"].map(|kind| json!({ "type": kind }));
                bundle.set("/linux/namespaces", json!(kinds));
            }
        };
        let ways = every_way(&configure, line);
        for (way, text) in &ways {
            assert!(!text.starts_with("made"), "{way} {own}: {text}");
            assert!(text.contains("cgroup.procs"), "{way} {own}: {text}");
            // The world's own cgroups, and files of the root of a hierarchy.
            for name in ["leaf", "release_agent", "tare-test-"] {
                let listed = text.lines().any(|line| line == name || (name.ends_with('-') && line.starts_with(name)));
                assert!(!listed, "{way} {own} sees {name}: {text}");
            }
            let line = text.lines().find(|line| line.contains(" /sys/fs/cgroup ")).unwrap();
            let fields: Vec<_> = line.split(' ').collect();
            assert!(fields[5].starts_with("ro"), "{way}: {line}");
            assert!((fields[3] == "/") == own, "{way} {own}: {line}");
        }
    }
}

/// The rules are there before the first process is, and for every way in.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_23_denied_devices_from_the_first_moment() {
    let configure = |bundle: &mut Bundle| {
        // A node that the image brings along, and one that the rules let through.
        let node = |name: &str, minor| {
            let path = bundle.file("rootfs").join(name);
            let device = rustix::fs::makedev(1, minor);
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::CharacterDevice, mode, device).unwrap();
        };
        node("denied", 2);
        node("allowed", 5);
        let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw" });
        bundle.set("/linux/resources/devices/-", rule);
    };
    let line = "for n in denied allowed; do (: </$n) 2>/dev/null && echo $n; done";
    for _ in 0..rounds().div_ceil(20) {
        let ways = every_way(&configure, line);
        for (way, text) in &ways {
            assert_eq!(text, "allowed\n", "{way}");
        }
    }
}

/// While rules are exchanged, either the old ones or the new ones are in force.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_23_no_gap_while_rules_are_updated() {
    let line = "echo up >/tmp/up; while :; do (: </denied) 2>/dev/null && echo reached >>/tmp/reached; done";
    let bundle = Bundle::script(line);
    let device = rustix::fs::makedev(1, 2);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let node = bundle.file("rootfs/denied");
    rustix::fs::mknodat(rustix::fs::CWD, node, rustix::fs::FileType::CharacterDevice, mode, device).unwrap();
    bundle.begin();
    bundle.wait_file("tmp/up");
    let rule = |minor: u32| {
        let allow = json!({ "allow": true, "type": "c", "major": 1, "minor": minor, "access": "rwm" });
        json!({ "devices": [{ "allow": false, "access": "rwm" }, allow] }).to_string()
    };
    for round in 0..rounds() {
        fs::write(bundle.file("resources"), rule(3 + u32::try_from(round % 2).unwrap() * 2)).unwrap();
        let done = bundle.tare(&["update", "--resources", "resources", &bundle.id]);
        if done.code != 0 {
            assert_eq!(round, 0, "{done:?}");
            return skip("this runtime has no update of device rules");
        }
    }
    assert!(!bundle.file("rootfs/tmp/reached").exists(), "a denied device was opened");
}

/// A process of somebody else.
struct Stranger(std::process::Child);

impl Stranger {
    fn in_cgroup(cgroup: &Path) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        Self(child)
    }

    fn lives(&self) -> bool {
        stat(i32::try_from(self.0.id()).unwrap()).is_some_and(|fields| fields[0] != "Z")
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A cgroup with processes would be limited, frozen and killed together with the container.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_28_a_populated_cgroup_is_refused() {
    for below in ["", "below"] {
        let bundle = Bundle::new();
        let cgroup = bundle.cgroup().join(below);
        fs::create_dir_all(&cgroup).unwrap();
        let stranger = Stranger::in_cgroup(&cgroup);
        bundle.write();
        for command in ["create", "run"] {
            let line = bundle.on(command).refused();
            assert!(!is_tare() || line.starts_with("linux.cgroupsPath: "), "{line}");
            bundle.tare(&["delete", "--force", &bundle.id]);
            assert!(stranger.lives(), "{command} killed a process of somebody else");
        }
        drop(stranger);
        let _gone = fs::remove_dir(&cgroup);
    }
}

/// Nor is it the container's when create is killed before it can refuse, and its record has the cgroup's name.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_28_a_populated_cgroup_is_not_deleted_either() {
    if !only_tare() {
        return;
    }
    let bundle = Bundle::new();
    fs::create_dir(bundle.cgroup()).unwrap();
    let stranger = Stranger::in_cgroup(&bundle.cgroup());
    bundle.write();
    let create = |at, blow| {
        let aim = Aim { at, blow, pure: false };
        trace::run(bundle.command(&["create", &bundle.id]), aim, tempfile::tempfile().unwrap()).unwrap()
    };
    let calls = create(usize::MAX, Blow::Count).calls.len();
    let mut named = 0;
    for at in 0..calls {
        create(at, Blow::KillMain);
        let record = bundle.root().join(&bundle.id).join("record");
        named += usize::from(fs::read_to_string(record).is_ok_and(|text| text.contains(&bundle.name)));
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        assert!(stranger.lives(), "killed after {at} of {calls} calls");
        assert!(!bundle.root().join(&bundle.id).exists());
    }
    assert!(named > 3, "{named} of {calls}: there was no record to be misled by");
    drop(stranger);
    let _gone = fs::remove_dir(bundle.cgroup());
}

/// In a frozen cgroup init would never come to its end, nor would create.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_28_a_frozen_cgroup_is_refused() {
    for below in ["", "/below"] {
        let mut bundle = Bundle::new();
        fs::create_dir(bundle.cgroup()).unwrap();
        fs::write(bundle.cgroup().join("cgroup.freeze"), "1").unwrap();
        let path = format!("/{}{below}", bundle.name);
        bundle.set("/linux/cgroupsPath", json!(path));
        if is_tare() {
            for line in both_refuse_here(&bundle) {
                assert!(line.starts_with("linux.cgroupsPath: ") && line.contains("frozen"), "{line}");
            }
        } else {
            let mut run = bundle.command(&["run", &bundle.id]);
            bundle.write();
            let mut child = run.spawn().unwrap();
            let pid = Pid::from_child(&child);
            let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
            let ended = crate::bundle::ends(&pidfd, std::time::Duration::from_secs(5));
            fs::write(bundle.cgroup().join("cgroup.freeze"), "0").unwrap();
            if !ended {
                kill_process(pid, Signal::KILL).unwrap();
            }
            let code = child.wait().unwrap();
            assert!(ended && !code.success(), "frozen: ended {ended}, {code}");
        }
        fs::write(bundle.cgroup().join("cgroup.freeze"), "0").unwrap();
        fs::remove_dir(bundle.cgroup()).unwrap();
    }
}

/// The cgroup itself is not tare's and stays.
fn both_refuse_here(bundle: &Bundle) -> Vec<String> {
    bundle.write();
    let refuse = |command: &&str| {
        let line = bundle.on(command).refused();
        assert!(bundle.cgroup().exists() && !bundle.root().join(&bundle.id).exists(), "{command}");
        line
    };
    ["create", "run"].iter().map(refuse).collect()
}

/// A path that leads out of the hierarchy, or into its root.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_28_the_root_is_nobodys() {
    if !only_tare() {
        // Some would end every process of the machine with `delete --force`, the test's own first.
        return;
    }
    let mut bundle = Bundle::new();
    for path in ["/", "//", "/.", "/..", "/leaf"] {
        bundle.set("/linux/cgroupsPath", json!(path));
        both_refuse(&bundle);
    }
}
