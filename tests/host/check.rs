//! `tare check`: what create would refuse, all of it, and what it would do; nothing is touched. That its first error is
//! create's, and that it accepts what create accepts, is asserted with the bad values and bundles, and in `create_with`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::bad_values::{ALL, Case, UNKNOWN_TO_CHECK, applies, edit, without_pid};
use crate::bundle::{Bundle, is_tare};

fn report(bundle: &Bundle, options: &[&str]) -> Value {
    let done = bundle.tare(&[&["check", "--json"], options].concat());
    assert_eq!(done.stderr, "", "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(done.code, i32::from(report["errors"] != json!([])), "{report}");
    report
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_good_bundle_would_start() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let bundle = Bundle::new();
    bundle.write();
    assert_eq!(bundle.tare(&["check"]).good(), "tare check: would start\n");
    assert_eq!(report(&bundle, &[]), json!({ "errors": [], "warnings": [] }));
    let plan = &report(&bundle, &["--plan"])["plan"];
    assert_eq!(plan["namespaces"][0], "create mount, pid, network, ipc, uts, cgroup");
    assert_eq!(plan["mounts"][1], "tmpfs on /dev (nosuid, strictatime, mode=755, size=65536k)");
    assert_eq!(plan["cgroup"], json!([format!("create /{}", bundle.name)]));
    assert_eq!(plan["program"], json!(["/bin/true", "with 1 environment variable"]));
    let text = bundle.tare(&["check", "--plan"]).good();
    assert!(text.contains("mounts:\n  proc on /proc\n  tmpfs on /dev (nosuid, "), "{text}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn all_errors_are_told_at_once() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let mut bundle = Bundle::new();
    bundle.set("/ociVersion", json!("2.0.0"));
    bundle.set("/process/args", json!([])).set("/process/cwd", json!("tmp"));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 8 }]));
    bundle.set("/mounts/-", json!({ "destinaton": "/a" }));
    bundle.set("/mounts/-", json!({ "destination": "/tmp", "type": "tmpfs", "options": ["nosiud", "size=lots"] }));
    bundle.set("/mounts/-", json!({ "destination": "/root", "source": "/no/source", "options": ["bind", "readonly"] }));
    bundle.set("/linux/sysctl", json!({ "vm.swappiness": "1", "net.ipv4.ip_forward": "1" }));
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "proc/keys", "proc/acpi"]));
    bundle.set("/hooks", json!({ "prestart": [{ "path": "true" }, { "path": "/no/hook" }] }));
    bundle.write();
    let report = report(&bundle, &["--plan"]);
    assert!(report.get("plan").is_none(), "{report}");
    let unknown = report["errors"].as_array().unwrap().iter().find(|e| e["path"] == "mounts[5].options[0]").unwrap();
    assert_eq!(unknown["code"], "mount-option-unknown");
    let mut paths: Vec<&str> =
        report["errors"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(paths[0], "mounts[4]");
    assert_eq!(report["errors"][0]["hint"], "\"destinaton\" is not known: did you mean \"destination\"?");
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "hooks.prestart[0].path",
            "hooks.prestart[1]",
            "linux.maskedPaths[1]",
            "linux.maskedPaths[2]",
            "linux.sysctl[\"vm.swappiness\"]",
            "mounts[4]",
            "mounts[5].options[0]",
            "mounts[6].options[1]",
            "mounts[6].source",
            "ociVersion",
            "process.args",
            "process.cwd",
            "process.rlimits[0].soft",
        ],
        "{report:#}"
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn warnings_are_told_apart() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let mut bundle = Bundle::new();
    bundle.set("/linux/maskedPath", json!(["/proc/kcore"]));
    bundle.set("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN", "CAP_MKNOD"]));
    bundle.set("/process/capabilities/effective", json!([])).set("/process/capabilities/permitted", json!([]));
    bundle.unset("/linux/resources");
    bundle.set("/linux/resources", json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    bundle.write();
    let text = bundle.tare(&["check"]).good();
    assert_eq!(
        text,
        "warning: linux.maskedPath: this key is not known and has no effect; did you mean \"maskedPaths\"?\n\
         warning: process.capabilities: CAP_SYS_ADMIN with a writable /proc/sys: the container can change settings of \
         the host; add /proc/sys to linux.readonlyPaths\n\
         warning: linux.resources.devices: CAP_MKNOD and no device rules: the container can use every device of the \
         host; begin the rules with {\"allow\": false, \"access\": \"rwm\"}\n\
         tare check: would start, 3 warnings\n"
    );
}

/// Names, sizes and times of all files below a directory.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let facts = entry.metadata().unwrap();
        found.push(format!("{:?} {} {:?}", entry.path(), facts.len(), facts.modified().unwrap()));
        if facts.is_dir() {
            found.extend(listing(&entry.path()));
        }
    }
    found.sort();
    found
}

fn cgroups(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut found: Vec<_> =
        entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().unwrap()).collect();
    found.retain(|name| name != "leaf" && !name.starts_with("tare-test"));
    found.sort();
    found
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn nothing_is_touched() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let mut bundle = Bundle::new();
    let hooks = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo >ran"] }] });
    bundle.set("/hooks", hooks).set("/process/cwd", json!("/made/for/cwd"));
    bundle.set("/mounts/-", json!({ "destination": "/not/there", "type": "tmpfs", "source": "tmpfs" }));
    bundle.write();
    let state = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        (listing(bundle.path()), mounts, cgroups(Path::new("/sys/fs/cgroup")), bundle.cgroup().exists())
    };
    let before = state();
    assert_eq!(bundle.tare(&["check", "--plan"]).code, 0);
    assert_eq!(state(), before);
    assert!(!bundle.root().exists());
    bundle.assert_nothing_left();
}

