//! Class 40: what a process inherits through execve from whoever calls the runtime: signals, their mask, and the rest.

#![allow(unsafe_code, reason = "only a process itself can set what it inherits to its program")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, finish, give, is_tare, reap};
use crate::support::skip;

/// Something about the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// nohup and background jobs of a script; some supervisors ignore SIGCHLD.
    IgnoresAll,
    /// A thread that takes signals by sigwait(3).
    BlocksAll,
    IgnoresChildren,
    Nice,
    OneCpu,
    Personality,
    Limits,
    Everything,
}

const CALLERS: [Caller; 8] = [
    Caller::IgnoresAll,
    Caller::BlocksAll,
    Caller::IgnoresChildren,
    Caller::Nice,
    Caller::OneCpu,
    Caller::Personality,
    Caller::Limits,
    Caller::Everything,
];

impl Caller {
    /// Is so, from a process between fork and execve.
    fn become_so(self) {
        let is = |one: Self| self == one || self == Self::Everything;
        // SAFETY: system calls on numbers and on live structures, all of them safe between fork and execve.
        unsafe {
            for signal in 1..65 {
                if is(Self::IgnoresAll) || is(Self::IgnoresChildren) && signal == libc::SIGCHLD {
                    // A system call of its own: the C library keeps two signals for itself.
                    let ignore: [usize; 4] = [libc::SIG_IGN, 0, 0, 0];
                    let none = std::ptr::null::<usize>();
                    libc::syscall(libc::SYS_rt_sigaction, signal, ignore.as_ptr(), none, 8);
                }
            }
            if is(Self::BlocksAll) {
                let all = u64::MAX;
                let none = std::ptr::null::<u64>();
                libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, none, 8);
            }
            if is(Self::Nice) {
                libc::setpriority(libc::PRIO_PROCESS, 0, 7);
            }
            if is(Self::OneCpu) {
                let first: u64 = 1;
                libc::syscall(libc::SYS_sched_setaffinity, 0, 8, &raw const first);
            }
            if is(Self::Personality) {
                libc::personality(0x004_0000 | 0x040_0000);
            }
            if is(Self::Limits) {
                let limits = [
                    (libc::RLIMIT_NOFILE, 64),
                    (libc::RLIMIT_CORE, 0),
                    (libc::RLIMIT_FSIZE, 1 << 20),
                    (libc::RLIMIT_MEMLOCK, 0),
                    (libc::RLIMIT_STACK, 1 << 20),
                ];
                for (kind, value) in limits {
                    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
                    libc::setrlimit(kind, &raw const limit);
                }
            }
        }
    }

    fn calls(self, mut command: Command) -> Done {
        // SAFETY: see `become_so`; it allocates nothing.
        unsafe {
            command.pre_exec(move || {
                self.become_so();
                Ok(())
            })
        };
        finish(command)
    }
}

/// Signals that a program can be stopped by: none is ignored, none waits.
#[track_caller]
fn has_defaults(status: &str, what: &str) {
    // 32 to 34 belong to the C library, and a runtime that uses one may be unable to set them.
    let asked = if is_tare() { u64::MAX } else { !(0b111 << 31) };
    for name in ["SigIgn:", "SigBlk:"] {
        let value =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{what}: {status}"));
        let value = u64::from_str_radix(value.trim(), 16).unwrap() & asked;
        assert!(value == 0, "{what}: {name} {value:x}");
    }
}

const SIGNALS: &str = "grep -E '^Sig(Ign|Blk)' /proc/self/status";

/// A lost SIGCHLD costs exit codes and hangs; an ignored SIGTERM makes a container that cannot be stopped.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_40_run_and_exec() {
    for caller in CALLERS {
        for pause in ["", "sleep 0.2; "] {
            let what = format!("{caller:?}");
            let bundle = Bundle::script(&format!("{SIGNALS}; {pause}exit 7"));
            bundle.write();
            let done = caller.calls(bundle.command(&["run", &bundle.id]));
            assert_eq!((done.code, done.stderr.as_str()), (7, ""), "run, {what}: {done:?}");
            has_defaults(&done.stdout, &format!("run, {what}"));
            let bundle = Bundle::script(&format!("{SIGNALS} >/tmp/out; exec sleep 1000"));
            bundle.write();
            let created = caller.calls(bundle.command(&["create", &bundle.id]));
            assert_eq!(created.code, 0, "create, {what}: {created:?}");
            let pid = bundle.pid();
            let started = caller.calls(bundle.command(&["start", &bundle.id]));
            assert_eq!(started.code, 0, "start, {what}: {started:?}");
            has_defaults(&bundle.wait_file("tmp/out"), &format!("create, {what}"));
            let line = format!("{SIGNALS}; {pause}exit 9");
            let exec = caller.calls(bundle.command(&["exec", &bundle.id, "/bin/sh", "-c", &line]));
            assert_eq!((exec.code, exec.stderr.as_str()), (9, ""), "exec, {what}: {exec:?}");
            has_defaults(&exec.stdout, &format!("exec, {what}"));
            let deleted = caller.calls(bundle.command(&["delete", "--force", &bundle.id]));
            assert_eq!(deleted.code, 0, "delete, {what}: {deleted:?}");
            assert_eq!(reap(pid), 137);
        }
    }
}

