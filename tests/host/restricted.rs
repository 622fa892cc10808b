//! The runtime in a sandbox that denies system calls, and on older kernels. A seccomp filter around it answers for both.
//!
//! What is denied either does not matter, or is named before anything is done: never another cause. docs/kernels.md has
//! the table of what happens without each call, which is compared with what happens.

#![allow(unsafe_code, reason = "only a process itself can set the filter that its program is under")]

use std::cell::Cell;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, finish, is_tare, reap};
use crate::first_contact::dockers;

const DENIALS: [i32; 3] = [libc::EPERM, libc::ENOSYS, libc::EACCES];

/// The columns of the table in docs/kernels.md.
const COMMANDS: [&str; 8] = ["check", "run", "create", "start", "exec", "state", "kill", "delete"];

/// Calls that tare makes and that sandboxes are known to deny, each alone.
const CALLS: [(&str, libc::c_long); 16] = [
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("execveat", libc::SYS_execveat),
    ("faccessat2", libc::SYS_faccessat2),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fspick", libc::SYS_fspick),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("openat2", libc::SYS_openat2),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("statmount", 457),
    ("statx", libc::SYS_statx),
];

/// Calls of a filter, and the argument that it looks at.
#[derive(Clone, Copy)]
struct Rule {
    /// The first and the last number.
    calls: (u32, u32),
    /// Its number, and bits of which one must be set, or the value that it must have.
    argument: Option<(u32, Test)>,
    errno: i32,
}

#[derive(Clone, Copy)]
enum Test {
    AnyBit(u32),
    Is(u32),
}

impl Rule {
    fn call(number: libc::c_long, errno: i32) -> Self {
        let number = u32::try_from(number).unwrap();
        Self { calls: (number, number), argument: None, errno }
    }

    fn argument(self, number: u32, test: Test) -> Self {
        Self { argument: Some((number, test)), ..self }
    }

    /// Falls through to the next rule unless it applies. struct seccomp_data: the number at 0, arguments from 16 on.
    fn program(&self) -> Vec<libc::sock_filter> {
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
        let jump = |condition: u32| libc::BPF_JMP | libc::BPF_K | condition;
        let (first, last) = self.calls;
        let rest = if self.argument.is_some() { 3 } else { 1 };
        let mut program = vec![
            step(LOAD, 0, 0, 0),
            step(jump(libc::BPF_JGE), 0, rest + 1, first),
            step(jump(libc::BPF_JGT), rest, 0, last),
        ];
        if let Some((number, test)) = self.argument {
            let (condition, value) = match test {
                Test::AnyBit(bits) => (libc::BPF_JSET, bits),
                Test::Is(value) => (libc::BPF_JEQ, value),
            };
            program.extend([step(LOAD, 0, 0, 16 + 8 * number), step(jump(condition), 0, 1, value)]);
        }
        let answer = libc::SECCOMP_RET_ERRNO | self.errno.cast_unsigned();
        program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, answer));
        program
    }
}

/// What stands between the runtime and the kernel.
#[derive(Clone, Default)]
struct Sandbox {
    rules: Vec<Rule>,
    /// uname(2) says 2.6.
    old_name: bool,
}

impl Sandbox {
    fn denying(calls: &[libc::c_long], errno: i32) -> Self {
        Self { rules: calls.iter().map(|call| Rule::call(*call, errno)).collect(), old_name: false }
    }

    /// A kernel of this version: what is younger is not there.
    fn kernel(version: [u32; 2]) -> Self {
        let lacks = |(since, _): &&([u32; 2], Rule)| *since > version;
        Self { rules: younger().iter().filter(lacks).map(|(_, rule)| *rule).collect(), old_name: false }
    }

