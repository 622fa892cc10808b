//! Class 32: trees of an image that are copied into a tmpfs (`tmpcopyup`), as deep and as wide as an image can make them.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::json;

use crate::bundle::{Bundle, Done, is_tare};
use crate::support::{Storm, mount, only_tare, rounds, through_shell};

/// More levels than that are refused.
const DEEPEST: usize = 16_384;

fn open(at: &OwnedFd, name: &str) -> OwnedFd {
    rustix::fs::openat(at, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn open_top(path: &Path) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// Makes `depth` directories in each other, with a link of a long text in each.
fn dig(top: &Path, depth: usize, name: &str) {
    let text = CString::new("q/".repeat(1950)).unwrap();
    let mut here = open_top(top);
    for _ in 0..depth {
        rustix::fs::symlinkat(&*text, &here, c"link").unwrap();
        rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)).unwrap();
        here = open(&here, name);
    }
}

/// How many directories of this name are in each other, each with its link.
fn depth(top: &Path, name: &str) -> usize {
    let mut here = open_top(top);
    for depth in 0.. {
        if rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return depth;
        }
        assert_eq!(rustix::fs::readlinkat(&here, c"link", Vec::new()).unwrap().to_bytes().len(), 3900);
        here = open(&here, name);
    }
    unreachable!()
}

/// A tmpfs below the image's /data, because nothing else gets rid of such trees in little time.
struct Ground(PathBuf);

