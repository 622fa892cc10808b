//! Class 44: commands that only look. A container, or a bundle, decides about what they read: names with escape
//! sequences, mounts that do not answer, lists without an end. Nothing of it acts on a terminal, and nobody waits.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::{Value, json};

use crate::bundle::{Bundle, finish, is_tare};
use crate::patience;
use crate::support::{Bait, only_tare, rounds, skip};

/// What a command that looks may take.
const LIMIT: Duration = Duration::from_secs(20);

/// An OSC that sets the title, a CSI, the same in one character, DEL, a change of direction, a line of its own.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{7f}\u{202e}x\r";

/// Runs busybox in the mount namespace of a container, with the host's privileges.
fn inside(bundle: &Bundle, words: &[&str]) {
    let mut command = Command::new("nsenter");
    command.args(["-t", &bundle.pid().to_string(), "-m", "/bin/busybox"]).args(words);
    finish(command).silent();
}

#[track_caller]
fn look(bundle: &Bundle, arguments: &[&str]) -> String {
    match patience::within(bundle, arguments, LIMIT) {
        Ok(done) => done.stdout + &done.stderr,
        Err(hangs) => panic!("{hangs}"),
    }
}

/// Whether a terminal would act on it.
fn obeyed(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_no_terminal_acts_on_names_of_the_container() {
    if !only_tare() {
        return;
    }
    // A word of its command line, and the name of its first process.
    let script = "printf '\\033[31m\\302\\2332J\\177x' > /proc/self/comm; echo up > /tmp/up; while :; do sleep 1; done";
    let mut bundle = Bundle::new();
    bundle.set("/process/args", json!(["/bin/sh", "-c", script, HOSTILE]));
    bundle.set("/annotations", json!({ HOSTILE: HOSTILE }));
    bundle.set("/process/env/-", json!(format!("{HOSTILE}=1")));
    bundle.set("/linux/maskedPaths", json!([format!("/tmp/{HOSTILE}")]));
    bundle.begin();
    bundle.wait_file("tmp/up");
    let directory = format!("/tmp/{HOSTILE}");
    inside(&bundle, &["mkdir", &directory]);
    inside(&bundle, &["mount", "-t", "tmpfs", HOSTILE, &directory]);
    let id = bundle.id.as_str();
    let no_ps = bundle.file("empty");
    fs::create_dir(&no_ps).unwrap();
    for arguments in [
        &["inspect", id][..],
        &["inspect", "--json", id],
        &["ps", id],
        &["ps", "--format", "json", id],
        &["ps", id, "-eo", "pid,comm,args"],
        &["list"],
        &["list", "--format", "json"],
        &["state", id],
        &["events", "--stats", id],
        &["check"],
        &["check", "--plan"],
        &["check", "--json", "--plan"],
        &["doctor"],
    ] {
        let shown = look(&bundle, arguments);
        assert!(!shown.chars().any(obeyed), "{arguments:?}: {shown:?}");
        assert!(!shown.is_empty(), "{arguments:?}");
        if arguments.contains(&"--json") || arguments[0] == "state" {
            serde_json::from_str::<Value>(&shown).unwrap();
        }
    }
    // Its own table, on a host without ps(1).
    let mut command = bundle.command(&["ps", id]);
    command.env("PATH", &no_ps);
    let shown = finish(command).good();
    assert!(shown.contains("owned") && !shown.chars().any(obeyed), "{shown:?}");
    let state: Value = serde_json::from_str(&bundle.on("state").stdout).unwrap();
    assert_eq!(state["annotations"][HOSTILE], HOSTILE);
}

/// A value of the config that is wrong is repeated by the error.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_no_terminal_acts_on_a_bundle() {
    if !only_tare() {
        return;
    }
    let edits = [
        ("/process/args", json!([HOSTILE])),
        ("/process/cwd", json!(HOSTILE)),
        ("/root/path", json!(HOSTILE)),
        ("/linux/cgroupsPath", json!(format!("/../{HOSTILE}"))),
        ("/mounts/-", json!({ "destination": HOSTILE, "type": HOSTILE, "options": [HOSTILE] })),
        ("/mounts/-", json!({ "destination": "/tmp", "type": HOSTILE, "source": HOSTILE })),
        ("/hostname", json!(HOSTILE)),
        ("/hooks", json!({ "prestart": [{ "path": HOSTILE }] })),
        ("/linux/sysctl", json!({ HOSTILE: "1" })),
        ("/process/apparmorProfile", json!(HOSTILE)),
        ("/ociVersion", json!(HOSTILE)),
    ];
    for (pointer, value) in edits {
        let mut bundle = Bundle::new();
        bundle.set(pointer, value);
        bundle.config[HOSTILE] = json!(1);
        bundle.write();
        for arguments in [&["check", "--plan"][..], &["check", "--plan", "--json"], &["create", &bundle.id]] {
            let shown = look(&bundle, arguments);
            assert!(!shown.chars().any(obeyed), "{pointer} {arguments:?}: {shown:?}");
        }
        bundle.tare(&["delete", "--force", &bundle.id]);
    }
}