    fn run(&self, mut command: Command) -> Done {
        let mut program: Vec<_> = self.rules.iter().flat_map(Rule::program).collect();
        let allow = libc::BPF_RET | libc::BPF_K;
        program.push(libc::sock_filter {
            code: u16::try_from(allow).unwrap(),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        });
        let old_name = self.old_name;
        // SAFETY: system calls on numbers and on memory that was allocated before the fork.
        unsafe {
            command.pre_exec(move || {
                const UNAME26: libc::c_ulong = 0x002_0000;
                if old_name {
                    libc::personality(UNAME26);
                }
                let filter = libc::sock_fprog {
                    len: u16::try_from(program.len()).unwrap_or(0),
                    filter: program.as_ptr().cast_mut(),
                };
                match libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            })
        };
        finish(command)
    }
}

/// Calls and flags with the version of Linux that brought them. Source: scripts/syscall.tbl, include/uapi/linux.
fn younger() -> Vec<([u32; 2], Rule)> {
    let calls = |first, last| Rule { calls: (first, last), argument: None, errno: libc::ENOSYS };
    let flag = |call, argument, test, errno| Rule::call(call, errno).argument(argument, test);
    const OPEN_TREE_NAMESPACE: u32 = 2;
    const MFD_EXEC: u32 = 0x10;
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    const FSCONFIG_SET_FD: u32 = 5;
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    const NOTIF_SET_FLAGS: u32 = 0x4008_2104;
    vec![
        ([5, 15], calls(448, 448)), // process_mrelease
        ([5, 16], calls(449, 449)), // futex_waitv
        ([5, 17], calls(450, 450)), // set_mempolicy_home_node
        ([5, 19], flag(libc::SYS_seccomp, 1, Test::AnyBit(WAIT_KILLABLE_RECV), libc::EINVAL)),
        ([6, 3], flag(libc::SYS_memfd_create, 1, Test::AnyBit(MFD_EXEC), libc::EINVAL)),
        ([6, 5], calls(451, 451)), // cachestat
        ([6, 6], calls(452, 453)), // fchmodat2, map_shadow_stack
        ([6, 6], flag(libc::SYS_ioctl, 1, Test::Is(NOTIF_SET_FLAGS), libc::EINVAL)),
        ([6, 7], calls(454, 456)),  // futex_wake, futex_wait, futex_requeue
        ([6, 8], calls(457, 461)),  // statmount, listmount, lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules
        ([6, 10], calls(462, 462)), // mseal
        ([6, 13], calls(463, 466)), // setxattrat, getxattrat, listxattrat, removexattrat
        ([6, 13], flag(libc::SYS_ioctl, 1, Test::Is(PIDFD_GET_INFO), libc::ENOTTY)),
        ([6, 15], calls(467, 467)), // open_tree_attr
        ([6, 17], calls(468, 469)), // file_getattr, file_setattr
        // The option "pidns" of procfs.
        ([6, 18], flag(libc::SYS_fsconfig, 1, Test::Is(FSCONFIG_SET_FD), libc::EINVAL)),
        ([6, 19], calls(470, 999)), // listns and what follows
        ([7, 0], flag(libc::SYS_open_tree, 2, Test::AnyBit(OPEN_TREE_NAMESPACE), libc::EINVAL)),
    ]
}

/// Whether this is the runtime that the table is about.
fn is_here() -> bool {
    if !is_tare() {
        eprintln!("skipped: other runtimes have other ways");
    }
    is_tare()
}

/// What became of a command in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Works,
    Refused,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Refused => "refused",
        }
    }
}

