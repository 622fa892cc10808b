//! inspect: what is configured against what the kernel has; each difference is marked, and named in one sentence.

use std::fs;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags};
use serde_json::{Value, json};

use crate::bundle::{Bundle, eventually, finish, is_tare, reap, wait};
use crate::programs;

/// A container like Docker's that sleeps; `None` if the runtime under test is another one.
fn sleeper(configure: impl FnOnce(&mut Bundle)) -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: only tare has inspect");
        return None;
    }
    let mut bundle = Bundle::script("sleep 1000");
    let docker: Value = serde_json::from_str(include_str!("../data/docker-config.json")).unwrap();
    fs::create_dir(bundle.file("files")).unwrap();
    ["resolv.conf", "hostname"].iter().for_each(|name| fs::write(bundle.file("files").join(name), "").unwrap());
    bundle.set("/mounts", docker["mounts"].clone());
    bundle.set("/process/capabilities", docker["process"]["capabilities"].clone());
    bundle.set("/process/user", docker["process"]["user"].clone());
    bundle.set("/process/oomScoreAdj", json!(0));
    bundle.set("/process/noNewPrivileges", json!(false));
    bundle.set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096 }]));
    bundle.set("/linux/seccomp", serde_json::from_str(include_str!("../data/docker-seccomp.json")).unwrap());
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys", "/proc/nothing", "/sys/firmware"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/sysrq-trigger"]));
    bundle.set("/linux/resources/unified", json!({ "cgroup.max.descendants": "7" }));
    configure(&mut bundle);
    Some(bundle)
}

fn running(configure: impl FnOnce(&mut Bundle)) -> Option<Bundle> {
    let bundle = sleeper(configure)?;
    bundle.begin();
    Some(bundle)
}

#[track_caller]
fn inspect(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.tare(&["inspect", "--json", &bundle.id]).good()).unwrap()
}

#[track_caller]
fn entry(report: &Value, section: &str, name: &str) -> Value {
    let found = report[section].as_array().unwrap().iter().find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {section}: {report}")).clone()
}

fn differences(report: &Value) -> Vec<&str> {
    report["differences"].as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect()
}

/// Runs busybox in the container's mount namespace, with the host's privileges.
#[track_caller]
fn inside(bundle: &Bundle, words: &[&str]) {
    let mut command = Command::new("nsenter");
    command.args(["-t", &bundle.pid().to_string(), "-m", "-p", "/bin/busybox"]).args(words);
    finish(command).silent();
}

/// The output with what differs from run to run and from host to host as in the document.
fn settled(table: &str, bundle: &Bundle) -> String {
    let path = bundle.path().display().to_string();
    let pid = format!("pid {}", bundle.pid());
    let created = bundle.state()["created"].as_str().unwrap().to_owned();
    let table = table.replace(&path, "/srv/web").replace(&pid, "pid 4242").replace(&created, "2026-01-01T12:00:00Z");
    // Limits of controllers that few hosts have.
    let lines = table.lines().filter(|line| !line.ends_with(" unset")).enumerate();
    lines.fold(String::new(), |text, (number, line)| text + settled_line(line, number).trim_end() + "\n")
}

/// One line; `number` stands for inodes.
fn settled_line(line: &str, number: usize) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return String::new() };
    let from = |end: &str, to: &str| line.rfind(end).map(|at| format!("{}{to}", &line[..at]));
    let is_inode = last.len() > 8 && last.bytes().all(|byte| byte.is_ascii_digit());
    let of_hosts = ["/", "/etc/resolv.conf", "/etc/hostname", "/data"].contains(if *first == "mounts" {
        &words[1]
    } else {
        first
    });
    let settled = match *first {
        _ if is_inode => from(last, &(4_026_531_830 + number).to_string()),
        "devices" => from("tare ", "tare 31"),
        "label" => line.strip_suffix("unconfined").map(|line| format!("{line}-")),
        "network" => from("lo", "lo"),
        "paths" => from("  ", "  3 masked, 1 absent"),
        "read-only" => from("  ", "  2 read-only"),
        // The filesystem of the temporary directory.
        _ if of_hosts => from(
            "  ",
            if words.iter().any(|word| word.split(',').next() == Some("ro")) {
                "  ext4 ro,relatime private"
            } else {
                "  ext4 rw,relatime private"
            },
        ),
        _ => None,
    };
    settled.unwrap_or_else(|| line.to_owned())
}

