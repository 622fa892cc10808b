//! Small requirements of runtime-spec that no other test is about; `oci-conformance/requirements.csv` names these tests.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, finish, is_tare, runtime};

fn features() -> Value {
    let mut command = Command::new(runtime());
    command.arg("features");
    serde_json::from_str(&finish(command).good()).unwrap()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_string()).collect()
}

/// config.md, Linux mount options: without a mapping of its own or of the container there is an error.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn idmap_needs_a_mapping() {
    let mut bundle = Bundle::new();
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    for word in ["idmap", "ridmap"] {
        let mount = json!({ "destination": "/tmp", "source": "/etc", "options": ["rbind", word] });
        bundle.set("/mounts", json!([mounts.clone(), vec![mount]].concat()));
        let done = bundle.create();
        if is_tare() {
            let line = done.refused();
            assert!(line.starts_with("mounts[4]"), "{line}");
            bundle.assert_nothing_left();
        }
    }
}

/// config.md, Hooks: prestart, createRuntime, createContainer, each list in its order.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hooks_of_create_come_in_their_order() {
    let mut bundle = Bundle::script("sleep 100");
    let order = bundle.file("order");
    let hook =
        |word: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {word} >>{}", order.display())] });
    let hooks = json!({
        "createContainer": [hook("5"), hook("6")], "createRuntime": [hook("3"), hook("4")],
        "prestart": [hook("1"), hook("2")],
    });
    bundle.set("/hooks", hooks);
    bundle.create().silent();
    assert_eq!(fs::read_to_string(&order).unwrap(), "1\n2\n3\n4\n5\n6\n");
}

/// config.md, Annotations: values are strings.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn values_of_annotations_are_strings() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    bundle.set("/annotations", json!({ "com.example.key": 7 }));
    let line = bundle.create().refused();
    assert!(line.starts_with("annotations") && line.ends_with(": 7 where a string is expected"), "{line}");
    bundle.assert_nothing_left();
}