/// A container that waits at the gate, one that runs, and one that is not there yet.
struct Stage {
    waiting: Bundle,
    running: Bundle,
    absent: Bundle,
    /// Of the first two.
    pids: [Cell<i32>; 2],
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            waiting: Bundle::script("echo ran >/ran; exec sleep 1000"),
            running: Bundle::script("exec sleep 1000"),
            absent: Bundle::script("echo ran"),
            pids: [const { Cell::new(0) }; 2],
        };
        stage.absent.write();
        stage.make_waiting();
        stage.make_running();
        stage
    }

    fn make_waiting(&self) {
        self.waiting.create().silent();
        self.pids[0].set(self.waiting.pid());
    }

    fn make_running(&self) {
        self.running.begin();
        self.pids[1].set(self.running.pid());
    }

    /// Runs a command in a sandbox that denies `calls`; whether it did what it does elsewhere.
    #[track_caller]
    fn attempt(&self, command: &str, sandbox: &Sandbox, calls: &[&str]) -> Outcome {
        let Self { waiting, running, absent, .. } = self;
        let (of, args, expected) = match command {
            "check" => (absent, vec!["check"], "tare check: would start\n"),
            "run" => (absent, vec!["run", &*absent.id], "ran\n"),
            "create" => (absent, vec!["create", &*absent.id], ""),
            "start" => (waiting, vec!["start", &*waiting.id], ""),
            "exec" => (running, vec!["exec", &*running.id, "/bin/echo", "ran"], "ran\n"),
            "state" => (running, vec!["state", &*running.id], ""),
            "kill" => (running, vec!["kill", &*running.id, "CONT"], ""),
            "delete" => (running, vec!["delete", "--force", &*running.id], ""),
            _ => panic!("{command}"),
        };
        let done = sandbox.run(of.command(&args));
        let what = format!("{command} without {calls:?}: {done:?}");
        if done.code == 0 {
            assert!(done.stderr.is_empty() && (command == "state" || done.stdout == expected), "{what}");
            self.check_effect(command, &what);
            return Outcome::Works;
        }
        let line = if command == "check" { &done.stdout } else { &done.stderr };
        assert!(
            line.contains(" denied: ") && line.contains("a seccomp filter or sandbox around tare forbids"),
            "{what}"
        );
        assert!(calls.iter().any(|call| line.contains(call)), "{what}");
        assert!(command == "check" || line.lines().count() == 1 && done.stdout.is_empty(), "{what}");
        self.check_nothing_done(&what);
        Outcome::Refused
    }

    #[track_caller]
    fn check_effect(&self, command: &str, what: &str) {
        match command {
            "run" => self.absent.assert_nothing_left(),
            "create" => {
                assert_eq!(self.absent.status(), "created", "{what}");
                self.absent.tare(&["delete", "--force", &self.absent.id]).silent();
            }
            "start" => {
                assert_eq!(self.waiting.wait_file("ran"), "ran\n", "{what}");
                fs::remove_file(self.waiting.file("rootfs/ran")).unwrap();
                self.waiting.tare(&["delete", "--force", &self.waiting.id]).silent();
                self.make_waiting();
            }
            "delete" => {
                self.running.assert_nothing_left();
                self.make_running();
            }
            _ => {}
        }
    }

    #[track_caller]
    fn check_nothing_done(&self, what: &str) {
        assert_eq!(self.absent.leftovers(), [""; 0], "{what}");
        assert!(!self.waiting.file("rootfs/ran").exists(), "{what}");
        for (bundle, pid) in [&self.waiting, &self.running].into_iter().zip(&self.pids) {
            let whole = bundle.root().join(&bundle.id).join("record").exists() && bundle.cgroup().exists();
            assert!(whole && bundle.members() == [pid.get()], "{what}");
        }
    }
}

/// The rows of a table of Markdown below a heading: the cells.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, below) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = below.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect();
    lines.map(cells).collect()
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kernels.md")).unwrap()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_denied_call_is_replaced_or_named() {
    if !is_here() {
        return;
    }
    let stage = Stage::new();
    let mut found = Vec::new();
    for (call, number) in CALLS {
        let of_errno =
            |errno| COMMANDS.map(|command| stage.attempt(command, &Sandbox::denying(&[number], errno), &[call]));
        let outcomes = DENIALS.map(of_errno);
        assert!(outcomes.iter().all(|other| *other == outcomes[0]), "{call}: {outcomes:?}");
        found
            .push([vec![format!("`{call}`")], outcomes[0].map(|outcome| outcome.word().to_string()).to_vec()].concat());
    }
    let rows = table(&page(), "Restricted hosts");
    let documented: Vec<_> = rows.iter().map(|row| row[..=COMMANDS.len()].to_vec()).collect();
    let lines = |rows: &[Vec<String>]| rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect::<String>();
    assert!(documented == found, "docs/kernels.md has\n{}but this happens:\n{}", lines(&documented), lines(&found));
}

