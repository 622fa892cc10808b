//! linux.intelRdt, on a simulated tree of resctrl: `resctrl_tree.rs` says how true it is.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, eventually, finish, is_tare, reap};
use crate::resctrl_tree::{NEVER, Tree};

/// A bundle and a tree. `None` for other runtimes, some of which write to a group what it has, or do not compare.
fn stage(rdt: &Value) -> Option<(Bundle, Tree)> {
    if !is_tare() {
        eprintln!("skipped: a simulated tree for tare's own order of calls");
        return None;
    }
    let mut bundle = Bundle::script("trap 'exit 0' TERM; echo up > /tmp/up; while :; do sleep 0.05; done");
    bundle.set("/ociVersion", json!("1.3.0")).set("/linux/intelRdt", rdt.clone());
    Some((bundle, Tree::new()))
}

fn tare(bundle: &Bundle, tree: &Tree, args: &[&str]) -> Done {
    bundle.write();
    let mut command = bundle.command(args);
    tree.mount_for(&mut command);
    finish(command)
}

fn on(bundle: &Bundle, tree: &Tree, command: &str) -> Done {
    tare(bundle, tree, &[command, &bundle.id])
}

fn begin(bundle: &Bundle, tree: &Tree) -> i32 {
    on(bundle, tree, "create").silent();
    let pid = bundle.pid();
    on(bundle, tree, "start").silent();
    pid
}

