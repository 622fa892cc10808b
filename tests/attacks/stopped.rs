//! Class 34: what joins a container, or makes one, stops half-way; the container can still be asked about and ended.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::agent::{Agent, Answer};
use crate::bundle::{Bundle, eventually_within, finish, is_tare, stat, wait};
use crate::patience;
use crate::programs::bring;
use crate::support::{mount, skip};

/// What an engine waits for before it believes that a container cannot be ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// state, kill and delete --force in turn, each within [`PATIENCE`]; nothing is left.
#[track_caller]
fn can_be_ended(bundle: &Bundle, what: &str, lives: bool) {
    let timed = |args: &[&str]| match patience::ends_within(bundle, args, PATIENCE) {
        Ok(done) => done,
        Err(hangs) => panic!("{what}: {hangs}"),
    };
    let state = timed(&["state", &bundle.id]);
    assert!(!lives || state.code == 0, "{what}: {state:?}");
    // A process in a frozen cgroup takes it later.
    let kill = timed(&["kill", &bundle.id, "TERM"]);
    assert!(!lives || kill.code == 0, "{what}: {kill:?}");
    let delete = timed(&["delete", "--force", &bundle.id]);
    assert_eq!(delete.code, 0, "{what}: {delete:?}");
    let left = || {
        bundle.reap_orphans();
        let left = bundle.leftovers();
        left.into_iter().filter(|left| is_tare() || !left.starts_with("state")).collect::<Vec<_>>()
    };
    assert!(eventually_within(2000, || left().is_empty()), "{what}: left are {:?}", left());
}

/// A command of the runtime in the background.
fn spawn(bundle: &Bundle, args: &[&str]) -> Child {
    let mut command = bundle.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether a process ends within so many milliseconds. It stays to be waited for.
fn ends_within(child: &Child, limit: u64) -> bool {
    let pid = i32::try_from(child.id()).unwrap();
    eventually_within(limit, || stat(pid).is_none_or(|fields| fields[0] == "Z"))
}

/// Waits for commands that must end by now, however.
fn wait_all(commands: impl IntoIterator<Item = Child>, what: &str) {
    for command in commands {
        wait(command, what);
    }
}

/// A container whose root sends a signal to each process that joins it.
fn holder(signal: &str, configure: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = Bundle::new();
    bring(&bundle, "hold");
    bundle.set("/process/args", json!(["/hold", signal]));
    configure(&mut bundle);
    bundle.begin();
    bundle.wait_file("tmp/up");
    bundle
}

/// SIGSTOP needs no rights but the same user.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_stopped_by_the_container() {
    let mut stopped = 0;
    for round in 0..6 {
        let bundle = holder("19", |_| {});
        let mut execs = Vec::new();
        for _ in 0..=round % 3 {
            let exec = spawn(&bundle, &["exec", &bundle.id, "/bin/true"]);
            stopped += usize::from(!ends_within(&exec, 300));
            execs.push(exec);
        }
        can_be_ended(&bundle, "after a SIGSTOP for exec", true);
        wait_all(execs, "the exec that was stopped");
    }
    assert!(stopped > 0, "the container stopped nothing");
}

/// The exec fails and says so; the container is as it was.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_killed_by_the_container() {
    let bundle = holder("9", |_| {});
    let killed = (0..20).filter(|_| bundle.exec("sleep 0.1").code != 0).count();
    assert!(killed > 0, "the container killed nothing");
    assert_eq!(bundle.status(), "running");
    can_be_ended(&bundle, "after a SIGKILL for each exec", true);
}

