//! Classes 9, 10, 11, 14, 24, 25: capabilities, ids, seccomp, groups, terminals, keys.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, finish, give, is_tare, stat};
use crate::support::{add_capability, add_user_namespace, both_refuse, every_way, only_tare, skip};

/// The value of a line of /proc/PID/status.
#[track_caller]
fn value<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// CVE-2022-29162, CVE-2022-24769 and their like, CVE-2025-27612: inheritable and ambient sets that nobody asked for.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_no_capability_is_inheritable_by_default() {
    for uid in [0, 1234] {
        let configure = move |bundle: &mut Bundle| {
            bundle.set("/process/user", json!({ "uid": uid, "gid": uid }));
        };
        let ways = every_way(&configure, "cat /proc/self/status");
        for (way, status) in &ways {
            for set in ["CapInh:", "CapAmb:"] {
                assert_eq!(value(status, set), "0000000000000000", "{way} {uid} {set}");
            }
            let effective = if uid == 0 { "00000000000004e1" } else { "0000000000000000" };
            assert_eq!(value(status, "CapEff:"), effective, "{way} {uid}");
            assert_eq!(value(status, "CapBnd:"), "00000000000004e1", "{way} {uid}");
        }
    }
}

/// `exec --cap` gives what it says and nothing for the programs that follow.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_exec_with_more_capabilities() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let args = ["exec", "--cap", "CAP_SYS_TIME", &bundle.id, "/bin/cat", "/proc/self/status"];
    let status = bundle.tare(&args).good();
    assert_eq!(value(&status, "CapInh:"), "0000000000000000");
    let effective = u64::from_str_radix(value(&status, "CapEff:"), 16).unwrap();
    assert!(effective & 1 << 25 != 0 && effective & !0x0200_04e1 == 0, "{effective:x}");
    // What others run meanwhile has not become more.
    assert_eq!(value(&bundle.exec("cat /proc/self/status").good(), "CapEff:"), "00000000000004e1");
}

/// CVE-2026-30892: text that is no id becomes 0, or -1, which setresuid takes for "leave it as it is".
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_10_users_that_are_no_ids() {
    let mut bundle = Bundle::script("id -u; id -g; id -G");
    for value in [json!(-1), json!(4_294_967_295_u32), json!(4_294_967_296_u64), json!("12abc"), json!(""), json!(1.5)]
    {
        for (pointer, good) in [("/uid", json!(5)), ("/gid", json!(5)), ("/additionalGids", json!([]))] {
            let given = if good.is_array() { json!([value]) } else { value.clone() };
            bundle.set(&format!("/process/user{pointer}"), given);
            if is_tare() {
                let lines = both_refuse(&bundle);
                assert!(lines.iter().all(|line| line.starts_with("process.user")), "{lines:?}");
            } else {
                let done = bundle.run();
                let root = done.stdout.lines().any(|line| line.split(' ').any(|id| id == "0"));
                assert!(done.code != 0 || pointer != "/uid" || !root, "{value} as {pointer} is root: {done:?}");
            }
            bundle.set(&format!("/process/user{pointer}"), good);
        }
    }
}

/// The same for exec; and a container of uid 1234 has no way to 0 by such a text.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_10_exec_users_that_are_no_ids() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/process/user", json!({ "uid": 1234, "gid": 1234 }));
    bundle.begin();
    assert_eq!(bundle.exec("id -u; id -G").good(), "1234\n1234\n");
    let hostile =
        ["-1", "4294967295", "4294967296", "12abc", ":5", "", "1:", "1:-1", "1:4294967296", " 1", "+1", "0x1"];
    for user in hostile {
        let done = bundle.tare(&["exec", &format!("--user={user}"), &bundle.id, "/bin/id", "-u"]);
        assert!(done.code != 0 || (!is_tare() && done.stdout != "0\n"), "{user:?}: {done:?}");
        let process = json!({ "cwd": "/", "args": ["/bin/id", "-u"], "user": { "uid": user, "gid": 0 } });
        fs::write(bundle.file("process.json"), process.to_string()).unwrap();
        bundle.tare(&["exec", "--process", "process.json", &bundle.id]).refused();
    }
}

