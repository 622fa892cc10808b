//! Hooks on this kernel: what they are given, how they fail, that nothing of ours stays with them.
#![allow(clippy::print_stderr, clippy::unwrap_used, missing_docs)]

mod busybox;

use std::fs::read_to_string;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use tare::error::{Error, ErrorKind};
use tare::internals::hooks::{self, HookPlan, Place};
use tare::internals::sys::namespace::NamespaceSet;

/// The clone of a hook process uses one stack: tare has one thread, this program has many.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn plan(list: &Value, annotations: &Value) -> HookPlan {
    let config = json!({"ociVersion": "1.3.0", "hooks": {"createRuntime": list}, "annotations": annotations});
    hooks::plan(&serde_json::from_value(config).unwrap()).unwrap()
}

fn run_list(list: &Value, state: &[u8]) -> Result<(), Error> {
    let _alone = alone();
    hooks::run(
        &plan(list, &json!({})).create_runtime,
        state,
        Place::Runtime { directory: Path::new("/tmp"), init: None },
    )
}

fn sh(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn run(script: &str) -> Result<(), Error> {
    run_list(&json!([sh(script)]), b"{}")
}

fn text(path: &Path) -> String {
    read_to_string(path).unwrap()
}

#[test]
fn arguments_environment_and_state_are_exactly_the_given_ones() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let script = format!("{{ echo \"$0 $1\"; cat; tr '\\0' '\\n' < /proc/self/environ; }} > {}", out.display());
    let hook = json!({"path": "/bin/sh", "args": ["argv0", "-c", script, "zero", "one"], "env": ["A=b", "C="]});
    run_list(&json!([hook]), br#"{"id":"x"}"#).unwrap();
    assert_eq!(text(&out), "zero one\n{\"id\":\"x\"}A=b\nC=\n");
}

#[test]
fn the_working_directory_is_the_root_once_the_bundle_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let list = plan(&json!([sh(&format!("pwd > {}", out.display()))]), &json!({})).create_runtime;
    for (bundle, shown) in [(directory.path(), directory.path()), (&directory.path().join("gone"), Path::new("/"))] {
        let _alone = alone();
        hooks::run(&list, b"{}", Place::Runtime { directory: bundle, init: None }).unwrap();
        assert_eq!(text(&out), format!("{}\n", shown.display()));
    }
}

#[test]
fn without_env_the_environment_is_the_runtimes() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let args = json!(["cp", "/proc/self/environ", out]);
    let cp = ["/bin/cp", "/usr/bin/cp"].into_iter().find(|path| Path::new(path).exists()).unwrap();
    run_list(&json!([{"path": cp, "args": args}]), b"{}").unwrap();
    let own: Vec<_> = std::env::vars().map(|(name, value)| format!("{name}={value}\0")).collect();
    assert!(!own.is_empty() && own.iter().all(|entry| text(&out).contains(entry)), "{:?}", text(&out));
    run_list(&json!([{"path": cp, "args": args, "env": []}]), b"{}").unwrap();
    assert_eq!(text(&out), "");
}

