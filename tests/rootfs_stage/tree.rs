//! A tree with everything that an image may have in it, and what can be said about each entry.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, chmodat, makedev, mknodat, utimensat};

/// Makes one entry of every kind, with owners, modes and times that tell them apart.
pub fn make_one_of_each(data: &Path) {
    let path = |name: &str| data.join(name);
    for name in ["closed/in/it", "readonly/in/it", "shared/a/b/c/d", "empty-directory"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    let texts = [("file", "content"), ("empty", ""), ("closed/in/file", "x"), ("readonly/file", "y"), ("set-id", "z")];
    for (name, text) in texts {
        fs::write(path(name), text).unwrap();
    }
    fs::hard_link(path("file"), path("second")).unwrap();
    for (name, size, data) in [
        ("all-hole", 5 << 20, &[][..]),
        ("holes", 9 << 20, &[3 << 20, (9 << 20) - 1]),
        ("hole-at-end", 5 << 20, &[7]),
        ("data-at-end", (4 << 20) + 3, &[(4 << 20) + 2]),
    ] {
        let file = fs::File::create(path(name)).unwrap();
        file.set_len(size).unwrap();
        data.iter().for_each(|at| file.write_all_at(b"x", *at).unwrap());
    }
    fs::write(path("large"), vec![b'l'; (3 << 20) + 1]).unwrap();
    symlink("t/".repeat(2047), path("long-link")).unwrap();
    symlink("nowhere", path("closed/link")).unwrap();
    let nodes = [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("character", FileType::CharacterDevice, makedev(1, 3)),
        ("block", FileType::BlockDevice, makedev(259, 70_000)),
    ];
    for (name, kind, device) in nodes {
        mknodat(CWD, path(name), kind, Mode::RUSR, device).unwrap();
    }
    let entries = describe(data);
    for (number, entry) in (1..).zip(entries.iter().rev()) {
        let name = data.join(&entry.name);
        lchown(&name, Some(number), Some(number + 1000)).unwrap();
        let mode = match entry.name.as_str() {
            "closed" => 0,
            "readonly" => 0o555,
            "shared" => 0o7777,
            "set-id" => 0o6755,
            "fifo" => 0o2611,
            _ => 0o640,
        };
        if !name.is_symlink() {
            chmodat(CWD, &name, Mode::from_raw_mode(mode), AtFlags::empty()).unwrap();
        }
        let time = |seconds| Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
        let number = i64::from(number);
        let times = Timestamps { last_access: time(1_000_000_000 + number), last_modification: time(-number) };
        utimensat(CWD, &name, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What is compared of an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    name: String,
    kind_and_mode: u32,
    device: u64,
    owner: (u32, u32),
    modified: (i64, i64),
    /// Of a file, its size and the places where it is not 0.
    content: (u64, Vec<(usize, u8)>),
    link: Option<PathBuf>,
}

/// A tree from the top, each directory before what is in it.
pub fn describe(top: &Path) -> Vec<Entry> {
    let mut paths = vec![top.to_path_buf()];
    let mut entries = Vec::new();
    while let Some(path) = paths.pop() {
        let facts = fs::symlink_metadata(&path).unwrap();
        let bytes = if facts.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let places = bytes.iter().copied().enumerate().filter(|(_, byte)| *byte != 0);
        entries.push(Entry {
            name: path.strip_prefix(top).unwrap().to_str().unwrap().to_string(),
            kind_and_mode: facts.mode(),
            device: facts.rdev(),
            owner: (facts.uid(), facts.gid()),
            modified: (facts.mtime(), facts.mtime_nsec()),
            content: (bytes.len() as u64, places.take(100).collect()),
            link: fs::read_link(&path).ok(),
        });
        if facts.is_dir() {
            let mut below: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            paths.extend(below);
        }
    }
    entries
}
