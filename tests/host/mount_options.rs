//! What every pair of mount options means: the flags and the propagation of the mounts that a container sees, each pair
//! on a mount of its own. The model is mount(2) as runc drives it; runc 1.1.5 passes with `TARE_RUNTIME`.
//!
//! Kept differences, each in the model below:
//! - a bind mount whose options only clear flags (`rw`, `dev`, ...) has exactly its flags, as with runc since 1.2;
//!   runc 1.1 leaves those of the source;
//! - words of a tree (`rro`, ...) count for a new filesystem too, which runc leaves writable;
//! - `ratime` and `rnostrictatime` work; with runc mount_setattr(2) refuses them, and two different modes of a tree.
//!
//! Left out: `remount`, `idmap` and `ridmap`, `tmpcopyup`, which are not about flags, and words of crun alone.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::bundle::{Bundle, is_tare};

const FLAGS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "rbind",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
];
const PROPAGATION: &[&str] =
    &["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
const TREE: &[&str] = &[
    "rro",
    "rrw",
    "rnosuid",
    "rsuid",
    "rnodev",
    "rdev",
    "rnoexec",
    "rexec",
    "rnodiratime",
    "rdiratime",
    "rrelatime",
    "rnorelatime",
    "rnoatime",
    "rstrictatime",
    "rnosymfollow",
    "rsymfollow",
];

/// Flags of a mount, by the names of mountinfo; access times as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Mounted {
    ro: bool,
    nosuid: bool,
    nodev: bool,
    noexec: bool,
    nosymfollow: bool,
    nodiratime: bool,
    atime: &'static str,
}

/// Of a new filesystem, and what a test directory has that is bound.
const FRESH: Mounted = Mounted {
    ro: false,
    nosuid: false,
    nodev: false,
    noexec: false,
    nosymfollow: false,
    nodiratime: false,
    atime: "relatime",
};
const SOURCE: Mounted = Mounted { nosuid: true, nodev: true, nodiratime: true, atime: "noatime", ..FRESH };

/// The bit of mount(2) that a word is about, and whether it sets it.
fn bit(word: &str) -> Option<(&'static str, bool)> {
    Some(match word {
        "ro" => ("ro", true),
        "rw" => ("ro", false),
        "nosuid" => ("nosuid", true),
        "suid" => ("nosuid", false),
        "nodev" => ("nodev", true),
        "dev" => ("nodev", false),
        "noexec" => ("noexec", true),
        "exec" => ("noexec", false),
        "nosymfollow" => ("nosymfollow", true),
        "symfollow" => ("nosymfollow", false),
        "noatime" => ("noatime", true),
        "atime" => ("noatime", false),
        "nodiratime" => ("nodiratime", true),
        "diratime" => ("nodiratime", false),
        "relatime" => ("relatime", true),
        "norelatime" => ("relatime", false),
        "strictatime" => ("strictatime", true),
        "nostrictatime" => ("strictatime", false),
        "sync" => ("sync", true),
        "async" => ("sync", false),
        "dirsync" => ("dirsync", true),
        "mand" => ("mand", true),
        "nomand" => ("mand", false),
        "lazytime" => ("lazytime", true),
        "nolazytime" => ("lazytime", false),
        "iversion" => ("iversion", true),
        "noiversion" => ("iversion", false),
        "silent" => ("silent", true),
        "loud" => ("silent", false),
        "acl" => ("acl", true),
        "noacl" => ("acl", false),
        _ => return None,
    })
}

const OF_SUPERBLOCK: &[&str] = &["sync", "dirsync", "mand", "lazytime", "iversion", "silent", "acl"];

impl Mounted {
    /// With the flags that `has` knows.
    fn of(has: impl Fn(&str) -> bool, atime: &'static str) -> Self {
        Self {
            ro: has("ro"),
            nosuid: has("nosuid"),
            nodev: has("nodev"),
            noexec: has("noexec"),
            nosymfollow: has("nosymfollow"),
            nodiratime: has("nodiratime"),
            atime,
        }
    }
}

