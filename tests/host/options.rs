//! Options of the command line that few engines give: they do what their help says.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Command;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use serde_json::json;

use crate::bundle::{Bundle, Done, LIMIT, eventually_within, finish, is_tare, reap, runtime, stat};

/// What the next one to connect sends: its words and its descriptors.
fn receive(listener: &UnixListener) -> (String, Vec<OwnedFd>) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let received =
        recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert!(!received.flags.contains(ReturnFlags::CTRUNC));
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    (String::from_utf8(bytes[..received.bytes].to_vec()).unwrap(), descriptors)
}

/// The process that a pidfd stands for, as the kernel says.
fn pid_of(pidfd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_pidfd_of_init_goes_to_the_socket() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 has no --pidfd-socket");
    }
    let listener = UnixListener::bind(bundle.file("pidfd")).unwrap();
    for (command, options) in [("create", &[][..]), ("run", &["--detach"])] {
        bundle.write();
        let words = [&[command, "--pidfd-socket", "pidfd"], options, &[&*bundle.id]].concat();
        // The connection waits in the listener's queue.
        bundle.tare(&words).silent();
        let (payload, pidfds) = receive(&listener);
        assert_eq!((payload.as_str(), pidfds.len()), ("standard", 1), "{command}");
        assert_eq!(pid_of(&pidfds[0]), bundle.pid(), "{command}");
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        assert!(crate::bundle::ends(&pidfds[0], LIMIT), "{command}");
    }
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_pidfd_of_an_exec_goes_to_the_socket() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 has no --pidfd-socket");
    }
    bundle.begin();
    let listener = UnixListener::bind(bundle.file("pidfd")).unwrap();
    let words = [
        "exec",
        "--detach",
        "--pidfd-socket",
        "pidfd",
        "--pid-file",
        "exec.pid",
        &bundle.id,
        "/bin/sh",
        "-c",
        "exit 7",
    ];
    bundle.tare(&words).silent();
    let (payload, pidfds) = receive(&listener);
    let pid: i32 = fs::read_to_string(bundle.file("exec.pid")).unwrap().parse().unwrap();
    assert_eq!((payload.as_str(), pidfds.len()), ("setns", 1));
    assert!(crate::bundle::ends(&pidfds[0], LIMIT));
    assert_eq!(reap(pid), 7);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_listener_for_the_pidfd_nothing_is_left() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 has no --pidfd-socket");
    }
    for command in ["create", "run"] {
        bundle.write();
        let line = bundle.tare(&[command, "--pidfd-socket", "nobody", &bundle.id]).refused();
        assert!(line.starts_with("send the pidfd to nobody: "), "{line}");
        bundle.assert_nothing_left();
    }
    bundle.begin();
    let words = ["exec", "--pidfd-socket", "nobody", "--pid-file", "exec.pid", &bundle.id, "/bin/sleep", "1000"];
    bundle.tare(&words).refused();
    assert_eq!((bundle.members().len(), bundle.file("exec.pid").exists()), (1, false));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_configuration_may_have_another_name() {
    let mut bundle = Bundle::script("echo other");
    if !is_tare() {
        return eprintln!("skipped: runc has no --config");
    }
    bundle.write();
    fs::rename(bundle.file("config.json"), bundle.file("other.json")).unwrap();
    assert_eq!(bundle.tare(&["run", "--config", "other.json", &bundle.id]).good(), "other\n");
    assert_eq!(bundle.tare(&["run", "-f", "other.json", &bundle.id]).good(), "other\n");
    // config.json is not looked at, and an absolute path is not below the bundle.
    bundle.set("/process/args", json!(["/bin/false"])).write();
    let absolute = bundle.file("other.json");
    let absolute = absolute.to_str().unwrap();
    bundle.tare(&["create", "--config", absolute, &bundle.id]).silent();
    let elsewhere = ["--bundle", bundle.path().to_str().unwrap()];
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    let mut run = bundle.command(&[&["run"], &elsewhere[..], &["--config", "other.json", &bundle.id]].concat());
    run.current_dir("/");
    assert_eq!(finish(run).good(), "other\n");
    let line = bundle.tare(&["create", "--config", "none.json", &bundle.id]).refused();
    assert!(line.contains("/none.json: no such file or directory"), "{line}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn options_may_follow_the_id() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc and crun want options first");
    }
    bundle.write();
    let path = bundle.path().to_str().unwrap();
    bundle.tare(&["create", &bundle.id, "--bundle", path, "--pid-file", "init.pid"]).silent();
    assert_eq!(fs::read_to_string(bundle.file("init.pid")).unwrap(), bundle.pid().to_string());
    bundle.on("start").silent();
    assert_eq!(bundle.tare(&["ps", &bundle.id, "--format", "json"]).good(), format!("[{}]\n", bundle.pid()));
    // What follows the id of exec is its command's.
    assert_eq!(bundle.tare(&["exec", &bundle.id, "echo", "--cwd", "/"]).good(), "--cwd /\n");
    bundle.tare(&["kill", &bundle.id, "KILL", "--all"]).silent();
    bundle.tare(&["delete", &bundle.id, "--force"]).silent();
    bundle.assert_nothing_left();
}

