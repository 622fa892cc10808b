//! The stable codes of errors, as the JSON log has them: real failures of commands, one for each code.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, is_tare};

/// Runs a command that fails, and compares its error in the JSON log.
#[track_caller]
fn fails(bundle: &Bundle, args: &[&str], code: &str, kind: &str) -> Value {
    let log = bundle.file("error.json");
    let _none = fs::remove_file(&log);
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let done = bundle.tare(&[&globals[..], args].concat());
    let exit_code = if args[0] == "exec" { 255 } else { 1 };
    assert_eq!(done.code, exit_code, "{code}: {done:?}");
    let text = fs::read_to_string(&log).unwrap();
    let error: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{code}: {e}: {text:?} {done:?}"));
    assert_eq!((error["code"].as_str(), error["kind"].as_str()), (Some(code), Some(kind)), "{error}");
    error
}

/// Edits of config.json (JSON pointer and value; null removes the key), and the code and kind of the error of `run`.
type Case = (&'static [(&'static str, &'static str)], &'static str, &'static str);

#[rustfmt::skip]
const CONFIGS: &[Case] = &[
    (&[("/ociVersion", r#""latest""#)], "spec-version-invalid", "invalid-config"),
    (&[("/ociVersion", r#""2.0.0""#)], "spec-version-unsupported", "unsupported"),
    (&[("/vm", r#"{"kernel":{"path":"/k"}}"#)], "config-value-unsupported", "unsupported"),
    (&[("/mounts", "{}")], "config-type-wrong", "invalid-config"),
    (&[("/mounts/0", r#"{"type":"proc"}"#)], "config-key-missing", "invalid-config"),
    (&[("/linux/namespaces/0", r#"{"type":"pdi"}"#)], "config-value-unknown", "invalid-config"),
    (&[("/linux/namespaces/0", r#"{"type":"mount"}"#)], "namespace-duplicate", "invalid-config"),
    (&[("/linux/namespaces/0", r#"{"type":"pid","path":"/no/such"}"#)], "namespace-path-invalid", "invalid-config"),
    (&[("/linux/namespaces/0", r#"{"type":"user"}"#)], "id-mapping-missing", "invalid-config"),
    (&[("/root/path", r#""""#)], "rootfs-invalid", "invalid-config"),
    (&[("/root/path", r#""nothing""#)], "rootfs-failed", "system"),
    (&[("/mounts/1/options", r#"["nosiud"]"#)], "mount-option-unknown", "invalid-config"),
    (&[("/mounts/1/options", r#"["size=much"]"#)], "mount-option-refused", "system"),
    (&[("/mounts/0/options", r#"["tmpcopyup"]"#)], "mount-option-invalid", "invalid-config"),
    (&[("/mounts/1/type", r#""nofs""#)], "mount-failed", "system"),
    (&[("/mounts/1/type", r#""""#)], "mount-type-missing", "invalid-config"),
    (&[("/mounts/1", r#"{"destination":"/dev","source":"/no/such","options":["bind"]}"#)], "mount-source-failed", "system"),
    (&[("/mounts/1/destination", r#""/proc/cpuinfo/x""#)], "mount-destination-invalid", "invalid-config"),
    (&[("/linux/devices", r#"[{"path":"x","type":"c","major":1,"minor":3}]"#)], "device-invalid", "invalid-config"),
    (&[("/linux/maskedPaths", r#"["x"]"#)], "path-invalid", "invalid-config"),
    (&[("/linux/sysctl", r#"{"vm.swappiness":"1"}"#)], "sysctl-not-namespaced", "invalid-config"),
    (&[("/linux/sysctl", r#"{"net.ipv4.no_such":"1"}"#)], "sysctl-failed", "system"),
    (&[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ALOW"}"#)], "seccomp-action-unknown", "invalid-config"),
    (&[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#)], "seccomp-profile-refuses-execve", "invalid-config"),
    (&[("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#)], "seccomp-agent-invalid", "invalid-config"),
    (&[("/linux/cgroupsPath", r#""/a/../b""#)], "cgroup-path-invalid", "invalid-config"),
    (&[("/linux/resources/cpu", r#"{"period":1}"#)], "cgroup-limit-invalid", "invalid-config"),
    (&[("/linux/resources/memory", r#"{"kernelTCP":4096}"#)], "cgroup-limit-unsupported", "unsupported"),
    (&[("/linux/resources/devices/0/access", r#""""#)], "cgroup-device-rule-invalid", "invalid-config"),
    (&[("/linux/netDevices", r#"{"no-such-device":{}}"#)], "network-device-invalid", "invalid-config"),
    (&[("/process/args", "[]")], "arguments-missing", "invalid-config"),
    (&[("/process/args", r#"["nosuchprogram"]"#)], "executable-not-found", "not-found"),
    (&[("/process/args", r#"["/bin/true", "a\u0000b"]"#)], "nul-character", "invalid-config"),
    (&[("/process/cwd", r#""x""#)], "cwd-invalid", "invalid-config"),
    (&[("/process/cwd", r#""/etc/passwd""#)], "cwd-failed", "system"),
    (&[("/process/env", r#"["=x"]"#)], "environment-invalid", "invalid-config"),
    (&[("/process/user/umask", "4096")], "user-invalid", "invalid-config"),
    (&[("/process/rlimits", r#"[{"type":"RLIMIT_CORE","soft":2,"hard":1}]"#)], "rlimit-invalid", "invalid-config"),
    (&[("/process/oomScoreAdj", "2000")], "process-attribute-invalid", "invalid-config"),
    (&[("/process/terminal", "true"), ("/process/consoleSize", r#"{"width":70000,"height":1}"#)], "terminal-invalid", "invalid-config"),
    (&[("/hooks", r#"{"prestart":[{"path":"x"}]}"#)], "hook-invalid", "invalid-config"),
    (&[("/hooks", r#"{"prestart":[{"path":"/bin/false"}]}"#)], "hook-failed", "hook"),
    (&[("/hooks", r#"{"prestart":[{"path":"/no/such"}]}"#)], "hook-executable-failed", "hook"),
    (&[("/hooks", r#"{"prestart":[{"path":"/bin/sleep","args":["sleep","60"],"timeout":1}]}"#)], "hook-timeout", "hook"),
    (&[("/process", "null")], "container-without-process", "invalid-config"),
];

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_refused_config_has_the_code_of_its_mistake() {
    if !is_tare() {
        return eprintln!("skipped: the codes are tare's");
    }
    let mut codes = BTreeSet::new();
    for (edits, code, kind) in CONFIGS {
        let mut bundle = Bundle::new();
        for (pointer, value) in *edits {
            match serde_json::from_str(value).unwrap() {
                Value::Null => bundle.unset(pointer),
                value => bundle.set(pointer, value),
            };
        }
        bundle.write();
        fails(&bundle, &["run", &bundle.id], code, kind);
        assert!(codes.insert(code), "{code} is listed twice");
    }
    assert!(codes.len() >= 25);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_refused_command_has_the_code_of_its_mistake() {
    if !is_tare() {
        return eprintln!("skipped: the codes are tare's");
    }
    let bundle = Bundle::script("sleep 1000");
    let id = &*bundle.id;
    fails(&bundle, &["run", id], "config-not-found", "not-found");
    fs::write(bundle.file("config.json"), "{").unwrap();
    fails(&bundle, &["run", id], "config-json-invalid", "invalid-config");
    bundle.write();
    fails(&bundle, &["run", "--bundle", "/no/such", id], "bundle-failed", "system");
    fails(&bundle, &["run", "a/b"], "container-id-invalid", "invalid-config");
    fails(&bundle, &["run", "--preserve-fds", "500", id], "descriptor-invalid", "invalid-config");
    fails(&bundle, &["run", "--pid-file", "/no/such/file", id], "pid-file-failed", "system");
    let error = fails(&bundle, &["state", id], "container-not-found", "not-found");
    assert_eq!(error["errno"], Value::Null);
    fails(&bundle, &["frobnicate"], "command-line-invalid", "invalid-config");
    bundle.create().silent();
    fails(&bundle, &["create", id], "container-exists", "exists");
    bundle.on("start").silent();
    fails(&bundle, &["start", id], "container-not-created", "wrong-status");
    fails(&bundle, &["delete", id], "container-not-stopped", "wrong-status");
    fails(&bundle, &["kill", id, "TREM"], "signal-unknown", "invalid-config");
    fails(&bundle, &["resume", id], "container-not-paused", "wrong-status");
    fails(&bundle, &["events", "--interval", "x", id], "option-value-invalid", "invalid-config");
    fails(&bundle, &["exec", id, "nosuchprogram"], "executable-not-found", "not-found");
    fails(&bundle, &["exec", "--cap", "CAP_NOTHING", id, "true"], "capability-unknown", "invalid-config");
    fails(&bundle, &["exec", "--cgroup", "nothing", id, "true"], "sub-cgroup-not-found", "not-found");
    bundle.on("pause").silent();
    fails(&bundle, &["exec", id, "true"], "container-paused", "wrong-status");
    bundle.on("resume").silent();
    bundle.tare(&["kill", id, "KILL"]).silent();
    crate::bundle::eventually("it stops", || bundle.status() == "stopped");
    fails(&bundle, &["kill", id, "KILL"], "container-not-running", "wrong-status");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_error_of_the_kernel_has_its_number_too() {
    if !is_tare() {
        return eprintln!("skipped: the codes are tare's");
    }
    let mut bundle = Bundle::new();
    bundle.set("/mounts/1/options", json!(["nosuid", "nosiud"]));
    bundle.write();
    let error = fails(&bundle, &["run", &bundle.id], "mount-option-unknown", "invalid-config");
    assert_eq!((&error["errno"], &error["at"]), (&json!(libc::EINVAL), &json!("mounts[1].options[1]")));
}