/// Hooks that succeed succeed, one that fails fails, and each has signals as a program expects them.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_40_hooks() {
    const KINDS: [&str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for caller in CALLERS {
        let mut bundle = Bundle::script("sleep 1000");
        let hook = |kind: &str| -> Value {
            let rootfs =
                if kind == "startContainer" { String::new() } else { bundle.file("rootfs").display().to_string() };
            // Not the last command: busybox's shell ignores SIGQUIT in a program that it becomes itself.
            let line = format!("{SIGNALS} >{rootfs}/tmp/{kind}; exit 0");
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/usr/bin:/bin"] }])
        };
        let hooks: serde_json::Map<_, _> = KINDS.iter().map(|kind| ((*kind).to_string(), hook(kind))).collect();
        bundle.set("/hooks", json!(hooks)).write();
        for command in ["create", "start"] {
            let done = caller.calls(bundle.command(&[command, &bundle.id]));
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{command}, {caller:?}");
        }
        let pid = bundle.pid();
        let done = caller.calls(bundle.command(&["delete", "--force", &bundle.id]));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "delete, {caller:?}");
        assert_eq!(reap(pid), 137);
        for kind in KINDS {
            let text = fs::read_to_string(bundle.file("rootfs/tmp").join(kind)).unwrap();
            if is_tare() {
                has_defaults(&text, &format!("{kind}, {caller:?}"));
            }
        }
        let mut bundle = Bundle::new();
        bundle.set("/hooks", json!({ "createRuntime": [{ "path": "/bin/false", "args": ["false"] }] })).write();
        let line = caller.calls(bundle.command(&["run", &bundle.id])).refused();
        assert!(!is_tare() || line.starts_with("hooks.createRuntime[0]"), "{caller:?}: {line}");
    }
}

/// newuidmap and newgidmap are waited for, and believed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_40_helpers_of_an_ordinary_user() {
    const USER: u32 = 4343;
    let mut bundle = Bundle::new();
    if !is_tare() {
        return skip("other runtimes find no state root here");
    }
    if !std::path::Path::new("/usr/bin/newuidmap").exists() {
        return skip("needs newuidmap");
    }
    // In this mount namespace alone.
    for (path, line) in [
        ("/etc/subuid", "tare-caller:300000:65535\n"),
        ("/etc/subgid", "tare-caller:300000:65535\n"),
        ("/etc/passwd", "tare-caller:x:4343:4343::/:/bin/sh\n"),
    ] {
        let file = bundle.file(&path.replace('/', "-"));
        let text = fs::read_to_string(path).unwrap_or_default() + line;
        fs::write(&file, text).unwrap();
        rustix::mount::mount_bind(&file, path).unwrap();
    }
    give(bundle.path(), USER);
    bundle.user = Some(USER);
    bundle.tare(&["spec", "--rootless"]).silent();
    bundle.config = serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap();
    let map = json!([
        { "containerID": 0, "hostID": USER, "size": 1 },
        { "containerID": 1, "hostID": 300_000, "size": 65535 },
    ]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/process/terminal", json!(false)).set("/process/user", json!({ "uid": 7, "gid": 8 }));
    // An ordinary user may not raise what the caller lowered.
    bundle.set("/process/rlimits", json!([]));
    bundle.set("/process/args", json!(["/bin/sh", "-c", "id -u; exit 7"])).write();
    for caller in CALLERS {
        let done = caller.calls(bundle.command(&["run", &bundle.id]));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (7, "7\n", ""), "{caller:?}");
    }
    for path in ["/etc/subuid", "/etc/subgid", "/etc/passwd"] {
        rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
