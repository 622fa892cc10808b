//! update: limits and device rules of a container that exists, all of what is asked or nothing.
//!
//! This kernel has the hugetlb controller and the core files in cgroup v2; the others are for the virtual machine.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, is_skipped, is_tare, reap};

fn running(line: &str) -> Bundle {
    let bundle = Bundle::script(line);
    bundle.begin();
    bundle
}

fn update(bundle: &Bundle, options: &[&str]) -> Done {
    bundle.tare(&[&["update"], options, &[&*bundle.id]].concat())
}

/// The resources through stdin, as containerd sends them.
fn update_json(bundle: &Bundle, resources: &Value) -> Done {
    let file = bundle.file("resources.json");
    fs::write(&file, resources.to_string()).unwrap();
    update(bundle, &["--resources", file.to_str().unwrap()])
}

fn value(bundle: &Bundle, file: &str) -> String {
    fs::read_to_string(bundle.cgroup().join(file)).unwrap().trim().to_string()
}

fn hugepages(bytes: i64) -> Value {
    json!([{ "pageSize": "2MB", "limit": bytes }])
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn limits_change_on_what_is_created_running_and_paused() {
    let bundle = Bundle::script("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc updates no hugepage limits");
    }
    bundle.create().silent();
    update_json(&bundle, &json!({ "hugepageLimits": hugepages(2 << 20) })).silent();
    assert_eq!(value(&bundle, "hugetlb.2MB.max"), (2 << 20).to_string());
    assert_eq!(value(&bundle, "hugetlb.2MB.rsvd.max"), (2 << 20).to_string());
    bundle.on("start").silent();
    update_json(&bundle, &json!({ "hugepageLimits": hugepages(4 << 20) })).silent();
    assert_eq!(value(&bundle, "hugetlb.2MB.max"), (4 << 20).to_string());
    bundle.on("pause").silent();
    update_json(&bundle, &json!({ "hugepageLimits": hugepages(-1) })).silent();
    assert_eq!(value(&bundle, "hugetlb.2MB.max"), "max");
    assert_eq!(bundle.status(), "paused");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_stopped_or_unknown_container_is_refused() {
    let bundle = running("sleep 100");
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    let line = update(&bundle, &["--pids-limit", "10"]).refused();
    assert!(line.contains("container not running"), "{line}");
    assert!(bundle.tare(&["update", "nobody"]).refused().contains("does not exist"));
    if is_tare() {
        assert_eq!(line, format!("container \"{}\" cannot be updated: container not running", bundle.id));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn stdin_of_containerd_with_empty_members_is_accepted() {
    let bundle = running("sleep 100");
    let resources = json!({
        "devices": null, "memory": { "limit": null }, "cpu": {}, "pids": null, "blockIO": null, "network": null,
        "rdma": null, "somethingNew": { "a": [1] }, "hugepageLimits": null,
        "unified": { "cgroup.max.descendants": "7" },
    });
    for option in [&["--resources=-"][..], &["--resources", "-"], &["-r", "-"]] {
        fs::write(bundle.cgroup().join("cgroup.max.descendants"), "max").unwrap();
        let mut command = bundle.command(&[&["update"], option, &[&*bundle.id]].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(resources.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(value(&bundle, "cgroup.max.descendants"), "7");
    }
    update_json(&bundle, &json!({})).silent();
    update(&bundle, &[]).silent();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn after_an_error_everything_is_as_it_was() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: others leave what they wrote before the error");
    }
    update_json(&bundle, &json!({ "hugepageLimits": hugepages(2 << 20), "unified": { "cgroup.max.depth": "3" } }))
        .silent();
    let saved = || fs::read(bundle.root().join(&bundle.id).join("config.json")).unwrap();
    let before = saved();
    let config: Value = serde_json::from_slice(&before).unwrap();
    assert_eq!(config["linux"]["resources"]["hugepageLimits"], hugepages(2 << 20), "it is remembered");
    // Refused by the kernel after the others were written; missing; a device rule that does not exist.
    for (resources, line) in [
        (
            json!({ "hugepageLimits": hugepages(8 << 20), "unified": { "cgroup.max.depth": "deep" } }),
            r#"linux.resources.unified["cgroup.max.depth"]: write "deep" to cgroup.max.depth: invalid argument"#,
        ),
        (
            json!({ "hugepageLimits": hugepages(8 << 20), "unified": { "hugetlb.2MB.least": "1" } }),
            r#"linux.resources.unified["hugetlb.2MB.least"]: the hugetlb controller of this kernel has no file hugetlb.2MB.least"#,
        ),
        (
            json!({ "hugepageLimits": hugepages(8 << 20), "memory": { "limit": 1 << 20 } }),
            "linux.resources.memory.limit: this host's cgroup v2 has no memory controller",
        ),
        (
            json!({ "hugepageLimits": hugepages(8 << 20), "devices": [{ "allow": true, "access": "" }] }),
            "linux.resources.devices[0].access: is empty; use letters of rwm",
        ),
    ] {
        if is_skipped(line) {
            continue;
        }
        assert_eq!(update_json(&bundle, &resources).refused(), line);
        assert_eq!(value(&bundle, "hugetlb.2MB.max"), (2 << 20).to_string(), "{line}");
        assert_eq!(value(&bundle, "hugetlb.2MB.rsvd.max"), (2 << 20).to_string(), "{line}");
        assert_eq!(value(&bundle, "cgroup.max.depth"), "3", "{line}");
        assert!(saved() == before, "{line}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn rounding_by_the_kernel_is_warned_about() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let done = update_json(&bundle, &json!({ "hugepageLimits": hugepages(3 << 20) }));
    assert_eq!(done.code, 0);
    let line = "tare: warning: linux.resources.hugepageLimits[0].limit: the kernel changed 3145728 to 2097152\n";
    assert_eq!(done.stderr, line.repeat(2));
}

fn deny_zero(more: &[Value]) -> Value {
    let rules = [
        json!({ "allow": false, "access": "rwm" }),
        json!({ "allow": false, "type": "c", "major": 1, "minor": 5, "access": "rw" }),
    ];
    let rules = [&rules[..], more].concat();
    json!({ "devices": rules })
}

const READ_ZERO: &str = "exec 3</dev/zero && echo open";

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn device_rules_are_replaced() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc updates no device rules");
    }
    assert_eq!(bundle.exec(READ_ZERO).good(), "open\n");
    update_json(&bundle, &deny_zero(&[])).silent();
    let done = bundle.exec(READ_ZERO);
    assert!(done.code != 0 && done.stderr.contains("Operation not permitted"), "{done:?}");
    // What says nothing about devices leaves them.
    update_json(&bundle, &json!({ "devices": [] })).silent();
    update_json(&bundle, &json!({ "unified": { "cgroup.max.depth": "5" } })).silent();
    assert_ne!(bundle.exec(READ_ZERO).code, 0);
    // From a program to none, and back.
    update_json(&bundle, &json!({ "devices": [{ "allow": true, "access": "rwm" }] })).silent();
    assert_eq!(bundle.exec(READ_ZERO).good(), "open\n");
    update_json(&bundle, &deny_zero(&[])).silent();
    assert_ne!(bundle.exec(READ_ZERO).code, 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_is_denied_before_and_after_is_denied_in_between() {
    // Without a fork: tens of thousands of attempts in a second.
    let script = "echo up > /tmp/up; while :; do true </dev/zero && echo open > /tmp/open; done 2>/dev/null";
    let mut bundle = Bundle::script(script);
    if !is_tare() {
        return eprintln!("skipped: runc updates no device rules");
    }
    bundle.set("/linux/resources", deny_zero(&[]));
    bundle.begin();
    bundle.wait_file("tmp/up");
    for minor in 0..100 {
        let other = json!({ "allow": true, "type": "c", "major": 10, "minor": minor, "access": "r" });
        update_json(&bundle, &deny_zero(&[other])).silent();
    }
    assert!(!bundle.file("rootfs/tmp/open").exists());
    // The script does see an open when there is one.
    update_json(&bundle, &json!({ "devices": [{ "allow": false, "access": "rwm" }] })).silent();
    bundle.wait_file("tmp/open");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn updates_at_the_same_time_are_done_one_after_the_other() {
    let bundle = running("sleep 100");
    std::thread::scope(|scope| {
        for depth in 1..9 {
            let bundle = &bundle;
            scope.spawn(move || {
                let file = bundle.file(&format!("{depth}.json"));
                let unified = json!({ "unified": { "cgroup.max.depth": depth.to_string() } });
                fs::write(&file, unified.to_string()).unwrap();
                update(bundle, &["-r", file.to_str().unwrap()]).silent();
            });
        }
    });
    assert!((1..9).contains(&value(&bundle, "cgroup.max.depth").parse().unwrap()));
    if is_tare() {
        let saved = fs::read(bundle.root().join(&bundle.id).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&saved).unwrap();
        let remembered = &config["linux"]["resources"]["unified"]["cgroup.max.depth"];
        assert_eq!(*remembered, value(&bundle, "cgroup.max.depth").as_str());
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn impossible_values_are_refused_in_one_line() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    for (options, line) in [
        (&["--memory", "lots"][..], r#"--memory: "lots" is not a number of bytes; write it like 4096, 512m or 1.5GiB"#),
        (&["--memory", "-5"], r#"--memory: "-5" is not a number of bytes; write it like 4096, 512m or 1.5GiB"#),
        (&["--cpu-quota", "1.5"], r#"--cpu-quota: "1.5" is not a whole number"#),
        (&["--cpu-share", "-1"], r#"--cpu-share: "-1" is not a number that is not negative"#),
        (&["--cpu-idle", "2"], "linux.resources.cpu.idle: 2 is neither 0 nor 1"),
        (&["--cpu-period", "100"], "linux.resources.cpu.period: 100 is not between 1000 and 1000000 microseconds"),
        (&["--cpu-quota", "5"], "linux.resources.cpu.quota: 5 is less than the kernel's minimum, 1000 microseconds"),
        (
            &["--cpu-rt-runtime", "5"],
            "linux.resources.cpu.realtimeRuntime: cgroup v2 has no limit for realtime scheduling",
        ),
        (&["--blkio-weight", "5"], "linux.resources.blockIO.weight: 5 is not between 10 and 1000"),
        (
            &["--blkio-weight", "70000"],
            "linux.resources.blockIO.weight: 70000 where a number from 0 to 65535 is expected",
        ),
        (
            &["--memory-swap", "5m"],
            "linux.resources.memory.swap: is memory plus swap and needs a memory limit; set linux.resources.memory.limit",
        ),
        (&["--memory", "64m"], "linux.resources.memory.limit: this host's cgroup v2 has no memory controller"),
        (&["--pids-limit", "9"], "linux.resources.pids.limit: this host's cgroup v2 has no pids controller"),
        (&["--cpuset-cpus", "0"], "linux.resources.cpu.cpus: this host's cgroup v2 has no cpuset controller"),
        (&["--resources", "/no/file"], "open /no/file: no such file or directory"),
        (&["--resources", "/dev/null"], "/dev/null: EOF while parsing a value at line 1 column 0"),
        (&["--resources"], "flag needs an argument: --resources"),
        (&["--memroy", "1"], "unknown option \"--memroy\" of update; did you mean \"--memory\"?"),
    ] {
        if is_skipped(line) {
            continue;
        }
        // An option without its value has to be the last word.
        let args = match options {
            [_] => [&["update", &*bundle.id], options].concat(),
            _ => [&["update"], options, &[&*bundle.id]].concat(),
        };
        assert_eq!(bundle.tare(&args).refused(), line);
    }
    assert_eq!(
        update(&bundle, &["--l3-cache-schema", "L3:0=f"]).refused(),
        format!(
            "linux.intelRdt.l3CacheSchema: container \"{}\" is in no resctrl group; create it with linux.intelRdt",
            bundle.id
        )
    );
    let file = bundle.file("wrong.json");
    for (text, line) in [
        ("{", "wrong.json: EOF while parsing an object at line 1 column 1"),
        ("[]", "linux.resources: a list where an object is expected"),
        (r#"{"pids": {"limit": "9"}}"#, "linux.resources.pids.limit: \"9\" where a whole number is expected"),
        (
            r#"{"unified": {"cgroup.procs": "1"}}"#,
            "linux.resources.unified[\"cgroup.procs\"]: only tare writes this file; of cgroup.*, cgroup.max.depth, cgroup.max.descendants, cgroup.pressure can be set",
        ),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(update(&bundle, &["-r", "wrong.json"]).refused(), line);
    }
    let done = update(&bundle, &["--kernel-memory", "5"]);
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (0, "tare: warning: --kernel-memory: is obsolete and does nothing\n")
    );
}
