//! run, in the foreground and detached, and what a caller may do to its stdio and descriptors.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Done, finish, is_tare, reap, runtime};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_exit_code_is_the_programs_and_nothing_is_left() {
    for (line, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$; exit 3", 3)] {
        // pid 1 of a namespace ignores signals without a handler, also its own SIGKILL.
        let mut bundle = Bundle::script(line);
        if line.starts_with("kill -9") {
            bundle.share_pids();
        }
        let done = bundle.run();
        assert_eq!((done.code, done.stderr.as_str()), (code, ""), "{line}");
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn stdio_is_passed_through() {
    let bundle = Bundle::script("cat; echo err >&2");
    bundle.write();
    let mut run = bundle.command(&["run", &bundle.id]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through and back\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"through and back\n"[..], &b"err\n"[..]));
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn detached_it_returns_while_the_program_runs() {
    let bundle = Bundle::script("sleep 100");
    bundle.run_with(&["--detach", "--pid-file", "init.pid"]).silent();
    assert_eq!(bundle.status(), "running");
    assert_eq!(fs::read_to_string(bundle.file("init.pid")).unwrap(), bundle.pid().to_string());
    let pid = bundle.pid();
    bundle.tare(&["delete", "-f", &bundle.id]).silent();
    assert_eq!(reap(pid), 137);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn keep_keeps_the_container() {
    let bundle = Bundle::script("exit 5");
    assert_eq!(bundle.run_with(&["--keep"]).code, 5);
    assert_eq!(bundle.status(), "stopped");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn signals_are_forwarded() {
    let script = "trap 'exit 66' TERM; echo up > /tmp/up; while :; do sleep 0.05; done";
    let bundle = Bundle::script(script);
    bundle.write();
    let mut run = bundle.command(&["run", &bundle.id]);
    let child = run.stdin(Stdio::null()).spawn().unwrap();
    bundle.wait_file("tmp/up");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(crate::bundle::wait(child, "run"), 66);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_the_foreground_it_does_not_block_other_commands() {
    let bundle = Bundle::script("echo up > /tmp/up; sleep 100");
    bundle.write();
    let run = bundle.command(&["run", &bundle.id]).stdin(Stdio::null()).spawn().unwrap();
    bundle.wait_file("tmp/up");
    assert_eq!(bundle.exec("echo in").good(), "in\n");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert_eq!(crate::bundle::wait(run, "run"), 137);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_that_cannot_be_run_leaves_nothing() {
    for (program, text) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/no/thing", "exec: \"/no/thing\": stat /no/thing: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/tmp", "exec: \"/tmp\": is a directory"),
    ] {
        let mut bundle = Bundle::new();
        bundle.set("/process/args", json!([program]));
        for line in [bundle.run().refused(), bundle.run_with(&["--detach"]).refused(), bundle.create().refused()] {
            if is_tare() {
                assert_eq!(line, format!("process.args[0]: {text}"));
            }
            bundle.assert_nothing_left();
        }
    }
}

/// Runs a line of sh in which `$0` is the runtime, `$1` the state root and `$2` the id.
fn shell(bundle: &Bundle, line: &str) -> Done {
    bundle.write();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).arg(runtime()).arg(bundle.root()).arg(&bundle.id).current_dir(bundle.path());
    finish(shell)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn closed_stdio_is_not_reused() {
    let bundle = Bundle::script("for i in 0 1 2; do readlink /proc/self/fd/$i; done > /tmp/fds");
    let done = shell(&bundle, "exec \"$0\" --root \"$1\" run \"$2\" <&- >&- 2>&-");
    assert_eq!(done.code, 0);
    let fds = fs::read_to_string(bundle.file("rootfs/tmp/fds")).unwrap();
    // readlink runs with the redirected stdout.
    let lines: Vec<_> = fds.lines().collect();
    for line in &lines {
        assert!(["/dev/null", "/tmp/fds"].contains(line) || !is_tare(), "{lines:?}");
    }
    bundle.assert_nothing_left();
    for command in ["create", "state", "start", "list", "delete --force"] {
        let line = if command == "list" {
            "exec \"$0\" --root \"$1\" list"
        } else {
            &format!("exec \"$0\" --root \"$1\" {command} \"$2\"")
        };
        let done = shell(&bundle, &format!("{line} <&- 2>&-"));
        assert_eq!(done.code, 0, "{command}");
    }
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn descriptors_are_passed_only_on_request() {
    let bundle = Bundle::script("ls /proc/self/fd; cat <&3");
    fs::write(bundle.file("data"), "handed over\n").unwrap();
    let done = shell(&bundle, "exec \"$0\" --root \"$1\" run --preserve-fds 1 \"$2\" 3<data 4<data 9</");
    assert_eq!(done.good(), "0\n1\n2\n3\n4\nhanded over\n");
    let done = shell(&bundle, "exec \"$0\" --root \"$1\" run \"$2\" 3<data 4<data 9</");
    assert!(done.code != 0 && done.stdout == "0\n1\n2\n3\n", "{done:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn preserved_descriptors_that_are_not_open_are_an_error() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc passes descriptors of its own then");
    }
    let line = shell(&bundle, "exec \"$0\" --root \"$1\" run --preserve-fds 3 \"$2\" 3</").refused();
    assert_eq!(
        line,
        "--preserve-fds 3: descriptor 4 is not open; the container inherits the caller's descriptors 3, 4, ..."
    );
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_working_directory_cannot_be_a_descriptor_of_the_host() {
    for fd in 3..20 {
        let mut bundle = Bundle::script("cat /proc/self/mountinfo");
        bundle.set("/process/cwd", json!(format!("/proc/self/fd/{fd}")));
        bundle.run().refused();
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_environment_is_the_configs_alone() {
    let bundle = Bundle::script("env");
    bundle.write();
    let mut run = bundle.command(&["run", &bundle.id]);
    run.env("SECRET", "host").env("NOTIFY_SOCKET", "");
    let out = finish(run).good();
    let mut lines: Vec<_> =
        out.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("SHLVL=")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["HOME=/root", "PATH=/usr/bin:/bin"]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_empty_environment_of_the_caller_is_enough() {
    let bundle = Bundle::new();
    bundle.write();
    let mut run = bundle.command(&["run", &bundle.id]);
    run.env_clear();
    finish(run).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn home_is_that_of_the_passwd_file_that_the_container_sees() {
    let mut bundle = Bundle::script("echo $HOME");
    let home = |bundle: &Bundle| bundle.run().good();
    fs::create_dir_all(bundle.file("rootfs/etc")).unwrap();
    fs::write(bundle.file("rootfs/etc/passwd"), "u:x:7:7::/rootfs:/bin/sh\n").unwrap();
    fs::create_dir(bundle.file("etc")).unwrap();
    fs::write(bundle.file("etc/passwd"), "u:x:7:7::/mounted:/bin/sh\n").unwrap();
    bundle.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    assert_eq!(home(&bundle), "/rootfs\n");
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    let with = |mount: serde_json::Value| json!([mounts.clone(), vec![mount]].concat());
    for name in ["etc/passwd", "etc"] {
        let mount =
            json!({ "destination": format!("/{name}"), "source": bundle.file(name), "options": ["rbind", "ro"] });
        bundle.set("/mounts", with(mount));
        assert_eq!(home(&bundle), "/mounted\n", "{name}");
    }
    bundle.set("/mounts", with(json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs" })));
    assert_eq!(home(&bundle), "/\n");
}