/// Answers what a mount needs, and nothing that looks for a file. Source: linux/fuse.h.
fn serve(mut device: File) {
    const INIT: u32 = 26;
    const GETATTR: u32 = 3;
    const STATFS: u32 = 17;
    const SILENT: [u32; 4] = [1, 2, 27, 44];
    let mut request = vec![0; 1 << 20];
    while let Ok(length) = device.read(&mut request) {
        assert!(length >= 40);
        let word = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let (opcode, unique) = (word(4), request[8..16].to_vec());
        let mut body: Vec<u8> = Vec::new();
        match opcode {
            INIT => {
                body = vec![0; 64];
                body[0..4].copy_from_slice(&7_u32.to_le_bytes());
                body[4..8].copy_from_slice(&31_u32.to_le_bytes());
                body[20..24].copy_from_slice(&4096_u32.to_le_bytes());
            }
            GETATTR => {
                // fuse_attr_out: valid for an hour; fuse_attr: inode, mode and links.
                body = vec![0; 104];
                body[0..8].copy_from_slice(&3600_u64.to_le_bytes());
                body[16..24].copy_from_slice(&1_u64.to_le_bytes());
                body[76..80].copy_from_slice(&0o40_755_u32.to_le_bytes());
                body[80..84].copy_from_slice(&2_u32.to_le_bytes());
            }
            // fuse_statfs_out: the size of a block, and the longest name.
            STATFS => {
                body = vec![0; 80];
                body[40..44].copy_from_slice(&4096_u32.to_le_bytes());
                body[44..48].copy_from_slice(&255_u32.to_le_bytes());
            }
            _ if SILENT.contains(&opcode) => continue,
            _ => {}
        }
        let error = if body.is_empty() { -enosys() } else { 0 };
        let length = u32::try_from(16 + body.len()).unwrap();
        let reply = [length.to_le_bytes().as_slice(), &error.to_le_bytes(), &unique, &body].concat();
        if device.write_all(&reply).is_err() {
            return;
        }
    }
}

fn enosys() -> i32 {
    rustix::io::Errno::NOSYS.raw_os_error()
}