/// With TARE_WRITE_INSPECT the document gets the output.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_as_configured_has_no_differences_and_looks_as_documented() {
    let configure = |bundle: &mut Bundle| {
        bundle.id = "web".to_owned();
        bundle.set("/linux/cgroupsPath", json!("/web"));
    };
    let Some(bundle) = running(configure) else { return };
    assert_eq!(differences(&inspect(&bundle)), [""; 0]);
    let table = bundle.tare(&["inspect", "web"]).good();
    assert!(!table.contains('\x1b') && !table.contains('!'), "{table}");
    let written = settled(&table, &bundle);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/inspect.md");
    let document = fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once("$ tare inspect web\n").expect("the example");
    let (golden, after) = rest.split_once("```").unwrap();
    if std::env::var_os("TARE_WRITE_INSPECT").is_some() {
        fs::write(&path, format!("{before}$ tare inspect web\n{written}```{after}")).unwrap();
        return;
    }
    assert!(golden == written, "docs/inspect.md has\n{golden}\nand the output is\n{written}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_was_changed_from_outside_is_named() {
    let Some(bundle) = running(|_| {}) else { return };
    let pid = bundle.pid().to_string();
    let mut prlimit = Command::new("prlimit");
    prlimit.args(["--pid", &pid, "--nofile=2000:4096"]);
    finish(prlimit).silent();
    fs::write(format!("/proc/{pid}/oom_score_adj"), "5").unwrap();
    fs::write(bundle.cgroup().join("cgroup.max.descendants"), "9").unwrap();
    inside(&bundle, &["umount", "/proc/keys"]);
    inside(&bundle, &["umount", "/proc/sys"]);
    inside(&bundle, &["umount", "/etc/hostname"]);
    inside(&bundle, &["mount", "-o", "remount,bind,rw", "/data"]);
    inside(&bundle, &["mount", "-t", "tmpfs", "over", "/dev/shm"]);
    inside(&bundle, &["mount", "-t", "tmpfs", "-o", "noexec", "more", "/tmp"]);
    let report = inspect(&bundle);
    let expected = [
        "oomScoreAdj is 5, config says 0",
        "RLIMIT_NOFILE is 2000 (hard 4096), config says 1024 (hard 4096)",
        "cgroup.max.descendants is 9, config says 7: it was changed without `tare update`",
        "/dev/shm is covered by a mount that config does not have",
        "nothing is mounted on /etc/hostname",
        "/data is rw, config says ro",
        "/tmp is a mount that config does not have",
        "/proc/keys is visible, config says masked",
        "/proc/sys is writable, config says read-only",
    ];
    assert_eq!(differences(&report), expected);
    assert_eq!(entry(&report, "process", "oomScoreAdj")["difference"], expected[0]);
    let limit = entry(&report, "cgroup", "cgroup.max.descendants");
    assert_eq!((&limit["configured"], &limit["effective"]), (&json!("7"), &json!("9")));
    assert_eq!(entry(&report, "mounts", "/etc/hostname")["effective"], Value::Null);
    let table = bundle.on("inspect").good();
    let marked = table.lines().filter(|line| line.starts_with("! ")).count();
    assert_eq!(marked, 2 * expected.len(), "{table}");
    assert!(table.contains("\n9 differences:\n! oomScoreAdj is 5, config says 0\n"), "{table}");
    // `update` changes what is configured.
    fs::write(bundle.file("limits.json"), r#"{"unified": {"cgroup.max.descendants": "11"}}"#).unwrap();
    bundle.tare(&["update", "--resources", "limits.json", &bundle.id]).silent();
    let limit = entry(&inspect(&bundle), "cgroup", "cgroup.max.descendants");
    assert_eq!((&limit["configured"], &limit["effective"]), (&json!("11"), &json!("11")));
    assert_eq!(limit.get("difference"), None, "{limit}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_status_is_told() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    assert!(bundle.on("inspect").refused().contains("does not exist"));
    bundle.create().silent();
    let report = inspect(&bundle);
    assert_eq!((&report["status"], differences(&report).len()), (&json!("created"), 0), "{report}");
    assert_eq!(entry(&report, "start", "gate")["effective"], "waiting for start");
    assert_eq!(entry(&report, "security", "seccomp.mode")["note"], "start loads the filter");
    bundle.on("start").silent();
    let report = inspect(&bundle);
    assert_eq!((&report["status"], differences(&report).len()), (&json!("running"), 0), "{report}");
    assert_eq!(entry(&report, "start", "gate")["effective"], "passed");
    let filter = entry(&report, "security", "seccomp.mode");
    assert_eq!((&filter["configured"], &filter["effective"]), (&json!("filter"), &json!("filter")));
    bundle.on("pause").silent();
    let report = inspect(&bundle);
    assert_eq!((&report["status"], differences(&report).len()), (&json!("paused"), 0), "{report}");
    bundle.on("resume").silent();
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    let report = inspect(&bundle);
    assert_eq!((&report["status"], &report["pid"]), (&json!("stopped"), &json!(0)), "{report}");
    assert_eq!(entry(&report, "process", "RLIMIT_NOFILE")["configured"], json!({ "soft": 1024, "hard": 4096 }));
    for (_, entries) in report.as_object().unwrap().iter().filter(|(name, _)| *name != "differences") {
        for entry in entries.as_array().into_iter().flatten() {
            assert_eq!(entry["effective"], Value::Null, "{entry}");
        }
    }
    let table = bundle.on("inspect").good();
    assert!(
        table.contains("only what is recorded is shown\n") && table.ends_with("differences: not compared\n"),
        "{table}"
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn users_capabilities_and_user_namespaces_are_as_configured() {
    let Some(bundle) = running(|bundle| {
        bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [44, 7] }));
        bundle.set("/process/noNewPrivileges", json!(true));
    }) else {
        return;
    };
    let report = inspect(&bundle);
    assert_eq!(differences(&report), [""; 0]);
    assert_eq!(entry(&report, "user", "additionalGids")["effective"], json!([7, 44]));
    assert_eq!(entry(&report, "user", "umask")["effective"], "0027");
    let set = entry(&report, "capabilities", "effective");
    assert_eq!((&set["effective"], set["configured"].as_array().unwrap().len()), (&json!([]), 14));
    assert_eq!(set["note"], "execve takes what is not ambient from a user other than 0");

    let Some(bundle) = running(Bundle::map_ids) else { return };
    let report = inspect(&bundle);
    assert_eq!(differences(&report), [""; 0]);
    assert_eq!(entry(&report, "user", "uid")["effective"], 0);
    assert_eq!(entry(&report, "user", "uidMappings")["effective"], json!(["0 100000 65536"]));
    assert_eq!(entry(&report, "namespaces", "user")["effective"]["kind"], "own");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn namespaces_are_new_joined_or_the_hosts() {
    let Some(pod) = running(|_| {}) else { return };
    let pinned = pod.file("pinned");
    fs::write(&pinned, "").unwrap();
    let pin = |pid: i32| {
        let path = format!("/proc/{pid}/ns/net");
        nix::mount::mount(Some(&*path), &pinned, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    };
    pin(pod.pid());
    let Some(bundle) = running(|bundle| {
        bundle.without_namespace("network");
        bundle.without_namespace("ipc");
        bundle.set("/linux/namespaces/-", json!({ "type": "network", "path": pinned }));
    }) else {
        return;
    };
    let report = inspect(&bundle);
    assert_eq!(differences(&report), [""; 0]);
    let network = entry(&report, "namespaces", "network");
    assert_eq!((&network["configured"], &network["effective"]["kind"]), (&json!(pinned), &json!("joined")));
    assert_eq!(network["effective"]["inode"], entry(&inspect(&pod), "namespaces", "network")["effective"]["inode"]);
    assert_eq!(entry(&report, "namespaces", "ipc")["effective"]["kind"], "host");
    assert_eq!(entry(&report, "namespaces", "pid")["effective"]["kind"], "own");
    assert!(entry(&report, "network", "devices")["effective"].as_array().unwrap().contains(&json!("lo")));
    nix::mount::umount2(&pinned, MntFlags::MNT_DETACH).unwrap();
    pin(std::process::id().try_into().unwrap());
    let report = inspect(&bundle);
    nix::mount::umount2(&pinned, MntFlags::MNT_DETACH).unwrap();
    let [sentence] = differences(&report)[..] else { panic!("{report}") };
    assert!(sentence.ends_with(&format!("the one at {} is another", pinned.display())), "{sentence}");
}

/// Names that a container gives its mounts and its process: the terminal obeys nothing of them, nor does JSON have them raw.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hostile_names_are_escaped() {
    let Some(bundle) = running(|_| {}) else { return };
    let names = ["/tmp/a\nb", "/tmp/\x1b[31mred", "/tmp/\u{9b}31m", "/tmp/\u{202e}x", "/tmp/c d\\040"];
    for name in names {
        inside(&bundle, &["mkdir", name]);
        inside(&bundle, &["mount", "-t", "tmpfs", "tare: all is well\x1b[0m", name]);
    }
    let raw = std::ffi::OsStr::new("/tmp/not-utf8-");
    let raw = [raw.as_encoded_bytes(), b"\xff"].concat();
    let raw = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&raw);
    for words in [&["mkdir"][..], &["mount", "-t", "tmpfs", "x"]] {
        let mut command = Command::new("nsenter");
        command.args(["-t", &bundle.pid().to_string(), "-m", "/bin/busybox"]).args(words).arg(raw);
        finish(command).silent();
    }
    let report = inspect(&bundle);
    for name in names {
        assert!(differences(&report).contains(&&*format!("{name} is a mount that config does not have")), "{report}");
    }
    assert_eq!(differences(&report).len(), names.len() + 1);
    let obeyed = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
    for options in [&["inspect", &*bundle.id][..], &["inspect", "--json", &bundle.id]] {
        let text = bundle.tare(options).good();
        assert!(!text.chars().any(obeyed), "{text:?}");
    }
    // More than anybody reads.
    let many = "i=0; while [ $i -lt 100 ]; do mkdir /dev/shm/$i; mount -t tmpfs x /dev/shm/$i; i=$((i+1)); done";
    inside(&bundle, &["sh", "-c", &many.replace("mkdir", "/bin/busybox mkdir").replace("mount", "/bin/busybox mount")]);
    let report = inspect(&bundle);
    assert_eq!(differences(&report).last(), Some(&"74 more mounts that config does not have are not listed"));
}

/// A filesystem that does not answer: nothing of it is looked up.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_filesystem_that_does_not_answer_is_not_asked() {
    let Ok(device) = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        return eprintln!("skipped: no FUSE");
    };
    let Some(bundle) = running(|bundle| {
        let volume = bundle.file("volume");
        fs::create_dir_all(volume.join("stuck")).unwrap();
        nix::mount::mount(Some(&volume), &volume, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        nix::mount::mount(None::<&str>, &volume, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
        let options = ["rbind", "rslave"];
        bundle.set(
            "/mounts/-",
            json!({ "destination": "/volume", "type": "bind", "source": volume, "options": options }),
        );
        bundle.set("/linux/maskedPaths/-", json!("/volume/stuck/file"));
    }) else {
        return;
    };
    let (volume, stuck) = (bundle.file("volume"), bundle.file("volume/stuck"));
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    nix::mount::mount(Some("stuck"), &stuck, Some("fuse"), MsFlags::empty(), Some(&*options)).unwrap();
    let report = inspect(&bundle);
    drop(device);
    nix::mount::umount2(&stuck, MntFlags::MNT_DETACH).unwrap();
    nix::mount::umount2(&volume, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(differences(&report), [""; 0]);
    let path = entry(&report, "paths", "/volume/stuck/file");
    assert_eq!(path["note"], "not looked up: a filesystem on the way might not answer");
    assert_eq!(entry(&report, "mounts", "/volume")["effective"]["propagation"], "slave");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn links_of_the_image_and_added_mounts_are_followed() {
    let Some(bundle) = running(|bundle| {
        let rootfs = bundle.file("rootfs");
        fs::create_dir_all(rootfs.join("run/secrets")).unwrap();
        fs::create_dir(rootfs.join("var")).unwrap();
        std::os::unix::fs::symlink("/run", rootfs.join("var/run")).unwrap();
        let mount = json!({ "destination": "/var/run/secrets", "type": "tmpfs", "source": "x", "options": ["ro"] });
        bundle.set("/mounts/-", mount);
        bundle.set("/mounts/-", json!({ "destination": "/data", "options": ["remount", "bind", "ro", "noexec"] }));
    }) else {
        return;
    };
    fs::write(bundle.file("mounts.json"), r#"[{"destination": "/tmp", "type": "tmpfs", "source": "x"}]"#).unwrap();
    bundle.tare(&["mounts", "add", &bundle.id, "mounts.json"]).silent();
    let report = inspect(&bundle);
    assert_eq!(differences(&report), [""; 0]);
    assert_eq!(entry(&report, "mounts", "/var/run/secrets")["effective"]["type"], "tmpfs");
    assert_eq!(entry(&report, "mounts", "/tmp")["configured"], "added by `tare mounts add`");
    inside(&bundle, &["umount", "/tmp"]);
    inside(&bundle, &["umount", "/run/secrets"]);
    let report = inspect(&bundle);
    let expected =
        ["nothing is mounted on /var/run/secrets", "the mount on /tmp, which `tare mounts add` added, is gone"];
    assert_eq!(differences(&report), expected);
}

/// The kernel chooses the number in the name of the device.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn network_devices_are_as_configured() {
    if !Command::new("ip").arg("-Version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: needs ip of iproute2");
    }
    let devices = json!({ "v0": { "name": "net%d" } });
    let Some(bundle) = sleeper(|bundle| _ = bundle.set("/linux/netDevices", devices)) else { return };
    bundle.write();
    let create = bundle.command(&["create", &bundle.id]);
    let inspect_now = bundle.command(&["inspect", &bundle.id]);
    let words = |command: &Command| -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}'", word.to_str().unwrap())).collect()
    };
    let line = format!("{}\n{}", words(&create).join(" "), words(&inspect_now).join(" "));
    let mut command = Command::new("unshare");
    let line = format!("ip link add v0 type veth peer name peer\n{line}");
    command.args(["--net", "sh", "-ec", &line]).current_dir(bundle.path());
    let table = finish(command).good();
    assert!(table.contains("net0") && table.ends_with("no differences\n"), "{table}");
}