fn profile(calls: &[&str], action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{ "names": calls, "action": action, "errnoRet": 77 }],
    })
}

/// A filter that is missing in exec, or on one of the ways in.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_11_the_filter_binds_every_process() {
    for no_new_privileges in [true, false] {
        let configure = move |bundle: &mut Bundle| {
            bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
            bundle.set("/linux/seccomp", profile(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO"));
        };
        let line = "mkdir /tmp/new 2>/dev/null && echo made; cat /proc/self/status";
        let ways = every_way(&configure, line);
        for (way, status) in &ways {
            assert!(!status.starts_with("made"), "{way}");
            assert_eq!(
                (value(status, "Seccomp:"), value(status, "NoNewPrivs:")),
                ("2", if no_new_privileges { "1" } else { "0" }),
                "{way}"
            );
            assert_eq!(value(status, "CapEff:"), "00000000000004e1", "{way}: no CAP_SYS_ADMIN is left over");
        }
    }
}

/// A filter that is in force too early denies what the runtime does itself.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_11_the_filter_does_not_bind_the_runtime() {
    let denied = [
        "setgroups",
        "setresuid",
        "setresgid",
        "capget",
        "chdir",
        "fchdir",
        "openat2",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount",
        "umount2",
        "pivot_root",
        "unshare",
        "setns",
        "mknodat",
        "sethostname",
        "keyctl",
        "close_range",
        "setsid",
        "symlinkat",
        "mkdirat",
        "fchownat",
        "prlimit64",
        "bpf",
        "clone3",
    ];
    for no_new_privileges in [true, false] {
        let configure = move |bundle: &mut Bundle| {
            bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
            bundle.set("/process/user", json!({ "uid": 5, "gid": 6, "additionalGids": [7] }));
            bundle.set("/linux/seccomp", profile(&denied, "SCMP_ACT_ERRNO"));
        };
        let ways = every_way(&configure, "id -u; id -G");
        for (way, text) in &ways {
            assert_eq!(text, "5\n6 7\n", "{way}");
        }
    }
}

/// Groups of the caller, root's usually, reach into the container.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_14_groups_are_those_of_the_config() {
    for (user_namespace, groups, listed) in
        [(false, json!([]), "5\n"), (true, json!([7, 8]), "5 7 8\n"), (true, json!([]), "5\n")]
    {
        let mut bundle = Bundle::script("id -G");
        bundle.set("/process/user", json!({ "uid": 0, "gid": 5, "additionalGids": groups }));
        if user_namespace {
            add_user_namespace(&mut bundle);
        }
        bundle.write();
        assert_eq!(finish(with_groups(bundle.command(&["run", &bundle.id]))).good(), listed);
        bundle.set("/process/args", json!(["/bin/sleep", "1000"])).write();
        finish(with_groups(bundle.command(&["create", &bundle.id]))).silent();
        let status = fs::read_to_string(format!("/proc/{}/status", bundle.pid())).unwrap();
        assert_eq!(value(&status, "Groups:"), listed.trim().trim_start_matches('5').trim());
        bundle.on("start").silent();
        assert_eq!(finish(with_groups(bundle.command(&["exec", &bundle.id, "/bin/id", "-G"]))).good(), listed);
    }
}