/// A container that has put a filesystem that never answers over, above and below what is verified.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_a_filesystem_that_never_answers_is_not_waited_for() {
    if !only_tare() {
        return;
    }
    let Ok(device) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else { return skip("no FUSE") };
    let mut bundle = Bundle::script("echo up > /tmp/up; while :; do sleep 1; done");
    let volume = bundle.file("volume");
    fs::create_dir(&volume).unwrap();
    mount("none", &volume, "tmpfs", MountFlags::empty(), None).unwrap();
    mount_change(&volume, MountPropagationFlags::SHARED).unwrap();
    for name in ["stuck", "plain", "over", "above"] {
        fs::create_dir(volume.join(name)).unwrap();
    }
    fs::create_dir(volume.join("above/masked")).unwrap();
    let options = ["rbind", "rslave"];
    bundle.set("/mounts/-", json!({ "destination": "/volume", "type": "bind", "source": volume, "options": options }));
    symlink("/volume/above/masked", bundle.file("rootfs/link")).unwrap();
    let masked = json!(["/volume/over", "/volume/above/masked", "/volume/layers/file", "/link"]);
    bundle
        .set("/linux/maskedPaths", masked)
        .set("/linux/readonlyPaths", json!(["/volume/above", "/volume/stuck/file"]));
    bundle.begin();
    bundle.wait_file("tmp/up");
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let options = std::ffi::CString::new(options).unwrap();
    mount("stuck", volume.join("stuck"), "fuse", MountFlags::empty(), Some(options.as_c_str())).unwrap();
    let server = std::thread::spawn(move || serve(device));
    for place in ["/volume/over", "/volume/above"] {
        inside(&bundle, &["mount", "-o", "bind", "/volume/stuck", place]);
    }
    // A filesystem that has another one below it.
    inside(&bundle, &["mkdir", "/volume/layers"]);
    let mut command = Command::new("nsenter");
    let layers = "lowerdir=/volume/stuck:/volume/plain";
    command.args(["-t", &bundle.pid().to_string(), "-m", "/bin/busybox", "mount", "-t", "overlay", "-o", layers, "x"]);
    command.arg("/volume/layers");
    let layered = finish(command);
    if layered.code != 0 {
        skip(&format!("no overlay of a FUSE filesystem: {}", layered.stderr.trim()));
    }
    let report = look(&bundle, &["inspect", "--json", &bundle.id]);
    let table = look(&bundle, &["inspect", &bundle.id]);
    for arguments in [&["state", &bundle.id][..], &["list"], &["ps", &bundle.id], &["events", "--stats", &bundle.id]] {
        look(&bundle, arguments);
    }
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.reap_orphans();
    unmount(volume.join("stuck"), UnmountFlags::DETACH | UnmountFlags::FORCE).unwrap();
    unmount(&volume, UnmountFlags::DETACH).unwrap();
    server.join().unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let path = |name: &str| report["paths"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(path("/volume/over")["effective"], "visible", "{report:#}");
    assert_eq!(path("/volume/above")["effective"], "writable");
    for name in ["/volume/above/masked", "/volume/stuck/file", "/link"] {
        assert_eq!(path(name)["effective"], Value::Null, "{name}");
    }
    if layered.code == 0 {
        assert_eq!(path("/volume/layers/file")["effective"], Value::Null);
    }
    assert!(table.contains("/volume/over is visible"), "{table}");
}

/// The container mounts, renames and ends while it is inspected.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_a_container_that_changes_all_the_time_is_inspected() {
    if !only_tare() {
        return;
    }
    let mut bundle = Bundle::script(
        "echo up > /tmp/up; while :; do mkdir -p /tmp/a/b /tmp/c; mount -t tmpfs x /tmp/a; mkdir /tmp/a/b; \
         mount -t proc x /tmp/a/b; umount /tmp/a/b; mount -t tmpfs x /proc/sys; umount /proc/sys; umount /tmp/a; \
         mv /tmp/a /tmp/c/d; mv /tmp/c/d /tmp/a; done 2>/dev/null",
    );
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}/-"), json!("CAP_SYS_ADMIN"));
    }
    bundle.set("/linux/maskedPaths", json!(["/tmp/a/b", "/tmp/c/d"])).set("/linux/readonlyPaths", json!(["/proc/sys"]));
    bundle.begin();
    bundle.wait_file("tmp/up");
    for _ in 0..rounds().min(60) {
        let done = patience::within(&bundle, &["inspect", "--json", &bundle.id], LIMIT).unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        serde_json::from_str::<Value>(&done.stdout).unwrap();
    }
    // It ends in the middle: a report or one line.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
            bundle.reap_orphans();
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            let done = patience::within(&bundle, &["inspect", "--json", &bundle.id], LIMIT).unwrap();
            assert!(done.code == 0 || done.stderr.lines().count() == 1 && done.stdout.is_empty(), "{done:?}");
        }
    });
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
}

