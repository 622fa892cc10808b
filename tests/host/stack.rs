//! How deep the stacks go: nothing that a config or an image decides makes them deeper.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::bundle::{Bundle, finish, is_tare, reap};

/// Of the 256 KB that the child has: `SIZE` of sys/stack.rs.
const MAPPED: u64 = 256;
const DEEPEST: u64 = MAPPED / 4;

/// KB of the child's stack that were touched by the time when it waits on the start gate.
fn touched(pid: i32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let field = |lines: &[&str], name: &str| -> Option<u64> {
        lines.iter().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
    };
    let lines: Vec<_> = maps.lines().collect();
    // A mapping with a guard on both sides.
    let is_head = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.len() == 4);
    let heads: Vec<_> = lines.iter().enumerate().filter(|(_, line)| is_head(line)).map(|(at, _)| at).collect();
    let stacks = heads.windows(3).filter_map(|three| {
        let rights = |at: usize| lines[at].split(' ').nth(1);
        let guarded = rights(three[0]) == Some("---p") && rights(three[2]) == Some("---p");
        let size = field(&lines[three[1]..three[2]], "Size:")?;
        (guarded && size == MAPPED).then(|| field(&lines[three[1]..three[2]], "Rss:"))?
    });
    // Where another process prepared it, its stack is there as well.
    stacks.max().unwrap_or_else(|| panic!("no stack between guards:\n{maps}"))
}

#[track_caller]
fn is_shallow(bundle: &Bundle, options: &[&str], what: &str) {
    bundle.create_with(options).silent();
    let deep = touched(bundle.pid());
    assert!(deep <= DEEPEST, "{what}: {deep} KB of stack");
    let pid = bundle.pid();
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    reap(pid);
    eprintln!("{what}: {deep} KB");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_childs_stack_is_shallow_whatever_is_asked() {
    if !is_tare() {
        return eprintln!("skipped: the stack is tare's own");
    }
    let script = || Bundle::script("sleep 1000");
    let bundle = script();
    is_shallow(&bundle, &[], "plain");

    let mut bundle = script();
    let paths: Vec<_> = (0..400).map(|number| format!("/tmp/m{number}")).collect();
    paths.iter().for_each(|path| fs::write(bundle.file("rootfs").join(&path[1..]), "").unwrap());
    bundle.set("/linux/maskedPaths", json!(paths)).set("/linux/readonlyPaths", json!(paths));
    bundle.set("/process/cwd", json!(format!("/{}", "d/".repeat(1000))));
    is_shallow(&bundle, &[], "400 masks, a working directory of 1000 levels");

    let mut bundle = script();
    let mut deep = bundle.file("rootfs/data");
    (0..300).for_each(|_| deep.push("d"));
    fs::create_dir_all(deep).unwrap();
    let copied = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
    bundle.set("/mounts/-", copied);
    is_shallow(&bundle, &[], "a copy of 300 levels");

    let mut bundle = script();
    bundle.set("/process/terminal", json!(true));
    let _console = UnixListener::bind(bundle.file("console")).unwrap();
    is_shallow(&bundle, &["--console-socket", "console"], "a terminal");

    let pod = script();
    pod.begin();
    let mut bundle = script();
    let path = format!("/proc/{}/ns/pid", pod.pid());
    bundle.without_namespace("pid");
    bundle.set("/linux/namespaces/-", json!({ "type": "pid", "path": path }));
    is_shallow(&bundle, &[], "a joined pid namespace");
}

/// The kernel ends a process whose stack outgrows its limit.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_command_needs_little_stack() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: other runtimes have threads and stacks of their own");
    }
    bundle.write();
    let id = bundle.id.as_str();
    fs::write(bundle.file("resources.json"), "{}").unwrap();
    let commands: &[&[&str]] = &[
        &["create", id],
        &["state", id],
        &["start", id],
        &["list"],
        &["ps", id],
        &["inspect", id],
        &["exec", id, "/bin/true"],
        &["pause", id],
        &["resume", id],
        &["events", "--stats", id],
        &["update", "--resources", "resources.json", id],
        &["kill", id, "KILL"],
        &["delete", "--force", id],
        &["features"],
        &["doctor"],
        &["spec", "--bundle", "rootfs"],
        &["help", "run"],
    ];
    for words in commands {
        let mut shell = std::process::Command::new("/bin/sh");
        // As little as there is room for arguments and environment in.
        shell.args(["-c", "ulimit -s 128; exec \"$@\"", "sh"]).arg(crate::bundle::runtime());
        shell.arg("--root").arg(bundle.root()).args(*words).current_dir(bundle.path());
        let done = finish(shell);
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
    }
    bundle.reap_orphans();
}