/// What mount(2) makes of the words, `before` there: `None` is a new filesystem.
fn model(words: &[&str], before: Option<Mounted>) -> Mounted {
    let mut bits = BTreeMap::new();
    for (name, set) in words.iter().filter_map(|word| bit(word)) {
        bits.insert(name, set);
    }
    let has = |name: &str| bits.get(name) == Some(&true);
    let cleared = bits.keys().any(|name| !OF_SUPERBLOCK.contains(name));
    let changed = bits.values().any(|set| *set) || is_tare() && cleared;
    let mut mounted = match before {
        Some(before) if !changed => before,
        _ => {
            let mut mounted = Mounted::of(
                has,
                match (has("strictatime"), has("noatime")) {
                    (true, _) => "strictatime",
                    (false, true) => "noatime",
                    _ => "relatime",
                },
            );
            let times = ["noatime", "nodiratime", "relatime", "strictatime"];
            if let Some(before) = before.filter(|_| !times.iter().any(|name| has(name))) {
                (mounted.nodiratime, mounted.atime) = (before.nodiratime, before.atime);
            }
            mounted
        }
    };
    if before.is_some() || is_tare() {
        apply_tree(words, &mut mounted);
    }
    mounted
}

/// mount_setattr(2) of the whole tree: of two words about a flag the one that sets it wins.
fn apply_tree(words: &[&str], mounted: &mut Mounted) {
    let has = |word: &str| words.contains(&word);
    for (set, clear, flag) in [
        ("rro", "rrw", &mut mounted.ro),
        ("rnosuid", "rsuid", &mut mounted.nosuid),
        ("rnodev", "rdev", &mut mounted.nodev),
        ("rnoexec", "rexec", &mut mounted.noexec),
        ("rnosymfollow", "rsymfollow", &mut mounted.nosymfollow),
        ("rnodiratime", "rdiratime", &mut mounted.nodiratime),
    ] {
        *flag = has(set) || *flag && !has(clear);
    }
    for (word, mode) in [("rrelatime", "relatime"), ("rnoatime", "noatime"), ("rstrictatime", "strictatime")] {
        if has(word) {
            mounted.atime = mode;
        }
    }
}

/// runc refuses two modes of access time for a tree, whose bits it adds up; tare takes the later.
fn is_left_out(words: &[&str]) -> bool {
    let modes = ["rnoatime", "rstrictatime", "rrelatime"];
    let distinct = modes.iter().filter(|mode| words.contains(mode)).count();
    // Kernels differ in what "slave" makes of an unbindable mount.
    let is_propagation = |kind: &str| words.iter().any(|word| word.trim_start_matches('r') == kind);
    distinct > 1 || is_propagation("slave") && is_propagation("unbindable")
}

/// Optional fields and whether it is unbindable, after the words in their order.
fn propagation(words: &[&str], tied: bool) -> (bool, bool, bool) {
    let (mut shared, mut slave, mut unbindable) = (false, tied, false);
    for word in words {
        match word.trim_start_matches('r') {
            "private" => (shared, slave, unbindable) = (false, false, false),
            "unbindable" => (shared, slave, unbindable) = (false, false, true),
            "shared" => (shared, unbindable) = (true, false),
            // A peer group of one has no master to be: it is what it was before.
            "slave" => shared = false,
            _ => {}
        }
    }
    (shared, slave, unbindable)
}

fn pairs() -> Vec<[&'static str; 2]> {
    let words: Vec<&str> = [FLAGS, PROPAGATION, TREE].concat();
    let all = words.iter().flat_map(|one| words.iter().map(|two| [*one, *two])).collect::<Vec<_>>();
    all.into_iter().filter(|pair| !is_left_out(pair)).collect()
}

/// By number of the pair: flags and optional fields of the mount, of the one below it, and the superblock's options.
type Found = BTreeMap<String, (String, String, String)>;

fn look(table: &str) -> Found {
    let line = |line: &str| {
        let (mount, superblock) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let options = superblock.rsplit(' ').next()?;
        let point = fields[4].strip_prefix("/m/")?;
        Some((point.to_string(), (fields[5].to_string(), fields[6..].join(" "), options.to_string())))
    };
    table.lines().filter_map(line).collect()
}

fn describe(flags: &str) -> Mounted {
    let has = |name: &str| flags.split(',').any(|flag| flag == name);
    let atime = match (has("noatime"), has("relatime")) {
        (true, _) => "noatime",
        (_, true) => "relatime",
        _ => "strictatime",
    };
    Mounted::of(has, atime)
}