/// Red on a terminal, unless NO_COLOR is set.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn colours_are_for_terminals() {
    let Some(bundle) = running(|_| {}) else { return };
    fs::write(format!("/proc/{}/oom_score_adj", bundle.pid()), "5").unwrap();
    for (refused, expected) in [("", true), ("1", false)] {
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut command = bundle.command(&["inspect", &bundle.id]);
        command.env("NO_COLOR", refused).stdin(Stdio::null()).stdout(pty.slave).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        drop(command);
        let mut text = Vec::new();
        // The end of the last writer is an error on a terminal.
        let _end = fs::File::from(pty.master).read_to_end(&mut text);
        assert_eq!(wait(child, "inspect"), 0);
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("oomScoreAdj is 5"), "{text}");
        assert_eq!(text.contains("\x1b[31m! oomScoreAdj is 5, config says 0\x1b[0m"), expected, "{text}");
    }
}

/// Whenever the container ends, there is a report or one clear error.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_end_of_the_container_is_one_clear_error() {
    for delay in 0..6 {
        let Some(bundle) = running(|_| {}) else { return };
        let pid = bundle.pid();
        let mut command = bundle.command(&["inspect", "--json", &bundle.id]);
        let [stdout, stderr] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        command.stdin(Stdio::null()).stdout(stdout.reopen().unwrap()).stderr(stderr.reopen().unwrap());
        let child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
        reap(pid);
        let code = wait(child, "inspect");
        let (stdout, stderr) = (fs::read_to_string(stdout.path()).unwrap(), fs::read_to_string(stderr.path()).unwrap());
        match code {
            0 => drop(serde_json::from_str::<Value>(&stdout).unwrap()),
            _ => {
                let line = format!("tare: container \"{}\" cannot be inspected: it ended meanwhile", bundle.id);
                assert!(stderr.starts_with(&line) && stderr.lines().count() == 1 && stdout.is_empty(), "{stderr}");
            }
        }
        eventually("the end", || bundle.status() == "stopped");
    }
}

