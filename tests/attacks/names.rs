//! Classes 15, 20, 27, 29: ids, paths, labels and whole files that whoever calls the runtime chooses.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, is_tare};
use crate::support::{both_refuse, mount};

/// An id is a file name, in the state root and in the cgroups.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_15_ids() {
    let bundle = Bundle::new();
    bundle.write();
    let (long, deep) = ("x".repeat(1025), "../".repeat(30) + "tmp/x");
    let hostile =
        ["", ".", "..", "/", "a/b", "../x", "./x", "x/..", "/etc", "a\nb", "a\tb", "a\u{1b}[31m", "a b", &long, &deep];
    let odd = ["ä", "a\\b", "a;b", "a$b", "a`b", "a*", "a:b", "a,b", "a=b", "a'b", "a\"b", "a|b", "a%n", "a@b", "~"];
    let beside = || {
        let mut names: Vec<_> = fs::read_dir(bundle.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name != "state");
        names.sort();
        names
    };
    let before = beside();
    // Characters that lead nowhere are allowed elsewhere.
    let odd = odd.iter().filter(|_| is_tare());
    for id in hostile.iter().chain(odd).copied() {
        for args in [
            &["create", "--", id][..],
            &["run", "--", id],
            &["start", "--", id],
            &["state", "--", id],
            &["kill", "--", id, "9"],
            &["delete", "--", id],
            &["exec", "--", id, "true"],
        ] {
            let done = bundle.tare(args);
            assert!(done.code != 0, "{args:?}: {done:?}");
        }
        if is_tare() {
            bundle.tare(&["delete", "--force", "--", id]).refused();
        }
        assert_eq!(beside(), before, "{id:?}");
    }
}

/// So is the path of the cgroup, component by component.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_15_cgroup_paths() {
    let mut bundle = Bundle::new();
    let (long, deep) = (format!("/{}", "x".repeat(256)), "/x".repeat(3000));
    let cgroups = || fs::read_dir("/sys/fs/cgroup").unwrap().count();
    for path in
        ["/..", "../x", "/a/../../b", "/a/./b", "/a/..", "..", ".", "/a\nb", "/a\u{0}b", "/a\u{7f}b", &long, &deep]
    {
        bundle.set("/linux/cgroupsPath", json!(path));
        if is_tare() {
            let lines = both_refuse(&bundle);
            assert!(lines.iter().all(|line| line.starts_with("linux.cgroupsPath: ")), "{lines:?}");
        } else {
            bundle.run();
        }
        let escaped = ["/sys/fs/x", "/sys/fs/b", "/sys/b"].iter().any(|path| fs::exists(path).unwrap());
        assert!(!escaped && cgroups() > 0, "{path:?}");
    }
}

/// Runs a command that has to be refused, within a second of its own time and in little memory.
#[track_caller]
fn refused_cheaply(bundle: &Bundle, args: &[&str]) -> Done {
    let began = Instant::now();
    let mut command = bundle.command(args);
    let stderr = tempfile::tempfile().unwrap();
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(stderr.try_clone().unwrap());
    #[allow(clippy::zombie_processes, reason = "wait4 below")]
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    assert!(crate::bundle::ends(&pidfd, Duration::from_secs(20)), "{args:?} hangs");
    let (code, kilobytes, cpu) = usage(pid);
    assert!(code != 0 && code < 128 || code == 255, "{args:?}: {code}");
    if is_tare() {
        assert!(kilobytes < 200_000, "{args:?} took {kilobytes} KB");
        assert!(cpu < Duration::from_secs(2), "{args:?} took {cpu:?} of {:?}", began.elapsed());
    }
    use std::io::{Read, Seek};
    let (mut text, mut stderr) = (String::new(), stderr);
    stderr.rewind().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert!(!is_tare() || text.lines().count() == 1 && text.len() < 2000, "{} bytes: {:.300}", text.len(), text);
    Done { code, stdout: String::new(), stderr: text }
}

/// Exit code, peak memory, processor time.
#[allow(unsafe_code, reason = "wait4 has no safe interface here")]
fn usage(pid: Pid) -> (i32, i64, Duration) {
    let mut status = 0;
    // SAFETY: all zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type.
    let waited = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, &raw mut usage) };
    assert!(waited > 0);
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    let time =
        |time: libc::timeval| Duration::from_micros(u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap());
    (code, usage.ru_maxrss, time(usage.ru_utime) + time(usage.ru_stime))
}

