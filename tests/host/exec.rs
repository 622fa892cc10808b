//! exec, as engines and probes use it.

use std::fs;

use serde_json::json;

use crate::bundle::{Bundle, eventually, is_tare, kernel_before, reap, stat};

fn running() -> Bundle {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    bundle
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_exit_code_is_the_programs() {
    let bundle = running();
    for code in [0, 1, 42, 126, 255] {
        assert_eq!(bundle.exec(&format!("exit {code}")).code, code);
    }
    assert_eq!(bundle.exec("kill -9 $$").code, 128 + 9);
    assert_eq!(bundle.exec("kill -TERM $$").code, 128 + 15);
    let done = bundle.exec("echo out; echo err >&2");
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "out\n", "err\n"));
}

/// An engine waits for the program alone: whatever else exec makes, exec itself reaps.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn it_leaves_no_zombie_of_its_own() {
    let bundle = running();
    for round in 0..100 {
        let done =
            if round % 2 == 0 { bundle.exec("true") } else { bundle.tare(&["exec", "--detach", &bundle.id, "true"]) };
        assert_eq!(done.code, 0, "{done:?}");
        let own = std::process::id().to_string();
        let is_left = |pid: &i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name != "true\n" && stat(*pid).is_some_and(|fields| fields[0] == "Z" && fields[1] == own)
        };
        let left: Vec<i32> = bundle.processes().into_iter().filter(is_left).collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
        bundle.reap_orphans();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn it_is_in_the_container() {
    let bundle = running();
    let pid = bundle.pid();
    let links = bundle.exec("for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done").good();
    for link in links.lines() {
        let kind = link.split(':').next().unwrap();
        assert_eq!(fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str().unwrap(), link);
    }
    assert_eq!(links.lines().count(), 6);
    assert_eq!(bundle.exec("cat /proc/self/cgroup").good().lines().last(), Some("0::/"));
    let status = bundle.exec("cat /proc/self/status").good();
    let of_init = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let names = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Seccomp:", "Groups"];
    for name in names {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(of_init.contains(line), "{line}");
    }
}