impl Ground {
    fn new(bundle: &Bundle) -> Self {
        let data = bundle.file("rootfs/data");
        rustix::mount::mount("ground", &data, "tmpfs", MountFlags::empty(), c"mode=755").unwrap();
        Self(data)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// A bundle with a tmpfs on /data into which the image's /data is copied.
fn copying(options: &[&str]) -> Bundle {
    let mut bundle = Bundle::new();
    fs::create_dir(bundle.file("rootfs/data")).unwrap();
    bundle.set("/mounts/-", mount("/data", "tmpfs", "tmpfs", &[&["tmpcopyup"], options].concat()));
    bundle
}

/// Much that the child has to remember while it copies.
fn add_a_large_plan(bundle: &mut Bundle) -> Vec<String> {
    let masked: Vec<_> = (0..400).map(|number| format!("/tmp/m{number}")).collect();
    masked.iter().for_each(|path| fs::write(bundle.file("rootfs").join(&path[1..]), "secret").unwrap());
    bundle.set("/linux/maskedPaths", json!(masked));
    let mut args: Vec<_> = ["/bin/sh", "-c", "sleep 1000; true"].map(str::to_string).into();
    args.extend((0..2000).map(|number| format!("argument {number:032}")));
    bundle.set("/process/args", json!(args));
    args
}

fn masks(pid: i32) -> usize {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    table.lines().filter(|line| line.split(' ').nth(4).unwrap().starts_with("/tmp/m")).count()
}

fn command_line(pid: i32) -> Vec<String> {
    let text = String::from_utf8(fs::read(format!("/proc/{pid}/cmdline")).unwrap()).unwrap();
    text.split_terminator('\0').map(str::to_string).collect()
}

/// A copy that needs stack for each level overruns what the child has to do: masks were missing, arguments were changed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_deep_trees_leave_the_plan_alone() {
    let long = "n".repeat(255);
    let trees = [1, 2, 24, 25, 62, 63, 64, 65, 400, 4000].map(|depth| (depth, "d")).into_iter();
    for (levels, name) in trees.chain([(30, &*long), (4000, &*long)]) {
        // Paths of the peers end at PATH_MAX.
        if !is_tare() && levels * (name.len() + 1) > 3000 {
            continue;
        }
        let mut bundle = copying(&[]);
        let args = add_a_large_plan(&mut bundle);
        let _ground = Ground::new(&bundle);
        dig(&bundle.file("rootfs/data"), levels, name);
        bundle.create().silent();
        let pid = bundle.pid();
        assert_eq!(masks(pid), 400, "{levels} levels");
        assert_eq!(depth(&Path::new("/proc").join(format!("{pid}/root/data")), name), levels);
        bundle.on("start").silent();
        crate::bundle::eventually("the program's arguments", || command_line(pid) == args);
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_deeper_trees_are_refused() {
    let mut bundle = copying(&[]);
    if !only_tare() {
        return;
    }
    let number = bundle.config["mounts"].as_array().unwrap().len() - 1;
    bundle.set("/process/args", json!(["/bin/true"]));
    let ground = Ground::new(&bundle);
    let mut here = open_top(&bundle.file("rootfs/data"));
    for _ in 0..DEEPEST {
        rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
        here = open(&here, "d");
    }
    let line = bundle.run().refused();
    assert!(
        line.starts_with(&format!("mounts[{number}]: mount tmpfs on /data: copy the files below the tmpfs: ")),
        "{line}"
    );
    assert!(line.ends_with("; directories are nested more than 16384 levels deep"), "{line}");
    rustix::fs::unlinkat(open(&here, ".."), "d", AtFlags::REMOVEDIR).unwrap();
    bundle.run().silent();
    drop((here, ground));
    bundle.assert_nothing_left();
}

/// 100 000 entries, of which 10 000 are directories: each is copied once, and in little time.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_wide_trees_are_copied_once() {
    const DIRECTORIES: usize = 10_000;
    let mut bundle = copying(&["nr_inodes=200000"]);
    let _ground = Ground::new(&bundle);
    let data = bundle.file("rootfs/data");
    for number in 0..100_000 {
        let name = data.join(format!("{number:0>12}"));
        match number {
            0..DIRECTORIES => fs::create_dir(name).unwrap(),
            DIRECTORIES..70_000 => symlink("nowhere", name).unwrap(),
            _ => drop(fs::File::create(name).unwrap()),
        }
    }
    // Names as long as they can be take the most room while they wait.
    fs::create_dir(data.join("long")).unwrap();
    for number in 0..2000 {
        fs::create_dir_all(data.join("long").join(format!("{number:0>255}")).join("sub")).unwrap();
    }
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.create().silent();
    let copy = Path::new("/proc").join(format!("{}/root/data", bundle.pid()));
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert!(names(&copy) == names(&data), "other names");
    assert!(names(&copy.join("long")) == names(&data.join("long")), "other long names");
    assert!(names(&copy.join("long")).iter().all(|name| copy.join("long").join(name).join("sub").is_dir()));
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
}

/// The tmpfs is the limit, for bytes and for entries.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_what_does_not_fit_is_refused() {
    for (option, entries, bytes) in [("size=64k", 1, 1 << 20), ("nr_inodes=20", 30, 0)] {
        let bundle = copying(&[option]);
        for number in 0..entries {
            fs::write(bundle.file("rootfs/data").join(number.to_string()), vec![b'x'; bytes]).unwrap();
        }
        let line = bundle.run().refused();
        if is_tare() {
            let number = bundle.config["mounts"].as_array().unwrap().len() - 1;
            let expected = format!(
                "mounts[{number}]: mount tmpfs on /data: copy the files below the tmpfs: no space left on device; \
                 they do not fit into the tmpfs; give it a larger \"size=\" or \"nr_inodes=\""
            );
            assert_eq!(line, expected);
            bundle.assert_nothing_left();
        }
    }
}

/// The number of open descriptors depends neither on the depth nor on how much is mounted and masked.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_few_descriptors_are_enough() {
    let mut bundle = copying(&[]);
    let levels = if is_tare() { 300 } else { 40 };
    let _ground = Ground::new(&bundle);
    dig(&bundle.file("rootfs/data"), levels, "d");
    for number in 0..100 {
        bundle.set("/mounts/-", mount(&format!("/tmp/t{number}"), "tmpfs", "tmpfs", &["tmpcopyup"]));
    }
    add_a_large_plan(&mut bundle);
    bundle.set("/linux/readonlyPaths", bundle.config["linux"]["maskedPaths"].clone());
    bundle.set("/process/args", json!(["/bin/true"]));
    bundle.write();
    through_shell(&bundle, r#"ulimit -n 64; exec "$@""#, &["run", &bundle.id]).silent();
}

/// Another container moves a directory of the shared image away while it is copied. What lies beside its new place is
/// never copied: ".." is followed to where we came from or not at all.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_directories_are_moved_while_copied() {
    let mut bundle = copying(&[]);
    if !only_tare() {
        return;
    }
    let (inside, outside) = (bundle.file("rootfs/data/way/moved"), bundle.file("rootfs/private/moved"));
    for top in [&inside, &outside] {
        for number in 0..40 {
            fs::create_dir_all(top.join(format!("{number}/sub/sub/sub"))).unwrap();
        }
    }
    fs::create_dir(bundle.file("rootfs/private/secret")).unwrap();
    let mut refused = 0;
    bundle.set("/process/args", json!(["/bin/sh", "-c", "ls -R /data | grep -c secret; true"]));
    bundle.write();
    let _storm = Storm::exchange(inside, outside);
    for _ in 0..rounds() {
        let done: Done = bundle.on("run");
        if done.code == 0 {
            assert_eq!(done.good(), "0\n");
        } else {
            let line = done.refused();
            assert!(line.ends_with("; a file of the image was moved at the same time"), "{line}");
            refused += 1;
        }
    }
    eprintln!("{refused} of {} refused", rounds());
}

/// A file can pretend to any size, and its holes cost nothing.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_32_sparse_files_cost_nothing() {
    let mut bundle = copying(&["size=1m"]);
    if !only_tare() {
        return;
    }
    let file = fs::File::create(bundle.file("rootfs/data/large")).unwrap();
    file.set_len(1 << 40).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"end", (1 << 39) + 5).unwrap();
    let name = OsString::from_vec(vec![0xff; 255]);
    symlink("target", bundle.file("rootfs/data").join(name)).unwrap();
    let line = "stat -c '%s %b' /data/large; tail -c +549755813894 /data/large | head -c 3";
    bundle.set("/process/args", json!(["/bin/sh", "-c", line]));
    let text = bundle.run().stdout;
    assert_eq!(text.split(' ').next(), Some("1099511627776"), "{text}");
    assert!(text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() <= 16, "{text}");
}