/// CVE-2021-43784 and other abuse: what is no configuration, in every form.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_20_files_that_are_no_configuration() {
    let bundle = Bundle::new();
    let good = serde_json::to_string(&bundle.config).unwrap();
    let deep = |key: &str, open: &str, close: &str| {
        let value = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        good.replacen('{', &format!("{{\"{key}\":{value},"), 1)
    };
    let texts = [
        String::new(),
        "{".to_string(),
        "[]".to_string(),
        "null".to_string(),
        format!("{good} x"),
        format!("{good}{good}"),
        good.replacen("\"hostname\":", "\"hostname\":\"a\",\"hostname\":", 1),
        deep("annotations", "[", "]"),
        deep("annotations", "{\"a\":", "}"),
        deep("hooks", "[", "]"),
        good.replacen("rootfs", &"x".repeat(15_000_000), 1),
        format!("\u{feff}{good}"),
        good.replacen("\"uid\":0", "\"uid\":1e999", 1),
    ];
    let config = bundle.file("config.json");
    for text in &texts {
        fs::write(&config, text).unwrap();
        eprintln!("{} bytes: {text:.80}", text.len());
        for command in ["create", "run"] {
            refused_cheaply(&bundle, &[command, &bundle.id]);
        }
    }
    // What the spec does not know is left alone, at whatever depth, and costs nothing.
    fs::write(&config, deep("x", "[", "]")).unwrap();
    let done = bundle.on("run");
    assert!(done.code < 128 || done.code == 255, "{done:?}");
    // One gigabyte, all holes.
    fs::File::create(&config).unwrap().set_len(1 << 30).unwrap();
    refused_cheaply(&bundle, &["run", &bundle.id]);
    fs::remove_file(&config).unwrap();
    nix::unistd::mkfifo(&config, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused_unless_it_waits(&bundle);
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    refused_cheaply(&bundle, &["run", &bundle.id]);
    fs::remove_dir(&config).unwrap();
    for target in ["/dev/zero", "/dev/tty", "/proc/kmsg", "config.json"] {
        symlink(target, &config).unwrap();
        if is_tare() {
            refused_cheaply(&bundle, &["run", &bundle.id]);
        }
        fs::remove_file(&config).unwrap();
    }
    assert!(!bundle.root().join(&bundle.id).exists());
}

/// Nobody writes into this FIFO.
fn refused_unless_it_waits(bundle: &Bundle) {
    if is_tare() {
        refused_cheaply(bundle, &["run", &bundle.id]);
        refused_cheaply(bundle, &["create", &bundle.id]);
    }
}

/// A NUL ends a string for the kernel, where the check saw more.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_20_strings_with_a_nul() {
    let nul = "/tmp\u{0}/x";
    for (pointer, value) in [
        ("/process/args", json!(["/bin/true", nul])),
        ("/process/args", json!([nul])),
        ("/process/env", json!([format!("A={nul}")])),
        ("/process/cwd", json!(nul)),
        ("/hostname", json!("a\u{0}b")),
        ("/root/path", json!("rootfs\u{0}/x")),
        ("/mounts/-", mount(nul, "tmpfs", "tmpfs", &[])),
        ("/mounts/-", mount("/tmp", "bind", nul, &["bind"])),
        ("/mounts/-", mount("/tmp", "tmp\u{0}fs", "tmpfs", &[])),
        ("/mounts/-", mount("/tmp", "tmpfs", "tmpfs", &["mode=755\u{0}x"])),
        ("/linux/maskedPaths", json!([nul])),
        ("/linux/readonlyPaths", json!([nul])),
        ("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1\u{0}" })),
        ("/linux/devices", json!([{ "path": "/dev/x\u{0}", "type": "c", "major": 1, "minor": 3 }])),
        ("/linux/namespaces/-", json!({ "type": "user", "path": "/proc/self/ns/user\u{0}" })),
        ("/hooks", json!({ "createRuntime": [{ "path": "/bin/true\u{0}x" }] })),
    ] {
        let mut bundle = Bundle::new();
        bundle.set(pointer, value);
        both_refuse(&bundle);
    }
}

