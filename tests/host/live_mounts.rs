//! `mounts add` and `mounts remove`: mounts of a container that exists, all of what is asked or nothing.
//!
//! crun has the commands too, with other errors and other rules for what can be removed: tare's alone are tested.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, is_tare, reap};

/// A container that sleeps; `None` if the runtime under test is another one.
fn sleeper(configure: impl FnOnce(&mut Bundle)) -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: the command is tare's");
        return None;
    }
    let mut bundle = Bundle::script("sleep 1000");
    fs::create_dir(bundle.file("source")).unwrap();
    fs::write(bundle.file("source/inside"), "from the host\n").unwrap();
    configure(&mut bundle);
    bundle.begin();
    Some(bundle)
}

fn mounts(bundle: &Bundle, action: &str, list: &Value) -> Done {
    let file = bundle.file("mounts.json");
    fs::write(&file, list.to_string()).unwrap();
    bundle.tare(&["mounts", action, &bundle.id, file.to_str().unwrap()])
}

fn bind(destination: &str, source: &str, more: &[&str]) -> Value {
    let options = [&["bind"], more].concat();
    json!({ "destination": destination, "source": source, "options": options })
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// The mounts that init has on a destination: options and type.
fn on(bundle: &Bundle, destination: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", bundle.pid())).unwrap();
    let here = table.lines().filter(|line| line.split(' ').nth(4) == Some(destination));
    here.map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let dash = fields.iter().position(|field| *field == "-").unwrap();
        format!("{} {}", fields[5], fields[dash + 1])
    })
    .collect()
}

