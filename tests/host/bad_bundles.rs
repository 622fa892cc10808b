//! Mistaken and hostile bundles, ids, state roots, sockets and limits of the caller: one clear line, within a second or
//! so, with bounded memory, and nothing is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::{Bundle, Done, finish, is_tare, runtime};

/// Checks the line ("..." at its end for more), that it came quickly, and that nothing is left.
#[track_caller]
fn assert_refused(bundle: &Bundle, name: &str, expected: &str, act: impl FnOnce() -> Done) {
    let before = Instant::now();
    let done = act();
    assert!(before.elapsed() < Duration::from_secs(10), "{name} takes {:?}", before.elapsed());
    let line = done.refused();
    if is_tare() {
        let expected = expected.replace("{bundle}", &bundle.path().display().to_string()).replace("{id}", &bundle.id);
        let fits = expected.strip_suffix("...").map_or(line == expected, |start| line.starts_with(start));
        assert!(fits, "{name}:\n   is {line}\nwants {expected}");
    }
    assert!(line.len() < 2000, "{name}: {} bytes", line.len());
    bundle.assert_nothing_left();
}

/// The first error that `check` finds is the one of create.
#[track_caller]
fn assert_checked(bundle: &Bundle, name: &str, options: &[&str], line: &str) {
    if is_tare() {
        assert_eq!(bundle.errors(options).first().map(String::as_str), Some(line), "{name}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn config_files() {
    type Make = fn(&std::path::Path);
    let cases: &[(&str, Make, &str)] = &[
        ("missing", |_| (), "open {bundle}/config.json: no such file or directory; make one with `tare spec`"),
        ("directory", |path| fs::create_dir(path).unwrap(), "{bundle}/config.json is not a regular file"),
        ("FIFO", |path| node(path, rustix::fs::FileType::Fifo, 0), "{bundle}/config.json is not a regular file"),
        (
            "device",
            |path| node(path, rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
            "{bundle}/config.json is not a regular file",
        ),
        (
            "loop of links",
            |path| symlink("config.json", path).unwrap(),
            "open {bundle}/config.json: too many levels of symbolic links...",
        ),
        (
            "a gigabyte",
            |path| fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
            "{bundle}/config.json has 1073741824 bytes; the limit is 16777216",
        ),
        ("empty", |path| fs::write(path, "").unwrap(), "config.json: EOF while parsing a value at line 1 column 0"),
        (
            "no JSON",
            |path| fs::write(path, "ociVersion: 1.2.0\n").unwrap(),
            "config.json: expected value at line 1 column 1",
        ),
        (
            "trailing text",
            |path| fs::write(path, "{\"ociVersion\":\"1.2.0\"} x").unwrap(),
            "config.json: trailing characters at line 1 column 24",
        ),
        (
            "a key twice",
            |path| fs::write(path, "{\"ociVersion\":\"1.2.0\",\"hostname\":\"a\",\"hostname\":\"b\"}").unwrap(),
            "hostname: duplicate field `hostname`",
        ),
        (
            "NUL",
            |path| fs::write(path, "{\"ociVersion\":\"1.2.0\0\"}").unwrap(),
            "config.json: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 21",
        ),
        (
            "not UTF-8",
            |path| fs::write(path, b"{\"ociVersion\":\"\xff\"}").unwrap(),
            "config.json: not UTF-8 at line 1 column ...",
        ),
        (
            "very deep",
            |path| {
                fs::write(path, format!("{{\"annotations\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000))).unwrap()
            },
            "annotations: a list where an object is expected",
        ),
        (
            "very deep where nothing is expected",
            |path| fs::write(path, format!("{{\"extra\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000))).unwrap(),
            "ociVersion: is missing...",
        ),
        (
            "long string",
            |path| fs::write(path, format!("{{\"ociVersion\":\"{}\"}}", "1".repeat(10_000_000))).unwrap(),
            "ociVersion: ...",
        ),
    ];
    for (name, make, text) in cases {
        if *name == "FIFO" && !is_tare() {
            // runc waits for a writer.
            continue;
        }
        let bundle = Bundle::new();
        make(&bundle.file("config.json"));
        // With little memory to have.
        let shell = || shell(&bundle, "ulimit -v 150000; exec \"$0\" --root \"$1\" create \"$2\"");
        let plain = || bundle.on("create");
        if is_tare() {
            assert_refused(&bundle, name, text, shell)
        } else {
            assert_refused(&bundle, name, text, plain)
        }
        assert_checked(&bundle, name, &[], &plain().refused());
    }
}

fn node(path: &std::path::Path, kind: rustix::fs::FileType, device: u64) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::from_raw_mode(0o666), device).unwrap();
}

/// Runs a line of sh in which `$0` is the runtime, `$1` the state root and `$2` the id.
fn shell(bundle: &Bundle, line: &str) -> Done {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).arg(runtime()).arg(bundle.root()).arg(&bundle.id).current_dir(bundle.path());
    finish(shell)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn directories_that_are_not_bundles_are_refused() {
    let bundle = Bundle::new();
    bundle.write();
    let create = |path: &str| bundle.tare(&["create", "--bundle", path, &bundle.id]);
    let hint = "; a bundle is a directory with config.json; name it with --bundle";
    let text = format!("open bundle nothing: no such file or directory{hint}");
    assert_refused(&bundle, "missing", &text, || create("nothing"));
    assert_checked(&bundle, "missing", &["--bundle", "nothing"], &text);
    let text = format!("open bundle config.json: not a directory{hint}");
    assert_refused(&bundle, "file", &text, || create("config.json"));
    assert_checked(&bundle, "file", &["--bundle", "config.json"], &text);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_config_without_a_process_or_a_rootfs() {
    let mut bundle = Bundle::new();
    bundle.unset("/process");
    bundle.write();
    let text = "process: config.json has no process, so there is nothing to run";
    assert_refused(&bundle, "run", text, || bundle.run());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn unknown_capabilities_are_a_warning() {
    let mut bundle = Bundle::new();
    bundle.set("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_TO_FLY"]));
    bundle.unset("/process/capabilities/permitted").unset("/process/capabilities/effective");
    let done = bundle.run();
    assert_eq!((done.code, done.stdout.as_str()), (0, ""));
    assert!(done.stderr.contains("CAP_TO_FLY"), "{}", done.stderr);
    // Not in a JSON log that is to hold the error alone.
    bundle.write();
    bundle.tare(&["--log", "log.json", "--log-format", "json", "run", &bundle.id]).silent();
    if is_tare() {
        assert_eq!(fs::read_to_string(bundle.file("log.json")).unwrap(), "");
    }
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn ids() {
    let bundle = Bundle::new();
    bundle.write();
    let long = "x".repeat(300);
    let hint = "an id consists of letters, digits, '_', '+', '-' and, except at the start, '.'";
    for (id, why) in [
        ("", "empty"),
        (".", "'.' is not allowed there"),
        ("..", "'.' is not allowed there"),
        ("../x", "'.' is not allowed there"),
        ("a/b", "'/' is not allowed there"),
        ("/a", "'/' is not allowed there"),
        ("a/../b", "'/' is not allowed there"),
        ("a\nb", "'\\n' is not allowed there"),
        ("a b", "' ' is not allowed there"),
        ("ä", "'ä' is not allowed there"),
        ("a\u{7f}", "'\\u{7f}' is not allowed there"),
        (&long, "300 bytes; the limit is 200"),
    ] {
        for command in
            [&["create"][..], &["run"], &["start"], &["state"], &["kill"], &["delete", "--force"], &["pause"]]
        {
            // Of another runtime only what makes something is of interest.
            if !is_tare() && (command[0] != "create" || id == long) {
                continue;
            }
            let text = format!("invalid container id {id:?}: {why}; {hint}").replace('\u{7f}', "\\u{7f}");
            assert_refused(&bundle, &format!("{command:?} {id:?}"), &text, || bundle.tare(&[command, &[id]].concat()));
        }
    }
    assert!(!bundle.path().parent().unwrap().join("x").exists());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn state_roots() {
    if !is_tare() {
        return eprintln!("skipped: tare's own rules");
    }
    let bundle = Bundle::new();
    bundle.write();
    let with_root = |root: &str| {
        let checked = bundle.tare(&["--root", root, "check"]).stdout;
        let done = bundle.tare(&["--root", root, "create", &bundle.id]);
        let first = checked.lines().next().and_then(|line| line.strip_prefix("error: "));
        assert_eq!(first, done.stderr.trim_end().strip_prefix("tare: "), "{root}");
        done
    };
    assert_refused(&bundle, "/", "the state root must not be /", || with_root("/"));
    assert_refused(&bundle, "//", "the state root must not be /", || with_root("//"));
    assert_refused(&bundle, "/..", "the state root must not be /", || with_root("/tmp/.."));
    assert_refused(&bundle, "file", "open the state root config.json: not a directory...", || with_root("config.json"));
    assert_refused(&bundle, "below a file", "open the state root config.json/x: not a directory...", || {
        with_root("config.json/x")
    });
    let shared = bundle.file("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    let text = "the state root shared belongs to uid 0 with mode 777: other users could change files that tare trusts; it must belong to uid 0 and must not be writable by others";
    assert_refused(&bundle, "shared", text, || with_root("shared"));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&shared, Some(1000), None).unwrap();
    let text = text.replace("uid 0 with mode 777", "uid 1000 with mode 700");
    assert_refused(&bundle, "foreign", &text, || with_root("shared"));
    // Deep and long ones work.
    let deep = format!("deep/{}/{}", "d".repeat(200), "e".repeat(200));
    with_root(&deep).silent();
    bundle.tare(&["--root", &deep, "delete", "--force", &bundle.id]).silent();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn state_roots_that_cannot_be_written() {
    let bundle = Bundle::new();
    bundle.write();
    let root = bundle.root();
    fs::create_dir(&root).unwrap();
    for options in ["size=4k", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4", "nr_inodes=5", "ro", "noexec,mode=700"] {
        let mount = |args: &[&str]| assert!(Command::new("mount").args(args).arg(&root).status().unwrap().success());
        mount(&["-t", "tmpfs", "-o", &format!("mode=700,{options}"), "tmpfs"]);
        let done = bundle.on("run");
        if done.code != 0 && is_tare() {
            let line = done.refused();
            assert!(line.contains("no space left") || line.contains("read-only file system"), "{options}: {line}");
        } else if is_tare() {
            assert!(options.starts_with("noexec") || options == "nr_inodes=5", "{options} was enough");
        }
        let left = fs::read_dir(&root).unwrap().count();
        assert!(left == 0 || !is_tare(), "{options}: {left} entries are left");
        assert!(Command::new("umount").arg(&root).status().unwrap().success());
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn few_descriptors() {
    if !is_tare() {
        return eprintln!("skipped: runc hangs with 19 of them");
    }
    let bundle = Bundle::new();
    bundle.write();
    let mut enough = 0;
    for limit in 4..=40 {
        let done = shell(&bundle, &format!("ulimit -n {limit}; exec \"$0\" --root \"$1\" run \"$2\""));
        if done.code == 0 {
            enough += 1;
        } else {
            let line = done.refused();
            assert!(line.contains("too many open files"), "{limit}: {line}");
        }
        bundle.assert_nothing_left();
    }
    assert!(enough > 0, "40 descriptors are not enough");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn consoles() {
    let mut bundle = Bundle::new();
    bundle.set("/process/terminal", json!(true));
    bundle.write();
    let create = |socket: &str| bundle.tare(&["create", "--console-socket", socket, &bundle.id]);
    let hint = "a process must listen on the socket before tare is started";
    let text = format!("console socket: connect to nothing: no such file or directory; {hint}");
    assert_refused(&bundle, "missing", &text, || create("nothing"));
    assert_checked(&bundle, "missing", &["--console-socket", "nothing"], &text);
    assert_refused(&bundle, "file", "console socket: connect to config.json: ...", || create("config.json"));
    let listener = std::os::unix::net::UnixListener::bind(bundle.file("console")).unwrap();
    drop(listener);
    let text = format!("console socket: connect to console: connection refused; {hint}");
    assert_refused(&bundle, "nobody listens", &text, || create("console"));
    assert_checked(&bundle, "nobody listens", &["--console-socket", "console"], &text);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn pid_files_that_cannot_be_written() {
    let bundle = Bundle::script("sleep 100");
    for (path, why) in
        [("no/such/directory/pid", "no such file or directory"), (".", "is a directory"), ("rootfs", "is a directory")]
    {
        let text = format!("write the pid file {path}: {why}");
        assert_refused(&bundle, path, &text, || bundle.create_with(&["--pid-file", path]));
        assert_refused(&bundle, path, &text, || bundle.run_with(&["--detach", "--pid-file", path]));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn process_files() {
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    node(&bundle.file("fifo"), rustix::fs::FileType::Fifo, 0);
    let write = |name: &str, value: serde_json::Value| fs::write(bundle.file(name), value.to_string()).unwrap();
    write("uid", json!({ "user": { "uid": -1, "gid": 0 }, "args": ["true"], "cwd": "/" }));
    write("cwd", json!({ "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "x" }));
    write("fd", json!({ "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/proc/self/fd/4" }));
    write("args", json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/" }));
    write(
        "rlimit",
        json!({ "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/",
        "rlimits": [{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }] }),
    );
    fs::write(bundle.file("text"), "true").unwrap();
    for (file, text) in [
        ("nothing", "open nothing: no such file or directory"),
        ("fifo", "read fifo: no process writes to this FIFO"),
        ("rootfs", "rootfs is not a regular file"),
        ("text", "process file: true where an object is expected"),
        ("uid", "user.uid: -1 where a number from 0 to 4294967295 is expected"),
        ("cwd", "cwd: cwd must be an absolute path, not \"x\""),
        ("fd", "cwd: chdir to cwd (\"/proc/self/fd/4\") set in config.json failed: ..."),
        ("args", "args: args must not be empty"),
        ("rlimit", "rlimits[0].soft: the soft limit 2 of RLIMIT_CORE is above its hard limit 1"),
    ] {
        if file == "fifo" && !is_tare() {
            continue;
        }
        let done = bundle.tare(&["exec", "--pid-file", "pid", "--process", file, &bundle.id]);
        assert_eq!(done.code, 255, "{file}");
        let line = done.refused();
        if is_tare() {
            let fits = text.strip_suffix("...").map_or(line == text, |start| line.starts_with(start));
            assert!(fits, "{file}:\n   is {line}\nwants {text}");
        }
        assert!(!bundle.file("pid").exists());
    }
    let pids = bundle.tare(&["ps", "--format", "json", &bundle.id]).good();
    assert_eq!(serde_json::from_str::<Vec<i32>>(&pids).unwrap().len(), 1, "{pids}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn cgroups_with_other_processes_or_owners() {
    let bundle = Bundle::new();
    bundle.write();
    fs::create_dir(bundle.cgroup()).unwrap();
    // Empty and nobody's: taken.
    bundle.on("run").silent();
    if !is_tare() {
        return;
    }
    fs::create_dir(bundle.cgroup()).unwrap();
    let mut other = Command::new("sleep").arg("100").spawn().unwrap();
    fs::write(bundle.cgroup().join("cgroup.procs"), other.id().to_string()).unwrap();
    let line = bundle.on("run").refused();
    assert_eq!(line, format!("linux.cgroupsPath: container's cgroup is not empty: /{} has processes", bundle.name));
    assert_checked(&bundle, "processes", &[], &line);
    assert!(other.try_wait().unwrap().is_none(), "the other process was killed");
    other.kill().unwrap();
    other.wait().unwrap();
    fs::write(bundle.cgroup().join("cgroup.freeze"), "1").unwrap();
    let line = bundle.on("run").refused();
    assert_eq!(
        line,
        format!("linux.cgroupsPath: container's cgroup unexpectedly frozen: /{}, or a cgroup above it", bundle.name)
    );
    fs::remove_dir(bundle.cgroup()).unwrap();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_damaged_state_is_not_an_absent_container() {
    if !is_tare() {
        return eprintln!("skipped: knows the files of tare's state");
    }
    for damage in ["", "garbage", "0123456789abcdef\n{}\n"] {
        let bundle = Bundle::script("sleep 100");
        bundle.begin();
        let record = bundle.root().join(&bundle.id).join("record");
        fs::write(&record, damage).unwrap();
        for command in ["state", "start", "kill", "delete", "pause"] {
            let line = bundle.on(command).refused();
            assert!(line.contains(" is damaged: ") && line.contains("`tare delete --force "), "{command}: {line}");
        }
        assert!(!bundle.create().refused().contains("does not exist"));
        assert_eq!(bundle.tare(&["delete", "--force", &bundle.id]).code, 0);
        bundle.assert_nothing_left();
        bundle.create().silent();
    }
    let bundle = Bundle::script("sleep 100");
    bundle.begin();
    fs::remove_file(bundle.root().join(&bundle.id).join("record")).unwrap();
    assert!(bundle.on("state").refused().contains("has no record"));
    bundle.tare(&["delete", "--force", &bundle.id]);
    bundle.assert_nothing_left();
}
