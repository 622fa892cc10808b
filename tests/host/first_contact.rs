//! What a new user meets: `tare` without a command, and the bundle of `tare spec --docker-default`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, copy_program, finish, is_tare, runtime};

/// `tare` alone, its stdout being a terminal; its exit code and what the terminal shows.
fn on_a_terminal() -> (i32, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = rustix::fs::open(ptsname(&master, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    let mut command = Command::new(runtime());
    command.stdin(Stdio::null()).stdout(slave.unwrap()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // With it goes the last descriptor of the slave that is ours.
    drop(command);
    let mut text = Vec::new();
    // EIO is the end of a terminal.
    let _end = fs::File::from(master).read_to_end(&mut text);
    let code = child.wait().unwrap().code().unwrap();
    (code, String::from_utf8(text).unwrap().replace("\r\n", "\n"))
}

#[test]
fn tare_alone_shows_five_examples_on_a_terminal_and_the_help_elsewhere() {
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let (code, text) = on_a_terminal();
    let examples: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  tare ")).collect();
    assert_eq!((code, examples.len()), (0, 5), "{text}");
    assert!(text.contains("`tare --help`") && text.lines().all(|line| line.len() <= 100), "{text}");
    let run = |args: &[&str]| {
        let mut command = Command::new(runtime());
        command.args(args);
        finish(command)
    };
    let help = run(&["--help"]).good();
    for example in examples {
        let word = example.split(' ').next().unwrap();
        assert!(help.lines().any(|line| line.trim_start().starts_with(word)), "{example}");
    }
    // As runc: 0, and the help on stdout.
    let Done { code, stdout, stderr } = run(&[]);
    assert_eq!((code, stdout, stderr.as_str()), (0, help, ""));
}

/// Prints what a container may do: capabilities, mounts, the content of what is masked, answers to system calls.
fn look(config: &Value) -> String {
    let words = |pointer: &str| -> String {
        let list = config.pointer(pointer).unwrap().as_array().unwrap();
        list.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    format!(
        "grep -E '^(Cap|Seccomp:)' /proc/self/status
        cut -d ' ' -f 5,6 /proc/self/mountinfo
        for path in {}; do
            [ ! -e $path ] || echo \"$path $(ls -A $path 2>&1 | tr '\\n' ' ') $(cat $path 2>&1)\"
        done
        for path in {}; do
            [ ! -d $path ] || mkdir $path/made 2>&1
        done
        echo x 2>&1 >/proc/sysrq-trigger
        /calls",
        words("/linux/maskedPaths"),
        words("/linux/readonlyPaths"),
    )
}

/// The output of [`look`] in a container with this config.
fn seen(config: Value) -> String {
    let mut bundle = Bundle::new();
    let line = look(&config);
    let path = bundle.config["linux"]["cgroupsPath"].clone();
    bundle.config = config;
    bundle.set("/process/args", json!(["/bin/sh", "-c", line])).set("/process/terminal", json!(false));
    bundle.set("/process/noNewPrivileges", json!(true)).set("/root/readonly", json!(true));
    bundle.set("/linux/cgroupsPath", path);
    let program = bundle.file("calls");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/programs/calls.c");
    let compiler = Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).output().unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    copy_program(&program, &bundle.file("rootfs/calls"));
    let text = bundle.run().good();
    bundle.assert_nothing_left();
    text
}

fn docker_default(bundle: &Bundle) -> Value {
    bundle.tare(&["spec", "--docker-default"]).silent();
    serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap()
}

/// What Docker writes, but for the files that it binds from the host.
pub fn dockers() -> Value {
    let mut config: Value = serde_json::from_str(include_str!("../data/docker-config.json")).unwrap();
    config["linux"]["seccomp"] = serde_json::from_str(include_str!("../data/docker-seccomp.json")).unwrap();
    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "bind");
    config
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_container_of_docker_default_may_do_what_dockers_may() {
    if !is_tare() {
        return eprintln!("skipped: the option is tare's");
    }
    if !cfg!(target_arch = "x86_64") {
        return eprintln!("skipped: the data to compare with are those of amd64");
    }
    let mut ours = docker_default(&Bundle::new());
    // Docker's has been resolved on a host without them.
    ours["linux"]["maskedPaths"].as_array_mut().unwrap().retain(|path| !path.as_str().unwrap().contains("throttle"));
    let (ours, dockers) = (seen(ours), seen(dockers()));
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(|line| line.replace("size=65536k", "size=67108864")).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&dockers));
    for line in [
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "Seccomp:\t2",
        "unshare 1",
        "keyctl 1",
        "bpf 1",
        "mount 1",
        "clone 0",
        "clone_user 1",
        "clone3 38",
        "personality_linux 0",
        "personality_no_random 1",
        "socket_inet 0",
        "socket_vsock 1",
        "chroot 0",
        "unknown 38",
    ] {
        assert!(ours.lines().any(|found| found == line), "{line:?} in {ours}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn docker_default_keeps_what_spec_writes_and_goes_with_rootless() {
    if !is_tare() {
        return eprintln!("skipped: the option is tare's");
    }
    let bundle = Bundle::new();
    let ours = docker_default(&bundle);
    bundle.tare(&["spec", "--config", "plain.json"]).silent();
    let plain: Value = serde_json::from_slice(&fs::read(bundle.file("plain.json")).unwrap()).unwrap();
    for pointer in ["/process/noNewPrivileges", "/process/args", "/root", "/linux/namespaces", "/linux/readonlyPaths"] {
        assert_eq!(ours.pointer(pointer), plain.pointer(pointer), "{pointer}");
    }
    bundle.tare(&["spec", "--config", "user.json", "--rootless", "--docker-default"]).silent();
    let user: Value = serde_json::from_slice(&fs::read(bundle.file("user.json")).unwrap()).unwrap();
    assert_eq!((&user["linux"]["seccomp"], user["linux"]["uidMappings"].is_array()), (&ours["linux"]["seccomp"], true));
}