#[test]
fn argv0_is_the_path_without_args() {
    let directory = tempfile::tempdir().unwrap();
    let hook = directory.path().join("hook");
    std::fs::write(&hook, "#!/bin/sh\necho \"$0 $#\" >&2; exit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = run_list(&json!([{"path": hook}]), b"{}").unwrap_err().to_string();
    assert!(error.ends_with(&format!("exit status 1 ({} 0)", hook.display())), "{error}");
}

#[test]
fn failures_say_which_hook_and_why() {
    let error = run_list(&json!([sh("exit 0"), sh("echo first >&2; echo reason >&2; exit 7")]), b"{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert_eq!(error.path(), Some("hooks.createRuntime[1]"));
    assert_eq!(
        error.to_string(),
        "hooks.createRuntime[1]: error running createRuntime hook #1: /bin/sh: exit status 7 (first\\nreason)"
    );
    let error = run("kill -TERM $$").unwrap_err().to_string();
    assert!(error.ends_with("/bin/sh: killed by signal 15"), "{error}");
}

#[test]
fn the_first_failure_ends_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let touch = |name: &str| format!("touch {}", directory.path().join(name).display());
    run_list(&json!([sh(&touch("a")), sh("exit 1"), sh(&touch("b"))]), b"{}").unwrap_err();
    assert!(directory.path().join("a").exists() && !directory.path().join("b").exists());
}

#[test]
fn what_cannot_be_executed_is_named() {
    let error = run_list(&json!([{"path": "/nowhere/hook"}]), b"{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert_eq!(
        error.to_string(),
        "hooks.createRuntime[0]: error running createRuntime hook #0: /nowhere/hook: execute the program: \
         no such file or directory; the program or the interpreter of its first line is missing"
    );
    let error = run_list(&json!([{"path": "/etc/passwd"}]), b"{}").unwrap_err().to_string();
    assert!(error.ends_with("/etc/passwd: execute the program: permission denied"), "{error}");
}

#[test]
fn a_timeout_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("echo late >&2; sleep 300 & echo $! $$ > {}; wait", pids.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1});
    let before = Instant::now();
    let error = run_list(&json!([hook]), b"{}").unwrap_err();
    let took = before.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(error.kind(), ErrorKind::Hook);
    assert!(error.to_string().ends_with("timed out after 1 s, killed with its process group (late)"), "{error}");
    for pid in text(&pids).split_whitespace() {
        // The kill is sent, not awaited, for the hook's children; whoever adopts them reaps them.
        let lives = || {
            let status = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        while lives() {
            assert!(before.elapsed() < Duration::from_secs(20), "{pid} survives");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_descendant_that_holds_the_pipes_does_not_block() {
    let before = Instant::now();
    let error = run("sleep 5 & echo told >&2; exit 3").unwrap_err().to_string();
    assert!(error.ends_with("exit status 3 (told)"), "{error}");
    run("sleep 5 &").unwrap();
    run("(while :; do echo noise >&2; done) & sleep 0.1").unwrap();
    assert!(before.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_chatty_hook_is_read_and_its_last_words_are_shown() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo last >&2; exit 1";
    let error = run(script).unwrap_err().to_string();
    assert!(error.ends_with("0123456789\\nlast)"), "{error}");
    assert!(error.len() < 1500, "{}", error.len());
}

#[test]
fn a_state_larger_than_a_pipe_and_one_that_nobody_reads() {
    let state = vec![b'x'; 1_000_000];
    run_list(&json!([sh("test $(wc -c) = 1000000")]), &state).unwrap();
    run_list(&json!([sh("exit 0")]), &state).unwrap();
    run_list(&json!([sh("exec <&-; sleep 0.1")]), &state).unwrap();
}

#[test]
fn nothing_of_ours_is_inherited() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    // Not close-on-exec, as a careless caller leaves it.
    let leaked = std::fs::File::open("/etc/passwd").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&leaked, 57).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("ls -l /proc/self/fd > {0}; cat /proc/self/stat /proc/self/status >> {0}", out.display());
    let _group = run(&script);
    let seen = text(&out);
    let descriptors: Vec<&str> = seen.lines().filter(|line| line.contains(" -> ")).collect();
    // ls has its own descriptor of the directory.
    assert_eq!(descriptors.len(), 4, "{descriptors:?}");
    assert!(descriptors.iter().all(|line| !line.contains("passwd")), "{descriptors:?}");
    assert!(descriptors[2].contains("pipe:"), "{descriptors:?}");
    let mask = |field: &str| {
        let line = seen.lines().find(|line| line.starts_with(field)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    // What our caller ignores stays ignored (nohup); SIGPIPE was ignored by ourselves.
    assert_eq!(mask("SigIgn:") & (1 << (libc::SIGPIPE - 1)), 0);
    let stat = seen.lines().find(|line| line.contains(" (cat) ")).unwrap();
    let numbers: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // Its session is its own, and there is no terminal: state ppid pgrp session tty.
    assert_ne!(numbers[3], rustix::process::getsid(None).unwrap().as_raw_nonzero().get().to_string());
    assert_eq!(numbers[4], "0");
}

#[test]
fn output_can_go_to_files() {
    let directory = tempfile::tempdir().unwrap();
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let annotations = json!({"run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err});
    let plan = plan(&json!([sh("echo a; echo b >&2"), sh("echo c; exit 1")]), &annotations);
    let _alone = alone();
    let error = hooks::run(&plan.create_runtime, b"{}", Place::Runtime { directory: Path::new("/tmp"), init: None })
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("exit status 1"), "{error}");
    assert_eq!((text(&out), text(&err)), ("a\nc\n".to_string(), "b\n".to_string()));
}

/// Namespaces with a process in them.
struct Inside(Child);

impl Inside {
    fn new(options: &[&str], script: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(options).args(["--kill-child", "sh", "-c", &format!("{script}; echo ready; exec sleep 60")]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Self(child)
    }

    /// Of the process inside a pid namespace, else of the only one.
    fn pid(&self) -> Pid {
        let parent = self.0.id();
        let children = read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let pid = children.split_whitespace().next().map_or_else(|| parent.to_string(), str::to_string);
        Pid::from_raw(pid.parse().unwrap()).unwrap()
    }

    fn run(&self, script: &str, namespaces: NamespaceSet) -> Result<(), Error> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let place = Place::Container { pidfd: pidfd.as_fd(), namespaces };
        let _alone = alone();
        hooks::run(&plan(&json!([sh(script)]), &json!({})).create_runtime, b"{}", place)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Compares every namespace of the hook with those of the process inside, by their numbers.
fn namespaces_agree(inside: &Inside, bits: NamespaceSet, names: &[&str]) {
    let pid = inside.pid().as_raw_nonzero();
    for name in names {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        let own = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(link, own, "{name}");
        let script = format!("test \"$(readlink /proc/self/ns/{name})\" = '{}'", link.display());
        inside.run(&script, bits).unwrap();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_the_container_all_its_namespaces_are_joined() {
    let bits = NamespaceSet::MOUNT
        | NamespaceSet::PID
        | NamespaceSet::UTS
        | NamespaceSet::IPC
        | NamespaceSet::NETWORK
        | NamespaceSet::TIME;
    let inside = Inside::new(&["-m", "-p", "-f", "-u", "-i", "-n", "-T", "--mount-proc"], "cd /; hostname inside");
    namespaces_agree(&inside, bits, &["mnt", "pid", "uts", "ipc", "net", "time"]);
    inside.run("test \"$(hostname)\" = inside", bits).unwrap();
    // The process sees itself in the pid namespace, and its mounts are the container's.
    inside.run("test $$ -lt 1000 && test -e /proc/$$", bits).unwrap();
    // Where init is.
    inside.run("test \"$(pwd)\" = /", bits).unwrap();
}

#[test]
fn in_a_user_namespace_the_hook_is_its_root() {
    let bits = NamespaceSet::USER | NamespaceSet::UTS;
    let inside = Inside::new(&["-U", "-r", "-u"], "hostname user");
    let script = "test \"$(id -u) $(id -g)\" = '0 0' && test \"$(hostname)\" = user && hostname changed";
    inside.run(script, bits).unwrap();
    assert_ne!(text(Path::new("/proc/sys/kernel/hostname")).trim(), "changed");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_user_namespace_of_the_runtime_is_not_joined_again() {
    let inside = Inside::new(&["-u"], "hostname same");
    inside.run("test \"$(hostname)\" = same", NamespaceSet::USER | NamespaceSet::UTS).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn after_pivot_root_the_root_is_the_containers() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {}; mount --bind . .; cd {0}; mkdir old; for d in bin lib lib64 usr; do test -e /$d || continue; mkdir -p $d; \
         mount --rbind /$d $d; done; touch marker; pivot_root . old; cd /",
        directory.path().display()
    );
    let inside = Inside::new(&["-m"], &script);
    inside.run("test -e /marker && test ! -e /etc && test \"$(pwd)\" = /", NamespaceSet::MOUNT).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_mount_namespace_the_root_is_that_of_init() {
    let directory = tempfile::tempdir().unwrap();
    busybox::require();
    busybox::rootfs(directory.path(), &[], &["sh"]);
    let mut command = Command::new("chroot");
    command.arg(directory.path()).args(["/bin/sh", "-c", "echo ready; while :; do read x; done"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
    let inside = Inside(child);
    inside.run("test ! -e /etc && test -e /bin/sh", NamespaceSet::empty()).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_stopped_container_is_named_in_the_error() {
    let inside = Inside::new(&["-u"], "true");
    let pidfd = pidfd_open(inside.pid(), PidfdFlags::empty()).unwrap();
    drop(inside);
    let place = Place::Container { pidfd: pidfd.as_fd(), namespaces: NamespaceSet::UTS };
    let _alone = alone();
    let error = hooks::run(&plan(&json!([sh("true")]), &json!({})).create_runtime, b"{}", place).unwrap_err();
    assert!(error.to_string().ends_with("/bin/sh: the container's init has ended"), "{error}");
}
