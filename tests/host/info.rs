//! `tare info`: each answer is what this host gives another program as well, and asking changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, copy_program, finish, give, is_tare, kernel_before, runtime};

const USER: u32 = 4242;

fn tare(args: &[&str]) -> Done {
    let mut command = Command::new(runtime());
    command.args(args);
    finish(command)
}

fn info() -> Option<Value> {
    if !is_tare() {
        eprintln!("skipped: the command is tare's");
        return None;
    }
    Some(serde_json::from_str(&tare(&["info", "--json"]).good()).unwrap())
}

/// The words of a file of the kernel's; none if there is no such file.
fn words(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(Value::from).collect()
}

/// Whether a command succeeds.
fn succeeds(line: &[&str]) -> bool {
    Command::new(line[0]).args(&line[1..]).output().is_ok_and(|output| output.status.success())
}

/// What is impossible here.
fn impossible(info: &Value) -> Vec<&str> {
    info["notPossible"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect()
}

#[test]
fn info_describes_the_host_in_a_table_and_in_json() {
    let Some(json) = info() else { return };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(json["kernel"]["release"], release.trim());
    assert_eq!(json["caller"]["uid"], rustix::process::geteuid().as_raw());
    let table = tare(&["info"]).good();
    let (table, list) = table.split_once("\nnot possible here\n").unwrap();
    let line = table.lines().find(|line| line.starts_with("kernel.release ")).unwrap();
    assert!(line.ends_with(&format!(" {}", release.trim())), "{table}");
    assert!(table.contains("\nseccomp.actions ") && !table.contains(['{', '[', '"']), "{table}");
    let lines: Vec<String> = json["notPossible"].as_array().unwrap().iter().map(line_of).collect();
    assert_eq!(list.lines().collect::<Vec<_>>(), lines);
}

/// An entry of the list for people.
fn line_of(one: &Value) -> String {
    let [what, why, remedy] = ["what", "why", "remedy"].map(|member| one[member].as_str().unwrap());
    assert!([what, why, remedy].iter().all(|text| !text.is_empty() && !text.ends_with('.')), "{one}");
    format!("  {what}: {why}; {remedy}")
}

/// docs/host.md has a row for each value, and none for anything else.
#[test]
fn the_page_has_a_row_for_each_value() {
    let Some(json) = info() else { return };
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/host.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    let names = json.as_object().unwrap().iter().flat_map(|(section, value)| match (section.as_str(), value) {
        ("idMappedMounts", _) => vec!["idMappedMounts.FILESYSTEM".to_owned()],
        ("notPossible", _) => ["what", "why", "remedy"].map(|name| format!("notPossible[].{name}")).to_vec(),
        (_, Value::Object(members)) => members.keys().map(|name| format!("{section}.{name}")).collect(),
        _ => vec![section.clone()],
    });
    assert_eq!(rows, names.collect());
    // What the page shows as an example is what a host like that gets.
    let examples: Vec<&str> = page.lines().filter(|line| line.starts_with("  ")).collect();
    for line in json["notPossible"].as_array().unwrap().iter().map(line_of) {
        let what = line.split_inclusive(": ").next().unwrap();
        assert!(examples.iter().all(|example| !example.starts_with(what) || *example == line), "{line}");
    }
}

#[test]
fn the_kernels_answers_are_those_of_its_files() {
    let Some(json) = info() else { return };
    assert_eq!(json["seccomp"]["actions"], Value::from(words("/proc/sys/kernel/seccomp/actions_avail")));
    let notify = words("/proc/sys/kernel/seccomp/actions_avail").contains(&Value::from("user_notif"));
    assert_eq!((&json["seccomp"]["filter"], &json["seccomp"]["notify"]), (&Value::from(true), &Value::from(notify)));
    let namespaces = json["kernel"]["namespaces"].as_array().unwrap();
    assert_eq!(namespaces.contains(&Value::from("time")), Path::new("/proc/self/ns/time").exists());
    assert!(namespaces.contains(&Value::from("mount")) && namespaces.contains(&Value::from("network")), "{json}");
    if let Ok(modules) = fs::read_to_string("/sys/kernel/security/lsm") {
        let modules: Vec<Value> = modules.trim().split(',').map(Value::from).collect();
        assert_eq!(json["securityModules"], Value::from(modules));
    }
    // Every kernel on which these tests run has them.
    for call in ["clone3", "mountSetattr", "pidfd"] {
        assert_eq!(json["kernel"][call], true, "{call}");
    }
    // Distributions may have them earlier.
    for (name, since) in [("statmount", [6, 8]), ("pidfdExitCode", [6, 15]), ("openTreeNamespace", [7, 0])] {
        assert!(json["kernel"][name] == true || kernel_before(since), "{name} on {}", json["kernel"]["release"]);
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn root_has_what_the_host_has() {
    let Some(json) = info() else { return };
    assert_eq!((&json["caller"]["rootless"], &json["cgroup"]["layout"]), (&Value::from(false), &Value::from("v2")));
    let controllers = Value::from(words("/sys/fs/cgroup/cgroup.controllers"));
    assert_eq!((&json["cgroup"]["controllers"], &json["cgroup"]["delegated"]), (&controllers, &controllers));
    assert_eq!(json["userNamespaces"]["allowed"], succeeds(&["unshare", "--user", "--map-root-user", "true"]));
    assert!(json["idMappedMounts"]["tmpfs"] == true || kernel_before([6, 3]), "{json}");
    let criu = Command::new("criu").arg("--version").output();
    let criu = criu.map_or_else(|_| String::new(), |output| String::from_utf8(output.stdout).unwrap());
    let version = json["criu"]["version"].as_str().unwrap_or("none");
    assert!(if criu.is_empty() { version == "none" } else { criu.contains(version) }, "{criu}: {version}");
    let systemd = Path::new("/run/systemd/system").exists();
    assert_eq!((&json["systemd"]["running"], json["systemd"]["version"].is_string()), (&Value::from(systemd), systemd));
    assert_eq!(impossible(&json).contains(&"--systemd-cgroup"), !systemd, "{json}");
    assert!(!impossible(&json).contains(&"containers"), "{json}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_ordinary_user_is_told_what_is_not_possible() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    give(bundle.path(), USER);
    bundle.user = Some(USER);
    let json: Value = serde_json::from_str(&bundle.tare(&["info", "--json"]).good()).unwrap();
    assert_eq!((&json["caller"]["uid"], &json["caller"]["rootless"]), (&Value::from(USER), &Value::from(true)));
    assert_eq!((&json["cgroup"]["delegated"], &json["idMappedMounts"]), (&Value::Null, &Value::Null));
    let found = impossible(&json);
    for what in ["cgroups that tare makes itself", "--systemd-cgroup", "id-mapped mounts", "checkpoint, restore"] {
        assert!(found.contains(&what), "{what} in {found:?}");
    }
    assert_eq!(found.iter().filter(|what| what.starts_with("mapping ids")).count(), 1, "{found:?}");
    assert!(bundle.tare(&["info"]).good().contains("\n  id-mapped mounts: open_tree(2): operation not permitted; "));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_setting_that_forbids_user_namespaces_is_named() {
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    // The setting belongs to the user namespace in which it is made.
    let line = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" info";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", line]).arg(runtime());
    let table = finish(command).good();
    let expected = "  containers without root: create a user namespace: no space left on device; sysctl -w \
                    user.max_user_namespaces=15000";
    assert!(table.lines().any(|line| line == expected), "{table}");
    assert!(table.lines().any(|line| line == "caller.inUserNamespace                yes"), "{table}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_filter_is_not_taken_for_an_old_kernel() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    bundle.tare(&["spec", "--docker-default"]).silent();
    bundle.config = serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap();
    bundle.set("/process/terminal", false.into()).set("/process/args", json!(["/runtime", "info"]));
    bundle.set("/linux/cgroupsPath", format!("/{}", bundle.name).into());
    copy_program(&runtime(), &bundle.file("rootfs/runtime"));
    // Of a runtime that was not linked statically.
    for path in ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|path| Path::new(path).is_dir()) {
        fs::create_dir_all(bundle.file("rootfs").join(&path[1..])).unwrap();
        let mount = json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"] });
        bundle.set("/mounts/-", mount);
    }
    let table = bundle.run().good();
    let remedy = "run tare without the seccomp filter that it is under";
    let line = format!("\n  containers: clone3(2): function not implemented; {remedy}");
    assert!(table.contains(&line) && !table.contains("Linux 5.14"), "{table}");
    assert!(
        table.contains("\n  containers without root: create a user namespace: operation not permitted; "),
        "{table}"
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_question_changes_nothing() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    let entries =
        || fs::read_dir(bundle.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    let before = (fs::read("/proc/self/mountinfo").unwrap(), entries());
    bundle.tare(&["info"]).good();
    bundle.assert_nothing_left();
    assert!(before == (fs::read("/proc/self/mountinfo").unwrap(), entries()), "{:?}", entries());
}