fn delete(bundle: &Bundle, tree: &Tree) {
    tare(bundle, tree, &["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

const FULL: &str = "MB:0=100;1=100 L3:0=ff;1=ff";

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_group_of_the_containers_own_ends_with_it() {
    let rdt = json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:1=15", "schemata": ["L3:1=3", "L3:0=7"]});
    let Some((bundle, tree)) = stage(&rdt) else { return };
    let before = tree.groups();
    on(&bundle, &tree, "create").silent();
    let id = bundle.id.clone();
    assert_eq!(tree.groups(), [format!(" {FULL}"), format!("{id} MB:0=100;1=20 L3:0=7;1=3")]);
    assert!(tree.has(&id, bundle.pid()), "before the program runs");
    on(&bundle, &tree, "start").silent();
    delete(&bundle, &tree);
    assert_eq!(tree.groups(), before);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_mount_it_is_an_error() {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    if String::from_utf8_lossy(&mounts).contains(" - resctrl ") {
        return eprintln!("skipped: this machine has resctrl");
    }
    // As runc has it, an object that asks for nothing is none.
    let Some((bundle, _)) = stage(&json!({})) else { return };
    bundle.create().silent();
    bundle.tare(&["delete", "--force", &bundle.id]).good();
    bundle.assert_nothing_left();
    let Some((bundle, _)) = stage(&json!({ "closID": "gold" })) else { return };
    assert_eq!(
        bundle.create().refused(),
        "linux.intelRdt: resctrl is not mounted on this host; mount -t resctrl resctrl /sys/fs/resctrl; \
         that needs a CPU with RDT and a kernel with CONFIG_X86_CPU_RESCTRL"
    );
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_empty_object_asks_for_a_group() {
    let Some((bundle, tree)) = stage(&json!({})) else { return };
    let pid = begin(&bundle, &tree);
    assert!(tree.has(&bundle.id, pid));
    assert_eq!(tree.groups()[1], format!("{} {FULL}", bundle.id));
    delete(&bundle, &tree);
    assert_eq!(tree.groups(), [format!(" {FULL}")]);
}

/// config-linux.md: a group that `closID` names outlives the container, even if tare made it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_named_group_is_shared_and_stays() {
    let rdt = json!({"closID": "gold", "l3CacheSchema": "L3:0=0f", "memBwSchema": "MB:0=15"});
    let Some((bundle, tree)) = stage(&rdt) else { return };
    let pid = begin(&bundle, &tree);
    let mut other = Bundle::script("sleep 1000");
    other.set("/linux/intelRdt", rdt);
    let second = begin(&other, &tree);
    assert!(tree.has("gold", pid) && tree.has("gold", second));
    other.set("/linux/intelRdt", json!({"closID": "gold", "l3CacheSchema": "L3:0=1"}));
    delete(&other, &tree);
    assert_eq!(
        on(&other, &tree, "create").refused(),
        "linux.intelRdt.l3CacheSchema: resctrl group \"gold\" exists and has L3:0=f;1=ff, not L3:0=1; \
         choose another closID, or omit the schema to use the group as it is"
    );
    delete(&bundle, &tree);
    assert_eq!(tree.groups(), [format!(" {FULL}"), "gold MB:0=20;1=100 L3:0=f;1=ff".to_owned()]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_class_that_exists_is_used_as_it_is() {
    let Some((mut bundle, tree)) = stage(&json!({"closID": "made"})) else { return };
    let missing = "linux.intelRdt.closID: there is no resctrl group \"made\"; \
                   create it first, or set the schemata that it is to have";
    assert_eq!(on(&bundle, &tree, "create").refused(), missing);
    bundle.assert_nothing_left();
    // No write would leave this as it is.
    let odd = "L3:0=ff;1=ff\nMB:0=015;1=100\n";
    tree.make("made", odd);
    let pid = begin(&bundle, &tree);
    assert!(tree.has("made", pid));
    delete(&bundle, &tree);
    assert_eq!(tree.read("made/schemata"), odd);
    bundle.set("/linux/intelRdt", json!({"closID": "/"}));
    let pid = begin(&bundle, &tree);
    assert!(tree.has("", pid));
    delete(&bundle, &tree);
    assert_eq!(tree.groups().len(), 2);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn monitoring_has_a_group_for_each_container() {
    let Some((mut bundle, tree)) = stage(&json!({"closID": "gold", "enableMonitoring": true})) else { return };
    tree.make("gold", "MB:0=50;1=50\nL3:0=f;1=f\n");
    let before = tree.groups();
    let pid = begin(&bundle, &tree);
    let own = format!("gold/mon_groups/{}", bundle.id);
    assert!(tree.has("gold", pid) && tree.has(&own, pid));
    fs::write(tree.path(&own).join("mon_data/mon_L3_00/llc_occupancy"), "12345\n").unwrap();
    let line = tare(&bundle, &tree, &["events", "--stats", &bundle.id]).good();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        line["data"]["intel_rdt"],
        json!({
            "l3_cache_info": {"cbm_mask": "ff", "min_cbm_bits": 1, "num_closids": 4},
            "l3_cache_schema_root": "L3:0=ff;1=ff",
            "l3_cache_schema": "L3:0=f;1=f",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 4},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=50;1=50",
            "schemata": ["MB:0=50;1=50", "L3:0=f;1=f"],
            "mbm_stats": [{"mbm_total_bytes": 7, "mbm_local_bytes": 0}, {"mbm_total_bytes": 7, "mbm_local_bytes": 0}],
            "cmt_stats": [{"llc_occupancy": 12345}, {"llc_occupancy": 8192}],
        })
    );
    delete(&bundle, &tree);
    assert_eq!(tree.groups(), before);
    fs::create_dir(tree.path(&own)).unwrap();
    let line = on(&bundle, &tree, "create").refused();
    assert!(line.starts_with("linux.intelRdt.enableMonitoring: there is a monitoring group"), "{line}");
    fs::remove_dir(tree.path(&own)).unwrap();
    fs::remove_dir(tree.path("gold/mon_groups")).unwrap();
    let line = on(&bundle, &tree, "create").refused();
    assert!(
        line.ends_with("no such file or directory; this CPU has no monitoring of RDT, or the kernel has it disabled"),
        "{line}"
    );
    bundle.set("/linux/intelRdt", json!({"enableMonitoring": true}));
    let pid = begin(&bundle, &tree);
    assert!(tree.has(&format!("{0}/mon_groups/{0}", bundle.id), pid));
    delete(&bundle, &tree);
}

/// The program of `run` and each process of `exec` and of a hook is in the group when it runs: it finds itself there.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_process_is_in_the_group_from_its_start() {
    let Some((mut bundle, tree)) = stage(&json!({"enableMonitoring": true})) else { return };
    let own = bundle.id.clone();
    bundle.share_pids();
    let mount = json!({"destination": "/tmp", "type": "bind", "source": tree.path(""), "options": ["rbind"]});
    bundle.set("/mounts/-", mount);
    // $$ is the host's number: the container shares its pids.
    let find = format!("grep -qx $$ /tmp/{own}/tasks && grep -qx $$ /tmp/{own}/mon_groups/{own}/tasks && echo there");
    bundle.set("/process/args", json!(["/bin/sh", "-c", find]));
    assert_eq!(on(&bundle, &tree, "run").good(), "there\n");
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", find.clone() + " >&2"]}]);
    bundle.set("/hooks", json!({"startContainer": hook}));
    assert_eq!(on(&bundle, &tree, "run").good(), "there\n");
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    begin(&bundle, &tree);
    let exec = ["exec", &bundle.id, "/bin/sh", "-c", &find];
    assert_eq!(tare(&bundle, &tree, &exec).good(), "there\n");
    // A group that somebody removed: the kernel has moved its processes to the default group.
    fs::remove_dir_all(tree.path(&own)).unwrap();
    assert_eq!(tare(&bundle, &tree, &["exec", &bundle.id, "/bin/echo", "ran"]).good(), "ran\n");
    delete(&bundle, &tree);
}

/// init is the child of a process that joins the pid namespace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_that_joins_a_pid_namespace_is_in_the_group() {
    let Some((mut bundle, tree)) = stage(&json!({})) else { return };
    let pod = Bundle::script("sleep 1000");
    pod.begin();
    bundle.without_namespace("pid");
    let path = format!("/proc/{}/ns/pid", pod.pid());
    bundle.set("/linux/namespaces/-", json!({"type": "pid", "path": path}));
    let pid = begin(&bundle, &tree);
    assert!(tree.has(&bundle.id, pid));
    tare(&bundle, &tree, &["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    delete(&bundle, &tree);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_the_kernel_refuses_is_explained() {
    let Some((mut bundle, tree)) = stage(&Value::Null) else { return };
    let before = tree.groups();
    let id = bundle.id.clone();
    for (rdt, end) in [
        (
            json!({"l3CacheSchema": "L3:0=5"}),
            format!("linux.intelRdt.l3CacheSchema: write \"L3:0=5\" to the schemata of resctrl group \"{id}\": invalid argument (The mask 5 has non-consecutive 1-bits); /sys/fs/resctrl/schemata has the resources and domains of this host"),
        ),
        (
            json!({"memBwSchema": "MB:0=5", "l3CacheSchema": "L3:0=f"}),
            format!("linux.intelRdt.memBwSchema: write \"MB:0=5\" to the schemata of resctrl group \"{id}\": invalid argument (MB value 5 out of range [10,100]); /sys/fs/resctrl/schemata has the resources and domains of this host"),
        ),
        (
            json!({"closID": "new", "schemata": ["L3:0=f", "L9:0=1"]}),
            "linux.intelRdt.schemata[1]: write \"L9:0=1\" to the schemata of resctrl group \"new\": invalid argument (Unknown or unsupported resource name 'L9'); /sys/fs/resctrl/schemata has the resources and domains of this host".into(),
        ),
        // What the default group had is put back.
        (
            json!({"closID": "/", "schemata": ["L3:0=f", "L9:0=1"]}),
            "linux.intelRdt.schemata[1]: write \"L9:0=1\" to the schemata of the default group of /sys/fs/resctrl: invalid argument (Unknown or unsupported resource name 'L9'); /sys/fs/resctrl/schemata has the resources and domains of this host".into(),
        ),
    ] {
        bundle.set("/linux/intelRdt", rdt);
        assert_eq!(on(&bundle, &tree, "create").refused(), end);
        bundle.assert_nothing_left();
        assert_eq!(tree.groups(), before);
    }
    for name in ["a", "b", "c"] {
        tree.make(name, "MB:0=50\nL3:0=f\n");
    }
    bundle.set("/linux/intelRdt", json!({}));
    assert_eq!(
        on(&bundle, &tree, "create").refused(),
        format!(
            "linux.intelRdt: create resctrl group \"{id}\": no space left on device (Out of CLOSIDs); the CPU has a limited number of groups: num_closids and num_rmids below /sys/fs/resctrl/info"
        )
    );
    bundle.assert_nothing_left();
}

/// A creation that fails after the group was made takes it back, and what it wrote to one that existed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_failed_creation_leaves_no_group() {
    let Some((mut bundle, tree)) = stage(&Value::Null) else { return };
    let before = tree.groups();
    bundle.set("/process/args", json!(["/no/program"]));
    for rdt in [
        json!({}),
        json!({"closID": "x", "schemata": ["L3:0=f"], "enableMonitoring": true}),
        json!({"closID": "/", "schemata": ["L3:0=f"], "enableMonitoring": true}),
    ] {
        bundle.set("/linux/intelRdt", rdt);
        on(&bundle, &tree, "run").refused();
        assert_eq!(tree.groups(), before);
        bundle.assert_nothing_left();
    }
}

/// Killed before or after each call that resctrl answers, `delete --force` removes what was made and nothing else.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_creation_that_is_killed_leaves_nothing_for_long() {
    let Some((mut bundle, tree)) = stage(&Value::Null) else { return };
    tree.make("gold", "MB:0=50;1=50\nL3:0=f;1=f\n");
    let before = tree.groups();
    let mut points = 0;
    for rdt in [
        json!({"l3CacheSchema": "L3:0=f", "enableMonitoring": true}),
        json!({"closID": "new", "l3CacheSchema": "L3:0=f", "enableMonitoring": true}),
        json!({"closID": "gold", "enableMonitoring": true}),
    ] {
        bundle.set("/linux/intelRdt", rdt.clone());
        for point in 0.. {
            tree.kill_at(point);
            let done = on(&bundle, &tree, "create");
            tree.kill_at(NEVER);
            tare(&bundle, &tree, &["delete", "--force", &bundle.id]).silent();
            bundle.assert_nothing_left();
            if done.code == 0 {
                // The group that closID names outlives the container that was complete.
                let _made = fs::remove_dir_all(tree.path("new"));
                break;
            }
            points += 1;
            assert_eq!(done.code, 137, "{rdt} at {point}: {done:?}");
            assert_eq!(tree.groups(), before, "{rdt} at {point}");
        }
        assert_eq!(tree.groups(), before, "{rdt}");
    }
    assert!(points > 20, "only {points} points");
}

/// A group with a process of somebody else's is left alone, whatever the record of an unfinished creation says.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_group_that_others_use_is_not_removed() {
    let Some((bundle, tree)) = stage(&json!({})) else { return };
    on(&bundle, &tree, "create").silent();
    bundle.edit_record("phase", |_| json!("creating"));
    bundle.edit_record("resctrl", |group| {
        let mut group = group.clone();
        group.as_object_mut().unwrap().remove("inode");
        group
    });
    fs::write(tree.path(&bundle.id).join("tasks"), format!("{}\n", std::process::id())).unwrap();
    delete(&bundle, &tree);
    assert_eq!(tree.groups().len(), 2);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn update_changes_the_schemata() {
    let Some((bundle, tree)) = stage(&json!({"l3CacheSchema": "L3:0=f"})) else { return };
    begin(&bundle, &tree);
    let update = |options: &[&str]| tare(&bundle, &tree, &[&["update"], options, &[&*bundle.id]].concat());
    let group = || tree.groups()[1].split_once(' ').unwrap().1.to_owned();
    update(&["--l3-cache-schema", "L3:0=3;1=c", "--mem-bw-schema", "MB:0=40"]).silent();
    assert_eq!(group(), "MB:0=40;1=100 L3:0=3;1=c");
    let saved = || -> Value {
        serde_json::from_slice(&fs::read(bundle.root().join(&bundle.id).join("config.json")).unwrap()).unwrap()
    };
    let remembered = json!({"l3CacheSchema": "L3:0=3;1=c", "memBwSchema": "MB:0=40"});
    assert_eq!(saved()["linux"]["intelRdt"], remembered);
    // All or nothing, the limits of the cgroup with them.
    for options in [
        &["--l3-cache-schema", "L3:0=1", "--mem-bw-schema", "MB:0=1"][..],
        &["--l3-cache-schema", "L3:0=1", "--resources", "wrong.json"],
    ] {
        let wrong = json!({"unified": {"cgroup.max.depth": "deep"}});
        fs::write(bundle.file("wrong.json"), wrong.to_string()).unwrap();
        update(options).refused();
        assert_eq!(group(), "MB:0=40;1=100 L3:0=3;1=c");
        assert_eq!(saved()["linux"]["intelRdt"], remembered);
    }
    assert_eq!(
        update(&["--mem-bw-schema", "L3:0=1"]).refused(),
        "linux.intelRdt.memBwSchema: \"L3:0=1\" is not one line that starts with \"MB:\""
    );
    delete(&bundle, &tree);
}

/// config-linux.md: without intelRdt, nothing of resctrl is touched.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_intel_rdt_nothing_is_touched() {
    let Some((mut bundle, tree)) = stage(&Value::Null) else { return };
    bundle.unset("/linux/intelRdt");
    // Killed at the first call on resctrl.
    tree.kill_at(0);
    on(&bundle, &tree, "create").silent();
    on(&bundle, &tree, "start").silent();
    eventually("the program", || bundle.file("rootfs/tmp/up").exists());
    tare(&bundle, &tree, &["exec", &bundle.id, "/bin/true"]).silent();
    tare(&bundle, &tree, &["events", "--stats", &bundle.id]).good();
    delete(&bundle, &tree);
}
