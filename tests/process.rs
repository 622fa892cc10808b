//! The process room on the real kernel: a plan is applied in a chroot and a program of busybox tells what
//! it got. Needs root and a static busybox.
//!
//! Each case runs this test program again with the case in its environment; there `applied_here` becomes
//! the container's process. Namespaces other than the mount namespace are the caller's.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test program")]

mod busybox;

use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use oci_spec::runtime::{Linux, Process};
use seccompiler::{SeccompAction, SeccompFilter};
use serde_json::{Value, json};
use tare::internals::process::child;
use tare::internals::process::{ProcessFacts, ProcessPlan};
use tare::internals::wire::{ChildResult, Fault, Step};

const CASE: &str = "TARE_PROCESS_CASE";
const ROOT: &str = "TARE_PROCESS_ROOT";
const DOCKER: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const DOCKER_MASK: &str = "00000000a80425fb";
const NONE: &str = "0000000000000000";
const STATUS: &str = "cat /proc/self/status; echo umask: $(umask); echo pwd: $(pwd)";

/// A root directory with busybox, and with files that cannot be executed.
fn rootfs() -> tempfile::TempDir {
    busybox::require();
    let root = tempfile::tempdir().unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    busybox::rootfs(root.path(), &["proc", "etc", "tmp", "bin/directory"], &["sh"]);
    let file = |name: &str, text: &str, mode| {
        std::fs::write(root.path().join(name), text).unwrap();
        std::fs::set_permissions(root.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    file("bin/plain", "x", 0o644);
    file("bin/lost", "#!/nope\n", 0o755);
    file("bin/garbage", "zzzz", 0o755);
    root
}

fn docker(changes: Value) -> Value {
    let mut process = json!({"user": {"uid": 0, "gid": 0, "additionalGids": [0, 10]}, "cwd": "/",
        "args": ["sh", "-c", STATUS], "env": ["PATH=/usr/bin:/bin"],
        "capabilities": {"bounding": DOCKER, "effective": DOCKER, "permitted": DOCKER}, "oomScoreAdj": 0});
    for (key, value) in changes.as_object().unwrap() {
        process[key] = value.clone();
    }
    process
}

/// What the process of `case` wrote, or the fault.
fn run(root: &Path, case: &Value) -> String {
    run_by(Command::new(std::env::current_exe().unwrap()), root, case)
}

fn run_by(mut program: Command, root: &Path, case: &Value) -> String {
    let output = program
        .args(["--exact", "applied_here", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CASE, case.to_string())
        .env(ROOT, root)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn status_of(process: Value) -> String {
    run(rootfs().path(), &json!({ "process": process }))
}

/// The value of one line of /proc/self/status (or of what the case printed), blanks squeezed.
fn field(output: &str, name: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let Some(line) = line else { panic!("no {name} in: {output}") };
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_fields(output: &str, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(field(output, name), *value, "{name} in: {output}");
    }
}

/// Not a test of its own: becomes the process of a case.
#[test]
#[ignore = "the other tests start it"]
fn applied_here() {
    let Ok(case) = std::env::var(CASE) else { return };
    let case: Value = serde_json::from_str(&case).unwrap();
    let process: Process = serde_json::from_value(case["process"].clone()).unwrap();
    let linux: Linux = serde_json::from_value(case.get("linux").cloned().unwrap_or(json!({}))).unwrap();
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let facts = ProcessFacts {
        id: "tare-process-test",
        at: "process",
        user_namespace: flag(&case, "user_namespace"),
        set_groups: true,
        keep_groups: false,
        init: true,
        last_capability: last.trim().parse().unwrap(),
        callers_capabilities: u64::MAX,
        new_keyring: true,
        apparmor: false,
        selinux: false,
    };
    let plan = tare::internals::process::plan(&process, Some(&linux), &facts).unwrap();
    enter(&std::env::var(ROOT).unwrap());
    let Err(fault) = apply(&plan, &case);
    println!("\nfault: {}", plan.explain(&fault).unwrap());
}

fn flag(case: &Value, name: &str) -> bool {
    case.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn enter(root: &str) {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let proc = format!("{root}/proc");
    mount(Some("/proc"), proc.as_str(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    nix::unistd::chroot(root).unwrap();
    nix::unistd::chdir("/").unwrap();
}

fn apply(plan: &ProcessPlan, case: &Value) -> ChildResult<std::convert::Infallible> {
    let proc = std::fs::File::open("/proc").unwrap();
    child::outside(plan, Some(proc.as_fd()))?;
    child::keyring(plan)?;
    child::make_working_directory(plan)?;
    child::early(plan)?;
    child::limits(plan)?;
    let entered = child::working_directory(plan)?;
    child::stdio_owner(plan)?;
    child::shed_capabilities(plan)?;
    let program = filter(case);
    let found = child::drop_privileges(plan, entered, !program.is_empty())?;
    println!();
    if !program.is_empty() {
        tare::internals::sys::seccomp::set_filter(0, &program).map_err(|errno| Fault::new(Step::Seccomp, 0, errno))?;
    }
    Err(Fault::new(Step::Exec, found, child::exec(plan, found)))
}

/// A filter that answers EPERM to the system calls of `deny`.
fn filter(case: &Value) -> seccompiler::BpfProgram {
    let denied = case.get("deny").and_then(Value::as_array).cloned().unwrap_or_default();
    if denied.is_empty() {
        return Vec::new();
    }
    let rules = denied.iter().map(|number| (number.as_i64().unwrap(), Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).unwrap().try_into().unwrap()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_process_of_docker() {
    let output = status_of(docker(json!({})));
    assert_fields(
        &output,
        &[
            ("Uid", "0 0 0 0"),
            ("Gid", "0 0 0 0"),
            ("Groups", "0 10"),
            ("CapInh", NONE),
            ("CapPrm", DOCKER_MASK),
            ("CapEff", DOCKER_MASK),
            ("CapBnd", DOCKER_MASK),
            ("CapAmb", NONE),
            ("NoNewPrivs", "0"),
            ("Seccomp", "0"),
            ("umask", "0022"),
            ("pwd", "/"),
        ],
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn another_user_with_ambient_capabilities() {
    let kill = ["CAP_KILL"];
    let user = json!({"uid": 1234, "gid": 5678, "additionalGids": [7, 6], "umask": 0o077});
    let sets = json!({"bounding": DOCKER, "effective": kill, "permitted": kill, "inheritable": kill, "ambient": kill});
    let output = status_of(docker(json!({"user": user, "capabilities": sets, "noNewPrivileges": true})));
    let mask = "0000000000000020";
    assert_fields(
        &output,
        &[
            ("Uid", "1234 1234 1234 1234"),
            ("Gid", "5678 5678 5678 5678"),
            ("Groups", "6 7"),
            ("CapInh", mask),
            ("CapPrm", mask),
            ("CapEff", mask),
            ("CapBnd", DOCKER_MASK),
            ("CapAmb", mask),
            ("NoNewPrivs", "1"),
            ("umask", "0077"),
        ],
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn another_user_without_ambient_capabilities_has_none() {
    let output = status_of(docker(json!({"user": {"uid": 1234, "gid": 5678}})));
    assert_fields(&output, &[("Groups", ""), ("CapPrm", NONE), ("CapEff", NONE), ("CapBnd", DOCKER_MASK)]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn no_capabilities_in_the_config_means_none() {
    let output = status_of(docker(json!({"capabilities": null})));
    assert_fields(&output, &[("CapPrm", NONE), ("CapEff", NONE), ("CapBnd", NONE)]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_filter_may_deny_what_becoming_the_user_needs() {
    let deny = [libc::SYS_setgroups, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_prctl, libc::SYS_capget];
    for (uid, no_new_privileges, caps) in [(0, false, DOCKER_MASK), (0, true, DOCKER_MASK), (1234, false, NONE)] {
        let process = docker(json!({"user": {"uid": uid, "gid": 5}, "noNewPrivileges": no_new_privileges}));
        let output = run(rootfs().path(), &json!({"process": process, "deny": deny}));
        assert_fields(&output, &[("Seccomp", "2"), ("CapPrm", caps), ("CapEff", caps), ("CapBnd", DOCKER_MASK)]);
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_filter_that_denies_capset_never_leaves_sys_admin_to_the_program() {
    for privileges in [false, true] {
        let mut case = json!({"process": docker(json!({})), "deny": [libc::SYS_capset]});
        case["process"]["noNewPrivileges"] = json!(privileges);
        let output = run(rootfs().path(), &case);
        assert_fields(&output, &[("Seccomp", "2"), ("CapPrm", DOCKER_MASK), ("CapEff", DOCKER_MASK)]);
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn limits_and_scheduling() {
    let print = "echo files: $(ulimit -Sn) $(ulimit -Hn); echo oom: $(cat /proc/self/oom_score_adj); \
                 echo nice: $(cut -d' ' -f19 /proc/self/stat); echo machine: $(uname -m)";
    let process = docker(json!({"args": ["sh", "-c", print], "oomScoreAdj": 321,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 30}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}));
    let output = run(rootfs().path(), &json!({"process": process, "linux": {"personality": {"domain": "LINUX32"}}}));
    let expected = [("files", "20 30"), ("oom", "321"), ("nice", "3")];
    assert_fields(&output, &expected);
    assert_ne!(field(&output, "machine"), std::env::consts::ARCH);
    let output = run(rootfs().path(), &json!({"process": process, "user_namespace": true}));
    assert_fields(&output, &expected);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_session_keyring_is_the_containers() {
    let output = status_of(docker(json!({"args": ["sh", "-c", "cat /proc/keys"]})));
    assert!(output.contains("_ses.tare-process-test"), "{output}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_working_directory_is_made_and_inside() {
    let root = rootfs();
    let made = run(root.path(), &json!({"process": docker(json!({"cwd": "/srv/a/../b"}))}));
    assert_eq!(field(&made, "pwd"), "/srv/b");
    assert_eq!(std::fs::metadata(root.path().join("srv/a")).unwrap().permissions().mode() & 0o7777, 0o755);
    // Root enters what the user could not: the directory is kept.
    let private = root.path().join("private");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    let user =
        docker(json!({"cwd": "/private", "user": {"uid": 1234, "gid": 1}, "args": ["sh", "-c", "echo in: yes"]}));
    assert_eq!(field(&run(root.path(), &json!({ "process": user })), "in"), "yes");
    for (cwd, expected) in [
        ("/bin/plain", "process.cwd: chdir to cwd (\"/bin/plain\") set in config.json failed: not a directory"),
        ("/bin/plain/x", "process.cwd: chdir to cwd (\"/bin/plain/x\") set in config.json failed: not a directory"),
    ] {
        let output = run(root.path(), &json!({"process": docker(json!({ "cwd": cwd }))}));
        assert_eq!(field(&output, "fault"), expected);
    }
    for number in 0..20 {
        for tail in ["", "/..", "/new/directory"] {
            let process = docker(json!({"cwd": format!("/proc/self/fd/{number}{tail}")}));
            let output = run(root.path(), &json!({ "process": process }));
            assert!(field(&output, "fault").starts_with("process.cwd: "), "{output}");
        }
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_that_cannot_be_executed() {
    let root = rootfs();
    let cases = [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        ("", "exec: \"\": executable file not found in $PATH"),
        ("/nope", "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/bin/plain/x", "exec: \"/bin/plain/x\": stat /bin/plain/x: not a directory"),
        ("/bin/plain", "exec: \"/bin/plain\": permission denied"),
        ("/bin/directory", "exec: \"/bin/directory\": is a directory"),
        (
            "plain",
            "exec: \"plain\": executable file not found in $PATH; \"/bin/plain\" exists but is not executable for uid 0",
        ),
        (
            "lost",
            "exec /bin/lost: no such file or directory; the interpreter that its first line or its ELF header names is missing",
        ),
        (
            "./bin/garbage",
            "exec ./bin/garbage: exec format error; it is not an executable for this machine and has no #! line",
        ),
    ];
    for (program, expected) in cases {
        let output = run(root.path(), &json!({"process": docker(json!({"args": [program]}))}));
        assert_eq!(field(&output, "fault"), format!("process.args[0]: {expected}"), "{output}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_is_looked_up_as_the_user() {
    let root = rootfs();
    let own = root.path().join("bin/own");
    busybox::copy_program(Path::new(busybox::PROGRAM), &own);
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
    let process = docker(json!({"args": ["/bin/own", "true"], "user": {"uid": 1234, "gid": 1}}));
    // CAP_DAC_OVERRIDE in the effective set counts, as it does for execve.
    let with = run(root.path(), &json!({ "process": process }));
    assert!(with.contains("own: applet not found"), "{with}");
    let mut process = process;
    process["capabilities"] = Value::Null;
    let without = run(root.path(), &json!({ "process": process }));
    assert_eq!(field(&without, "fault"), "process.args[0]: exec: \"/bin/own\": permission denied");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn stdio_belongs_to_the_user() {
    let owners = "echo owners: $(stat -L -c %u /proc/self/fd/0 /proc/self/fd/2)";
    let process = docker(json!({"args": ["sh", "-c", owners], "user": {"uid": 1234, "gid": 1}}));
    // fd 0 is the host's /dev/null, whose owner stays; fd 2 is a pipe.
    let null = std::fs::metadata("/dev/null").unwrap().uid();
    assert_eq!(field(&status_of(process), "owners"), format!("{null} 1234"));
    assert_eq!(std::fs::metadata("/dev/null").unwrap().uid(), null);
}

/// Needs strace. An error is fatal, and so is a success that did not happen (as far as it is read back).
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_injected_failure_ends_the_process() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: needs strace");
        return;
    }
    let root = rootfs();
    let user = json!({"uid": 1234, "gid": 5, "additionalGids": [6]});
    let process = docker(json!({"user": user, "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}));
    let calls = ["setgroups", "setresgid", "setresuid", "getresuid", "getresgid", "capset", "capget", "prctl", "fstat"];
    let errors = calls.iter().map(|call| format!("{call}:error=EINVAL"));
    let lies = ["setresgid", "setresuid", "capset"].map(|call| format!("{call}:retval=0"));
    // The first one proves that all is well without the others.
    let control = ["sethostname:error=EINVAL".to_string()];
    for injection in control.into_iter().chain(errors).chain(lies) {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={injection}")]);
        strace.arg(std::env::current_exe().unwrap());
        let output = run_by(strace, root.path(), &json!({ "process": process }));
        let fatal = output.contains("\nfault: ") && !output.contains("CapEff");
        assert_eq!(fatal, !injection.starts_with("sethostname"), "{injection}: {output}");
    }
}
