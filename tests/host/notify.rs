//! NOTIFY_SOCKET: a container says that it is ready, and the service manager hears it.
//!
//! What runc passes on in which words, and which pid it names, is its own; it is tare alone that is tested here.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::bundle::{Bundle, LIMIT, eventually, is_tare, is_zombie, reap, wait};

const INSIDE: &str = "run/notify/notify.sock";

/// A container that lives on, and the service manager's socket.
fn bundle() -> Option<(Bundle, UnixDatagram)> {
    if !is_tare() {
        eprintln!("skipped: the words are tare's own");
        return None;
    }
    let bundle = Bundle::script("echo up > /tmp/up; sleep 100");
    let manager = UnixDatagram::bind(bundle.file("manager")).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    Some((bundle, manager))
}

fn spawn(bundle: &Bundle, args: &[&str]) -> Child {
    bundle.write();
    let mut command = bundle.command(args);
    command.env("NOTIFY_SOCKET", bundle.file("manager")).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

fn heard(manager: &UnixDatagram) -> String {
    let mut message = [0; 4096];
    let length = manager.recv(&mut message).unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

#[track_caller]
fn nothing_heard(manager: &UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    assert_eq!(manager.recv(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    manager.set_nonblocking(false).unwrap();
}

/// Sends through the container's own mount, as its program would.
fn say(bundle: &Bundle, text: &str) {
    let socket = format!("/proc/{}/root/{INSIDE}", bundle.pid());
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), socket).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_foreground_run_passes_on_that_the_container_is_ready() {
    let Some((bundle, manager)) = bundle() else { return };
    let run = spawn(&bundle, &["run", &bundle.id]);
    bundle.wait_file("tmp/up");
    // The program may be quicker than the record of it.
    eventually("the container to be running", || bundle.status() == "running");
    let environment = fs::read_to_string(format!("/proc/{}/environ", bundle.pid())).unwrap();
    assert!(environment.split('\0').any(|entry| entry == format!("NOTIFY_SOCKET=/{INSIDE}")), "{environment:?}");
    // Whatever user the program is.
    let socket = fs::metadata(bundle.root().join(&bundle.id).join("notify/notify.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o777);
    say(&bundle, "STATUS=soon");
    say(&bundle, "STATUS=now\nREADY=1\nMAINPID=1");
    // tare stays: it is the main process, whatever the container says.
    assert_eq!(heard(&manager), "READY=1\n");
    nothing_heard(&manager);
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    assert_eq!(wait(run, "run"), 137);
    bundle.assert_nothing_left();
}

/// The hook keeps tare from waiting until the program has said its last word and ended.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_last_word_of_a_program_that_ends_at_once_is_passed_on() {
    let Some((mut bundle, manager)) = bundle() else { return };
    let [started, ended] = ["started", "ended"].map(|name| bundle.file(name));
    let script = format!("> {}; until [ -e {} ]; do sleep 0.01; done", started.display(), ended.display());
    bundle.set("/hooks", json!({"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}));
    let run = spawn(&bundle, &["run", "--pid-file", "pid", &bundle.id]);
    eventually("the hook to run", || started.exists());
    let pid: i32 = fs::read_to_string(bundle.file("pid")).unwrap().parse().unwrap();
    let socket = format!("/proc/{pid}/root/{INSIDE}");
    UnixDatagram::unbound().unwrap().send_to(b"READY=1", socket).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    eventually("the program to end", || is_zombie(pid));
    fs::write(ended, "").unwrap();
    assert_eq!(wait(run, "run"), 137);
    assert_eq!(heard(&manager), "READY=1\n");
    nothing_heard(&manager);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn start_and_a_detached_run_wait_for_it() {
    let Some((bundle, manager)) = bundle() else { return };
    for detached_run in [false, true] {
        let command = if detached_run {
            spawn(&bundle, &["run", "--detach", &bundle.id])
        } else {
            assert_eq!(wait(spawn(&bundle, &["create", &bundle.id]), "create"), 0);
            spawn(&bundle, &["start", &bundle.id])
        };
        bundle.wait_file("tmp/up");
        // `run` records it only when it runs.
        eventually("it runs", || bundle.status() == "running");
        let pid = bundle.pid();
        // Other commands are not kept waiting.
        assert_eq!(bundle.exec("echo in").good(), "in\n");
        nothing_heard(&manager);
        say(&bundle, "READY=1");
        assert_eq!(heard(&manager), format!("READY=1\nMAINPID={pid}\n"));
        // Received, and its pipe with it: the reader of the barrier.
        assert_eq!(heard(&manager), "BARRIER=1");
        assert_eq!(wait(command, "start or run"), 0);
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        assert_eq!(reap(pid), 137);
        fs::remove_file(bundle.file("rootfs/tmp/up")).unwrap();
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn nothing_waits_for_a_container_that_ends_without_ready() {
    let Some((mut bundle, manager)) = bundle() else { return };
    bundle.set("/process/args", json!(["/bin/true"]));
    let run = spawn(&bundle, &["run", "--detach", "--pid-file", "pid", &bundle.id]);
    assert_eq!(wait(run, "run"), 0);
    nothing_heard(&manager);
    assert_eq!(reap(fs::read_to_string(bundle.file("pid")).unwrap().parse().unwrap()), 0);
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_a_privileged_container_leaves_in_the_directory_is_removed() {
    let Some((bundle, manager)) = bundle() else { return };
    let run = spawn(&bundle, &["run", &bundle.id]);
    bundle.wait_file("tmp/up");
    let inside = bundle.root().join(&bundle.id).join("notify");
    fs::remove_file(inside.join("notify.sock")).unwrap();
    fs::create_dir_all(inside.join("notify.sock/below")).unwrap();
    std::os::unix::fs::symlink(bundle.file("rootfs"), inside.join("link")).unwrap();
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert_eq!(wait(run, "run"), 137);
    assert!(bundle.file("rootfs/bin/busybox").exists());
    nothing_heard(&manager);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_socket_in_the_config_is_left_as_it_is() {
    let Some((mut bundle, _manager)) = bundle() else { return };
    bundle.set("/process/env/-", json!("NOTIFY_SOCKET=/own"));
    let run = spawn(&bundle, &["run", &bundle.id]);
    bundle.wait_file("tmp/up");
    assert!(!bundle.root().join(&bundle.id).join("notify").exists());
    assert!(!bundle.file("rootfs/run/notify").exists());
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert_eq!(wait(run, "run"), 137);
}