fn run(bundle: &mut Bundle, mount: impl Fn(&[&str; 2]) -> Value) -> Found {
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.push(json!({"destination": "/m", "type": "tmpfs", "source": "tmpfs"}));
    for (number, pair) in pairs().iter().enumerate() {
        let mut one = mount(pair);
        one["destination"] = json!(format!("/m/{number}"));
        mounts.push(one);
    }
    bundle.set("/mounts", json!(mounts));
    let done = bundle.run();
    assert_eq!(done.code, 0, "{}", done.stderr);
    look(&done.stdout)
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs().len(), wrong[..wrong.len().min(40)].join("\n"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_pair_of_options_of_a_bind_mount_means_what_it_means_to_runc() {
    let mut bundle = Bundle::script("cat /proc/self/mountinfo");
    let source = bundle.file("source");
    fs::create_dir_all(&source).unwrap();
    let mount = |options: &str, what: &str, at: &std::path::Path| {
        assert!(Command::new("mount").args(["-t", "tmpfs", "-o", options, what]).arg(at).status().unwrap().success());
    };
    mount("nosuid,nodev,noatime,nodiratime", "source", &source);
    fs::create_dir(source.join("sub")).unwrap();
    mount("relatime", "below", &source.join("sub"));
    let found = run(
        &mut bundle,
        |pair| json!({"type": "bind", "source": source, "options": ["bind", "rprivate", pair[0], pair[1]]}),
    );
    assert!(Command::new("umount").arg("-R").arg(&source).status().unwrap().success());
    let mut wrong = Vec::new();
    for (number, pair) in pairs().iter().enumerate() {
        let Some((flags, optional, _)) = found.get(&number.to_string()) else {
            wrong.push(format!("{pair:?}: not mounted"));
            continue;
        };
        let expected = model(pair, Some(SOURCE));
        if describe(flags) != expected {
            wrong.push(format!("{pair:?}: {flags}, expected {expected:?}"));
        }
        let (shared, _, unbindable) = propagation(pair, false);
        let got = (optional.contains("shared:"), optional.contains("unbindable"));
        if got != (shared, unbindable) {
            wrong.push(format!("{pair:?}: {optional:?}, expected shared {shared}, unbindable {unbindable}"));
        }
        // Words of the tree and of a recursive propagation reach what is below, the others do not.
        let below = found.get(&format!("{number}/sub"));
        if below.is_some() != pair.contains(&"rbind") {
            wrong.push(format!("{pair:?}: below is {below:?}"));
        }
        if let Some((flags, ..)) = below {
            let mut expected = FRESH;
            apply_tree(pair, &mut expected);
            if describe(flags) != expected {
                wrong.push(format!("{pair:?}: below {flags}, expected {expected:?}"));
            }
        }
    }
    report(&wrong);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn every_pair_of_options_of_a_tmpfs_means_what_it_means_to_runc() {
    let mut bundle = Bundle::script("cat /proc/self/mountinfo");
    let found = run(&mut bundle, |pair| {
        // With "bind" it is a bind mount; runc 1.1 gives "defaults" to the filesystem, which does not know it.
        let of_tmpfs = |word: &&str| !word.ends_with("rbind") && *word != "bind" && (is_tare() || *word != "defaults");
        let options: Vec<&str> = pair.iter().copied().filter(of_tmpfs).collect();
        json!({"type": "tmpfs", "source": "tmpfs", "options": options})
    });
    let mut wrong = Vec::new();
    for (number, pair) in pairs().iter().enumerate() {
        let Some((flags, optional, superblock)) = found.get(&number.to_string()) else {
            wrong.push(format!("{pair:?}: not mounted"));
            continue;
        };
        let expected = model(pair, None);
        if describe(flags) != expected {
            wrong.push(format!("{pair:?}: {flags}, expected {expected:?}"));
        }
        let (shared, _, unbindable) = propagation(pair, false);
        let got = (optional.contains("shared:"), optional.contains("unbindable"));
        if got != (shared, unbindable) {
            wrong.push(format!("{pair:?}: {optional:?}, expected shared {shared}, unbindable {unbindable}"));
        }
        let last = |name| pair.iter().filter_map(|word| bit(word)).rfind(|(bit, _)| *bit == name);
        for name in ["sync", "dirsync", "mand", "lazytime"] {
            let expected = last(name).is_some_and(|(_, set)| set);
            if superblock.split(',').any(|option| option == name) != expected {
                wrong.push(format!("{pair:?}: superblock {superblock}"));
            }
        }
    }
    report(&wrong);
}

/// A user namespace of the container's own; its ids may read the rootfs.
fn map_ids(bundle: &mut Bundle) {
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    bundle.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping);
    assert!(Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.file("rootfs")).status().unwrap().success());
    assert!(Command::new("chmod").arg("755").arg(bundle.path()).status().unwrap().success());
}

/// "The runtime MUST mount entries in the listed order": runtime-spec, config.md.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_source_in_the_rootfs_is_what_an_earlier_mount_made() {
    // runc 1.1 opens all sources before it mounts, if the container has a user namespace.
    for user_namespace in [false, true].into_iter().filter(|user_namespace| is_tare() || !user_namespace) {
        let mut bundle = Bundle::script("cat /final/file /alias/file /below/file; ls /before");
        for name in ["source", "below"] {
            fs::create_dir_all(bundle.file(name)).unwrap();
            fs::write(bundle.file(name).join("file"), format!("{name}\n")).unwrap();
        }
        let root = bundle.file("rootfs");
        for name in ["mnt/sub", "final", "alias", "before", "below"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("mnt/covered"), "").unwrap();
        std::os::unix::fs::symlink("/mnt", root.join("link")).unwrap();
        let bind = |destination: &str, source: std::path::PathBuf| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]});
        let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
        mounts.push(bind("/before", root.join("mnt")));
        mounts.push(bind("/mnt", bundle.file("source")));
        // With the rootfs in front it means the same place.
        mounts.push(bind(
            if is_tare() { root.join("final") } else { "/final".into() }.to_str().unwrap(),
            root.join("mnt"),
        ));
        // As a host path the link would lead to the host's /mnt.
        mounts.push(bind("/alias", root.join("./mnt")));
        mounts.push(bind("/mnt", bundle.file("below")));
        mounts.push(bind("/below", root.join(if is_tare() { "link" } else { "mnt" })));
        bundle.set("/mounts", json!(mounts));
        if user_namespace {
            map_ids(&mut bundle);
        }
        assert_eq!(bundle.run().good(), "source\nsource\nbelow\ncovered\nsub\n", "{user_namespace}");
    }
}