fn recorded(bundle: &Bundle) -> usize {
    let text = fs::read_to_string(bundle.root().join(&bundle.id).join("record")).unwrap();
    let record: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    record["mounts"].as_array().map_or(0, Vec::len)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts_come_and_go() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    let list = json!([
        bind("/data", "source", &["ro", "nosuid"]),
        bind("/etc/one", "source/inside", &[]),
        tmpfs("/cache/deep", &["size=64k", "mode=700", "noexec"]),
        tmpfs("/late", &["ro"]),
        { "destination": "/tree", "source": "source", "options": ["rbind", "rro", "rprivate"] },
    ]);
    mounts(&bundle, "add", &list).silent();
    assert_eq!(recorded(&bundle), 5);
    assert_eq!(bundle.exec("cat /data/inside /etc/one /tree/inside").good(), "from the host\n".repeat(3));
    assert!(bundle.exec("echo x >/data/x").code != 0 && bundle.exec("echo x >/late/x").code != 0);
    assert!(bundle.exec("echo x >/tree/x").code != 0);
    bundle.exec("echo x >/cache/deep/x").silent();
    assert_eq!(bundle.exec("stat -c %a /cache/deep").good(), "700\n");
    assert!(on(&bundle, "/data")[0].contains("ro,nosuid"), "{:?}", on(&bundle, "/data"));
    assert!(on(&bundle, "/cache/deep")[0].contains("noexec"));
    mounts(&bundle, "remove", &json!([{ "destination": "/data" }, { "destination": "/cache/deep/../deep/" }])).silent();
    assert_eq!((on(&bundle, "/data").len(), on(&bundle, "/cache/deep").len(), on(&bundle, "/tree").len()), (0, 0, 1));
    assert_eq!(bundle.exec("ls /data /cache/deep").good(), "/cache/deep:\n\n/data:\n");
    mounts(
        &bundle,
        "remove",
        &json!([{ "destination": "/etc/one" }, { "destination": "/tree" }, { "destination": "/late" }]),
    )
    .silent();
    assert_eq!(recorded(&bundle), 0);
    assert_eq!(bundle.exec("cat /etc/one").good(), "");
    let name = bundle.path().display().to_string();
    let hosts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!hosts.contains(&name), "the host has a mount of the container's");
    assert_eq!(bundle.status(), "running");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn created_and_paused_containers_get_mounts() {
    if !is_tare() {
        return eprintln!("skipped: the command is tare's");
    }
    let bundle = Bundle::script("cat /data/inside >/tmp/out; sleep 1000");
    fs::create_dir(bundle.file("source")).unwrap();
    fs::write(bundle.file("source/inside"), "in time\n").unwrap();
    bundle.create().silent();
    mounts(&bundle, "add", &json!([bind("/data", "source", &[])])).silent();
    bundle.on("start").silent();
    assert_eq!(bundle.wait_file("tmp/out"), "in time\n");
    bundle.on("pause").silent();
    mounts(&bundle, "add", &json!([tmpfs("/cache", &[])])).silent();
    assert_eq!(on(&bundle, "/cache").len(), 1);
    let line = mounts(&bundle, "add", &json!([tmpfs("/b", &[]), tmpfs("/etc", &["tmpcopyup"])])).refused();
    assert!(line.starts_with("mounts[1].options: \"tmpcopyup\" copies files"), "{line}");
    assert_eq!(on(&bundle, "/b").len(), 0);
    mounts(&bundle, "remove", &json!([{ "destination": "/cache" }])).silent();
    assert_eq!(bundle.status(), "paused");
    bundle.on("resume").silent();
    mounts(&bundle, "add", &json!([tmpfs("/etc", &["tmpcopyup"])])).silent();
    assert!(bundle.exec("cat /etc/passwd").good().starts_with("root:"));
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    for action in ["add", "remove"] {
        let line = mounts(&bundle, action, &json!([tmpfs("/c", &[])])).refused();
        let expected = format!("the mounts of container \"{}\" cannot be changed: container not running", bundle.id);
        assert_eq!(line, expected);
    }
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
    assert!(bundle.tare(&["mounts", "add", "nobody", "mounts.json"]).refused().contains("does not exist"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn one_that_fails_takes_the_others_back() {
    let Some(bundle) = sleeper(|bundle| fs::write(bundle.file("rootfs/file"), "").unwrap()) else { return };
    let id = bundle.id.clone();
    for (last, line) in [
        (
            tmpfs("/c", &["size=x"]),
            "mounts[2].options[0]: mount tmpfs on /c: invalid argument (tmpfs: Bad value for 'size')",
        ),
        (bind("/c", "missing", &[]), "mounts[2].source: "),
        (bind("/file", "source", &[]), "mounts[2]: "),
        (tmpfs("/file/below", &[]), "mounts[2].destination: "),
        (tmpfs("/proc/1", &[]), "mounts[2].destination: \"/proc/1\" cannot be mounted on"),
        (json!({ "destination": "/c", "type": "nonsense" }), "mounts[2]: mount nonsense on /c: "),
    ] {
        let list = json!([bind("/a", "source", &[]), bind("/b", "source/inside", &[]), last]);
        let refused = mounts(&bundle, "add", &list).refused();
        assert!(refused.starts_with(line), "{refused}");
        assert_eq!((on(&bundle, "/a").len(), on(&bundle, "/b").len(), recorded(&bundle)), (0, 0, 0), "{refused}");
    }
    // In a mount that has just been added.
    let list = json!([tmpfs("/a", &[]), tmpfs("/a/b", &[]), tmpfs("/a/b", &["nonsense"])]);
    assert!(mounts(&bundle, "add", &list).refused().starts_with("mounts[2].options[0]: "));
    assert_eq!((on(&bundle, "/a").len(), on(&bundle, "/a/b").len(), recorded(&bundle)), (0, 0, 0));
    assert_eq!(bundle.tare(&["state", &id]).code, 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn only_what_was_added_is_removed() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    mounts(&bundle, "add", &json!([tmpfs("/a", &[]), tmpfs("/dev", &["size=1m"])])).silent();
    assert_eq!(on(&bundle, "/dev").len(), 2);
    for destination in ["/proc", "/sys", "/nowhere", "/", "/a/b"] {
        let list = json!([{ "destination": "/a" }, { "destination": destination }]);
        let line = mounts(&bundle, "remove", &list).refused();
        let expected = format!("mounts[1].destination: no mount on {destination} was added with `tare mounts add`");
        assert_eq!(line, expected);
        assert_eq!(on(&bundle, "/a").len(), 1);
    }
    // config.json does not have them, so that a restored container would lack them.
    let line = bundle.on("checkpoint").refused();
    assert!(line.contains("cannot be checkpointed: it got a mount on /a; remove it first"), "{line}");
    mounts(&bundle, "remove", &json!([{ "destination": "/dev" }])).silent();
    assert_eq!(on(&bundle, "/dev").len(), 1);
    let line = mounts(&bundle, "remove", &json!([{ "destination": "/dev" }])).refused();
    assert!(line.contains("no mount on /dev was added"), "{line}");
    bundle.exec("echo x >/dev/null").silent();
}

/// Of two on one destination the later one goes first. One that is covered by a mount of somebody else stays.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts_on_one_destination_are_a_stack() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    mounts(&bundle, "add", &json!([tmpfs("/a", &[]), tmpfs("/a", &["ro"])])).silent();
    assert!(bundle.exec("echo x >/a/x").code != 0);
    mounts(&bundle, "remove", &json!([{ "destination": "/a" }])).silent();
    bundle.exec("echo x >/a/x").silent();
    mounts(&bundle, "add", &json!([tmpfs("/a", &["ro"]), tmpfs("/a/b", &[])])).refused();
    mounts(&bundle, "add", &json!([tmpfs("/a", &[])])).silent();
    mounts(&bundle, "remove", &json!([{ "destination": "/a" }, { "destination": "/a" }])).silent();
    assert_eq!((on(&bundle, "/a").len(), recorded(&bundle)), (0, 0));
    mounts(&bundle, "add", &json!([tmpfs("/a", &[])])).silent();
    let inside = |words: &[&str]| {
        let options = ["exec", "--cap", "CAP_SYS_ADMIN", &bundle.id, "/bin/busybox"];
        bundle.tare(&[&options[..], words].concat())
    };
    inside(&["mount", "-t", "tmpfs", "covering", "/a"]).silent();
    let line = mounts(&bundle, "remove", &json!([{ "destination": "/a" }])).refused();
    assert_eq!(line, "mounts[0].destination: another mount covers the one on /a; unmount that one first");
    inside(&["umount", "/a"]).silent();
    // Who may mount may unmount: what is gone is forgotten.
    inside(&["umount", "/a"]).silent();
    mounts(&bundle, "remove", &json!([{ "destination": "/a" }])).silent();
    assert_eq!(recorded(&bundle), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mistakes_are_named() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    for (list, line) in [
        (json!({}), "mounts: a list is expected, in the form of `mounts` in config.json"),
        (
            json!([tmpfs("/a", &[]), tmpfs("/", &[])]),
            "mounts[1].destination: the root of a container that exists cannot be covered: its processes would not see it",
        ),
        (json!([{ "type": "tmpfs" }]), "mounts[0]: \"destination\" is missing"),
        (json!([tmpfs("", &[])]), "mounts[0].destination: a mount needs a destination"),
        (
            json!([bind("/a", "source", &["ro", "nosiud"])]),
            "mounts[0].options[2]: unknown option \"nosiud\" of a bind mount; did you mean \"nosuid\"?",
        ),
        (
            json!([{ "destination": "/proc", "options": ["remount", "ro"] }]),
            "mounts[0].options: \"remount\" adds no mount; remove the mount and add it with the other options",
        ),
    ] {
        assert_eq!(mounts(&bundle, "add", &list).refused(), line);
    }
    assert_eq!(recorded(&bundle), 0);
    let done = mounts(&bundle, "add", &json!([{ "destination": "/a", "type": "tmpfs", "optoins": [] }]));
    assert_eq!(done.code, 0);
    assert!(done.stderr.starts_with("tare: warning: mounts[0].optoins: "), "{}", done.stderr);
    mounts(&bundle, "add", &json!([])).silent();
    let mut command = bundle.command(&["mounts", "remove", &bundle.id, "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"[{"destination": "a"}]"#).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(on(&bundle, "/a").len(), 0);
    let help = bundle.tare(&["mounts", "--help"]).good();
    assert!(help.contains("<ACTION> <ID> <FILE>") && help.contains("[possible values: add, remove]"), "{help}");
    let line = bundle.tare(&["mounts", "list", &bundle.id, "x"]).refused();
    assert!(line.contains("\"list\" is not one of add, remove"), "{line}");
}

/// New filesystems are those of the container's namespaces, not of the host's.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn filesystems_show_the_containers_namespaces() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    let mount = |destination: &str, kind: &str| json!({ "destination": destination, "type": kind, "source": kind, "options": ["ro"] });
    let list = json!([mount("/p", "proc"), mount("/s", "sysfs"), mount("/c", "cgroup"), mount("/q", "mqueue")]);
    mounts(&bundle, "add", &list).silent();
    assert_eq!(bundle.exec("cut -d' ' -f2 </p/1/stat").good(), "(sleep)\n");
    assert_eq!(bundle.exec("ls /s/class/net").good(), "lo\n");
    let procs = bundle.exec("cat /c/cgroup.procs").good();
    assert_eq!(procs.lines().next(), Some("1"), "{procs}");
    assert_eq!(bundle.exec("ls /q").good(), "");
    let numbers =
        json!([{ "destination": "/p" }, { "destination": "/s" }, { "destination": "/c" }, { "destination": "/q" }]);
    mounts(&bundle, "remove", &numbers).silent();
    assert_eq!(recorded(&bundle), 0);
}

/// In a user namespace the mounts are the container's root's, and ids are mapped where that is asked.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn user_namespaces() {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let Some(bundle) = sleeper(Bundle::map_ids) else { return };
    let list = json!([
        bind("/mine/a", "source", &[]),
        bind("/mapped", "source", &["idmap"]),
        tmpfs("/cache", &[]),
        { "destination": "/p", "type": "proc", "source": "proc" },
        { "destination": "/own", "source": "source", "options": ["bind"], "uidMappings": map, "gidMappings": map },
        bind("/again", "rootfs/etc", &["idmap"]),
    ]);
    // A mount that is mapped twice is refused by the kernel: the rootfs is not mapped here.
    mounts(&bundle, "add", &list).silent();
    assert_eq!(
        bundle.exec("stat -c %u:%g /mine/a/inside /mapped/inside /own/inside /cache").good(),
        "65534:65534\n0:0\n0:0\n0:0\n"
    );
    assert_eq!(bundle.exec("cut -d' ' -f2 </p/1/stat").good(), "(sleep)\n");
    // What had to be made for a mount is the container's own.
    assert_eq!(fs::metadata(bundle.file("rootfs/mine")).unwrap().uid(), 100_000);
    let all = json!([
        { "destination": "/mine/a" }, { "destination": "/mapped" }, { "destination": "/cache" }, { "destination": "/p" },
        { "destination": "/own" }, { "destination": "/again" },
    ]);
    mounts(&bundle, "remove", &all).silent();
    assert_eq!((on(&bundle, "/mapped").len(), recorded(&bundle)), (0, 0));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_without_mounts_of_its_own_is_refused() {
    let Some(bundle) = sleeper(|bundle| {
        bundle.without_namespace("mount");
        bundle.set("/mounts", json!([]));
    }) else {
        return;
    };
    let line = mounts(&bundle, "add", &json!([tmpfs("/a", &[])])).refused();
    assert!(line.ends_with("it has no mount namespace of its own"), "{line}");
}

/// tare was killed between the record and the mount, or between the mount and the record of its number.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_interrupted_addition_is_completed_by_removing() {
    let Some(bundle) = sleeper(|_| {}) else { return };
    mounts(&bundle, "add", &json!([tmpfs("/a", &[]), tmpfs("/b", &[]), tmpfs("/sys", &[])])).silent();
    let forget = |mounts: &Value| {
        let mut mounts = mounts.clone();
        mounts
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|mount| drop(mount.as_object_mut().unwrap().remove("number")));
        mounts.as_array_mut().unwrap().push(json!({ "destination": "/never" }));
        mounts
    };
    bundle.edit_record("mounts", forget);
    mounts(&bundle, "remove", &json!([{ "destination": "/a" }, { "destination": "/never" }])).silent();
    assert_eq!((on(&bundle, "/a").len(), on(&bundle, "/b").len(), recorded(&bundle)), (0, 1, 2));
    // It cannot be told from that of the config.
    let line = mounts(&bundle, "remove", &json!([{ "destination": "/b" }, { "destination": "/sys" }])).refused();
    assert!(line.starts_with("mounts[1].destination: whether /sys was mounted on is unknown"), "{line}");
    assert_eq!((on(&bundle, "/b").len(), on(&bundle, "/sys").len()), (1, 2));
    mounts(&bundle, "remove", &json!([{ "destination": "/b" }])).silent();
    assert_eq!(on(&bundle, "/b").len(), 0);
}