/// An orphan of a container in the host's pid namespace goes to the nearest subreaper.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_subreaper_orphans_are_the_callers() {
    let mut bundle = Bundle::script("(sleep 1000 & echo $! >/tmp/orphan); until [ -e /tmp/go ]; do sleep 0.05; done");
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 cannot remove a cgroup that an orphan is in");
    }
    bundle.share_pids();
    for (options, is_reaper) in [(&["--no-subreaper"][..], false), (&[], true)] {
        let _absent = fs::remove_file(bundle.file("rootfs/tmp/orphan"));
        bundle.write();
        let mut run = bundle.command(&[&["run"], options, &[&*bundle.id]].concat());
        let child = run.stdin(std::process::Stdio::null()).spawn().unwrap();
        let orphan: i32 = bundle.wait_file("tmp/orphan").trim().parse().unwrap();
        let heir = if is_reaper { child.id() } else { std::process::id() };
        let inherited = eventually_within(10_000, || stat(orphan).is_some_and(|stat| stat[1] == heir.to_string()));
        let parent = stat(orphan).map(|stat| stat[1].clone());
        fs::write(bundle.file("rootfs/tmp/go"), "").unwrap();
        assert_eq!(crate::bundle::wait(child, "run"), 0);
        assert!(inherited, "{options:?}: the orphan's parent is {parent:?}, not {heir}");
        fs::remove_file(bundle.file("rootfs/tmp/go")).unwrap();
        bundle.reap_orphans();
        bundle.assert_nothing_left();
    }
}