/// The same where the ids are mapped, which takes rights over the filesystem that init has not in a user namespace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_ids_of_a_source_in_the_rootfs_are_mapped() {
    if !is_tare() {
        eprintln!("skipped: runc 1.1 maps ids only for a container with a user namespace");
        return;
    }
    for user_namespace in [false, true] {
        let mut bundle = Bundle::script("stat -c %u:%g /mnt/file /mapped/file");
        let (source, root) = (bundle.file("source"), bundle.file("rootfs"));
        for directory in [&source, &root.join("mnt"), &root.join("mapped"), &root.join("own")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(source.join("file"), "").unwrap();
        if user_namespace {
            map_ids(&mut bundle);
        }
        std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).unwrap();
        let first = if user_namespace { 100_000 } else { 0 };
        let mapping = json!([{"containerID": 1000, "hostID": first + 5, "size": 1}]);
        let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
        mounts.extend([
            json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["rbind"]}),
            json!({"destination": "/mapped", "type": "bind", "source": root.join("mnt"), "options": ["rbind", "ro"],
                "uidMappings": mapping, "gidMappings": mapping}),
        ]);
        let mut expected = "1000:1000\n5:5\n";
        if user_namespace {
            // Those of the container.
            let own = json!({"destination": "/own", "source": root.join("mnt"), "options": ["bind", "idmap"]});
            mounts.push(own);
            bundle.set("/process/args/2", json!("stat -c %u:%g /mnt/file /mapped/file /own/file"));
            expected = "65534:65534\n5:5\n1000:1000\n";
        }
        bundle.set("/mounts", json!(mounts));
        let done = bundle.run();
        if done.stderr.contains("may not support id-mapped mounts") {
            eprintln!("skipped: {}", done.stderr);
            return;
        }
        assert_eq!(done.good(), expected, "{user_namespace}");
        // What is mapped once stays so.
        mounts.push(json!({"destination": "/own", "source": root.join("mapped"), "options": ["bind"],
            "uidMappings": mapping, "gidMappings": mapping}));
        bundle.set("/mounts", json!(mounts));
        let line = bundle.run().refused();
        let at = format!("mounts[{}].source: bind ", mounts.len() - 1);
        assert!(line.starts_with(&at), "{line}");
        assert!(line.contains("map the ids of the mount") && line.contains("already"), "{line}");
    }
}

