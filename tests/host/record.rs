//! --record-syscalls: a profile from a run, the same run under it, and that it is never weaker than the profile in force.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, eventually, is_tare, reap, wait};
use crate::programs;

/// Where a profile is written.
const FILE: &str = "profile.json";

/// Processes, pipes, signals and files.
const LINE: &str = "trap 'echo caught' USR1; kill -USR1 $$; echo abc | tr a-c x-z; (sleep 0.01 & wait); ls /etc; \
                    echo text > /tmp/file; cat /tmp/file; exit 7";

fn skipped() -> bool {
    if !is_tare() {
        eprintln!("skipped: other runtimes do not record");
    }
    !is_tare()
}

fn recorded(bundle: &Bundle) -> Done {
    bundle.run_with(&["--record-syscalls", FILE])
}

fn profile(bundle: &Bundle) -> Value {
    serde_json::from_slice(&fs::read(bundle.file(FILE)).unwrap()).unwrap()
}

/// The names of the rules with this action.
fn names(profile: &Value, action: &str) -> BTreeSet<String> {
    let rules = profile["syscalls"].as_array().unwrap().iter().filter(|rule| rule["action"] == action);
    let names = rules.flat_map(|rule| rule["names"].as_array().unwrap());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn allowed(profile: &Value) -> BTreeSet<String> {
    names(profile, "SCMP_ACT_ALLOW")
}

/// Another program in the same image under the profile that was written.
fn under_profile(bundle: &mut Bundle, args: &[&str]) -> Done {
    let profile = profile(bundle);
    bundle.set("/linux/seccomp", profile).set("/process/args", json!(args));
    bundle.run()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_same_workload_runs_under_the_profile_and_another_does_not() {
    if skipped() {
        return;
    }
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::script(LINE);
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        let first = recorded(&bundle);
        assert_eq!((first.code, first.stderr.as_str()), (7, ""));
        assert_eq!(first.stdout, "caught\nxyz\npasswd\ntext\n");
        bundle.assert_nothing_left();
        let profile = profile(&bundle);
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let allowed = allowed(&profile);
        let lacking = ["execve", "exit_group", "rt_sigreturn", "wait4", "kill"].map(|name| !allowed.contains(name));
        assert_eq!(lacking, [false; 5], "{allowed:?}");
        assert!(!allowed.contains("mkdir") && !allowed.contains("sendmsg") && allowed.len() < 60, "{allowed:?}");
        let again = under_profile(&mut bundle, &["/bin/sh", "-c", LINE]);
        assert_eq!((again.code, again.stdout.as_str(), again.stderr.as_str()), (7, first.stdout.as_str(), ""));
        let other = under_profile(&mut bundle, &["/bin/mkdir", "/tmp/new"]);
        assert_eq!(other.stderr, "mkdir: can't create directory '/tmp/new': Operation not permitted\n");
        // create and start need no more than run.
        bundle.set("/process/args", json!(["/bin/sh", "-c", LINE]));
        bundle.create_with(&["--pid-file", "pid"]).silent();
        bundle.on("start").silent();
        assert_eq!(reap(fs::read_to_string(bundle.file("pid")).unwrap().parse().unwrap()), 7);
        bundle.on("delete").silent();
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn threads_and_interrupted_calls_are_recorded() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::new();
    programs::bring(&bundle, "threads");
    bundle.set("/process/args", json!(["/threads"]));
    let first = recorded(&bundle).good();
    assert!(allowed(&profile(&bundle)).contains("getppid"));
    assert_eq!(under_profile(&mut bundle, &["/threads"]).good(), first);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn several_runs_are_merged() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::script("echo one");
    recorded(&bundle).good();
    let first = allowed(&profile(&bundle));
    bundle.set("/process/args", json!(["/bin/mkdir", "/tmp/two"]));
    recorded(&bundle).silent();
    let both = allowed(&profile(&bundle));
    assert!(both.is_superset(&first) && both.contains("mkdir") && !first.contains("mkdir"));
    let text = fs::read(bundle.file(FILE)).unwrap();
    bundle.set("/process/args", json!(["/bin/true"]));
    recorded(&bundle).silent();
    assert_eq!(fs::read(bundle.file(FILE)).unwrap(), text, "nothing new");
    // Names that were added by hand stay.
    let mut by_hand = profile(&bundle);
    by_hand["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("capset"));
    fs::write(bundle.file(FILE), by_hand.to_string()).unwrap();
    recorded(&bundle).silent();
    let both = allowed(&profile(&bundle));
    assert!(both.contains("capset"));
    // Of two at once, none loses what the other has.
    let [mut one, mut two] =
        [Bundle::script("sleep 0.2; umask"), Bundle::script("sleep 0.2; ulimit -n 5; cat /etc/passwd")];
    let path = bundle.file(FILE);
    let run = |bundle: &mut Bundle| {
        bundle.write();
        let arguments = ["run", "--record-syscalls", path.to_str().unwrap(), &bundle.id];
        bundle.command(&arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    };
    let runs = [run(&mut one), run(&mut two)];
    runs.into_iter().for_each(|run| assert_eq!(wait(run, "run"), 0));
    let all = allowed(&profile(&bundle));
    assert!(all.is_superset(&both) && all.contains("umask") && all.contains("sendfile"), "{all:?}");
    let left = fs::read_dir(bundle.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: BTreeSet<String> = left.collect();
    assert_eq!(left, ["config.json", FILE, "rootfs", "state"].map(str::to_owned).into());
}

/// Refuses mkdir with EACCES, and kill with SIGUSR1.
fn restricting(default: &str) -> Value {
    let usr1 = |op: &str| json!([{ "index": 1, "value": 10, "op": op }]);
    if default == "SCMP_ACT_ALLOW" {
        return json!({ "defaultAction": default, "syscalls": [
            { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
            { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": usr1("SCMP_CMP_EQ") },
        ]});
    }
    let docker: Value = serde_json::from_str(include_str!("../data/docker-seccomp.json")).unwrap();
    let mut rules = docker["syscalls"].as_array().unwrap().clone();
    for rule in &mut rules {
        rule["names"].as_array_mut().unwrap().retain(|name| name != "mkdir" && name != "kill");
    }
    rules.push(json!({ "names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": usr1("SCMP_CMP_NE") }));
    let architectures = &docker["architectures"];
    json!({ "defaultAction": default, "defaultErrnoRet": 13, "architectures": architectures, "syscalls": rules })
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_profile_in_force_stays_in_force() {
    if skipped() {
        return;
    }
    let line = "mkdir /tmp/new; kill -0 $$ && echo alive; kill -USR1 $$ || echo refused";
    let expected = (
        "alive\nrefused\n",
        "mkdir: can't create directory '/tmp/new': Permission denied\n\
         sh: can't kill pid 1: Permission denied\n",
    );
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"] {
        let mut bundle = Bundle::script(line);
        bundle.set("/linux/seccomp", restricting(default));
        // While it is recorded, and under what was written.
        let first = recorded(&bundle);
        assert_eq!((first.stdout.as_str(), first.stderr.as_str()), expected, "{default}");
        let again = under_profile(&mut bundle, &["/bin/sh", "-c", line]);
        assert_eq!(again.stdout, expected.0, "{default}");
        let written = profile(&bundle);
        let refused = under_profile(&mut bundle, &["/bin/cat", "/etc/passwd"]);
        assert_ne!(refused.code, 0, "{written}");
        assert!(!allowed(&written).contains("mkdir") && allowed(&written).contains("kill"), "{written}");
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_is_recorded_and_what_it_leaves_behind_goes_on() {
    if skipped() {
        return;
    }
    let bundle = Bundle::script("while :; do sleep 0.05; done");
    bundle.begin();
    let line = "echo in; (while :; do echo up > /tmp/alive; sleep 0.02; done) > /dev/null 2>&1 &";
    let done = bundle.tare(&["exec", "--record-syscalls", FILE, &bundle.id, "/bin/sh", "-c", line]);
    assert_eq!(done.good(), "in\n");
    let names = allowed(&profile(&bundle));
    assert!(names.contains("execve") && names.contains("write"), "{names:?}");
    let alive = bundle.file("rootfs/tmp/alive");
    for _ in 0..3 {
        bundle.wait_file("tmp/alive");
        fs::remove_file(&alive).unwrap();
    }
    // The container's own process is not recorded.
    let mkdir = ["exec", "--record-syscalls", FILE, &bundle.id, "/bin/mkdir", "/tmp/new"];
    bundle.tare(&mkdir).silent();
    let both = allowed(&profile(&bundle));
    assert!(both.is_superset(&names) && both.contains("mkdir"));
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_outlives_a_killed_tare() {
    if skipped() {
        return;
    }
    let bundle = Bundle::script("while :; do echo up > /tmp/alive; sleep 0.02; done");
    bundle.write();
    let mut command = bundle.command(&["run", "--record-syscalls", FILE, &bundle.id]);
    let mut run = command.stdin(Stdio::null()).spawn().unwrap();
    bundle.wait_file("tmp/alive");
    eventually("it runs", || bundle.status() == "running");
    kill_process(Pid::from_child(&run), Signal::KILL).unwrap();
    run.wait().unwrap();
    for _ in 0..3 {
        fs::remove_file(bundle.file("rootfs/tmp/alive")).unwrap();
        bundle.wait_file("tmp/alive");
    }
    assert!(!bundle.file(FILE).exists());
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hooks_and_terminals_do_not_keep_the_recorder_waiting() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::script("echo up > /tmp/up; [ -t 0 ] && echo terminal; ls /tmp");
    let wait_for_the_program = format!("until [ -e {} ]; do sleep 0.01; done", bundle.file("rootfs/tmp/up").display());
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", wait_for_the_program], "timeout": 20 });
    bundle.set("/hooks", json!({ "poststart": [hook] })).set("/process/terminal", json!(true));
    assert_eq!(recorded(&bundle).good(), "terminal\nup\n");
    assert!(allowed(&profile(&bundle)).contains("ioctl"));
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_program_that_cannot_be_executed_is_reported() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::new();
    let script = bundle.file("rootfs/script");
    fs::write(&script, "#!/nonexistent\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    bundle.set("/process/args", json!(["/script"]));
    let plain = bundle.run().refused();
    assert_eq!(recorded(&bundle).refused(), plain);
    assert!(!bundle.file(FILE).exists());
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_cannot_be_recorded_is_refused_before_anything_exists() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::script("echo started > /tmp/started");
    let started = bundle.file("rootfs/tmp/started");
    let check = |done: Done, expected: &str| {
        assert_eq!(done.refused(), expected);
        assert!(!started.exists());
    };
    let only = "--record-syscalls profile.json: only a process in the foreground can be recorded; \
                use run or exec without --detach";
    check(bundle.run_with(&["--detach", "--record-syscalls", FILE]), only);
    check(
        bundle.run_with(&["--record-syscalls", "no/such/file"]),
        "write the seccomp profile no/such/file: no such file or directory",
    );
    let foreign = "profile.json: is not a profile that was recorded under the seccomp profile of this container; \
                   remove it or name another file";
    for text in ["", "{}", "[]", r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#] {
        fs::write(bundle.file(FILE), text).unwrap();
        check(recorded(&bundle), foreign);
        assert_eq!(fs::read_to_string(bundle.file(FILE)).unwrap(), text);
    }
    fs::remove_file(bundle.file(FILE)).unwrap();
    // Under another profile in force its rules could be weaker.
    bundle.set("/process/args", json!(["/bin/true"]));
    recorded(&bundle).silent();
    bundle.set("/linux/seccomp", restricting("SCMP_ACT_ERRNO"));
    check(recorded(&bundle), foreign);
    fs::remove_file(bundle.file(FILE)).unwrap();
    let rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" });
    let agents = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "syscalls": [rule] });
    bundle.set("/linux/seccomp", agents);
    check(
        recorded(&bundle),
        "linux.seccomp: a profile with SCMP_ACT_NOTIFY cannot be recorded: a process can have only one seccomp listener",
    );
    bundle.unset("/linux/seccomp").set("/annotations", json!({ "run.oci.seccomp_bpf_data": "BgAAAAAA/38=" }));
    check(
        recorded(&bundle),
        "annotations[\"run.oci.seccomp_bpf_data\"]: a ready-made filter cannot be recorded: it has no rules by name",
    );
    assert!(!bundle.file(FILE).exists());
    bundle.assert_nothing_left();
}

/// An ELF file for 32-bit x86 that makes these calls by `int 0x80`: eax, ebx, ecx and edx. The text is at [`TEXT`].
fn program_of_32_bits(calls: &[[u32; 4]], text: &[u8]) -> Vec<u8> {
    let mut code = Vec::new();
    for call in calls {
        // mov r32, imm32
        for (opcode, value) in [0xb8, 0xbb, 0xb9, 0xba].into_iter().zip(call) {
            code.push(opcode);
            code.extend(value.to_le_bytes());
        }
        code.extend([0xcd, 0x80]);
    }
    assert!(code.len() < 0x100 && text.len() < 0x100);
    code.resize(0x100, 0x90);
    code.extend(text);
    let size = u32::try_from(HEADERS + code.len()).unwrap();
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // ELFCLASS32, little endian; ET_EXEC, EM_386; one PT_LOAD of everything, readable, writable and executable.
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    half(&mut file, &[2, 3]);
    word(&mut file, &[1, BASE + 84, 52, 0, 0]);
    half(&mut file, &[52, 32, 1, 0, 0, 0]);
    word(&mut file, &[1, 0, BASE, BASE, size, size, 7, 0x1000]);
    file.extend(code);
    file
}

/// Bytes of the two headers of [`program_of_32_bits`], where it is loaded, and where its text is then.
const HEADERS: usize = 84;
const BASE: u32 = 0x0804_8000;
const TEXT: u32 = BASE + 84 + 0x100;

fn install(bundle: &Bundle, name: &str, calls: &[[u32; 4]]) {
    let file = bundle.file("rootfs").join(name);
    fs::write(&file, program_of_32_bits(calls, b"32 bits\n")).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// The numbers of the calls are others than those of 64 bits.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn programs_of_32_bits_are_recorded() {
    if skipped() {
        return;
    }
    if !cfg!(target_arch = "x86_64") {
        return eprintln!("skipped: a program for x86");
    }
    let [write, getpid, socketcall, mkdir, exit] = [4, 20, 102, 39, 1];
    let mut bundle = Bundle::script("/first; echo $?");
    let exit = [exit, 5, 0, 0];
    // The arguments of socketcall(SYS_SOCKET) are the text: no such address family.
    install(&bundle, "first", &[[write, 1, TEXT, 8], [getpid, 0, 0, 0], [socketcall, 1, TEXT, 0], exit]);
    let first = recorded(&bundle);
    if first.stdout == "126\n" || first.stdout == "127\n" {
        return eprintln!("skipped: the kernel has no IA32 emulation");
    }
    assert_eq!((first.stdout.as_str(), first.code), ("32 bits\n5\n", 0), "{}", first.stderr);
    let written = profile(&bundle);
    assert_eq!(written["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    let names = allowed(&written);
    let lacking = ["write", "getpid", "socket", "exit", "sigreturn"].map(|name| !names.contains(name));
    assert_eq!(lacking, [false; 5], "{names:?}");
    assert!(!names.contains("mkdir"), "{names:?}");
    let again = under_profile(&mut bundle, &["/bin/sh", "-c", "/first; echo $?"]);
    assert_eq!((again.stdout, again.code), (first.stdout, 0), "{}", again.stderr);
    // Another call of 32 bits is refused: no directory is made.
    install(&bundle, "first", &[[mkdir, TEXT, 0o755, 0], exit]);
    under_profile(&mut bundle, &["/bin/sh", "-c", "/first; echo $?"]).good();
    assert!(!bundle.file("rootfs/32 bits\n").exists());
    bundle.unset("/linux/seccomp");
    bundle.run().good();
    assert!(bundle.file("rootfs/32 bits\n").exists(), "the control");
    bundle.assert_nothing_left();
}

/// Before Linux 5.19 the kernel refuses the flag with which signals do not interrupt a call that is noted.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn kernels_before_5_19_record_too() {
    if skipped() {
        return;
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return eprintln!("skipped: needs strace");
    }
    let mut bundle = Bundle::script(LINE);
    bundle.write();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-o", "trace", "-e", "trace=seccomp", "-e", "inject=seccomp:error=EINVAL:when=1"]);
    strace.arg(crate::bundle::runtime()).arg("--root").arg(bundle.root());
    strace.args(["run", "--record-syscalls", FILE, &bundle.id]).current_dir(bundle.path());
    let first = crate::bundle::finish(strace);
    assert_eq!((first.code, first.stdout.as_str()), (7, "caught\nxyz\npasswd\ntext\n"), "{}", first.stderr);
    let trace = fs::read_to_string(bundle.file("trace")).unwrap();
    let tries: Vec<&str> = trace.lines().filter(|line| line.contains("seccomp(SECCOMP_SET_MODE_FILTER")).collect();
    assert!(tries.len() == 2 && tries[0].contains("(INJECTED)") && !tries[1].contains("INJECTED"), "{trace}");
    assert!(tries[0].contains("WAIT_KILLABLE_RECV") || tries[0].contains("0x2"), "{trace}");
    assert!(!tries[1].contains("WAIT_KILLABLE_RECV"), "{trace}");
    let again = under_profile(&mut bundle, &["/bin/sh", "-c", LINE]);
    assert_eq!((again.code, again.stdout.as_str(), again.stderr.as_str()), (7, first.stdout.as_str(), ""));
    bundle.assert_nothing_left();
}

/// What runc calls between the filter and execve, as docs/seccomp-profiles.md has it.
fn calls_of_runc(no_new_privileges: bool) -> BTreeSet<String> {
    let page = include_str!("../../docs/seccomp-profiles.md");
    let cell = |start: &str| {
        let row = page.lines().find_map(|line| line.strip_prefix(start)).unwrap();
        let words = row.trim_end_matches(" |").trim_start_matches(" also ");
        words.split(", ").map(|word| word.trim().to_owned()).collect::<BTreeSet<String>>()
    };
    let mut calls = cell("| runc 1.1 | true |");
    if !no_new_privileges {
        calls.append(&mut cell("| runc 1.1 | false |"));
    }
    calls
}

/// The same workload under runc, with the profile that was written and the calls that runc makes itself.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn runc_takes_the_profile() {
    if skipped() {
        return;
    }
    let runc = std::process::Command::new("runc").arg("--version").output();
    let version = runc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    if !version.starts_with("runc version 1.1.") {
        return eprintln!("skipped: docs/seccomp-profiles.md is about runc 1.1, and here is {version:?}");
    }
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::script(LINE);
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
        let first = recorded(&bundle);
        assert_eq!(first.code, 7, "{}", first.stderr);
        let mut written = profile(&bundle);
        let run = |bundle: &Bundle| {
            bundle.write();
            let mut command = std::process::Command::new("runc");
            command.arg("--root").arg(bundle.file("runc")).args(["run", &bundle.id]).current_dir(bundle.path());
            crate::bundle::finish(command)
        };
        let names = written["syscalls"][0]["names"].as_array_mut().unwrap();
        names.extend(calls_of_runc(no_new_privileges).into_iter().map(Value::from));
        bundle.set("/linux/seccomp", written);
        let done = run(&bundle);
        assert_eq!((done.code, done.stdout.as_str()), (7, first.stdout.as_str()), "{}", done.stderr);
        // It is in force there too.
        bundle.set("/process/args", json!(["/bin/mkdir", "/tmp/new"]));
        let other = run(&bundle);
        assert_ne!(other.code, 0);
        assert!(!bundle.file("rootfs/tmp/new").exists(), "{}", other.stderr);
    }
}

/// In a user namespace of the caller's own, without a privilege of the host.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_ordinary_user_records() {
    let Some(mut bundle) = crate::rootless::script(LINE) else { return };
    let first = recorded(&bundle);
    assert_eq!((first.code, first.stdout.as_str(), first.stderr.as_str()), (7, "caught\nxyz\npasswd\ntext\n", ""));
    let written = profile(&bundle);
    let names = allowed(&written);
    assert!(names.contains("wait4") && !names.contains("mkdir") && names.len() < 60, "{names:?}");
    let again = under_profile(&mut bundle, &["/bin/sh", "-c", LINE]);
    assert_eq!((again.code, again.stdout.as_str(), again.stderr.as_str()), (7, first.stdout.as_str(), ""));
    let other = under_profile(&mut bundle, &["/bin/mkdir", "/tmp/new"]);
    assert_eq!(other.stderr, "mkdir: can't create directory '/tmp/new': Operation not permitted\n");
    // And in a container that runs.
    bundle.unset("/linux/seccomp").set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.begin();
    bundle.tare(&["exec", "--record-syscalls", FILE, &bundle.id, "/bin/mkdir", "/tmp/new"]).silent();
    assert!(allowed(&profile(&bundle)).is_superset(&names) && allowed(&profile(&bundle)).contains("mkdir"));
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}