/// chroot is all that keeps it in: without it, exec would hand out the host.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_mount_namespace_it_is_in_the_rootfs() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.without_namespace("mount");
    bundle.set("/mounts", json!([]));
    bundle.begin();
    // By the program itself: some builds of busybox's shell look for their own file in /proc, which is not there.
    let listed = bundle.tare(&["exec", &bundle.id, "/bin/ls", "-d", "/rootfs", "/usr", "/bin", "/home"]);
    assert_eq!(listed.stdout, "/bin\n", "{listed:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_that_cannot_be_run_leaves_no_pid_file() {
    let bundle = running();
    fs::write(bundle.file("rootfs/tmp/plain"), "no program\n").unwrap();
    for (program, text) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/no/thing", "exec: \"/no/thing\": stat /no/thing: no such file or directory"),
        ("/tmp/plain", "exec: \"/tmp/plain\": permission denied"),
        ("/tmp", "exec: \"/tmp\": is a directory"),
    ] {
        for detach in [true, false] {
            let mut args = vec!["exec", "--pid-file", "exec.pid"];
            args.extend(detach.then_some("-d"));
            args.extend([&*bundle.id, program, "-x"]);
            let done = bundle.tare(&args);
            assert_eq!(done.code, 255, "{done:?}");
            let line = done.refused();
            if is_tare() {
                assert_eq!(line, format!("process.args[0]: {text}"));
            }
            assert!(!bundle.file("exec.pid").exists(), "{program}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn detached_it_is_the_subreapers_child() {
    let bundle = running();
    let args = ["exec", "--detach", "--pid-file", "exec.pid", &bundle.id, "/bin/sh", "-c", "sleep 0.2; exit 9"];
    bundle.tare(&args).silent();
    let text = fs::read_to_string(bundle.file("exec.pid")).unwrap();
    let pid: i32 = text.parse().unwrap();
    assert_eq!(stat(pid).unwrap()[1], std::process::id().to_string());
    assert_eq!(reap(pid), 9);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_the_foreground_the_pid_file_is_there_early() {
    let bundle = running();
    let args =
        ["exec", "--pid-file", "exec.pid", &bundle.id, "/bin/sh", "-c", "while ! [ -e /tmp/go ]; do sleep 0.02; done"];
    let mut exec = bundle.command(&args);
    let child = exec.stdin(std::process::Stdio::null()).spawn().unwrap();
    eventually("pid file", || bundle.file("exec.pid").exists());
    let text = fs::read_to_string(bundle.file("exec.pid")).unwrap();
    assert!(stat(text.parse().unwrap()).is_some());
    fs::write(bundle.file("rootfs/tmp/go"), "").unwrap();
    assert_eq!(crate::bundle::wait(child, "exec"), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_process_file_says_everything() {
    let bundle = running();
    let process = json!({
        "user": { "uid": 12, "gid": 34, "additionalGids": [56] },
        "args": ["/bin/sh", "-c", "id -u; id -g; id -G; pwd; echo $A; umask"],
        "env": ["PATH=/bin", "A=b"],
        "cwd": "/tmp",
    });
    fs::write(bundle.file("process.json"), process.to_string()).unwrap();
    let out = bundle.tare(&["exec", "--process", "process.json", &bundle.id]).good();
    assert_eq!(out, "12\n34\n34 56\n/tmp\nb\n0022\n");
    let out = bundle.tare(&["exec", "-p", "process.json", &bundle.id]).good();
    assert!(out.starts_with("12\n"), "{out}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn options_change_the_containers_own_process() {
    let bundle = running();
    let args = ["exec", "--user", "5:6", "--cwd", "/etc", "-e", "A=1", "-e", "B=2", "-g", "7", &bundle.id];
    let line = ["/bin/sh", "-c", "id -u; id -g; id -G; pwd; echo $A$B"];
    let out = bundle.tare(&[&args[..], &line[..]].concat()).good();
    assert_eq!(out, "5\n6\n6 7\n/etc\n12\n");
    // What follows the id belongs to the command.
    let out = bundle.tare(&["exec", &bundle.id, "echo", "--user", "-d", "--", "x"]).good();
    assert_eq!(out, "--user -d -- x\n");
    let out = bundle.tare(&["exec", "--", &*bundle.id, "echo", "-x"]).good();
    assert_eq!(out, "-x\n");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_without_namespaces() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/linux/namespaces", json!([])).set("/mounts", json!([])).unset("/hostname");
    bundle.begin();
    let link = format!("/proc/{}/root", bundle.pid());
    let text = bundle.exec("echo in; pwd; ls /bin/busybox").good();
    assert_eq!(text, "in\n/\n/bin/busybox\n");
    assert_eq!(fs::read_link(link).unwrap(), bundle.file("rootfs"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hostile_users_are_refused() {
    let bundle = running();
    for user in ["-1", "4294967295", "4294967296", "12abc", ":5", "", "1:", "0x1", "1:-1", "1:4294967295", " 1", "+1"] {
        let option = format!("--user={user}");
        let done = bundle.tare(&["exec", &option, &bundle.id, "id", "-u"]);
        // runc before 1.4 takes 4294967296 for 0.
        if is_tare() {
            let line = done.refused();
            assert!(line.contains("user") || line.contains("uid") || line.contains("gid"), "{user:?}: {line}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn only_in_a_container_that_lives() {
    let bundle = Bundle::script("sleep 100");
    assert!(bundle.exec("true").refused().contains("does not exist"));
    bundle.create().silent();
    // A created container takes processes.
    bundle.exec("true").silent();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "9"]).silent();
    reap(pid);
    let done = bundle.exec("true");
    assert_eq!(done.code, 255);
    let line = done.refused();
    if is_tare() {
        let id = &bundle.id;
        assert_eq!(line, format!("cannot exec in a stopped container: container not running: \"{id}\""));
    }
    let done = bundle.tare(&["exec", &bundle.id]);
    assert_ne!(done.code, 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn many_execs_at_once_lose_nothing() {
    let bundle = running();
    let one = |number: usize| {
        let done = bundle.exec(&format!("echo {number}; exit {number}"));
        let good = (i32::try_from(number).unwrap(), format!("{number}\n"), String::new());
        assert_eq!((done.code, done.stdout, done.stderr), good);
    };
    for _ in 0..5 {
        std::thread::scope(|scope| (0..20).for_each(|number| drop(scope.spawn(move || one(number)))));
    }
    let pids = bundle.tare(&["ps", "--format", "json", &bundle.id]).good();
    assert_eq!(serde_json::from_str::<Vec<i32>>(&pids).unwrap().len(), 1);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn no_descriptor_of_the_host_is_inherited() {
    let bundle = Bundle::script("ls /proc/self/fd > /tmp/fds; sleep 1000");
    bundle.write();
    let shell = |line: &str| {
        let mut shell = std::process::Command::new("sh");
        let root = bundle.root();
        shell.args(["-c", line]).arg(crate::bundle::runtime()).arg(&root).arg(&bundle.id);
        crate::bundle::finish({
            shell.current_dir(bundle.path());
            shell
        })
    };
    shell("exec \"$0\" --root \"$1\" create \"$2\" 7</ 9</etc").silent();
    bundle.on("start").silent();
    let fds = bundle.wait_file("tmp/fds");
    let own = |fds: &str| fds.split_whitespace().map(|fd| fd.parse::<u32>().unwrap()).collect::<Vec<_>>();
    // 3 is ls's own, for the directory.
    assert_eq!(own(&fds), [0, 1, 2, 3]);
    let fds = shell("exec \"$0\" --root \"$1\" exec \"$2\" /bin/ls /proc/self/fd 7</ 9</etc").good();
    assert_eq!(own(&fds), [0, 1, 2, 3]);
    let fds =
        shell("exec \"$0\" --root \"$1\" exec --preserve-fds 2 \"$2\" /bin/ls /proc/self/fd 3</ 4</etc 5</").good();
    assert_eq!(own(&fds), [0, 1, 2, 3, 4, 5]);
}

/// The first record of a container says "creating", and its program may run for a moment before the second is written.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_waits_until_the_container_is_recorded() {
    let bundle = running();
    if !is_tare() {
        return;
    }
    let directory = bundle.root().join(&bundle.id);
    let finished = fs::read_to_string(directory.join("record")).unwrap();
    bundle.edit_record("phase", |_| "creating".into());
    let lock = fs::File::open(&directory).unwrap();
    lock.lock().unwrap();
    let exec = bundle.command(&["exec", &bundle.id, "/bin/true"]).spawn().unwrap();
    let waiting = format!("-> FLOCK  ADVISORY  READ {} ", exec.id());
    eventually("exec waits for the lock", || fs::read_to_string("/proc/locks").unwrap().contains(&waiting));
    fs::write(directory.join("record"), finished).unwrap();
    drop(lock);
    assert_eq!(crate::bundle::wait(exec, "exec"), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_joins_the_cgroup_of_init_when_the_recorded_one_is_gone() {
    let mut bundle = Bundle::script("sleep 100");
    bundle.without_namespace("cgroup");
    bundle.begin();
    let other = bundle.cgroup().with_extension("moved");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("cgroup.procs"), bundle.pid().to_string()).unwrap();
    fs::remove_dir(bundle.cgroup()).unwrap();
    let text = bundle.exec("cat /proc/self/cgroup").good();
    bundle.tare(&["delete", "--force", &bundle.id]).good();
    fs::write(other.join("cgroup.kill"), "1").unwrap();
    eventually("the cgroup is empty", || fs::remove_dir(&other).is_ok());
    if is_tare() {
        assert!(text.lines().any(|line| line.starts_with("0::") && line.ends_with(".moved")), "{text}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn cpus_before_and_after_the_cgroup() {
    let mut bundle = Bundle::script("grep Cpus_allowed_list /proc/self/status >/cpus; sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 knows no execCPUAffinity");
    }
    bundle.set("/root/readonly", json!(false));
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0" }));
    bundle.begin();
    let cpus = |affinity: &serde_json::Value| {
        let mut process = bundle.config["process"].clone();
        process["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]);
        process["execCPUAffinity"] = affinity.clone();
        let file = bundle.file("process.json");
        fs::write(&file, process.to_string()).unwrap();
        bundle.tare(&["exec", "--process", file.to_str().unwrap(), &bundle.id])
    };
    let all = cpus(&json!({})).good();
    assert_ne!(all, "Cpus_allowed_list:\t0\n", "a machine of one processor shows nothing");
    // Before Linux 6.2, a process gets the processors of each cpuset that it moves into.
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    let kept: &str =
        if kernel_before([6, 2]) && controllers.contains("cpuset") { &all } else { "Cpus_allowed_list:\t0\n" };
    assert_eq!(cpus(&json!({ "initial": "0" })).good(), kept);
    // The container's own.
    assert_eq!(cpus(&json!(null)).good(), kept);
    assert_eq!(cpus(&json!({ "initial": "0", "final": "1" })).good(), "Cpus_allowed_list:\t1\n");
    assert_eq!(bundle.exec("grep Cpus_allowed_list /proc/self/status").good(), kept);
    let error = cpus(&json!({ "initial": "1000" })).refused();
    assert!(error.ends_with("execCPUAffinity.initial: set the cpu affinity: invalid argument"), "{error}");
    // init has those of its cgroup whatever exec gets.
    assert_eq!(fs::read_to_string(bundle.file("rootfs/cpus")).unwrap(), all);
}
