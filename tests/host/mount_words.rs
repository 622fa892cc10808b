//! The mount options that the spec lists, each by what it does: one word, one mount, and what the kernel says of it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount};
use serde_json::{Value, json};

use crate::bundle::{Bundle, is_tare, kernel_before};

/// Every flag of one mount that takes something away; nosymfollow (256) has no name in rustix. Source: linux/mount.h.
const ALL: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME)
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::from_bits_retain(256));

/// A directory of the host with a mount on it and another one below; both go with it.
struct Tree(PathBuf);

impl Tree {
    fn new(bundle: &Bundle, name: &str, flags: MountFlags) -> Self {
        let tree = Self(bundle.file(name));
        fs::create_dir(&tree.0).unwrap();
        for path in [tree.0.clone(), tree.0.join("sub")] {
            fs::create_dir_all(&path).unwrap();
            mount("tmpfs", &path, "tmpfs", flags, None).unwrap();
            mount_change(&path, MountPropagationFlags::PRIVATE).unwrap();
        }
        tree
    }

    /// Changes both mounts, the lower one first: on a read-only one nothing could be mounted.
    fn both(&self, change: impl Fn(&Path)) {
        change(&self.0.join("sub"));
        change(&self.0);
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// One line of mountinfo.
#[derive(Debug)]
struct Mount {
    flags: Vec<String>,
    propagation: String,
    superblock: Vec<String>,
}

/// What a container sees of the mounts that `add` gives it.
fn seen(bundle: &mut Bundle, add: Vec<Value>) -> impl Fn(&str) -> Mount + use<> {
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    bundle.set("/process/args", json!(["/bin/cat", "/proc/self/mountinfo"]));
    bundle.set("/mounts", json!([mounts.clone(), add].concat()));
    let table = bundle.run().good();
    bundle.set("/mounts", json!(mounts));
    move |point| {
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(point));
        let (own, filesystem) = line.unwrap_or_else(|| panic!("no {point} in {table}")).split_once(" - ").unwrap();
        let words = |text: &str| text.split(',').map(str::to_string).collect();
        Mount {
            flags: words(own.split(' ').nth(5).unwrap()),
            propagation: own.split(' ').skip(6).collect::<Vec<_>>().join(" "),
            superblock: words(filesystem.split(' ').nth(2).unwrap()),
        }
    }
}

/// Binds the tree once for each word, and returns the word, the mount and the one below.
fn bound(bundle: &mut Bundle, tree: &Tree, words: &[&str]) -> Vec<(String, Mount, Mount)> {
    let point = |word: &str| format!("/words/{word}");
    let bind = |word: &&str| {
        let options = json!(["rbind", word]);
        json!({ "destination": point(word), "type": "none", "source": tree.0, "options": options })
    };
    let seen = seen(bundle, words.iter().map(bind).collect());
    words.iter().map(|word| (word.to_string(), seen(&point(word)), seen(&format!("{}/sub", point(word))))).collect()
}

/// The plain word is about one mount; with an r before it about all below as well.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn flags_of_a_mount_and_of_a_tree() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 does not know them all");
    }
    let with_all = Tree::new(&bundle, "all", ALL);
    with_all.both(|path| mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | ALL, "").unwrap());
    let with_none = Tree::new(&bundle, "none", MountFlags::empty());
    let mut wrong = Vec::new();
    for (tree, already, cases) in [
        (
            &with_all,
            true,
            &[
                ("rw", "ro"),
                ("dev", "nodev"),
                ("suid", "nosuid"),
                ("exec", "noexec"),
                ("symfollow", "nosymfollow"),
                ("atime", "noatime"),
                ("diratime", "nodiratime"),
            ][..],
        ),
        (
            &with_none,
            false,
            &[
                ("ro", "ro"),
                ("nodev", "nodev"),
                ("nosuid", "nosuid"),
                ("noexec", "noexec"),
                ("nosymfollow", "nosymfollow"),
                ("noatime", "noatime"),
                ("nodiratime", "nodiratime"),
            ],
        ),
    ] {
        let recursive: Vec<_> = cases.iter().map(|(word, _)| format!("r{word}")).collect();
        let words: Vec<_> = cases.iter().map(|(word, _)| *word).chain(recursive.iter().map(String::as_str)).collect();
        for (word, top, below) in bound(&mut bundle, tree, &words) {
            let is_recursive = recursive.contains(&word);
            let (_, flag) = cases.iter().find(|(plain, _)| word == *plain || word[1..] == **plain).unwrap();
            let has = |mount: &Mount| mount.flags.iter().any(|have| have == flag);
            // mount(2) keeps the access times of a mount that is changed, unless a mode is asked for.
            let kept = already && !is_recursive && ["noatime", "nodiratime"].contains(flag);
            let expected = (!already || kept, if is_recursive { !already } else { already });
            if (has(&top), has(&below)) != expected {
                wrong.push(format!(
                    "{word}: {flag} above and below is {:?}, not {expected:?}",
                    (has(&top), has(&below))
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// mount(8): without a mode of its own a mount has relatime.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn modes_of_access_times() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 does not know them all");
    }
    let mode = |mount: &Mount| {
        let is_mode = |flag: &&String| ["noatime", "relatime"].contains(&flag.as_str());
        mount.flags.iter().find(is_mode).map_or("strictatime", String::as_str).to_string()
    };
    let mut wrong = Vec::new();
    for (source, flags, cases) in [
        (
            "noatime",
            MountFlags::NOATIME,
            &[("relatime", "relatime"), ("strictatime", "strictatime"), ("atime", "relatime")][..],
        ),
        (
            "strictatime",
            MountFlags::STRICTATIME,
            &[("nostrictatime", "relatime"), ("relatime", "relatime"), ("noatime", "noatime")],
        ),
        (
            "relatime",
            MountFlags::RELATIME,
            &[("norelatime", "relatime"), ("strictatime", "strictatime"), ("noatime", "noatime")],
        ),
    ] {
        let tree = Tree::new(&bundle, source, flags);
        let recursive: Vec<_> = cases.iter().map(|(word, _)| format!("r{word}")).collect();
        let words: Vec<_> = cases.iter().map(|(word, _)| *word).chain(recursive.iter().map(String::as_str)).collect();
        for (word, top, below) in bound(&mut bundle, &tree, &words) {
            let is_recursive = recursive.contains(&word);
            let plain = if is_recursive { &word[1..] } else { &word };
            let expected = cases.iter().find(|(case, _)| *case == plain).unwrap().1;
            // Words that only take a mode away leave the mount its own, as mount(2) does; a tree gets the default.
            let kept = !is_recursive && ["atime", "nostrictatime", "norelatime"].contains(&plain);
            let expected = (if kept { source } else { expected }, if is_recursive { expected } else { source });
            let is = (mode(&top), mode(&below));
            if (is.0.as_str(), is.1.as_str()) != expected {
                wrong.push(format!("{word} on {source}: {is:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Flags of the filesystem, which a new one has and a bind mount cannot have.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn flags_of_a_filesystem() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 does not know them all");
    }
    // What the kernel says of the filesystem then; nothing for what is its default, or has no name in mountinfo.
    let words = [
        ("sync", "sync"),
        ("async", ""),
        ("dirsync", "dirsync"),
        ("lazytime", "lazytime"),
        ("nolazytime", ""),
        ("defaults", ""),
        ("mand", ""),
        ("nomand", ""),
        ("silent", ""),
        ("loud", ""),
        ("iversion", ""),
        ("noiversion", ""),
    ];
    let point = |word: &str| format!("/words/{word}");
    let tmpfs = |(word, _): &(&str, &str)| json!({ "destination": point(word), "type": "tmpfs", "source": "tmpfs", "options": [word, "size=64k"] });
    let seen = seen(&mut bundle, words.iter().map(tmpfs).collect());
    for (word, flag) in words {
        let mount = seen(&point(word));
        let flags = ["sync", "dirsync", "lazytime"].into_iter();
        let has: Vec<_> = flags.filter(|flag| mount.superblock.iter().any(|have| have == flag)).collect();
        assert_eq!(has.concat(), flag, "{word}: {mount:?}");
        assert!(mount.superblock.contains(&"size=64k".to_string()), "{word}: {mount:?}");
        assert_eq!(mount.flags, ["rw", "relatime"], "{word}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn propagation_of_a_mount_and_of_a_tree() {
    let mut bundle = Bundle::new();
    let tree = Tree::new(&bundle, "shared", MountFlags::empty());
    tree.both(|path| mount_change(path, MountPropagationFlags::SHARED).unwrap());
    let kind = |mount: &Mount| {
        let named = ["shared", "master", "unbindable"].into_iter().filter(|word| mount.propagation.contains(word));
        let named = named.collect::<Vec<_>>().join("+");
        if named.is_empty() { "private".to_string() } else { named }
    };
    // A copy of a shared mount is its peer, unless the container's propagation has made a slave of it before.
    let words = ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
    let [mut plain, mut recursive] = [const { Vec::new() }; 2];
    for (word, top, below) in bound(&mut bundle, &tree, &words) {
        let found = (kind(&top), kind(&below));
        if word.starts_with('r') { recursive.push(found) } else { plain.push(found) }
    }
    for (at, wanted) in ["private", "master", "shared", "unbindable"].into_iter().enumerate() {
        assert!(plain[at].0.contains(wanted), "{wanted}: {plain:?}");
        assert!(recursive[at].0.contains(wanted) && recursive[at].1.contains(wanted), "r{wanted}: {recursive:?}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn one_mount_or_the_whole_tree_is_bound() {
    let mut bundle = Bundle::new();
    let tree = Tree::new(&bundle, "tree", MountFlags::empty());
    fs::write(tree.0.join("sub/file"), "").unwrap();
    let bind = |word: &str| json!({ "destination": format!("/words/{word}"), "source": tree.0, "options": [word] });
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    bundle.set("/mounts", json!([mounts, vec![bind("bind"), bind("rbind")]].concat()));
    bundle.set("/process/args", json!(["/bin/sh", "-c", "ls /words/bind/sub; echo; ls /words/rbind/sub"]));
    assert_eq!(bundle.run().good(), "\nfile\n");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_is_mounted_is_changed_by_remount() {
    let mut bundle = Bundle::new();
    let mount =
        |options: &[&str]| json!({ "destination": "/words", "type": "tmpfs", "source": "tmpfs", "options": options });
    let seen = seen(&mut bundle, vec![mount(&["nodev"]), mount(&["remount", "ro", "nosuid"])]);
    let mount = seen("/words");
    assert!(["ro", "nosuid"].iter().all(|flag| mount.flags.contains(&flag.to_string())), "{mount:?}");
    bundle.assert_nothing_left();
}

/// crun's words: the link itself is bound, mounted on, or made again; without them it is followed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn links_are_taken_as_they_are_where_that_is_asked() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc does not know them");
    }
    let tree = Tree::new(&bundle, "tree", MountFlags::empty());
    fs::write(tree.0.join("file"), "text\n").unwrap();
    std::os::unix::fs::symlink("file", tree.0.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bundle.file("rootfs/tmp/link")).unwrap();
    let mount = |name: &str, source: &str, word: &str| json!({ "destination": name, "source": tree.0.join(source), "options": ["bind", word] });
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    let added = vec![
        mount("/words/followed", "link", "ro"),
        mount("/words/bound", "link", "src-nofollow"),
        mount("/words/made", "link", "copy-symlink"),
        mount("/tmp/link", "file", "dest-nofollow"),
    ];
    bundle.set("/mounts", json!([mounts, added].concat()));
    let line = "cat /words/followed; readlink /words/bound; readlink /words/made; cat /tmp/link; cat /etc/passwd";
    bundle.set("/process/args", json!(["/bin/sh", "-c", line]));
    let passwd = fs::read_to_string(bundle.file("rootfs/etc/passwd")).unwrap();
    assert_eq!(bundle.run().good(), format!("text\nfile\nfile\ntext\n{passwd}"));
}

/// Files of 0 belong to 1000 where the mount is mapped: idmap maps the upper one, ridmap the tree.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn ids_of_a_mount_and_of_a_tree() {
    let mut bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc 1.1 does not know them");
    }
    let tree = Tree::new(&bundle, "tree", MountFlags::empty());
    tree.both(|path| fs::write(path.join("file"), "").unwrap());
    let mappings = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    let mount = |word: &str| {
        json!({ "destination": format!("/words/{word}"), "source": tree.0, "options": ["rbind", word],
            "uidMappings": mappings, "gidMappings": mappings })
    };
    let mounts = bundle.config["mounts"].as_array().unwrap().clone();
    bundle.set("/mounts", json!([mounts, vec![mount("idmap"), mount("ridmap")]].concat()));
    let line = "cd /words; stat -c %u:%g idmap/file idmap/sub/file ridmap/file ridmap/sub/file";
    bundle.set("/process/args", json!(["/bin/sh", "-c", line]));
    if kernel_before([6, 3]) {
        let line = bundle.run().refused();
        let text = "map the ids of the mount: invalid argument; this filesystem may not support id-mapped mounts on this kernel";
        return assert!(line.ends_with(text), "{line}");
    }
    assert_eq!(bundle.run().good(), "1000:1000\n0:0\n1000:1000\n1000:1000\n");
}
