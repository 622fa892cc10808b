//! exec --process: where the file may be, and what it may leave out (docs/config.md).

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, is_tare, wait};

/// A process that prints what the shell's line does; `changes` are put on top.
fn printing(line: &str, changes: &Value) -> Vec<u8> {
    let mut process = json!({ "args": ["/bin/sh", "-c", line], "cwd": "/", "env": ["PATH=/bin"] });
    process.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::to_vec(&process).unwrap()
}

fn exec(bundle: &Bundle, line: &str, changes: &Value) -> Done {
    fs::write(bundle.file("process.json"), printing(line, changes)).unwrap();
    bundle.tare(&["exec", "--process", "process.json", &bundle.id])
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn missing_values_are_the_containers() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/process/oomScoreAdj", json!(700));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "hard": 77, "soft": 66 }]));
    bundle.set("/process/user", json!({ "uid": 5, "gid": 6, "umask": 0o77, "additionalGids": [7] }));
    if is_tare() {
        bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 3 }));
    }
    bundle.begin();
    let none = json!({});
    let status = |name: &str| format!("grep {name} /proc/self/status | tr -d '\\t '");
    assert_eq!(exec(&bundle, "cat /proc/self/oom_score_adj", &none).good(), "700\n");
    let bounding = exec(&bundle, &status("CapBnd"), &none).good();
    assert_eq!(bounding, "CapBnd:00000000000004e1\n");
    if is_tare() {
        // Field 41 is the policy, field 19 the nice value: proc_pid_stat(5).
        assert_eq!(exec(&bundle, "exec cat /proc/self/stat", &none).good().split(' ').nth(40), Some("3"));
    }
    // These are the process's own: 0:0 without groups, free to gain privileges, with the limits of the caller.
    assert_eq!(exec(&bundle, "id -u; id -g; id -G", &none).good(), "0\n0\n0\n");
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    assert_eq!(exec(&bundle, "ulimit -Hn", &none).good(), format!("{limit}\n"));
    if is_tare() {
        // As runc since 1.2.
        assert_eq!(exec(&bundle, "umask", &none).good(), "0077\n");
    }
    assert_eq!(exec(&bundle, &status("NoNewPrivs"), &none).good(), "NoNewPrivs:0\n");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn given_values_are_the_processs() {
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "hard": 77, "soft": 66 }]));
    bundle.set("/process/oomScoreAdj", json!(700));
    bundle.begin();
    let given = json!({
        "user": { "uid": 0, "gid": 0, "umask": 0o27 },
        "capabilities": { "bounding": ["CAP_KILL"] },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 55, "soft": 44 }],
        "oomScoreAdj": 800,
    });
    let line = "ulimit -Hn; umask; grep CapBnd /proc/self/status | tr -d '\\t '; cat /proc/self/oom_score_adj";
    let printed = exec(&bundle, line, &given).good();
    let printed: Vec<_> = printed.lines().collect();
    assert_eq!(printed[0], "55");
    assert_eq!(printed[2], "CapBnd:0000000000000020");
    if is_tare() {
        // runc 1.1 has the container's here.
        assert_eq!((printed[1], printed[3]), ("0027", "800"));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_file_may_be_a_pipe() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let json = printing("echo of a pipe", &json!({ "user": { "uid": 0, "gid": 0 } }));
    // More than a pipe holds, in parts, from a writer that is late.
    let json = [&b" ".repeat(100_000)[..], &json].concat();
    let mut command = bundle.command(&["exec", "--process", "/dev/stdin", &bundle.id]);
    let out = tempfile::tempfile().unwrap();
    let mut child = command.stdin(Stdio::piped()).stdout(out.try_clone().unwrap()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    child.stdin.take().unwrap().write_all(&json).unwrap();
    assert_eq!(wait(child, "exec"), 0);
    assert_eq!(
        fs::read_to_string(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&out))).unwrap(),
        "of a pipe\n"
    );
    // A FIFO waits for its writer.
    let fifo = bundle.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = std::thread::spawn(move || fs::write(fifo, json).unwrap());
    assert_eq!(bundle.tare(&["exec", "--process", "fifo", &bundle.id]).good(), "of a pipe\n");
    writer.join().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_endless_file_is_refused() {
    let bundle = Bundle::script("sleep 1000");
    if !is_tare() {
        return eprintln!("skipped: runc reads on");
    }
    bundle.begin();
    for (file, why) in [
        ("/dev/zero", "/dev/zero has more than 16777216 bytes"),
        ("/dev/null", "process file: EOF while parsing a value at line 1 column 0"),
        ("/", "/ is not a regular file"),
    ] {
        assert_eq!(bundle.tare(&["exec", "--process", file, &bundle.id]).refused(), why);
    }
}