/// A bundle with something else in the place of its files, and links that leave the rootfs.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_check_opens_nothing_that_blocks_and_follows_nothing_out() {
    if !only_tare() {
        return;
    }
    let bait = Bait::new();
    let mut bundle = Bundle::new();
    let rootfs = bundle.file("rootfs");
    let fifo = |path: &Path| mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    fs::remove_file(rootfs.join("etc/passwd")).unwrap();
    fifo(&rootfs.join("etc/passwd"));
    fifo(&rootfs.join("fifo"));
    symlink(bait.path(), rootfs.join("out")).unwrap();
    symlink("../../../../../../../../proc/self/root", rootfs.join("up")).unwrap();
    symlink("/proc/self/fd/0", rootfs.join("fd")).unwrap();
    symlink("loop", rootfs.join("loop")).unwrap();
    for (args, cwd) in
        [("/fifo", "/"), ("/out/secret", "/out"), ("/up/bin/sh", "/up"), ("/fd", "/"), ("/loop", "/loop")]
    {
        bundle.set("/process/args", json!([args])).set("/process/cwd", json!(cwd));
        for source in ["/proc/self/fd/0", "/proc/self/root", "fifo", "out", "/proc/thread-self/cwd"] {
            for destination in ["/out/new", "/up/tmp/new", "/loop/new", "/fifo", "/../../tmp"] {
                let added = json!({ "destination": destination, "source": source, "options": ["bind"] });
                let mut one = Bundle::new();
                one.config = bundle.config.clone();
                one.set("/root/path", json!(rootfs.display().to_string())).set("/mounts/-", added);
                one.write();
                let checked = look(&one, &["check", "--plan"]);
                let created = patience::within(&one, &["create", &one.id], LIMIT).unwrap();
                let first = checked.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_default();
                let created = created.stderr.strip_prefix("tare: ").unwrap_or_default().trim_end();
                eprintln!("{args} {source} on {destination}: {first} | {created}");
                assert_eq!(first, created, "{args} {source} {destination}");
                one.tare(&["delete", "--force", &one.id]);
            }
        }
    }
    bait.assert_untouched();
    for path in ["/proc/self/fd/0", "/proc/self/root/dev/zero", "/dev/zero", "/proc/self/mem"] {
        fs::remove_file(bundle.file("config.json")).ok();
        symlink(path, bundle.file("config.json")).unwrap();
        let shown = look(&bundle, &["check"]);
        assert!(shown.starts_with("error: ") && shown.lines().count() == 2, "{path}: {shown}");
    }
}

/// Lists without an end: a time and a gigabyte are enough for `check`, however many errors there are.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_44_check_of_a_million_entries_is_bounded() {
    if !only_tare() {
        return;
    }
    // As text: a tree of so many values would be this process' memory, which other tests measure in their children.
    let many = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
    let list = |count: usize, one: &dyn Fn(usize) -> String| format!("[{}]", many(count, one));
    let cases: [(&str, &dyn Fn() -> String); 6] = [
        ("/linux/maskedPaths", &|| list(1_000_000, &|i| format!("\"p{i}\""))),
        ("/linux/maskedPaths", &|| list(1_000_000, &|i| format!("\"/p{i}\""))),
        ("/mounts", &|| list(200_000, &|i| format!("{{\"destination\":\"/a{i}\",\"options\":[\"nosiud\"]}}"))),
        ("/process/env", &|| list(1_000_000, &|i| format!("\"a{i}\""))),
        ("/hooks", &|| format!("{{\"prestart\":{}}}", list(900_000, &|_| "{\"path\":\"x\"}".into()))),
        ("/annotations", &|| format!("{{{}}}", many(400_000, &|i| format!("\"run.oci.x{i}\":\"\"")))),
    ];
    for (pointer, value) in cases {
        let mut bundle = Bundle::new();
        bundle.set(pointer, json!("HERE"));
        bundle.write();
        let config = bundle.file("config.json");
        fs::write(&config, fs::read_to_string(&config).unwrap().replace("\"HERE\"", &value())).unwrap();
        let mut command = bundle.command(&["check"]);
        let bytes = Some(2 << 30);
        // SAFETY: setrlimit(2) is all that happens between fork and exec.
        #[allow(unsafe_code, reason = "a limit for the command alone")]
        unsafe {
            command.pre_exec(move || Ok(setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes })?));
        }
        let began = std::time::Instant::now();
        let done = finish(command);
        let took = began.elapsed();
        eprintln!("{pointer}: {took:?}, {} lines", done.stdout.lines().count());
        assert!(
            done.code <= 1 && done.stdout.lines().last().unwrap().starts_with("tare check: "),
            "{pointer}: {done:?}"
        );
        assert!(done.stdout.lines().count() <= 1000 && is_tare());
        assert!(took < Duration::from_secs(60), "{pointer}: {took:?}");
    }
}
