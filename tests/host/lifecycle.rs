//! create, start, state, kill, delete, pause, resume, list and ps, as engines drive them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, LIMIT, ends, finish, is_tare, reap, stat};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_whole_lifecycle_is_silent_and_leaves_nothing() {
    let bundle = Bundle::script("echo started > /tmp/started; sleep 100");
    bundle.create().silent();
    assert_eq!(bundle.status(), "created");
    assert!(!bundle.file("rootfs/tmp/started").exists());
    let pid = bundle.pid();
    bundle.on("start").silent();
    bundle.wait_file("tmp/started");
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    assert_eq!(reap(pid), 128 + 9);
    assert_eq!(bundle.status(), "stopped");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
    assert!(bundle.on("state").refused().contains("does not exist"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn state_has_the_fields_that_engines_read() {
    let mut bundle = Bundle::script("sleep 100");
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    bundle.create().silent();
    let state = bundle.state();
    let path = bundle.path().to_str().unwrap();
    // Older runtimes give their own.
    assert!(state["ociVersion"] == "1.2.0" || !is_tare() && state["ociVersion"].is_string());
    assert_eq!(state["id"], bundle.id.as_str());
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], path);
    assert_eq!(state["rootfs"], format!("{path}/rootfs"));
    assert_eq!(state["annotations"], json!({ "org.example.key": "value" }));
    assert!(state["owner"].is_string());
    let created = state["created"].as_str().unwrap();
    assert!(created.len() >= 20 && created.as_bytes()[10] == b'T' && created.ends_with('Z'), "{created}");
    let pid = bundle.pid();
    assert!(stat(pid).is_some());
    bundle.tare(&["kill", &bundle.id, "9"]).silent();
    reap(pid);
    // Absent or 0.
    assert_eq!(bundle.state()["pid"].as_i64().unwrap_or(0), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_pid_file_is_digits_alone_and_never_half_written() {
    let bundle = Bundle::script("sleep 100");
    let file = bundle.file("init.pid");
    fs::write(&file, "old contents that are longer than a pid\n").unwrap();
    bundle.write();
    let name = file.to_str().unwrap();
    let mut create = bundle.command(&["create", "--pid-file", name, &bundle.id]);
    let mut child = create.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("old contents") || digits(&text), "seen: {text:?}");
        assert!(Instant::now() < deadline);
    }
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, bundle.pid().to_string());
    let beside: Vec<_> = fs::read_dir(bundle.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(beside.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{beside:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn init_is_the_subreapers_child_in_a_session_of_its_own_at_return() {
    let bundle = Bundle::script("sleep 100");
    bundle.create().silent();
    let pid = bundle.pid();
    let fields = stat(pid).unwrap();
    let (parent, group, session) = (&fields[1], &fields[2], &fields[3]);
    assert_eq!(*parent, std::process::id().to_string());
    assert_eq!((group.clone(), session.clone()), (pid.to_string(), pid.to_string()));
    // In its final cgroup, and in namespaces of its own.
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.ends_with(&format!("/{}\n", bundle.name)), "{cgroup}");
    for kind in ["net", "pid", "mnt", "uts", "ipc", "cgroup"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{kind}");
    }
    bundle.on("start").silent();
    let exec = bundle.tare(&["exec", "-d", "--pid-file", "exec.pid", &bundle.id, "/bin/sleep", "100"]);
    exec.silent();
    let pid = fs::read_to_string(bundle.file("exec.pid")).unwrap();
    let fields = stat(pid.parse().unwrap()).unwrap();
    assert_eq!(fields[1..4], [std::process::id().to_string(), pid.clone(), pid]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn only_the_container_holds_stdio() {
    // With a terminal an engine collects the runtime's output until end-of-file; here init has other stdio.
    let bundle = Bundle::script("exec <&- >&- 2>&-; echo x > /tmp/quiet; sleep 100");
    bundle.write();
    let mut create = bundle.command(&["create", &bundle.id]);
    let child = create.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    assert!(ends(&pidfd, LIMIT), "create does not return");
    bundle.on("start").silent();
    bundle.wait_file("tmp/quiet");
    // Returns at end-of-file of both pipes.
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn start_works_once() {
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    let line = bundle.on("start").refused();
    if is_tare() {
        assert_eq!(line, format!("cannot start container \"{}\": it is running, not created", bundle.id));
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_runs_when_start_returns() {
    let bundle = Bundle::script("sleep 1000");
    for _ in 0..60 {
        bundle.create().silent();
        bundle.on("start").silent();
        assert_eq!(bundle.status(), "running");
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        bundle.reap_orphans();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn start_of_a_dead_container_fails_at_once() {
    let bundle = Bundle::script("sleep 100");
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    let before = Instant::now();
    let line = bundle.on("start").refused();
    assert!(before.elapsed() < Duration::from_secs(2));
    if is_tare() {
        assert_eq!(line, format!("cannot start container \"{}\": it has stopped", bundle.id));
    }
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_that_ends_at_once_was_started() {
    let bundle = Bundle::new();
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    assert_eq!(reap(pid), 0);
    assert_eq!(bundle.status(), "stopped");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn inits_exit_code_reaches_the_subreaper() {
    let bundle = Bundle::script("exit 42");
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    assert_eq!(reap(pid), 42);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kill_takes_names_and_numbers_and_defaults_to_term() {
    let script = "trap 'echo term >> /tmp/got' TERM; trap 'echo usr1 >> /tmp/got' USR1;
        trap 'echo hup >> /tmp/got' HUP; echo up > /tmp/up; while :; do sleep 0.05; done";
    let bundle = Bundle::script(script);
    bundle.begin();
    bundle.wait_file("tmp/up");
    let mut seen = String::new();
    for (signal, word) in [("", "term"), ("USR1", "usr1"), ("SIGHUP", "hup"), ("15", "term"), ("10", "usr1")] {
        let args: Vec<&str> = ["kill", &bundle.id, signal].into_iter().filter(|arg| !arg.is_empty()).collect();
        bundle.tare(&args).silent();
        seen += &format!("{word}\n");
        crate::bundle::eventually(&format!("{seen:?}"), || {
            fs::read_to_string(bundle.file("rootfs/tmp/got")).is_ok_and(|text| text == seen)
        });
    }
    let line = bundle.tare(&["kill", &bundle.id, "NOPE"]).refused();
    if is_tare() {
        assert_eq!(line, "unknown signal \"NOPE\"");
    }
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kill_of_a_dead_container_says_so_in_the_engines_words() {
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "9"]).silent();
    // A zombie that nobody has waited for is dead too.
    crate::bundle::eventually("zombie", || stat(pid).unwrap()[0] == "Z");
    assert!(bundle.tare(&["kill", &bundle.id, "9"]).refused().contains("container not running"));
    reap(pid);
    let line = bundle.tare(&["kill", &bundle.id, "9"]).refused();
    assert!(line.contains("container not running"), "{line}");
    assert!(bundle.tare(&["kill", "nobody", "9"]).refused().contains("does not exist"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kill_all_on_a_stopped_container_reaches_what_is_left() {
    let mut bundle = Bundle::script("sleep 1000 & echo $! > /tmp/child; exit 3");
    // Without a pid namespace the child survives init.
    bundle.share_pids();
    bundle.create().silent();
    let pid = bundle.pid();
    bundle.on("start").silent();
    assert_eq!(reap(pid), 3);
    let child: i32 = bundle.wait_file("tmp/child").trim().parse().unwrap();
    assert!(stat(child).is_some());
    assert_eq!(bundle.status(), "stopped");
    bundle.tare(&["kill", "--all", &bundle.id, "9"]).silent();
    assert_eq!(reap(child), 128 + 9);
    bundle.tare(&["kill", "-a", &bundle.id, "9"]).silent();
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn delete_refuses_what_runs_and_force_removes_it() {
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    let pid = bundle.pid();
    let line = bundle.on("delete").refused();
    if is_tare() {
        let id = &bundle.id;
        assert_eq!(
            line,
            format!("cannot delete container \"{id}\" that is not stopped: running; stop it first, or use --force")
        );
    }
    assert_eq!(bundle.status(), "running");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert_eq!(reap(pid), 128 + 9);
    bundle.assert_nothing_left();
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert!(bundle.on("delete").refused().contains("does not exist"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn delete_of_an_unknown_container() {
    let bundle = Bundle::new();
    bundle.tare(&["delete", "--force", "nobody"]).silent();
    bundle.tare(&["delete", "-f", "nobody"]).silent();
    let line = bundle.tare(&["delete", "nobody"]).refused();
    assert!(line.contains("does not exist"), "{line}");
    if is_tare() {
        assert_eq!(line, "container \"nobody\" does not exist");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn delete_needs_neither_bundle_nor_rootfs() {
    let bundle = Bundle::script("exec sleep 100");
    bundle.begin();
    let name = format!("/proc/{}/comm", bundle.pid());
    crate::bundle::eventually("sleep to be executed", || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n"));
    fs::remove_dir_all(bundle.file("rootfs")).unwrap();
    fs::remove_file(bundle.file("config.json")).unwrap();
    assert_eq!(bundle.status(), "running");
    let mut delete = bundle.command(&["delete", "--force", &bundle.id]);
    delete.current_dir("/");
    crate::bundle::finish(delete).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_id_that_is_taken_is_refused_and_its_owner_lives() {
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    let line = bundle.create().refused();
    assert!(line.contains("container with given ID already exists"), "{line}");
    assert_eq!(bundle.status(), "running");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.create().silent();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn pause_and_resume() {
    let bundle = Bundle::script("echo up > /tmp/up; sleep 100");
    bundle.begin();
    bundle.wait_file("tmp/up");
    bundle.on("pause").silent();
    assert_eq!(bundle.status(), "paused");
    let line = bundle.exec("true").refused();
    assert!(line.contains("cannot exec in a paused container"), "{line}");
    bundle.on("pause").refused();
    bundle.on("delete").refused();
    bundle.on("resume").silent();
    assert_eq!(bundle.status(), "running");
    bundle.exec("true").silent();
    bundle.on("resume").refused();
    // A frozen container can be killed, and force-deleted.
    bundle.on("pause").silent();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    if is_tare() {
        assert_eq!(reap(pid), 128 + 9);
        assert_eq!(bundle.status(), "stopped");
    }
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_paused_container_stands_still() {
    let bundle = Bundle::script("while :; do echo x >> /tmp/steps; done");
    bundle.begin();
    let steps = || fs::metadata(bundle.file("rootfs/tmp/steps")).map_or(0, |facts| facts.len());
    crate::bundle::eventually("steps", || steps() > 0);
    bundle.on("pause").silent();
    let before = steps();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(steps(), before);
    bundle.on("resume").silent();
    crate::bundle::eventually("more steps", || steps() > before);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn list_shows_every_container() {
    let bundle = Bundle::script("sleep 100");
    let json = |done: crate::bundle::Done| serde_json::from_str::<Value>(&done.good()).unwrap();
    assert!(json(bundle.tare(&["list", "--format", "json"])).as_array().is_none_or(Vec::is_empty));
    assert_eq!(bundle.tare(&["list", "-q"]).good(), "");
    bundle.create().silent();
    let list = json(bundle.tare(&["list", "--format", "json"]));
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((list[0]["id"].as_str().unwrap(), &list[0]["status"]), (&*bundle.id, &json!("created")));
    assert_eq!(list[0]["pid"], bundle.state()["pid"]);
    assert_eq!(bundle.tare(&["list", "-q"]).good(), format!("{}\n", bundle.id));
    let table = bundle.on("list").code;
    assert!(table != 0 || !is_tare(), "list takes no id");
    let table = bundle.tare(&["list"]).good();
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[0].contains(" STATUS "), "{table}");
    assert!(lines[1].starts_with(&bundle.id) && lines[1].contains(" created "), "{table}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn ps_has_host_pids() {
    let bundle = Bundle::script("sleep 1000 & echo up > /tmp/up; wait");
    bundle.begin();
    bundle.wait_file("tmp/up");
    let done = bundle.tare(&["ps", "--format", "json", &bundle.id]).good();
    let pids: Vec<i32> = serde_json::from_str(&done).unwrap();
    assert!(pids.len() == 2 && pids.contains(&bundle.pid()), "{pids:?}");
    assert!(pids.iter().all(|pid| stat(*pid).is_some()));
    let (table, pid) = (bundle.on("ps"), bundle.pid().to_string());
    if table.code == 0 {
        assert_eq!(table.stdout.lines().count(), 3, "{}", table.stdout);
        assert!(table.stdout.lines().nth(1).unwrap().contains(&pid));
    }
    if is_tare() {
        // Without ps(1) there is a table all the same.
        let mut command = bundle.command(&["ps", &bundle.id]);
        command.env("PATH", "/nonexistent");
        let own = finish(command).good();
        let rows: Vec<Vec<&str>> = own.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["UID", "PID", "PPID", "CMD"]);
        assert!(rows.len() == 3 && rows[1..].iter().any(|row| (row[0], row[1]) == ("0", &*pid)), "{own}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn twenty_containers_at_once() {
    let first = Bundle::script("exit 7");
    drop(first);
    let one = || {
        let bundle = Bundle::script("exit 7");
        bundle.create().silent();
        let pid = bundle.pid();
        bundle.on("start").silent();
        assert_eq!(reap(pid), 7);
        bundle.on("delete").silent();
        bundle.assert_nothing_left();
    };
    std::thread::scope(|scope| {
        (0..20).for_each(|_| {
            scope.spawn(one);
        });
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn one_id_is_given_once() {
    let bundle = Bundle::script("sleep 100");
    bundle.write();
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let create = || bundle.on("create").code;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(bundle.status(), "created");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_callers_umask_opens_nothing_and_closes_nothing() {
    let bundle = Bundle::script("umask; touch /tmp/x; sleep 100");
    for (umask, id) in [("0", "open"), ("077", "shut")] {
        bundle.write();
        let line = format!("umask {umask}; exec \"$0\" --root state/{id} create {id} > out",);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]).arg(crate::bundle::runtime()).current_dir(bundle.path());
        crate::bundle::finish(shell).silent();
        let root = bundle.file("state").join(id);
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&root) & 0o077, 0, "{umask}");
        if is_tare() {
            assert_eq!((mode(&root), mode(&root.join(id))), (0o1700, 0o700), "{umask}");
            for file in fs::read_dir(root.join(id)).unwrap().map(|entry| entry.unwrap().path()) {
                assert_eq!(mode(&file), 0o600, "{umask} {}", file.display());
            }
        }
        let root = root.to_str().unwrap();
        bundle.tare(&["--root", root, "start", id]).silent();
        crate::bundle::eventually("umask", || {
            fs::read_to_string(bundle.file("out")).is_ok_and(|text| !text.is_empty())
        });
        assert_eq!(fs::read_to_string(bundle.file("out")).unwrap(), "0022\n", "{umask}");
        bundle.tare(&["--root", root, "delete", "--force", id]).silent();
    }
}

/// Its mounts are the caller's too, so they are there as long as the container, and no longer.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts_without_a_mount_namespace_are_gone_with_the_container() {
    let mut bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return;
    }
    bundle.without_namespace("mount");
    bundle.set("/linux/maskedPaths", json!(["/proc/keys"]));
    bundle.begin();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{}/ns/mnt", bundle.pid())).unwrap(), own);
    assert_eq!(bundle.exec("cat /proc/1/comm; cat /proc/keys").stdout, "sleep\n");
    assert_eq!(bundle.exec("ls /proc/1/root/bin/busybox").stdout, "/proc/1/root/bin/busybox\n");
    let mounts = || bundle.leftovers().iter().filter(|left| left.starts_with("mount ")).count();
    assert!(mounts() >= 6, "{:?}", bundle.leftovers());
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    assert_eq!(mounts(), 0, "{:?}", bundle.leftovers());
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts_without_a_mount_namespace_are_gone_with_a_failed_creation() {
    let mut bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return;
    }
    bundle.without_namespace("mount");
    bundle.set("/process/args", json!(["/no/such/program"]));
    bundle.create().refused();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hooks_of_the_runtime_work_in_the_bundle() {
    let mut bundle = Bundle::script("sleep 100");
    let out = tempfile::tempdir().unwrap();
    let hook = |name: &str| {
        let script = format!("pwd > {}/{name}", out.path().display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    bundle.set(
        "/hooks",
        json!({"createRuntime": hook("created"), "poststart": hook("started"), "poststop": hook("stopped")}),
    );
    let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    let elsewhere = |command: &str| {
        let mut command = bundle.command(&[command, &bundle.id]);
        command.current_dir("/");
        finish(command).silent();
    };
    bundle.create().silent();
    elsewhere("start");
    let path = format!("{}\n", bundle.path().display());
    assert_eq!(text("created"), path);
    if is_tare() {
        // Elsewhere it is the caller's.
        assert_eq!(text("started"), path);
    }
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    assert_eq!(reap(pid), 137);
    elsewhere("delete");
    if is_tare() {
        assert_eq!(text("stopped"), path);
    }
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn commands_apply_to_all_matching_ids() {
    let bundle = Bundle::script("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc has no --regex");
    }
    bundle.write();
    // One cgroup for all of them, as none has a path of its own.
    for id in ["a-1", "a-2", "b-1"] {
        bundle.tare(&["--cgroup-manager", "disabled", "create", id]).silent();
    }
    bundle.tare(&["start", "a-1"]).silent();
    let pid = |id| serde_json::from_str::<Value>(&bundle.tare(&["state", id]).good()).unwrap()["pid"].as_i64();
    let pids: Vec<_> = ["a-1", "a-2", "b-1"].iter().map(|id| i32::try_from(pid(id).unwrap()).unwrap()).collect();
    bundle.tare(&["kill", "--regex", "^a-.$", "KILL"]).silent();
    pids[..2].iter().for_each(|pid| assert_eq!(reap(*pid), 137));
    assert_eq!(bundle.tare(&["list", "-q"]).good(), "a-1\na-2\nb-1\n");
    assert!(bundle.tare(&["delete", "-r", "a-["]).refused().contains("\"a-[\" is not a regular expression"));
    bundle.tare(&["delete", "-r", "a-"]).silent();
    assert_eq!(bundle.tare(&["list", "-q"]).good(), "b-1\n");
    bundle.tare(&["delete", "-r", "nothing"]).silent();
    bundle.tare(&["delete", "-r", "--force", ".*"]).silent();
    assert_eq!(reap(pids[2]), 137);
    assert_eq!(bundle.tare(&["list", "-q"]).good(), "");
}