/// An engine's profile, or a sandbox, that knows no call younger than itself.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn all_denied_calls_are_named_in_one_line() {
    if !is_here() {
        return;
    }
    let stage = Stage::new();
    for errno in DENIALS {
        for first in [424, 428, 435, 440] {
            let sandbox = Sandbox { rules: vec![Rule { calls: (first, 999), argument: None, errno }], old_name: false };
            let denied: Vec<_> = CALLS.iter().filter(|(_, number)| (i64::from(first)..999).contains(number)).collect();
            let names: Vec<_> = denied.iter().map(|(name, _)| *name).collect();
            for command in COMMANDS {
                let outcome = stage.attempt(command, &sandbox, &names);
                let enters = ["check", "run", "create", "exec"].contains(&command);
                assert!(!enters || outcome == Outcome::Refused, "{command} since {first}");
            }
            let line = sandbox.run(stage.absent.command(&["create", &stage.absent.id])).refused();
            // What there is another way for is not asked for.
            let needed = names.iter().filter(|name| !["close_range", "faccessat2", "statmount"].contains(name));
            for name in needed {
                assert!(line.contains(name), "{name} in {line}");
            }
        }
    }
}

/// The fallbacks are as safe as what they replace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn nothing_of_the_host_stays_open_without_close_range() {
    if !is_here() {
        return;
    }
    let leaking = |mut command: Command, sandbox: &Sandbox| {
        // SAFETY: dup2 of a number that is open.
        unsafe { command.pre_exec(|| [3, 700, 5000].iter().try_for_each(|number| inherit(*number))) };
        sandbox.run(command)
    };
    let sandboxes = [Sandbox::default(), Sandbox::denying(&[libc::SYS_close_range], libc::EPERM)];
    let mut seen = Vec::new();
    for sandbox in &sandboxes {
        let bundle = Bundle::script("ls /proc/self/fd");
        bundle.write();
        let of_run = leaking(bundle.command(&["run", &bundle.id]), sandbox).good();
        leaking(bundle.command(&["create", &bundle.id]), sandbox).silent();
        let waiting = fs::read_dir(format!("/proc/{}/fd", bundle.pid())).unwrap();
        let kind = |path: &Path| fs::read_link(path).unwrap().display().to_string();
        let mut waiting: Vec<_> = waiting.map(|entry| kind(&entry.unwrap().path())).collect();
        waiting.retain(|file| !file.starts_with('/') || file.ends_with("/go") || file.ends_with("/result"));
        waiting
            .iter_mut()
            .for_each(|file| *file = file.rsplit('/').next().unwrap().split(':').next().unwrap().to_string());
        waiting.sort();
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        let running = Bundle::script("exec sleep 1000");
        running.begin();
        let of_exec = leaking(running.command(&["exec", &running.id, "/bin/ls", "/proc/self/fd"]), sandbox).good();
        seen.push((of_run, waiting, of_exec));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1].0, "0\n1\n2\n3\n", "the last one is the directory");
}

/// Has the process inherit stderr under another number.
fn inherit(number: i32) -> std::io::Result<()> {
    // SAFETY: two numbers.
    if unsafe { libc::dup2(2, number) } == number { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn info_lists_the_denied_calls() {
    if !is_here() {
        return;
    }
    let bundle = Bundle::new();
    let json = |sandbox: &Sandbox| -> Value {
        serde_json::from_str(&sandbox.run(bundle.command(&["info", "--json"])).good()).unwrap()
    };
    assert_eq!(json(&Sandbox::default())["kernel"]["deniedCalls"], json!([]));
    let json = json(&Sandbox::denying(&[libc::SYS_openat2, libc::SYS_fsopen], libc::EPERM));
    assert_eq!(json["kernel"]["deniedCalls"], json!(["fsopen", "openat2"]));
    let of_containers = json["notPossible"].as_array().unwrap().iter().find(|one| one["what"] == "containers").unwrap();
    assert_eq!(of_containers["why"], "fsopen(2), openat2(2): operation not permitted");
}

/// A user may not mount outside of a user namespace, which is not the doing of a filter.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_the_kernel_denies_a_user_is_not_blamed_on_a_filter() {
    if !is_here() {
        return;
    }
    let mut bundle = Bundle::new();
    crate::bundle::give(bundle.path(), 4242);
    bundle.user = Some(4242);
    let denied = |calls: &[libc::c_long]| -> Value {
        let mut command = bundle.command(&["info", "--json"]);
        // SAFETY: a number; a filter of a user's needs it.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                Ok(())
            })
        };
        let done = Sandbox::denying(calls, libc::EPERM).run(command);
        serde_json::from_str::<Value>(&done.good()).unwrap()["kernel"]["deniedCalls"].clone()
    };
    assert_eq!(denied(&[libc::SYS_getpgid]), json!([]));
    assert_eq!(denied(&[libc::SYS_move_mount, libc::SYS_statx]), json!(["move_mount", "statx"]));
}

