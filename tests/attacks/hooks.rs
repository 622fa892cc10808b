//! Class 26: hooks that inherit, hang or fail.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::{Bundle, eventually, is_tare};
use crate::support::through_shell;

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that writes what it was given to a file of the bundle. Those in the container find it in their own tree.
fn tells(bundle: &Bundle, kind: &str) -> serde_json::Value {
    let inside = ["createContainer", "startContainer"].contains(&kind);
    let rootfs = if kind == "startContainer" { String::new() } else { bundle.file("rootfs").display().to_string() };
    let file = if inside { format!("{rootfs}/tmp/{kind}") } else { bundle.file(kind).display().to_string() };
    let line = format!("{{ for fd in /proc/self/fd/*; do echo fd $fd; done; env; echo over; }} >{file}");
    json!({ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["MARK=own"] })
}

/// Neither the caller's environment and descriptors nor the runtime's.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_26_hooks_inherit_nothing() {
    let mut bundle = Bundle::script("sleep 1000");
    let hooks: serde_json::Map<_, _> =
        KINDS.iter().map(|kind| ((*kind).to_string(), json!([tells(&bundle, kind)]))).collect();
    bundle.set("/hooks", json!(hooks)).write();
    let line = "export SECRET=x; exec 57</etc 58</; exec \"$@\"";
    through_shell(&bundle, line, &["create", &bundle.id]).silent();
    through_shell(&bundle, line, &["start", &bundle.id]).silent();
    through_shell(&bundle, line, &["delete", "--force", &bundle.id]).silent();
    for kind in KINDS {
        let [outside, inside] = [bundle.file(kind), bundle.file("rootfs/tmp").join(kind)];
        let text = fs::read_to_string(if outside.exists() { outside } else { inside }).unwrap();
        assert!(text.contains("MARK=own\n") && text.ends_with("over\n"), "{kind}: {text}");
        assert!(!text.contains("SECRET"), "{kind}: {text}");
        let fds: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("fd /proc/self/fd/")).collect();
        // The shell's own: the directory that it lists, and what it puts aside (10) for the redirection.
        let own = |fd: &&str| ["0", "1", "2", "3", "10", "11"].contains(fd);
        assert!(fds.iter().all(own), "{kind}: {fds:?}");
    }
}

/// A hook that hangs is killed with all that it started.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_26_a_timeout_ends_the_whole_group() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new();
        // By this they are found, whatever namespace they are in.
        let seconds =
            format!("1000.{}", bundle.name.replace(|c: char| !c.is_ascii_digit(), "")) + &kind.len().to_string();
        let line = format!("sleep {seconds} & sleep {seconds}; true");
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line], "timeout": 1 });
        bundle.set("/hooks", json!({ kind: [hook] })).write();
        let began = Instant::now();
        for command in ["create", "run"] {
            let line = bundle.on(command).refused();
            assert!(!is_tare() || line.starts_with(&format!("hooks.{kind}[0]")), "{line}");
            let of_hook = |line: &String| line.contains(&seconds);
            eventually("the group is dead", || !command_lines().iter().any(of_hook));
            if is_tare() {
                bundle.assert_nothing_left();
            }
        }
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

fn command_lines() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    entries.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// A failing hook before the start takes everything back, and its successors do not run.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_26_failing_hooks_leave_nothing() {
    for (position, kind) in KINDS.iter().enumerate() {
        let mut bundle = Bundle::new();
        let fails = json!({ "path": "/bin/false", "args": ["false"] });
        let mut hooks = json!({ *kind: [fails] });
        if let Some(next) = KINDS.get(position + 1).filter(|next| **next != "poststop") {
            hooks[*next] = json!([tells(&bundle, next)]);
        }
        bundle.set("/hooks", hooks).write();
        let done = bundle.on("run");
        // Of poststop runtime.md wants a warning alone.
        assert_eq!(done.code != 0, *kind != "poststop", "{kind}: {done:?}");
        assert!(!is_tare() || done.stderr.contains(kind), "{kind}: {done:?}");
        if let Some(next) = KINDS.get(position + 1).filter(|_| position < 4) {
            assert!(!bundle.file(next).exists() && !bundle.file("rootfs/tmp").join(next).exists(), "{next} ran");
        }
        if is_tare() {
            bundle.assert_nothing_left();
        }
    }
}
