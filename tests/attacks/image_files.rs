//! Class 36: files of the image that the runtime reads from outside the container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use crate::bundle::{Bundle, finish, runtime};
use crate::support::{only_tare, skip};

fn passwd(bundle: &Bundle) -> PathBuf {
    bundle.file("rootfs/etc/passwd")
}

/// Makes something at a path.
type Make<'a> = &'a dyn Fn(&Path);

/// Puts something else at /etc/passwd of the image.
fn replace(bundle: &Bundle, make: Make<'_>) {
    let path = passwd(bundle);
    let _gone = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    make(&path);
}

fn node(path: &Path, kind: FileType, major: u32, minor: u32) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), makedev(major, minor)).unwrap();
}

/// What is not a regular file is never opened: to open some devices is to use them, and a FIFO has no end.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_36_only_regular_files_are_opened() {
    if !only_tare() {
        return;
    }
    let kinds: [(&str, Make<'_>); 5] = [
        ("a device", &|path| node(path, FileType::CharacterDevice, 10, 237)),
        ("a device", &|path| node(path, FileType::BlockDevice, 7, 200)),
        ("a FIFO", &|path| node(path, FileType::Fifo, 0, 0)),
        ("a socket", &|path| node(path, FileType::Socket, 0, 0)),
        ("a directory", &|path| fs::create_dir(path).unwrap()),
    ];
    for (word, make) in kinds {
        let bundle = Bundle::script("sleep 1000");
        bundle.begin();
        replace(&bundle, make);
        bundle.write();
        let mut other = Bundle::new();
        replace(&other, make);
        other.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        other.write();
        let exec = bundle.command(&["exec", &bundle.id, "/bin/true"]);
        let run = other.command(&["run", &other.id]);
        for (of, command) in [(&bundle, exec), (&other, run)] {
            let line = traced(of, &command).refused();
            assert!(line.contains(&format!("/etc/passwd of the container is {word}, not a regular file")), "{line}");
        }
        other.assert_nothing_left();
        // HOME of the caller's makes the file uninteresting.
        bundle.tare(&["exec", "--env", "HOME=/", &bundle.id, "/bin/true"]).silent();
    }
}

/// Runs the command under strace, if there is one, and looks for opens of the image's file.
fn traced(bundle: &Bundle, command: &Command) -> crate::bundle::Done {
    if !Path::new("/usr/bin/strace").exists() {
        skip("needs strace");
        return bundle.tare(&command.get_args().skip(2).collect::<Vec<_>>());
    }
    let trace = bundle.file("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=open,openat,openat2", "-o"]).arg(&trace).arg(runtime());
    strace.args(command.get_args()).current_dir(bundle.path());
    let done = finish(strace);
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<_> = trace.lines().filter(|line| line.contains("etc/passwd") && !line.contains("O_PATH")).collect();
    assert!(trace.contains("etc/passwd") && opened.is_empty(), "{opened:#?}");
    done
}

/// /dev/null in its place is an empty file, as some engines cover files; so is a link that leads nowhere.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_36_what_is_empty_or_absent_has_the_root_for_a_home() {
    let mut bundle = Bundle::script("echo $HOME");
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let kinds: [Make<'_>; 4] = [
        &|_| {},
        &|path| node(path, FileType::CharacterDevice, 1, 3),
        &|path| symlink("/proc/self/root/etc/passwd", path).unwrap(),
        &|path| fs::write(path, "").unwrap(),
    ];
    for make in kinds {
        replace(&bundle, make);
        assert_eq!(bundle.run().good(), "/\n");
    }
}

/// A passwd file of the host is not reached by a link, and what is behind a link within the image is.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_36_links_stay_in_the_image() {
    let mut bundle = Bundle::script("echo $HOME");
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let host = bundle.file("passwd-of-the-host");
    fs::write(&host, "u:x:1000:1000::/home/of/the/host:\n").unwrap();
    for link in [host.to_str().unwrap(), "../../passwd-of-the-host"] {
        replace(&bundle, &|path| symlink(link, path).unwrap());
        assert_eq!(bundle.run().good(), "/\n");
    }
    fs::write(bundle.file("rootfs/root/passwd"), "u:x:1000:1000::/home/inside:\n").unwrap();
    replace(&bundle, &|path| symlink("/root/passwd", path).unwrap());
    assert_eq!(bundle.run().good(), "/home/inside\n");
}

/// Long files are read to their end, or refused; never is there another home in silence, nor does memory grow.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_36_size() {
    let mut bundle = Bundle::script("printf %s \"$HOME\" | base64");
    fs::remove_file(bundle.file("rootfs/bin/base64")).ok();
    symlink("busybox", bundle.file("rootfs/bin/base64")).unwrap();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let mut long = b"u:x:2000:1::/home/u:/bin/sh\n".repeat(300_000);
    long.extend(b"last:x:1000:5::/home/l\xfcst:");
    replace(&bundle, &|path| fs::write(path, &long).unwrap());
    assert_eq!(bundle.run().good(), "L2hvbWUvbPxzdA==\n");
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.begin();
    assert_eq!(bundle.exec("printf %s \"$HOME\" | base64").good(), "L2hvbWUvbPxzdA==\n");
    if !only_tare() {
        return;
    }
    for (length, pattern) in [(10_u64 << 30, None), (65 << 20, Some(b"u:x:2000:1::/home/u:/bin/sh\n"))] {
        replace(&bundle, &|path| match pattern {
            None => fs::File::create(path).unwrap().set_len(length).unwrap(),
            Some(line) => {
                let count = usize::try_from(length).unwrap() / line.len();
                fs::write(path, line.repeat(count)).unwrap();
            }
        });
        let begun = Instant::now();
        let line = bundle.exec("true").refused();
        assert!(line.contains("/etc/passwd of the container has "), "{line}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

/// A passwd file that is mounted is treated as one of the image.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_36_mounted_files() {
    let mut bundle = Bundle::script("echo $HOME");
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let source = bundle.file("source");
    fs::write(&source, "u:x:1000:1000::/home/mounted:\n").unwrap();
    let mount = |source: &Path| json!([{ "destination": "/etc/passwd", "type": "bind", "source": source, "options": ["bind", "ro"] }]);
    bundle.set("/mounts", mount(&source));
    assert_eq!(bundle.run().good(), "/home/mounted\n");
    if !only_tare() {
        return;
    }
    let fifo = bundle.file("fifo");
    node(&fifo, FileType::Fifo, 0, 0);
    bundle.set("/mounts", mount(&fifo));
    let line = bundle.run().refused();
    assert!(line.contains("/etc/passwd of the container is a FIFO"), "{line}");
    bundle.assert_nothing_left();
}