/// With its cgroup writable a container freezes itself, and what is about to join it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_frozen_by_the_container() {
    for round in 0..8_u32 {
        let line = "echo up >/tmp/up; until [ -e /tmp/now ]; do :; done; echo 1 >/sys/fs/cgroup/cgroup.freeze";
        let mut bundle = Bundle::script(line);
        bundle.set("/mounts/-", mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid", "noexec", "nodev"]));
        bundle.begin();
        bundle.wait_file("tmp/up");
        let exec = spawn(&bundle, &["exec", &bundle.id, "/bin/sleep", "1000"]);
        std::thread::sleep(Duration::from_millis(u64::from(round)));
        fs::write(bundle.file("rootfs/tmp/now"), "").unwrap();
        let frozen =
            || fs::read_to_string(bundle.cgroup().join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1"));
        assert!(eventually_within(2000, frozen), "the container cannot freeze itself");
        // One that comes later waits, or is refused.
        let late = spawn(&bundle, &["exec", "--ignore-paused", &bundle.id, "/bin/true"]);
        ends_within(&late, 100);
        can_be_ended(&bundle, &format!("frozen after {round} ms of an exec"), true);
        wait(exec, "the exec that was frozen");
        wait(late, "the exec into what was frozen");
    }
}

/// The same by the host's own pause.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_paused_next_to_an_exec() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    bundle.tare(&["pause", &bundle.id]).silent();
    if finish(bundle.command(&["exec", "--help"])).stdout.contains("ignore-paused") {
        let execs = [(); 3].map(|()| spawn(&bundle, &["exec", "--ignore-paused", &bundle.id, "/bin/true"]));
        std::thread::sleep(Duration::from_millis(300));
        can_be_ended(&bundle, "paused, with execs that wait", true);
        wait_all(execs, "the exec that waited");
    } else {
        skip("this runtime never enters a paused container");
    }
}

/// No process may be made in the cgroup any more, or it has no memory left.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_starved_by_the_container() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    for (controller, key, value) in [
        ("pids", "/linux/resources/pids", json!({ "limit": 2 })),
        ("memory", "/linux/resources/memory", json!({ "limit": 4_194_304 })),
    ] {
        if !controllers.split_whitespace().any(|name| name == controller) {
            skip(&format!("cgroup v2 has no {controller} controller here"));
            continue;
        }
        // Both fill what they are allowed to have.
        let line = if controller == "pids" {
            "sleep 1000 & echo up >/tmp/up; wait"
        } else {
            "echo up >/tmp/up; x=0123456789abcdef; while :; do x=$x$x; done; sleep 1000"
        };
        let mut bundle = Bundle::script(line);
        bundle.set(key, value);
        bundle.begin();
        bundle.wait_file("tmp/up");
        let execs = [(); 3].map(|()| spawn(&bundle, &["exec", &bundle.id, "/bin/true"]));
        std::thread::sleep(Duration::from_millis(200));
        can_be_ended(&bundle, &format!("{controller} at its limit"), false);
        wait_all(execs, "the exec that was starved");
    }
}

/// The runtime itself is killed while a hook takes its time, and the hook goes on.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_the_runtime_is_killed_in_a_hook() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        for way in ["run", "create"] {
            let mut bundle = Bundle::script("sleep 1000");
            let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec sleep 100"] });
            bundle.set("/hooks", json!({ kind: [hook] })).write();
            let mut command = if way == "create" && kind == "startContainer" {
                bundle.create().silent();
                spawn(&bundle, &["start", &bundle.id])
            } else {
                spawn(&bundle, &[way, &bundle.id])
            };
            std::thread::sleep(Duration::from_millis(400));
            command.kill().unwrap();
            command.wait().unwrap();
            can_be_ended(&bundle, &format!("{way} killed in a {kind} hook"), false);
        }
    }
}

/// A call of the runtime or the one that ends it, execve, waits for an agent that does not answer.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_34_an_agent_that_never_answers() {
    for call in ["execve", "write", "read", "close", "sendmsg"] {
        for way in ["run", "create", "exec"] {
            let mut bundle = Bundle::script("sleep 1000");
            let agent = bundle.file("agent");
            let _agent = Agent::new(&agent, Answer::Never);
            bundle.set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "listenerPath": agent.display().to_string(),
                    "syscalls": [{ "names": [call], "action": "SCMP_ACT_NOTIFY" }],
                }),
            );
            bundle.write();
            let first = spawn(&bundle, &[if way == "run" { "run" } else { "create" }, &bundle.id]);
            let mut commands = vec![first];
            ends_within(&commands[0], 400);
            if way != "run" {
                commands.push(spawn(&bundle, &["start", &bundle.id]));
                ends_within(&commands[1], 400);
            }
            if way == "exec" {
                commands.push(spawn(&bundle, &["exec", &bundle.id, "/bin/true"]));
                ends_within(&commands[2], 300);
            }
            for command in &commands {
                // As the time limit of an engine does.
                let _ended = kill_process(Pid::from_child(command), Signal::KILL);
            }
            wait_all(commands, "a command that was killed");
            can_be_ended(&bundle, &format!("{way} with notifications of {call}"), false);
        }
    }
}