/// Runs a line of sh in which `$0` is the runtime, `$1` the state root and `$2` the id.
fn shell(bundle: &Bundle, line: &str) -> Done {
    let mut shell = Command::new("bash");
    shell.args(["-c", line]).arg(runtime()).arg(bundle.root()).arg(&bundle.id).current_dir(bundle.path());
    finish(shell)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_passes_descriptors_only_on_request() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    fs::write(bundle.file("data"), "handed over\n").unwrap();
    let exec = |options: &str, command: &str| {
        shell(&bundle, &format!("exec \"$0\" --root \"$1\" exec {options} \"$2\" {command} 3<data 4<data 9</"))
    };
    let list = "/bin/sh -c 'ls /proc/$$/fd; cat <&4'";
    let done = exec("--preserve-fds 2", list);
    assert_eq!(
        done.stdout.lines().filter(|line| *line != "10").collect::<Vec<_>>(),
        ["0", "1", "2", "3", "4", "handed over"]
    );
    let done = exec("", "/bin/sh -c 'ls /proc/$$/fd; true'");
    assert_eq!(done.stdout.lines().filter(|line| *line != "10").collect::<Vec<_>>(), ["0", "1", "2"]);
    if is_tare() {
        let line = exec("--preserve-fds 3", "true").refused();
        assert_eq!(
            line,
            "--preserve-fds 3: descriptor 5 is not open; the container inherits the caller's descriptors 3, 4, ..."
        );
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_with_a_label_that_nothing_enforces_is_refused() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc drops the label then");
    }
    let exists = |path: &str| fs::exists(path).unwrap();
    bundle.begin();
    if exists("/sys/fs/selinux/enforce") {
        eprintln!("skipped: SELinux is on, so a label is not refused");
    } else {
        let label = "system_u:system_r:container_t:s0";
        let line = bundle.tare(&["exec", "--process-label", label, &bundle.id, "/bin/true"]).refused();
        let text = "selinux label is specified in config, but selinux is disabled or not supported";
        assert_eq!(line, format!("process.selinuxLabel: {text}"));
    }
    if exists("/sys/kernel/security/apparmor/profiles") {
        eprintln!("skipped: AppArmor is on, so a profile is not refused");
    } else {
        let line = bundle.tare(&["exec", "--apparmor", "docker-default", &bundle.id, "/bin/true"]).refused();
        let text = "AppArmor profile \"docker-default\": AppArmor is not enabled on this host";
        assert_eq!(line, format!("process.apparmorProfile: {text}"));
        // Without AppArmor every process is unconfined.
        bundle.tare(&["exec", "--apparmor", "unconfined", &bundle.id, "/bin/true"]).silent();
    }
    assert_eq!(bundle.members().len(), 1);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn host_and_domain_name() {
    let mut bundle = Bundle::script("cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname");
    let names = || {
        let name = |of| fs::read_to_string(format!("/proc/sys/kernel/{of}")).unwrap();
        [name("hostname"), name("domainname")]
    };
    let before = names();
    bundle.set("/domainname", json!("example.test"));
    if is_tare() {
        assert_eq!(bundle.run().good(), "box\nexample.test\n");
        bundle.set("/domainname", json!("x".repeat(65)));
        assert_eq!(bundle.create().refused(), "domainname: 65 bytes; the kernel accepts at most 64");
        bundle.without_namespace("uts");
        bundle.unset("/hostname").set("/domainname", json!("example.test"));
        let line = bundle.create().refused();
        assert!(line.starts_with("domainname: "), "{line}");
    }
    assert_eq!(names(), before);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_has_the_scheduler_of_its_process() {
    const POLICY: usize = 38;
    const NICE: usize = 16;
    let mut bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: older runtimes do not know it");
    }
    bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    bundle.begin();
    let of = |pid: i32| {
        let fields = stat(pid).unwrap();
        (fields[POLICY].clone(), fields[NICE].clone())
    };
    let batch = (libc::SCHED_BATCH.to_string(), "5".to_string());
    assert_eq!(of(bundle.pid()), batch);
    let exec = |more: &[&str]| {
        let words = [&["exec", "--detach", "--pid-file", "exec.pid"], more].concat();
        bundle.tare(&words).silent();
        let pid = fs::read_to_string(bundle.file("exec.pid")).unwrap().parse().unwrap();
        fs::remove_file(bundle.file("exec.pid")).unwrap();
        of(pid)
    };
    assert_eq!(exec(&[&bundle.id, "/bin/sleep", "1000"]), batch);
    let process = json!({
        "user": { "uid": 0, "gid": 0 }, "args": ["/bin/sleep", "1000"], "cwd": "/",
        "scheduler": { "policy": "SCHED_IDLE" },
    });
    fs::write(bundle.file("process.json"), process.to_string()).unwrap();
    assert_eq!(exec(&["--process", "process.json", &bundle.id]).0, libc::SCHED_IDLE.to_string());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_level_decides_what_is_logged() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc has no --log-level");
    }
    bundle.set("/process/capabilities/bounding", json!(["CAP_TO_FLY"]));
    bundle.unset("/process/capabilities/permitted").unset("/process/capabilities/effective").write();
    for (level, levels) in [("debug", &["debug", "warning"][..]), ("warning", &["warning"]), ("error", &[])] {
        let log = bundle.file(level);
        let globals = ["--log", log.to_str().unwrap(), "--log-level", level];
        let done = bundle.tare(&[&globals[..], &["run", &bundle.id]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        let text = fs::read_to_string(&log).unwrap_or_default();
        for word in ["debug", "warning"] {
            assert_eq!(text.contains(&format!("level={word}")), levels.contains(&word), "{level}: {text}");
        }
    }
}

/// The specification wants an error; runc and crun delete it, and engines rely on that.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_created_container_can_be_deleted() {
    let bundle = Bundle::script("echo ran >/tmp/ran");
    bundle.create_with(if is_tare() { &["--no-subreaper"] } else { &[] }).silent();
    bundle.on("delete").silent();
    bundle.reap_orphans();
    bundle.assert_nothing_left();
    assert!(!bundle.file("rootfs/tmp/ran").exists());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_example_may_have_another_name() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc has no --config");
    }
    bundle.tare(&["spec", "--config", "other.json"]).silent();
    let config: serde_json::Value = serde_json::from_slice(&fs::read(bundle.file("other.json")).unwrap()).unwrap();
    assert_eq!((config["root"]["path"].as_str(), bundle.file("config.json").exists()), (Some("rootfs"), false));
    bundle.tare(&["spec", "-f", "other.json"]).refused();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_may_have_a_terminal_and_no_new_privileges() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/process/noNewPrivileges", json!(false));
    bundle.begin();
    let line = "test -t 0 && test -t 1 && test -t 2; echo $?; grep NoNewPrivs /proc/self/status";
    let exec = |options: &[&str]| {
        let done = bundle.tare(&[&["exec"], options, &[&*bundle.id, "/bin/sh", "-c", line]].concat());
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout.replace("\r\n", "\n").replace('\t', " ")
    };
    assert_eq!(exec(&[]), "1\nNoNewPrivs: 0\n");
    assert_eq!(exec(&["--no-new-privs"]), "1\nNoNewPrivs: 1\n");
    if !is_tare() {
        return eprintln!("skipped: runc needs a terminal of its own for --tty");
    }
    assert_eq!(exec(&["--tty"]), "0\nNoNewPrivs: 0\n");
    assert_eq!(exec(&["-t", "--no-new-privs"]), "0\nNoNewPrivs: 1\n");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_loopback_of_a_new_network_is_up() {
    let bundle = Bundle::script("ip link show lo");
    let text = bundle.run().good();
    assert!(text.contains("LOOPBACK,UP"), "{text}");
}
