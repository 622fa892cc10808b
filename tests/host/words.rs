//! Keys and words that are nearly right: what they ask for is not done, and that is said.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, is_tare};

fn warning(path: &str, meant: &str) -> String {
    format!("tare: warning: {path}: this key is not known and has no effect; did you mean \"{meant}\"?\n")
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn misspelt_keys_are_named_and_no_error() {
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    for command in ["run", "create"] {
        let mut bundle = Bundle::new();
        bundle.set("/linux/maskedPath", json!(["/proc/kcore"]));
        bundle.set("/mounts/1/optoins", json!(["ro"]));
        bundle.set("/linux/resources/memory", json!({ "limitt": 5 }));
        bundle.set("/x-extension", json!({ "maskedPath": 1 }));
        bundle.write();
        let done = bundle.on(command);
        assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{done:?}");
        // In the order of the text.
        let mut lines: Vec<_> = done.stderr.split_inclusive('\n').collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                warning("linux.maskedPath", "maskedPaths"),
                warning("linux.resources.memory.limitt", "limit"),
                warning("mounts[1].optoins", "options"),
            ]
        );
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn misspelt_keys_of_a_process_file_and_of_an_update_are_named() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    bundle.begin();
    let process =
        json!({ "args": ["/bin/true"], "cwd": "/", "capabilites": {}, "x": 1, "user": { "uid": 0, "umsk": 5 } });
    fs::write(bundle.file("p.json"), process.to_string()).unwrap();
    let done = bundle.tare(&["exec", "--process", "p.json", &bundle.id]);
    assert_eq!(done.code, 0, "{done:?}");
    let lines = [warning("capabilites", "capabilities"), warning("user.umsk", "umask")];
    assert_eq!(done.stderr, lines.concat());
    fs::write(bundle.file("r.json"), r#"{"unifid": {"memory.low": "1"}, "vendor": {"limitt": 1}}"#).unwrap();
    let done = bundle.tare(&["update", "--resources", "r.json", &bundle.id]);
    assert_eq!((done.code, done.stderr), (0, warning("linux.resources.unifid", "unified")));
    // What is said when the container is made is said once.
    bundle.tare(&["exec", &bundle.id, "/bin/true"]).silent();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn words_of_the_log_are_checked() {
    for (option, word) in [("--log-level", "loud"), ("--log-format", "xml"), ("--log-level", "")] {
        if !is_tare() && option == "--log-level" {
            continue;
        }
        let bundle = Bundle::script("echo ran");
        bundle.write();
        let done = bundle.tare(&[option, word, "run", &bundle.id]);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{option} {word}");
        assert!(!is_tare() || done.refused().contains(option), "{option} {word}");
    }
    if is_tare() {
        let bundle = Bundle::script("echo ran");
        bundle.write();
        for level in ["trace", "debug", "info", "warn", "WARNING", "error", "fatal", "panic"] {
            assert_eq!(bundle.tare(&["--log", "log", "--log-level", level, "run", &bundle.id]).good(), "ran\n");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn versions_of_the_specification() {
    for (version, accepted) in [
        ("1.0.0", true),
        ("1.0.2-dev", true),
        ("1.3.0", true),
        ("1.9.0", true),
        ("2.0.0", false),
        ("0.5.0", false),
        ("", false),
        ("1.2", false),
        ("one", false),
    ] {
        if !is_tare() && !accepted {
            continue;
        }
        let mut bundle = Bundle::script("echo ran");
        bundle.set("/ociVersion", json!(version));
        let done = bundle.run();
        if accepted {
            assert_eq!(done.good(), "ran\n", "{version}");
        } else {
            assert!(done.refused().starts_with("ociVersion: "), "{version}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn labels_need_their_module() {
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    let apparmor =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
    for (at, label, present) in [
        ("linux.mountLabel", "system_u:object_r:container_file_t:s0", selinux),
        ("process.selinuxLabel", "system_u:system_r:container_t:s0", selinux),
        ("process.apparmorProfile", "docker-default", apparmor),
    ] {
        if present {
            eprintln!("skipped: this host has the module of {at}");
            continue;
        }
        for (label, accepted) in [("", true), (label, false)] {
            let mut bundle = Bundle::script("echo ran");
            bundle.set(&format!("/{}", at.replace('.', "/")), json!(label));
            let done = bundle.run();
            if accepted {
                assert_eq!(done.good(), "ran\n", "{at}");
            } else {
                assert!(done.code != 0 && done.stdout.is_empty(), "{at}: {done:?}");
                assert!(!is_tare() || done.stderr.starts_with(&format!("tare: {at}: ")), "{done:?}");
            }
        }
    }
}