/// bpf(2) takes the device program away; and a host without a security module has no label.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_device_program_that_is_gone_is_named() {
    let Some(bundle) = running(|bundle| {
        let deny = json!({ "allow": false, "access": "rwm" });
        bundle.set("/linux/resources/devices", json!([deny]));
        programs::bring(bundle, "detach");
    }) else {
        return;
    };
    let report = inspect(&bundle);
    assert_eq!(differences(&report), [""; 0]);
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !["apparmor", "selinux", "smack"].iter().any(|module| modules.contains(module)) {
        let label = entry(&report, "security", "label");
        assert_eq!((&label["configured"], &label["effective"]), (&Value::Null, &Value::Null));
    }
    let attached = entry(&report, "cgroup", "devices")["effective"].as_array().unwrap().clone();
    let ours: Vec<&Value> = attached.iter().filter(|program| program["kind"] == "tare").collect();
    assert_eq!(ours.len(), 1, "{attached:?}");
    let mut detach = Command::new(bundle.file("rootfs/detach"));
    detach.arg(bundle.cgroup()).arg(ours[0]["id"].to_string());
    finish(detach).silent();
    let sentence = "no device program of tare's is attached, config has device rules: every device can be used";
    assert_eq!(differences(&inspect(&bundle)), [sentence]);
    let table = bundle.tare(&["inspect", &bundle.id]).good();
    assert!(table.contains(&format!("! {sentence}\n")), "{table}");
}