/// process.json of exec is read as config.json is.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_20_exec() {
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    let file = bundle.file("process.json");
    let good = json!({ "cwd": "/", "args": ["/bin/true"], "user": { "uid": 0, "gid": 0 } }).to_string();
    let deep = good.replacen('{', &format!("{{\"env\":{}1{},", "[".repeat(100_000), "]".repeat(100_000)), 1);
    let args = ["exec", "--process", "process.json", &bundle.id];
    for text in
        [String::new(), "{}".to_string(), format!("{good}x"), deep, good.replace("/bin/true", "/bin/true\\u0000")]
    {
        fs::write(&file, text).unwrap();
        refused_cheaply(&bundle, &args);
    }
    if is_tare() {
        fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
        refused_cheaply(&bundle, &args);
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused_cheaply(&bundle, &args);
    }
}

/// Addresses of sockets take 107 bytes; what is longer must not be cut.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_27_long_paths() {
    let bundle = Bundle::script("sleep 1000");
    let root = bundle.file(&"r".repeat(200));
    let root = root.to_str().unwrap();
    bundle.write();
    let on = |args: &[&str]| bundle.tare(&[&["--root", root], args].concat());
    on(&["create", &bundle.id]).silent();
    on(&["start", &bundle.id]).silent();
    on(&["exec", &bundle.id, "/bin/true"]).silent();
    assert!(on(&["state", &bundle.id]).good().contains("running"));
    on(&["delete", "--force", &bundle.id]).silent();
    let _own = fs::remove_dir(std::path::Path::new(root).join(".empty-directory"));
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

/// A console socket behind a long path, and the same cut off, where somebody else listens.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_27_long_console_sockets() {
    use std::os::unix::net::UnixListener;
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/process/terminal", json!(true));
    bundle.write();
    let long = bundle.file(&"d".repeat(120)).join("socket");
    fs::create_dir(long.parent().unwrap()).unwrap();
    symlink(long.parent().unwrap(), bundle.file("s")).unwrap();
    let listener = UnixListener::bind(bundle.file("s/socket")).unwrap();
    let cut = &long.to_str().unwrap()[..107];
    let thief = UnixListener::bind(cut).unwrap();
    thief.set_nonblocking(true).unwrap();
    let done = bundle.tare(&["create", "--console-socket", long.to_str().unwrap(), &bundle.id]);
    assert_eq!(thief.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the terminal went elsewhere");
    if is_tare() {
        done.silent();
        listener.accept().unwrap();
        // An address of the abstract namespace, which every process can bind, is not used instead.
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        bundle.tare(&["create", "--console-socket", "", &bundle.id]).refused();
    }
}

/// What becomes part of a path or of a line for the kernel.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_29_labels_and_names() {
    let long = "x".repeat(5000);
    let hostile = ["../x", "a/b", "a\nb", "a\u{0}b", ".", "..", &long];
    let values = |of: &dyn Fn(&str) -> Value| hostile.iter().map(|text| of(text)).collect::<Vec<_>>();
    let closed = |text: &str| json!({ "closID": text });
    let device = |text: &str| json!({ text: { "name": text } });
    for (pointer, values) in [
        ("/linux/intelRdt", values(&closed)),
        ("/linux/netDevices", values(&device)),
        ("/process/apparmorProfile", values(&|text| json!(text))),
        ("/process/selinuxLabel", values(&|text| json!(text))),
        ("/linux/mountLabel", ["a\nb", "a\u{0}b", "a\",user_xattr=\"", &long].map(|text| json!(text)).to_vec()),
        ("/hostname", vec![json!("a\u{0}b"), json!(long)]),
        ("/domainname", vec![json!("a\u{0}b"), json!(long)]),
    ] {
        for value in values {
            let mut bundle = Bundle::new();
            bundle.set(pointer, value);
            both_refuse(&bundle);
        }
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.begin();
    for label in ["a\nb", "../x", &long] {
        for option in ["--process-label", "--apparmor"] {
            bundle.tare(&["exec", option, label, &bundle.id, "/bin/true"]).refused();
        }
    }
}