/// config.md, Extensibility.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn unknown_keys_are_ignored() {
    let mut bundle = Bundle::script("echo ran");
    for pointer in
        ["/newer", "/process/newer", "/root/newer", "/linux/newer", "/linux/resources/newer", "/mounts/0/newer"]
    {
        bundle.set(pointer, json!({ "of": ["a", 1, null, { "deep": true }] }));
    }
    bundle.set("/annotations", json!({ "com.example.newer": "x", "org.opencontainers.image.newer": "x" }));
    assert_eq!(bundle.run().good(), "ran\n");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_profile_has_a_default_action() {
    let mut bundle = Bundle::new();
    bundle.set("/linux/seccomp", json!({ "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }));
    let done = bundle.create();
    if is_tare() {
        assert_eq!(done.refused(), "linux.seccomp: \"defaultAction\" is missing");
        bundle.assert_nothing_left();
    }
}

/// features.md: both ends of the range, and all that lies between.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn versions_of_features_are_accepted() {
    let mut bundle = Bundle::script("echo ran");
    let version = |key: &str| {
        let text = features()[key].as_str().unwrap().to_string();
        let numbers: Vec<u32> = text.split('.').map(|part| part.split('-').next().unwrap().parse().unwrap()).collect();
        (text, numbers)
    };
    let [oldest, newest] = ["ociVersionMin", "ociVersionMax"].map(version);
    assert!(oldest.1 <= newest.1);
    for version in [&oldest.0, &newest.0, "1.0.2", "1.1.0", "1.2.1"] {
        bundle.set("/ociVersion", json!(version));
        assert_eq!(bundle.run().good(), "ran\n", "{version}");
    }
}

/// features.md: nothing but what it defines, and annotations are strings.
#[test]
fn features_has_the_keys_of_the_specification() {
    let features = features();
    let allowed = |value: &Value, keys: &[&str]| {
        let unknown: Vec<_> = value.as_object().unwrap().keys().filter(|key| !keys.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "not of the specification: {unknown:?}");
    };
    let top = "ociVersionMin ociVersionMax hooks mountOptions linux annotations potentiallyUnsafeConfigAnnotations";
    allowed(&features, &top.split(' ').collect::<Vec<_>>());
    let linux =
        "namespaces capabilities cgroup seccomp apparmor selinux intelRdt memoryPolicy mountExtensions netDevices";
    allowed(&features["linux"], &linux.split(' ').collect::<Vec<_>>());
    if is_tare() {
        allowed(&features["linux"]["cgroup"], &["v1", "v2", "systemd", "systemdUser", "rdma"]);
        let seccomp = ["enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"];
        allowed(&features["linux"]["seccomp"], &seccomp);
        allowed(&features["linux"]["memoryPolicy"], &["modes", "flags"]);
        assert_eq!(features["linux"]["intelRdt"], json!({ "enabled": true, "schemata": true, "monitoring": true }));
        assert_eq!(features["linux"]["seccomp"]["knownFlags"], features["linux"]["seccomp"]["supportedFlags"]);
    }
    assert!(features["annotations"].as_object().unwrap().values().all(Value::is_string));
}

/// features.md, "Mount options": options of a filesystem should not be listed.
#[test]
fn no_option_of_a_filesystem_is_in_features() {
    let listed = words(&features()["mountOptions"]);
    for option in
        ["size", "mode", "uid", "gid", "nr_inodes", "newinstance", "ptmxmode", "hidepid", "lowerdir", "upperdir"]
    {
        assert!(!listed.iter().any(|word| word == option || word.starts_with(&format!("{option}="))), "{option}");
    }
    assert!(listed.iter().all(|word| !word.contains('=')), "{listed:?}");
}

/// features-linux.md: what is listed may be in config.json. Whether the kernel can do it is another matter.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_features_lists_is_recognised() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let features = features();
    let refused_words = |bundle: &mut Bundle, pointer: &str, value: Value| {
        bundle.set(pointer, value);
        let done = bundle.create();
        bundle.tare(&["delete", "--force", &bundle.id]);
        bundle.reap_orphans();
        done.stderr.contains("unknown value").then_some(done.stderr)
    };
    let linux = &features["linux"];
    let mut wrong = Vec::new();
    let plain = bundle.config["linux"]["namespaces"].clone();
    for kind in words(&linux["namespaces"]) {
        wrong.extend(refused_words(&mut bundle, "/linux/namespaces", json!([{ "type": kind }])));
    }
    bundle.set("/linux/namespaces", plain);
    let capabilities = linux["capabilities"].clone();
    let of_host = ["bounding", "permitted"].map(|set| (set.to_string(), capabilities.clone()));
    bundle.set("/process/capabilities", json!(of_host.into_iter().collect::<serde_json::Map<_, _>>()));
    let done = bundle.create();
    assert!(!done.stderr.contains("did you mean"), "{done:?}");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    let profile = |architectures: Value, flags: Value, action: &str, operator: &str| {
        let rule = json!({ "names": ["swapon"], "action": action,
            "args": [{ "index": 0, "value": 1, "valueTwo": 1, "op": operator }] });
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "flags": flags, "syscalls": [rule] })
    };
    let seccomp = &linux["seccomp"];
    let (all, none) = (seccomp["archs"].clone(), json!([]));
    for action in words(&seccomp["actions"]).iter().filter(|action| *action != "SCMP_ACT_NOTIFY") {
        let value = profile(all.clone(), none.clone(), action, "SCMP_CMP_EQ");
        wrong.extend(refused_words(&mut bundle, "/linux/seccomp", value));
    }
    for operator in words(&seccomp["operators"]) {
        let value = profile(all.clone(), none.clone(), "SCMP_ACT_ERRNO", &operator);
        wrong.extend(refused_words(&mut bundle, "/linux/seccomp", value));
    }
    for flag in words(&seccomp["knownFlags"]) {
        let value = profile(all.clone(), json!([flag]), "SCMP_ACT_ERRNO", "SCMP_CMP_EQ");
        wrong.extend(refused_words(&mut bundle, "/linux/seccomp", value));
    }
    bundle.unset("/linux/seccomp");
    for mode in words(&linux["memoryPolicy"]["modes"]) {
        wrong.extend(refused_words(&mut bundle, "/linux/memoryPolicy", json!({ "mode": mode, "nodes": "0" })));
    }
    for flag in words(&linux["memoryPolicy"]["flags"]) {
        let value = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
        wrong.extend(refused_words(&mut bundle, "/linux/memoryPolicy", value));
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// What the specification calls REQUIRED is missed, but for fields that runc reads as 0 when they are absent.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn missing_required_fields_are_named() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc takes the zero value for what is absent");
    }
    let rule = json!({ "names": ["swapon"], "action": "SCMP_ACT_ERRNO",
        "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] });
    let mut wrong = Vec::new();
    // Where an object is put, the object, the path of the one that loses its fields, and these.
    for (pointer, value, path, fields) in [
        ("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }]), "/0", "type"),
        ("/process/scheduler", json!({ "policy": "SCHED_BATCH" }), "", "policy"),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/dev/x", "major": 1, "minor": 3 }]),
            "/0",
            "type path major minor",
        ),
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL" }), "", "mode"),
        ("/linux/personality", json!({ "domain": "LINUX" }), "", "domain"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }),
            "/syscalls/0",
            "names action",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }),
            "/syscalls/0/args/0",
            "index value op",
        ),
        ("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 1 }]), "/0", "pageSize"),
        ("/hooks", json!({ "poststop": [{ "path": "/bin/true" }] }), "/poststop/0", "path"),
        ("/mounts", json!([{ "destination": "/tmp", "type": "tmpfs" }]), "/0", "destination"),
    ] {
        for field in fields.split(' ') {
            let mut bundle = Bundle::new();
            let mut value = value.clone();
            let object = value.pointer_mut(path).and_then(Value::as_object_mut).unwrap();
            assert!(object.remove(field).is_some(), "{pointer}{path} has no {field}");
            bundle.set(pointer, value);
            let done = bundle.create();
            if done.code == 0 || !done.stderr.contains(field) {
                wrong.push(format!("{pointer}{path} without {field}: {} {}", done.code, done.stderr.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn empty_lists_and_paths_are_refused() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let mappings = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    for (pointer, value, path) in [
        ("/linux/readonlyPaths", json!(["/proc/bus", "proc/fs"]), "linux.readonlyPaths[1]"),
        ("/linux/maskedPaths", json!(["/proc/bus", "proc/fs"]), "linux.maskedPaths[1]"),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [], "action": "SCMP_ACT_ERRNO" }] }),
            "linux.seccomp.syscalls[0].names",
        ),
        (
            "/mounts/-",
            json!({ "destination": "/tmp", "source": "/etc", "options": ["bind", "idmap"], "uidMappings": mappings }),
            "mounts[4].uidMappings",
        ),
        (
            "/mounts/-",
            json!({ "destination": "/tmp", "source": "/etc", "options": ["bind", "idmap"], "gidMappings": mappings }),
            "mounts[4].gidMappings",
        ),
    ] {
        let mut bundle = Bundle::new();
        bundle.set(pointer, value);
        let line = bundle.create().refused();
        assert!(line.starts_with(path), "{path}: {line}");
    }
    bundle.assert_nothing_left();
}