/// Docker's container on a kernel of each version that a distribution supports for long: as README.md promises.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_life_of_dockers_container_on_older_kernels() {
    for version in [[5, 14], [5, 15], [6, 1], [6, 6], [6, 12], [6, 18]] {
        let kernel = Sandbox::kernel(version);
        let mut bundle = Bundle::new();
        let path = bundle.config["linux"]["cgroupsPath"].clone();
        bundle.config = dockers();
        bundle.set("/linux/cgroupsPath", path).set("/process/terminal", json!(false));
        bundle.set("/process/args", json!(["/bin/sh", "-c", "echo ran; exec sleep 1000"]));
        bundle.write();
        let on = |args: &[&str]| kernel.run(bundle.command(args));
        let id = &*bundle.id;
        on(&["create", id]).silent();
        assert_eq!(bundle.status(), "created");
        assert_eq!(on(&["start", id]).good(), "", "{version:?}");
        assert_eq!(on(&["exec", id, "/bin/echo", "inside"]).good(), "inside\n", "{version:?}");
        let state: Value = serde_json::from_str(&on(&["state", id]).good()).unwrap();
        assert_eq!(state["status"], "running", "{version:?}");
        on(&["kill", id, "KILL"]).silent();
        reap(i32::try_from(state["pid"].as_i64().unwrap()).unwrap());
        on(&["delete", id]).silent();
        bundle.assert_nothing_left();
        bundle.set("/process/args", json!(["/bin/echo", "ran"])).write();
        assert_eq!(kernel.run(bundle.command(&["run", &bundle.id])).good(), "ran\n", "{version:?}");
        bundle.assert_nothing_left();
    }
}

/// Before Linux 6.18 another process meets the namespace first.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_pid_namespace_whose_first_process_has_ended_is_named_by_older_kernels() {
    if !is_here() {
        return;
    }
    let mut bundle = Bundle::new();
    let mut holder = crate::mappings::join_an_ended_pid_namespace(&mut bundle);
    bundle.write();
    let done = Sandbox::kernel([6, 12]).run(bundle.command(&["run", &bundle.id]));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let line = done.refused();
    assert!(line.contains(crate::mappings::ENDED), "{line}");
    bundle.assert_nothing_left();
}

/// Linux before 5.12 does not have mount_setattr, and neither do sandboxes that are kernels of their own.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_kernel_that_is_too_old_is_named() {
    if !is_here() {
        return;
    }
    let stage = Stage::new();
    let rules = vec![Rule { calls: (442, 999), argument: None, errno: libc::ENOSYS }];
    let kernel = Sandbox { rules, old_name: true };
    for command in [&["run", &*stage.absent.id][..], &["create", &*stage.absent.id]] {
        let line = kernel.run(stage.absent.command(command)).refused();
        assert!(line.starts_with("Linux 2.6."), "{line}");
        assert!(line.ends_with(" is too old: it does not have mount_setattr; use Linux 5.14 or later"), "{line}");
        stage.check_nothing_done(&line);
    }
    // The name alone says nothing: distributions bring calls to older kernels.
    let renamed = Sandbox { rules: Vec::new(), old_name: true };
    assert_eq!(stage.attempt("run", &renamed, &[]), Outcome::Works);
}