/// The network namespace belongs to the host's user namespace: no sysfs can be mounted, and the host's is bound.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_sysfs_of_a_foreign_network_namespace_is_the_hosts_and_read_only() {
    let mut bundle = Bundle::script("grep ' /sys ' /proc/self/mountinfo; echo x 2>&1 >/sys/kernel/uevent_seqnum");
    if !is_tare() {
        eprintln!("skipped: runc refuses this");
        return;
    }
    map_ids(&mut bundle);
    bundle.without_namespace("network");
    let joined = json!({"type": "network", "path": "/proc/self/ns/net"});
    for path in [None, Some(joined)] {
        let mut namespaces = bundle.config["linux"]["namespaces"].as_array().unwrap().clone();
        namespaces.extend(path);
        bundle.set("/linux/namespaces", json!(namespaces));
        let sysfs = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "rw"]});
        let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
        bundle.set("/mounts", json!([proc, sysfs]));
        let done = bundle.run();
        assert!(done.stdout.contains(" /sys ro,nosuid"), "{done:?}");
        assert!(done.stdout.contains("Read-only file system"), "{done:?}");
    }
}

/// A container with many mounts, by a caller with these limits of open files; the program says its own.
fn many(mounts: &[Value], limits: &str, user_namespace: bool) -> crate::bundle::Done {
    let mut bundle = Bundle::script("grep -c ' /data/' /proc/self/mountinfo; grep 'open files' /proc/self/limits");
    let mut all = bundle.config["mounts"].as_array().unwrap().clone();
    all.extend(mounts.iter().cloned());
    bundle.set("/mounts", json!(all)).set("/process/rlimits", json!([]));
    if user_namespace {
        map_ids(&mut bundle);
    }
    bundle.write();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limits}")).arg(crate::bundle::runtime());
    command.arg("--root").arg(bundle.root()).args(["run", "--bundle"]).arg(bundle.path()).arg(&bundle.id);
    crate::bundle::finish(command)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn many_mounts_need_no_high_soft_limit() {
    let bind = |options: Value| {
        move |number: u32| {
            let mut mount = json!({"destination": format!("/data/{number}"), "type": "bind", "source": "/etc/passwd", "options": options});
            if options[0] == "idmap" {
                let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
                mount["uidMappings"] = mapping.clone();
                mount["gidMappings"] = mapping;
            }
            mount
        }
    };
    let binds: Vec<Value> = (0..2000).map(bind(json!(["rbind", "ro"]))).collect();
    for user_namespace in [false, true].into_iter().filter(|user_namespace| is_tare() || !user_namespace) {
        let done = many(&binds, "1024:4096", user_namespace);
        let output = done.good();
        let words: Vec<&str> = output.split_whitespace().collect();
        // Go raises its own soft limit, and runc 1.1 hands that down.
        let soft = if is_tare() { "1024" } else { words[4] };
        assert_eq!(words[..6], ["2000", "Max", "open", "files", soft, "4096"], "{user_namespace}");
    }
    if !is_tare() {
        return;
    }
    // A file of a filesystem that can map ids; the mount is attached, whatever the filesystem says otherwise.
    let mapped: Vec<Value> = (0..1100).map(bind(json!(["idmap", "bind"]))).collect();
    let done = many(&mapped, "1024:4096", false);
    if done.stderr.contains("may not support id-mapped mounts") {
        eprintln!("skipped: {}", done.stderr);
    } else {
        assert!(done.good().starts_with("1100\n"));
    }
    let line = many(&binds, "256:256", true).refused();
    assert!(line.contains("too many open files; each mount takes a descriptor"), "{line}");
}
