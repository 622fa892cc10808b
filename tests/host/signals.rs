//! kill: what a signal does to a container that is created, that shares a pid namespace, that has stopped.

use std::time::Duration;

use serde_json::json;

use crate::bundle::{Bundle, eventually, is_tare, reap};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_signal_that_ends_a_process_ends_a_created_container() {
    // The others are handled by runc's init, a Go program, in a way of its own.
    for signal in if is_tare() { &["TERM", "HUP", "INT", "USR1", "SEGV", "37", "KILL"][..] } else { &["TERM", "HUP"] } {
        for share in [false, true] {
            let mut bundle = Bundle::script("sleep 1000");
            if share {
                bundle.share_pids();
            }
            bundle.create().silent();
            let pid = bundle.pid();
            bundle.tare(&["kill", &bundle.id, signal]).silent();
            reap(pid);
            assert_eq!(bundle.status(), "stopped", "{signal}");
            bundle.on("start").refused();
            bundle.on("delete").silent();
            bundle.assert_nothing_left();
        }
    }
}

/// By pid or pidfd, without the runtime: the kernel alone would drop them, init being the first of its pid namespace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn signals_past_the_runtime_end_a_created_container() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let bundle = Bundle::script("sleep 1000");
        bundle.create().silent();
        let pid = bundle.pid();
        // init is ready a moment before it waits.
        let ended = || {
            kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
            crate::bundle::is_zombie(pid)
        };
        eventually("the end of init", ended);
        reap(pid);
        assert_eq!(bundle.status(), "stopped", "{signal:?}");
        bundle.on("delete").silent();
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn all_of_a_created_container_are_signalled_with_init() {
    let bundle = Bundle::script("sleep 1000");
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.tare(&["kill", "--all", &bundle.id, "TERM"]).silent();
    reap(pid);
    assert_eq!(bundle.status(), "stopped");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn other_signals_do_not_end_a_created_container() {
    let bundle = Bundle::script("sleep 1000");
    bundle.create().silent();
    for signal in ["0", "CHLD", "WINCH", "URG", "CONT"] {
        bundle.tare(&["kill", &bundle.id, signal]).silent();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bundle.status(), "created");
    bundle.on("start").silent();
    assert_eq!(bundle.status(), "running");
}

/// The program is the first of its pid namespace and handles nothing, so that the kernel drops the signal: as ever.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_started_program_gets_the_signal_itself() {
    let bundle = Bundle::script("trap 'echo got > /tmp/got' TERM; echo > /tmp/ready; while :; do sleep 0.1; done");
    bundle.begin();
    bundle.wait_file("tmp/ready");
    bundle.tare(&["kill", &bundle.id]).silent();
    assert_eq!(bundle.wait_file("tmp/got"), "got\n");
    assert_eq!(bundle.status(), "running");
    // Pid 1 survives a signal that it does not catch. busybox's shell catches INT, and ends then.
    bundle.tare(&["kill", &bundle.id, "USR1"]).silent();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kill_ends_everything_where_the_pid_namespace_is_shared() {
    if !is_tare() {
        return eprintln!("skipped: runc does so since 1.2");
    }
    // Of the caller, and of another container.
    for joined in [false, true] {
        let pod = Bundle::script("sleep 1000");
        let mut bundle = Bundle::script("sleep 1000 & sleep 1000 & echo > /tmp/ready; exec sleep 1000");
        if joined {
            pod.begin();
            bundle.without_namespace("pid");
            let path = format!("/proc/{}/ns/pid", pod.pid());
            bundle.set("/linux/namespaces/-", json!({ "type": "pid", "path": path }));
        } else {
            bundle.share_pids();
        }
        bundle.begin();
        bundle.wait_file("tmp/ready");
        assert_eq!(bundle.members().len(), 3);
        let pid = bundle.pid();
        bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
        reap(pid);
        eventually("everything is dead", || bundle.members().is_empty());
        if joined {
            assert_eq!(pod.status(), "running");
        }
        // With nobody left to kill it is as with any other.
        assert_eq!(bundle.tare(&["kill", &bundle.id, "KILL"]).refused(), "container not running");
    }
}

/// What init of a shared pid namespace leaves behind can be killed by the same command.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kill_ends_what_a_dead_init_left() {
    let mut bundle = Bundle::script("sleep 1000 & exit");
    if !is_tare() {
        return eprintln!("skipped: runc does so since 1.2");
    }
    bundle.share_pids();
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    reap(pid);
    eventually("init's child is alone", || bundle.members().len() == 1);
    assert_eq!(bundle.status(), "stopped");
    assert_eq!(bundle.tare(&["kill", &bundle.id, "TERM"]).refused(), "container not running");
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    eventually("nobody is left", || bundle.members().is_empty());
    assert_eq!(bundle.tare(&["kill", &bundle.id, "KILL"]).refused(), "container not running");
    bundle.reap_orphans();
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_stopped_container_takes_no_signal() {
    let bundle = Bundle::script("true");
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    reap(pid);
    for signal in ["TERM", "KILL", "0"] {
        let done = bundle.tare(&["kill", &bundle.id, signal]);
        assert_eq!(done.code, 1, "{signal}");
        assert!(done.refused().contains("container not running"), "{signal}");
    }
    // With --all, a container without processes is not an error.
    bundle.tare(&["kill", "--all", &bundle.id, "TERM"]).silent();
    bundle.tare(&["kill", "--all", &bundle.id, "KILL"]).silent();
}
