//! Hooks at their points of the life cycle. Source: runtime-spec runtime.md, "Lifecycle" and "State".

use std::fs;

use serde_json::{Value, json};

use crate::bundle::{Bundle, is_tare, reap};

/// A hook that runs a line for the shell.
fn hook(line: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/bin:/usr/bin"] })
}

/// Hooks that keep the state they are given; where the container's files are, and where the host's.
fn with_states(bundle: &mut Bundle) -> [(&'static str, String); 6] {
    let outside = bundle.path().display().to_string();
    let place = |kind: &'static str| match kind {
        "startContainer" => (kind, format!("{outside}/rootfs/tmp/{kind}")),
        _ => (kind, format!("{outside}/{kind}")),
    };
    let files = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"].map(place);
    let mut hooks = json!({});
    for (kind, file) in &files {
        let inside = if *kind == "startContainer" { format!("/tmp/{kind}") } else { file.clone() };
        hooks[*kind] = json!([hook(&format!("cat > {inside}"))]);
    }
    bundle.set("/hooks", hooks);
    files
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_hook_is_told_the_status_and_the_pid_that_it_sees() {
    let mut bundle = Bundle::script("sleep 100");
    let files = with_states(&mut bundle);
    bundle.begin();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    bundle.on("delete").silent();
    for (kind, file) in files {
        let state: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let (status, seen) = match kind {
            "prestart" | "createRuntime" => ("creating", pid),
            "createContainer" => ("creating", 1),
            "startContainer" => ("created", 1),
            // runc 1.1 runs them in create.
            "poststart" => (if is_tare() { "running" } else { "created" }, pid),
            // Absent or 0.
            _ => ("stopped", 0),
        };
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["pid"].as_i64().unwrap_or(0), i64::from(seen), "{kind}");
        assert_eq!(state["id"], bundle.id.as_str());
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_pid_namespace_every_hook_sees_the_same_pid() {
    let mut bundle = Bundle::script("sleep 100");
    bundle.share_pids();
    let files = with_states(&mut bundle);
    bundle.begin();
    let pid = i64::from(bundle.pid());
    for (kind, file) in files.iter().take(5) {
        let state: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(state["pid"].as_i64(), Some(pid), "{kind}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_poststart_hook_that_fails_ends_the_container() {
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 runs poststart hooks in create");
    }
    for detach in [false, true] {
        for command in ["start", "run"] {
            let mut bundle = Bundle::script("sleep 1000");
            let stopped = bundle.file("stopped");
            let hooks = json!({
                "poststart": [hook("true"), hook("echo why >&2; exit 3"), hook(&format!("echo > {}/next", bundle.path().display()))],
                "poststop": [hook("exit 1"), hook(&format!("cat > {}", stopped.display()))],
            });
            bundle.set("/hooks", hooks).write();
            let done = match (command, detach) {
                ("start", true) => continue,
                ("start", _) => {
                    bundle.create().silent();
                    bundle.on("start")
                }
                (_, true) => bundle.run_with(&["--detach"]),
                (_, false) => bundle.run(),
            };
            assert!(done.code != 0, "{command}: {done:?}");
            let cause = done.stderr.lines().last().unwrap_or_default();
            assert!(cause.starts_with("tare: hooks.poststart[1]: error running poststart hook #1"), "{cause}");
            assert!(cause.contains("why"), "{cause}");
            // The first poststop hook fails, which is a warning, and the second runs.
            assert!(done.stderr.contains("warning: hooks.poststop[0]"), "{done:?}");
            let state: Value = serde_json::from_str(&fs::read_to_string(&stopped).unwrap()).unwrap();
            assert_eq!(state["status"], "stopped");
            bundle.reap_orphans();
            bundle.assert_nothing_left();
            assert!(!bundle.file("next").exists(), "{command}: a hook ran after one that failed");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_without_a_process_can_be_created_but_not_started() {
    let mut bundle = Bundle::new();
    bundle.unset("/process");
    bundle.write();
    if !is_tare() {
        // runc wants one for create.
        bundle.on("create").refused();
        return;
    }
    bundle.create().silent();
    for _ in 0..2 {
        assert_eq!(
            bundle.on("start").refused(),
            format!(
                "process: cannot start container \"{}\": config.json has no process, so there is nothing to start",
                bundle.id
            )
        );
        assert_eq!(bundle.status(), "created");
    }
    bundle.on("delete").silent();
    bundle.reap_orphans();
    bundle.assert_nothing_left();
}