/// The command, called by somebody in groups of the host.
fn with_groups(mut command: Command) -> Command {
    // SAFETY: setgroups(2) is a single system call.
    #[allow(unsafe_code, reason = "the caller's own groups")]
    unsafe {
        command.pre_exec(|| match libc::setgroups(3, [4, 27, 999].as_ptr()) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    command
}

/// Kernel CVE-2014-8989 and what came of it: maps that are half written, or give what the caller does not own.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_14_id_maps_that_cannot_be() {
    let map = |inside: u64, outside: u64, size: u64| json!({ "containerID": inside, "hostID": outside, "size": size });
    for maps in [
        json!([]),
        json!([map(0, 0, 0)]),
        json!([map(0, 4_294_967_290, 100)]),
        json!([map(4_294_967_290, 0, 100)]),
        json!([map(0, 0, 10), map(5, 100, 10)]),
        json!([map(0, 0, 10), map(10, 5, 10)]),
        json!([map(5, 5, 1)]),
    ] {
        for which in ["uidMappings", "gidMappings"] {
            let mut bundle = Bundle::new();
            add_user_namespace(&mut bundle);
            bundle.set(&format!("/linux/{which}"), maps.clone());
            both_refuse(&bundle);
        }
    }
    // A user without a range of subordinate ids.
    let mut bundle = Bundle::new();
    add_user_namespace(&mut bundle);
    bundle.write();
    let mut command = bundle.command(&["--root", "/tmp/nowhere", "create", &bundle.id]);
    command.uid(65_533).gid(65_533);
    finish(command).refused();
}

/// CVE-2017-5226 (bubblewrap) and others: with TIOCSTI a program types into the terminal of its caller.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_24_the_callers_terminal_is_out_of_reach() {
    const LINE: &str = "(: </dev/tty) 2>/dev/null && echo reached; echo over";
    let bundle = Bundle::script(LINE);
    let terminal = Terminal::new();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", LINE]);
    assert_eq!(finish(terminal.controls(shell)).good(), "reached\nover\n", "the terminal controls nothing");
    bundle.write();
    assert_eq!(finish(terminal.controls(bundle.command(&["run", &bundle.id]))).good(), "over\n");
    let bundle = Bundle::script(&format!("{{ {LINE}; }} >/tmp/out; sleep 1000"));
    bundle.write();
    finish(terminal.controls(bundle.command(&["create", &bundle.id]))).silent();
    finish(terminal.controls(bundle.command(&["start", &bundle.id]))).silent();
    assert_eq!(bundle.wait_file("tmp/out"), "over\n");
    let pid = bundle.pid();
    assert_eq!(stat(pid).unwrap()[3..5], [pid.to_string(), "0".to_string()], "session and terminal of init");
    let exec = bundle.command(&["exec", &bundle.id, "/bin/sh", "-c", LINE]);
    assert_eq!(finish(terminal.controls(exec)).good(), "over\n");
}

/// A terminal that commands have as their controlling one, as those of an interactive shell have.
struct Terminal {
    _master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags | OpenptFlags::CLOEXEC).unwrap();
        Self { _master: master, slave }
    }

    #[allow(unsafe_code, reason = "only the process itself can take a controlling terminal")]
    fn controls(&self, mut command: Command) -> Command {
        let slave = self.slave.as_raw_fd();
        // SAFETY: setsid(2) and ioctl(2) are single system calls.
        unsafe {
            command.pre_exec(move || match (libc::setsid(), libc::ioctl(slave, libc::TIOCSCTTY, 1)) {
                (1.., 0) => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        command
    }
}

/// The session keyring of the host's user, with the keys of encrypted filesystems and of Kerberos in it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_25_keys_of_the_caller() {
    let Some(key) = Key::in_session() else { return skip("this kernel or its policy has no keyrings") };
    let seen = "cat /proc/keys 2>/dev/null; echo over";
    let ways = every_way(&|_| {}, seen);
    for (way, keys) in &ways {
        assert!(keys.ends_with("over\n") && !keys.contains(&key.name), "{way}: {keys}");
    }
    // It would be seen where no keyring is joined, else this test could not fail.
    let bundle = Bundle::script(seen);
    let shared = bundle.run_with(&["--no-new-keyring"]);
    assert!(!is_tare() || shared.stdout.contains(&key.name), "{shared:?}");
}

/// Without a keyring of its own a container would be given the caller's silently.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_25_no_keyring_to_be_had() {
    let bundle = Bundle::script("sleep 1000");
    if !only_tare() {
        return;
    }
    let user = 1_000_000_000 + std::process::id();
    let Some(_keys) = Keys::all_of(user) else { return skip("this kernel or its policy has no keyrings") };
    let bundle = owned_by(user, bundle);
    let warned = |done: Done| {
        let start =
            "tare: warning: join a session keyring: disk quota exceeded; the container keeps the caller's keyring";
        assert!(done.code == 0 && done.stderr.starts_with(start) && done.stderr.lines().count() == 1, "{done:?}");
    };
    warned(bundle.create());
    bundle.on("start").silent();
    warned(bundle.exec("true"));
    // Who does not want one is not told that there is none.
    bundle.tare(&["exec", "--no-new-keyring", &bundle.id, "/bin/true"]).silent();
}