/// A container that runs has the cgroup, and an agent or engine that listens sees no connection.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn listeners_see_nothing() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let mut bundle = Bundle::new();
    let listen = |name: &str| {
        let listener = std::os::unix::net::UnixListener::bind(bundle.file(name)).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let (console, agent) = (listen("console"), listen("agent"));
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": bundle.file("agent"),
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
    bundle.set("/linux/seccomp", seccomp).set("/process/terminal", json!(true));
    bundle.write();
    assert_eq!(bundle.errors(&["--console-socket", "console"]), [""; 0]);
    for listener in [console, agent] {
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// Whether all pointers of a case can be set after other edits.
fn fits(bundle: &Bundle, (_, edits, _): &Case) -> bool {
    edits.iter().all(|(pointer, value)| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let position = || {
            key == "-"
                || key
                    .parse::<usize>()
                    .is_ok_and(|at| bundle.config.pointer(parent).unwrap().as_array().unwrap().len() > at)
        };
        match bundle.config.pointer(parent) {
            Some(Value::Object(_)) => !value.is_empty() || bundle.config.pointer(pointer).is_some(),
            Some(Value::Array(_)) => position(),
            _ => false,
        }
    })
}

/// Values that are fine.
#[rustfmt::skip]
const GOOD: &[Case] = &[
    ("hostname", &[("/hostname", r#""other""#)], ""),
    ("cwd that is made", &[("/process/cwd", r#""/new/directory""#)], ""),
    ("program in PATH", &[("/process/args", r#"["true"]"#)], ""),
    ("bind mount", &[("/mounts/-", r#"{"destination":"/new","source":"/etc","options":["rbind","ro","nosuid"]}"#)], ""),
    ("file", &[("/mounts/-", r#"{"destination":"/etc/new","source":"/etc/passwd","options":["bind"]}"#)], ""),
    ("tmpfs", &[("/mounts/-", r#"{"destination":"/tmp/a","type":"tmpfs","source":"tmpfs","options":["size=64k","mode=700"]}"#)], ""),
    ("read-only", &[("/root/readonly", "true")], ""),
    ("masks", &[("/linux/maskedPaths", r#"["/proc/kcore","/no/thing"]"#)], ""),
    ("sysctl", &[("/linux/sysctl", r#"{"net.ipv4.ip_forward":"1"}"#)], ""),
    ("limit", &[("/process/rlimits", r#"[{"type":"RLIMIT_NOFILE","soft":64,"hard":64}]"#)], ""),
    ("user", &[("/process/user", r#"{"uid":1000,"gid":1000,"additionalGids":[5]}"#)], ""),
    ("seccomp", &[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#)], ""),
    ("device", &[("/linux/devices", r#"[{"path":"/dev/fuse","type":"c","major":10,"minor":229}]"#)], ""),
    ("user namespace", &[("/linux/namespaces/-", r#"{"type":"user"}"#), ("/linux/uidMappings", r#"[{"containerID":0,"hostID":0,"size":65536}]"#), ("/linux/gidMappings", r#"[{"containerID":0,"hostID":0,"size":65536}]"#)], ""),
    ("hook", &[("/hooks", r#"{"createRuntime":[{"path":"/bin/true"}]}"#)], ""),
];

/// Any few edits, good and bad: check and create agree, on the first error, too.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_check_accepts_is_created() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let bad: Vec<Case> = ALL
        .into_iter()
        .flatten()
        .filter(|case| !UNKNOWN_TO_CHECK.contains(&case.0) && applies(case))
        .copied()
        .collect();
    let edits = (
        prop::collection::vec(prop::sample::select(GOOD.to_vec()), 0..4),
        prop::collection::vec(prop::sample::select(bad), 0..2),
    );
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let agree = |(good, bad): (Vec<Case>, Vec<Case>)| {
        let mut bundle = Bundle::new();
        for case in good.iter().chain(&bad) {
            if fits(&bundle, case) {
                edit(&mut bundle, case);
            }
        }
        bundle.write();
        let errors = bundle.errors(&[]);
        let done = bundle.on("create");
        let first = errors.first().map(|first| without_pid(&format!("tare: {first}\n")));
        let names: Vec<_> = good.iter().chain(&bad).map(|case| case.0).collect();
        prop_assert_eq!(first.unwrap_or_default(), without_pid(&done.stderr), "{:?}", names);
        Ok(())
    };
    TestRunner::new(config).run(&edits, agree).unwrap_or_else(|error| panic!("{error}"));
}

/// What docs/check.md shows is what is printed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_documented_output_is_the_real_one() {
    if !is_tare() {
        return eprintln!("skipped: check is tare's own command");
    }
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/serve"]));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 2048, "hard": 1024 }]));
    bundle.set("/mounts/-", json!({ "destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "nosiud"] }));
    bundle.set("/linux/maskedPath", json!(["/proc/kcore"]));
    bundle.write();
    let page = include_str!("../../docs/check.md");
    let shown = page.split("$ tare check\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(bundle.tare(&["check"]).stdout, shown);
    let mut good = Bundle::new();
    good.set("/linux/cgroupsPath", json!("/web"));
    good.set("/root/path", json!("/srv/web/rootfs"));
    good.write();
    let shown = page.split("$ tare check --plan\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let plan = good.tare(&["check", "--plan"]).stdout;
    let plan = plan.split_once("cgroup:").map(|(_, rest)| format!("cgroup:{rest}")).unwrap();
    let without_verdict =
        |text: &str| text.lines().filter(|line| !line.starts_with("tare check")).map(str::to_owned).collect::<Vec<_>>();
    // There is no such rootfs on the host of the tests.
    assert_eq!(without_verdict(&plan), without_verdict(shown));
}