/// The container is this user's: its root is.
fn owned_by(user: u32, mut bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]));
    fs::set_permissions(bundle.path(), PermissionsExt::from_mode(0o711)).unwrap();
    give(&bundle.file("rootfs"), user);
    bundle
}

/// A process of a user who has as many keys as the kernel permits.
struct Keys(std::process::Child);

impl Keys {
    #[allow(unsafe_code, reason = "keyrings have no safe interface here")]
    fn all_of(user: u32) -> Option<Self> {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").uid(user);
        // SAFETY: system calls alone, on strings that end in NUL.
        unsafe {
            sleep.pre_exec(|| {
                let none = std::ptr::null::<libc::c_char>();
                if libc::syscall(libc::SYS_keyctl, 1, none) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                for number in 0..u16::MAX {
                    let digit = |at: u16| b'a' + (number >> at).to_le_bytes()[0] % 16;
                    let name = [digit(0), digit(4), digit(8), digit(12), 0];
                    let (kind, text, session) = (c"user".as_ptr(), c"1".as_ptr(), -3);
                    let key = libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), text, 1, session);
                    if key < 0 {
                        return Ok(());
                    }
                }
                Ok(())
            })
        };
        sleep.spawn().ok().map(Self)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A key in the session keyring of this process that only a possessor can see.
struct Key {
    name: String,
    serial: libc::c_long,
}

#[allow(unsafe_code, reason = "keyrings have no safe interface here")]
impl Key {
    fn in_session() -> Option<Self> {
        const SESSION: i32 = -3;
        let name = format!("tare-test-key-{}", std::process::id());
        let description = std::ffi::CString::new(name.as_str()).unwrap();
        let payload = b"secret";
        // SAFETY: strings end in NUL, and the payload is as long as it says.
        let serial = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                description.as_ptr(),
                payload.as_ptr(),
                payload.len(),
                SESSION,
            )
        };
        // SAFETY: integers only; 5 is KEYCTL_SETPERM.
        (serial > 0 && unsafe { libc::syscall(libc::SYS_keyctl, 5, serial, 0x3f00_0000) } == 0)
            .then_some(Self { name, serial })
    }
}

#[allow(unsafe_code, reason = "keyrings have no safe interface here")]
impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: integers only; 3 is KEYCTL_REVOKE.
        unsafe { libc::syscall(libc::SYS_keyctl, 3, self.serial) };
    }
}

/// Uses what the configuration of others has.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_09_ambient_only_as_a_subset() {
    let mut bundle = Bundle::script("cat /proc/self/status");
    // Ambient alone raises nothing, least of all the inheritable set; tare warns.
    bundle.set("/process/capabilities/ambient", json!(["CAP_KILL"]));
    let status = bundle.run().stdout;
    assert_eq!((value(&status, "CapInh:"), value(&status, "CapAmb:")), ("0000000000000000", "0000000000000000"));
    add_capability(&mut bundle, "CAP_SYS_TIME");
    bundle.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    let status = bundle.run().good();
    assert_eq!((value(&status, "CapInh:"), value(&status, "CapAmb:")), ("0000000000000020", "0000000000000020"));
}
