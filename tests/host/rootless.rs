//! An ordinary user's containers, and those of root in a user namespace: on a host that delegates nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, busybox, copy_program, finish, give, is_tare, kernel_before, runtime};

const USER: u32 = 4242;
/// The first of the user's subordinate ids.
const FIRST: u32 = 200_000;

/// The container of `tare spec --rootless`; its program is a line for the shell.
pub fn script(line: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new();
    if !is_tare() {
        eprintln!("skipped: other runtimes find no state root here");
        return None;
    }
    give(bundle.path(), USER);
    bundle.user = Some(USER);
    bundle.tare(&["spec", "--rootless"]).silent();
    bundle.config = serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap();
    bundle.set("/process/terminal", json!(false)).set("/process/args", json!(["/bin/sh", "-c", line]));
    bundle.set("/root/readonly", json!(false));
    Some(bundle)
}

/// Maps 0 to the user and 1 to 65535 to subordinate ids, which /etc/subuid and /etc/subgid of this world give.
fn subordinate(line: &str) -> Option<Bundle> {
    let mut bundle = script(line)?;
    if !Path::new("/usr/bin/newuidmap").exists() {
        eprintln!("skipped: needs newuidmap");
        return None;
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        cover("/etc/subuid", &format!("tare-tester:{FIRST}:65535\n"));
        cover("/etc/subgid", &format!("tare-tester:{FIRST}:65535\n"));
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        cover("/etc/passwd", &format!("{passwd}tare-tester:x:{USER}:{USER}::/:/bin/sh\n"));
    });
    let map = json!([
        { "containerID": 0, "hostID": USER, "size": 1 },
        { "containerID": 1, "hostID": FIRST, "size": 65535 },
    ]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    Some(bundle)
}

/// Another text for a file, in this mount namespace alone.
fn cover(path: &str, text: &str) {
    let file = std::env::temp_dir().join(path.replace('/', "-"));
    fs::write(&file, text).unwrap();
    if !Path::new(path).exists() {
        fs::write(path, "").unwrap();
    }
    rustix::mount::mount_bind(&file, path).unwrap();
}

/// Without namespaces of these kinds.
fn share(bundle: &mut Bundle, kinds: &[&str]) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| !kinds.iter().any(|kind| namespace["type"] == *kind));
}

fn share_user_namespace(bundle: &mut Bundle) {
    share(bundle, &["user"]);
    bundle.unset("/linux/uidMappings").unset("/linux/gidMappings");
}

fn add_mount(bundle: &mut Bundle, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
    bundle.set("/mounts/-", mount);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_whole_lifecycle_works_without_root() {
    let Some(bundle) = script("id -u; id -g; tail -n1 /proc/self/uid_map; cat /proc/self/setgroups") else { return };
    let output = bundle.run().good();
    let words: Vec<_> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "0", "4242", "1", "deny"]);
    let Some(bundle) = script("sleep 1000") else { return };
    bundle.create().silent();
    assert_eq!(bundle.status(), "created");
    bundle.on("start").silent();
    assert_eq!(bundle.exec("id -u").good(), "0\n");
    let ps = bundle.tare(&["ps", &bundle.id, "--format", "json"]).good();
    assert_eq!(ps.trim(), format!("[{}]", bundle.pid()));
    for (command, words) in [(&["pause"][..], "has no cgroup to freeze"), (&["kill", "--all"], "--all: container")] {
        let line = bundle.tare(&[command, &[&*bundle.id]].concat()).refused();
        assert!(line.contains(words), "{line}");
    }
    bundle.tare(&["kill", "--all", &bundle.id, "KILL"]).silent();
    crate::bundle::eventually("it has stopped", || bundle.status() == "stopped");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn subordinate_ids_are_mapped_by_the_helpers() {
    let line = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id -u; id -G";
    let Some(mut bundle) = subordinate(line) else { return };
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9, 10] }));
    let output = bundle.run().good();
    let words: Vec<_> = output.split_whitespace().collect();
    let map = ["0", "4242", "1", "1", "200000", "65535"];
    assert_eq!(words, [&map[..], &map, &["allow", "7", "8", "9", "10"]].concat());
    let Some(mut bundle) = subordinate("sleep 1000") else { return };
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8 }));
    bundle.create().silent();
    let line = bundle.exec("id -u").refused();
    assert!(
        line.ends_with("permission denied; only root can enter a container that is not started yet; start it first"),
        "{line}"
    );
    bundle.on("start").silent();
    // The owner of the user namespace may do to processes of other users what root may.
    assert_eq!(bundle.exec("id -u").good(), "7\n");
    let ids = bundle.tare(&["exec", "--user", "3:4", "-g", "5", &bundle.id, "/bin/sh", "-c", "id -u; id -G"]).good();
    assert_eq!(ids, "3\n4 5\n");
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    crate::bundle::eventually("it has stopped", || bundle.status() == "stopped");
    bundle.on("delete").silent();
    bundle.assert_nothing_left();
}

/// The caller may not clone mounts: the process that mounts does so in a copy of the host's mount namespace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mounts_are_added_without_root() {
    for bundle in [script("sleep 1000"), subordinate("sleep 1000")] {
        let Some(bundle) = bundle else { return };
        fs::create_dir(bundle.file("source")).unwrap();
        fs::write(bundle.file("source/inside"), "from the host\n").unwrap();
        let mounts = |action: &str, list: &Value| {
            fs::write(bundle.file("mounts.json"), list.to_string()).unwrap();
            bundle.tare(&["mounts", action, &bundle.id, "mounts.json"])
        };
        bundle.begin();
        let list = json!([
            { "destination": "/data", "source": "source", "options": ["rbind", "ro"] },
            { "destination": "/one/file", "source": "source/inside", "options": ["rbind"] },
            { "destination": "/cache", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/p", "type": "proc", "source": "proc" },
            { "destination": "/again", "source": "rootfs/etc", "options": ["rbind"] },
        ]);
        mounts("add", &list).silent();
        assert_eq!(bundle.exec("cat /data/inside /one/file").good(), "from the host\n".repeat(2));
        assert!(bundle.exec("echo x >/data/x").code != 0);
        bundle.exec("echo x >/cache/x && cat /again/passwd >/dev/null && cat /p/1/stat >/dev/null").silent();
        let bad = json!([
            { "destination": "/late", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/b", "source": "missing", "options": ["rbind"] },
        ]);
        assert!(mounts("add", &bad).refused().starts_with("mounts[1].source: "));
        let mapped = json!([{ "destination": "/b", "source": "source", "options": ["rbind", "idmap"] }]);
        assert!(mounts("add", &mapped).refused().contains("an id-mapped mount needs CAP_SYS_ADMIN"));
        mounts("remove", &list).silent();
        assert_eq!(bundle.exec("ls /data /cache /late").code, 1);
        assert_eq!(bundle.exec("ls /data /cache").good(), "/cache:\n\n/data:\n");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn errors_of_the_helpers_are_passed_on() {
    let Some(mut bundle) = subordinate("true") else { return };
    bundle.set("/linux/uidMappings/1/hostID", json!(FIRST + 1));
    let line = bundle.run().refused();
    assert!(line.starts_with("linux.uidMappings: newuidmap refuses to map the uids ("), "{line}");
    assert!(line.contains("not allowed") && line.contains("/etc/subuid must give these ids"), "{line}");
    assert_eq!(bundle.errors(&[]), [line]);
    // Ids that stand in two lines.
    bundle.set("/linux/uidMappings/1/hostID", json!(FIRST)).set("/linux/uidMappings/1/size", json!(10));
    bundle.set("/linux/uidMappings/-", json!({ "containerID": 5, "hostID": FIRST + 20, "size": 1 }));
    let line = bundle.run().refused();
    assert!(line.contains("Invalid argument"), "{line}");
    assert_eq!(bundle.errors(&[]), [line]);
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_bundle_is_checked_as_all_users() {
    let Some(mut bundle) = subordinate("true") else { return };
    bundle.write();
    bundle.user = None;
    let users = format!("root (uid 0):\ntare check: would start\n\ntare-tester (uid {USER}):\n");
    assert_eq!(bundle.tare(&["check", "--all-users"]).good(), format!("{users}tare check: would start\n"));
    // What root may map, the user may not.
    bundle.set("/linux/uidMappings/1/hostID", json!(FIRST + 1)).write();
    let done = bundle.tare(&["check", "--all-users"]);
    assert_eq!(done.code, 1, "{done:?}");
    let of_user = done.stdout.strip_prefix(&users).unwrap_or_else(|| panic!("{done:?}"));
    assert!(of_user.starts_with("error: linux.uidMappings"), "{of_user}");
    // Nor may the user read what is root's.
    bundle.set("/linux/uidMappings/1/hostID", json!(FIRST)).write();
    chown(bundle.file("config.json"), Some(0), Some(0)).unwrap();
    fs::set_permissions(bundle.file("config.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let done = bundle.tare(&["check", "--all-users", "--json"]);
    let reports: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &reports[0]["user"], &reports[0]["errors"]), (1, &json!("root"), &json!([])), "{reports}");
    assert_eq!(
        (&reports[1]["uid"], &reports[1]["errors"][0]["code"]),
        (&json!(USER), &json!("config-file-failed")),
        "{reports}"
    );
    bundle.user = Some(USER);
    assert!(bundle.tare(&["check", "--all-users"]).refused().contains("needs root"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn unavailable_requests_are_errors() {
    let cases: [(&str, Value, &str); 5] = [
        (
            "/process/user",
            json!({ "uid": 0, "gid": 0, "additionalGids": [0] }),
            "process.user.additionalGids: cannot set any additional groups in a rootless container",
        ),
        ("/linux/resources", json!({ "pids": { "limit": 10 } }), "linux.resources.pids.limit: needs cgroup /"),
        ("/linux/cgroupsPath", json!("/tare-rootless"), "linux.cgroupsPath: needs cgroup /tare-rootless"),
        ("/process/oomScoreAdj", json!(-1000), "process.oomScoreAdj: write oom_score_adj: permission denied"),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1_000_000_000 }]),
            "process.rlimits[0]: set the rlimit: operation not permitted",
        ),
    ];
    for (pointer, value, words) in cases {
        let Some(mut bundle) = script("true") else { return };
        bundle.set(pointer, value);
        let line = bundle.run().refused();
        assert!(line.starts_with(words), "{line}");
        bundle.assert_nothing_left();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn filesystems_of_shared_namespaces_are_the_callers() {
    let Some(mut bundle) = script("ls -d /sys/kernel /proc/1 /dev/mqueue; cat /proc/1/comm; stat -c %g /dev/pts/ptmx")
    else {
        return;
    };
    bundle.set("/mounts/2/options", json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]));
    bundle.set("/mounts/5", json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] }));
    // Not every host has one.
    share(&mut bundle, if Path::new("/dev/mqueue").exists() { &["pid", "ipc"] } else { &["pid"] });
    let output = bundle.run().good();
    let comm = fs::read_to_string("/proc/1/comm").unwrap();
    assert_eq!(output, format!("/dev/mqueue\n/proc/1\n/sys/kernel\n{comm}0\n"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn flags_of_the_hosts_mounts_are_kept() {
    let Some(mut bundle) = script("grep -w /data /proc/self/mountinfo | cut -d' ' -f6") else { return };
    let data = bundle.file("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(bundle.file("rootfs/data")).unwrap();
    let flags =
        rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount("tmpfs", &data, "tmpfs", flags, None).unwrap();
    add_mount(&mut bundle, "/data", "bind", "data", &["rbind", "noexec"]);
    assert_eq!(bundle.run().good(), "ro,nosuid,nodev,noexec,relatime\n");
    for word in ["rw", "suid", "dev"] {
        bundle.set("/mounts/7/options", json!(["rbind", word]));
        let line = bundle.run().refused();
        assert!(line.starts_with("mounts[7].source: bind ") && line.contains("operation not permitted"), "{line}");
        assert!(line.contains("in a user namespace the flags that the host's mount has cannot be cleared"), "{line}");
    }
    rustix::mount::unmount(&data, rustix::mount::UnmountFlags::DETACH).unwrap();
    bundle.assert_nothing_left();
}

/// The file that the container's first process executes.
fn exe(bundle: &Bundle) -> String {
    fs::read_link(format!("/proc/{}/exe", bundle.pid())).unwrap().display().to_string()
}

/// A copy of the runtime that the user may write.
fn own_runtime(bundle: &Bundle) -> PathBuf {
    let own = bundle.file("own");
    copy_program(&runtime(), &own);
    chown(&own, Some(USER), Some(USER)).unwrap();
    own
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_runtime_that_the_container_sees_cannot_be_written() {
    let Some(bundle) = script("sleep 1000") else { return };
    bundle.create().silent();
    // Root's binary is out of the user's reach as it is.
    assert!(exe(&bundle).ends_with("/runtime"), "{}", exe(&bundle));
    let Some(bundle) = script("sleep 1000") else { return };
    let own = own_runtime(&bundle);
    bundle.write();
    finish(by(&own, &bundle, &["--root", "state", "create", &bundle.id])).silent();
    assert!(exe(&bundle).starts_with("/memfd:tare"), "{}", exe(&bundle));
}

/// With all rights of a user namespace, but not over the host's mounts.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_a_user_namespace_only_a_binary_that_can_be_written_is_copied() {
    let created_by = |bundle: &mut Bundle, runtime: &Path| {
        share_user_namespace(bundle);
        bundle.write();
        let state = bundle.root();
        let words = ["-Ur", runtime.to_str().unwrap(), "--root", state.to_str().unwrap(), "create", &bundle.id];
        finish(by(Path::new("/usr/bin/unshare"), bundle, &words)).silent();
        exe(bundle)
    };
    let Some(mut bundle) = script("sleep 1000") else { return };
    let executed = created_by(&mut bundle, &std::env::temp_dir().join("runtime"));
    assert!(executed.ends_with("/runtime"), "{executed}");
    let Some(mut bundle) = script("sleep 1000") else { return };
    let own = own_runtime(&bundle);
    let executed = created_by(&mut bundle, &own);
    assert!(executed.starts_with("/memfd:tare"), "{executed}");
}

/// A command of the user's in the bundle, with nothing in its environment but what engines leave there.
fn by(program: &Path, bundle: &Bundle, args: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.args(args).uid(USER).gid(USER).current_dir(bundle.path());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", bundle.path());
    command
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_state_is_in_the_users_runtime_directory() {
    let Some(bundle) = script("true") else { return };
    bundle.write();
    let runtime = std::env::temp_dir().join("runtime");
    finish(by(&runtime, &bundle, &["create", &bundle.id])).silent();
    let state = bundle.file("tare");
    assert!(state.join(&bundle.id).is_dir());
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o7777, 0o1700);
    finish(by(&runtime, &bundle, &["delete", "--force", &bundle.id])).silent();
    let mut without = by(&runtime, &bundle, &["create", &bundle.id]);
    without.env_remove("XDG_RUNTIME_DIR");
    let line = finish(without).refused();
    assert!(line.starts_with("make the state root /run/user/4242/tare: permission denied"), "{line}");
    assert!(line.ends_with("choose another directory with --root, or set XDG_RUNTIME_DIR"), "{line}");
}

/// In a new user namespace of the user's, with a mount namespace, as `podman unshare` makes it.
fn unshared(bundle: &Bundle, args: &[&str]) -> Done {
    bundle.write();
    let runtime = std::env::temp_dir().join("runtime");
    let state = bundle.root();
    let mut words = vec!["-Ur", "--mount", runtime.to_str().unwrap(), "--root", state.to_str().unwrap()];
    words.extend(args);
    finish(by(Path::new("/usr/bin/unshare"), bundle, &words))
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn root_of_a_user_namespace() {
    let Some(mut bundle) = script("cat /proc/self/uid_map; ls /dev/null; cat /proc/self/setgroups") else { return };
    // The container's own user namespace in that one.
    for map in ["uid", "gid"] {
        bundle.set(&format!("/linux/{map}Mappings"), json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    }
    let words = |done: Done| done.good().split_whitespace().map(str::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 0 1 /dev/null deny");
    // None of its own.
    share_user_namespace(&mut bundle);
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 4242 1 /dev/null deny");
    // A network namespace that this user namespace may have, too.
    bundle.set("/linux/namespaces/-", json!({ "type": "network" }));
    bundle.set("/mounts/5", json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] }));
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 4242 1 /dev/null deny");
    bundle.assert_nothing_left();
}

/// A cgroup that belongs to the user, as systemd gives one with Delegate=yes; the runtime is run in `caller` below it.
fn with_delegation(bundle: &Bundle) -> std::path::PathBuf {
    let top = Path::new("/sys/fs/cgroup").join(format!("{}-delegated", bundle.name));
    for cgroup in [top.clone(), top.join("caller")] {
        fs::create_dir(&cgroup).unwrap();
        chown(&cgroup, Some(USER), Some(USER)).unwrap();
        for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            chown(cgroup.join(file), Some(USER), Some(USER)).unwrap();
        }
    }
    top
}

/// The runtime's command, begun in a cgroup.
fn inside(cgroup: &Path, bundle: &Bundle, args: &[&str]) -> Done {
    use std::os::unix::process::CommandExt;
    let mut shell = Command::new("sh");
    let runtime = std::env::temp_dir().join("runtime");
    let line = "echo 0 >\"$0/cgroup.procs\" && exec setpriv --reuid 4242 --regid 4242 --clear-groups -- \"$@\"";
    shell.args(["-c", line]).arg(cgroup).arg(runtime).arg("--root").arg(bundle.root()).args(args);
    shell.current_dir(bundle.path()).env("TARE_TEST_MARK", &bundle.name).gid(0);
    finish(shell)
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_delegated_cgroup_is_used() {
    let Some(bundle) = script("sleep 1000") else { return };
    let top = with_delegation(&bundle);
    let caller = top.join("caller");
    let on = |command: &[&str]| inside(&caller, &bundle, &[command, &[&*bundle.id]].concat());
    bundle.write();
    on(&["create"]).silent();
    on(&["start"]).silent();
    let cgroup = top.join(&bundle.id);
    assert_eq!(fs::read_to_string(cgroup.join("cgroup.procs")).unwrap().trim(), bundle.pid().to_string());
    // As podman does it, which sends the device rules along.
    fs::write(bundle.file("resources"), r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap();
    give(&bundle.file("resources"), USER);
    inside(&caller, &bundle, &["update", "--resources=resources", &bundle.id]).silent();
    on(&["pause"]).silent();
    assert_eq!(bundle.status(), "paused");
    on(&["resume"]).silent();
    let exec = inside(&caller, &bundle, &["exec", &bundle.id, "/bin/tail", "-n1", "/proc/self/cgroup"]);
    assert_eq!(exec.good(), "0::/\n");
    // From elsewhere the kernel lets nobody in.
    let line = bundle.exec("true").refused();
    assert!(line.contains("not both in one subtree that is delegated to this user"), "{line}");
    on(&["kill", "--all"]).silent();
    on(&["delete", "--force"]).silent();
    assert!(!cgroup.exists());
    bundle.assert_nothing_left();
    for cgroup in [caller, top] {
        fs::remove_dir(cgroup).unwrap();
    }
}

/// Another user namespace in the container, which has no more than one id, a masked /proc and no capability outside.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_in_a_container() {
    let line = "cd /box && ./runtime --root /tmp/state run inner && ./runtime --root /tmp/state list --quiet";
    let Some(mut bundle) = script(line) else { return };
    let inner = bundle.file("rootfs/box");
    busybox::rootfs(&inner.join("rootfs"), &["proc", "dev", "sys", "tmp"], &["sh"]);
    copy_program(&runtime(), &inner.join("runtime"));
    let mut config = bundle.config.clone();
    for map in ["uid", "gid"] {
        config["linux"][format!("{map}Mappings")] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    }
    config["process"]["args"] = json!(["/bin/sh", "-c", "read map </proc/self/uid_map; echo $map; echo $$"]);
    fs::write(inner.join("config.json"), config.to_string()).unwrap();
    give(&inner, USER);
    // A procfs of which something is covered is not mounted again for a new pid namespace.
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    add_libraries(&mut bundle);
    let refused = bundle.run();
    assert!(refused.stderr.contains("needs CAP_SETFCAP, which the caller lacks"), "{refused:?}");
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}/-"), json!("CAP_SETFCAP"));
    }
    assert_eq!(bundle.run().good(), "0 0 1\n1\n");
    bundle.set("/linux/maskedPaths", json!(["/proc/keys"]));
    let done = bundle.run();
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("mounts[0]: mount proc on /proc: operation not permitted"), "{done:?}");
    assert!(done.stderr.contains("parts of the caller's /proc are covered"), "{done:?}");
    bundle.assert_nothing_left();
}

/// The binary of a test build is linked dynamically.
fn add_libraries(bundle: &mut Bundle) {
    for path in ["/lib", "/lib64", "/usr/lib"] {
        let target = bundle.file("rootfs").join(&path[1..]);
        if Path::new(path).is_dir() {
            fs::create_dir_all(target).unwrap();
            add_mount(bundle, path, "bind", path, &["rbind", "ro"]);
        }
    }
}

/// Network namespaces of engines belong to a user namespace that is joined as well.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn namespaces_of_a_joined_user_namespace() {
    let Some(first) = script("sleep 1000") else { return };
    let Some(mut second) = script("for n in user net ipc; do readlink /proc/self/ns/$n; done") else { return };
    let mut first = first;
    first.set("/linux/namespaces/-", json!({ "type": "network" }));
    first.create().silent();
    first.on("start").silent();
    let pid = first.pid();
    let path = |name: &str| format!("/proc/{pid}/ns/{name}");
    share(&mut second, &["user", "ipc"]);
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("user", "user")] {
        second.set("/linux/namespaces/-", json!({ "type": kind, "path": path(name) }));
    }
    second.unset("/linux/uidMappings").unset("/linux/gidMappings");
    let links = second.run().good();
    let expected = ["user", "net", "ipc"].map(|name| format!("{}\n", fs::read_link(path(name)).unwrap().display()));
    assert_eq!(links, expected.concat());
}

/// Like crun, which creates a user namespace whenever one is needed.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_config_for_root_is_run_with_the_ids_that_there_are() {
    let line = "cat /proc/self/uid_map; id -u; id -g; ls /sys/class/net";
    let Some(mut bundle) = subordinate(line) else { return };
    let root = Bundle::new();
    bundle.config["linux"] = root.config["linux"].clone();
    bundle.config["mounts"] = root.config["mounts"].clone();
    bundle.unset("/linux/cgroupsPath").set("/process/user", json!({ "uid": 7, "gid": 3 }));
    let output = bundle.run().good();
    let words: Vec<_> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "7", "7", "4242", "1", "8", "200007", "65528", "7", "3", "lo"]);
    let Some(mut bundle) = script("cat /proc/self/uid_map") else { return };
    share_user_namespace(&mut bundle);
    bundle.user = Some(USER + 1);
    give(bundle.path(), USER + 1);
    assert_eq!(bundle.run().good().split_whitespace().collect::<Vec<_>>(), ["0", "4243", "1"]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_callers_groups_may_stay() {
    use std::os::unix::process::CommandExt;
    let Some(mut bundle) = subordinate("grep Groups /proc/self/status") else { return };
    bundle.set("/annotations", json!({ "run.oci.keep_original_groups": "1" }));
    bundle.write();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "4242", "--regid", "4242", "--groups", "4242,77", "--"]);
    command.arg(std::env::temp_dir().join("runtime")).arg("--root").arg(bundle.root()).args(["run", &bundle.id]);
    command.current_dir(bundle.path()).gid(0).env("TARE_TEST_MARK", &bundle.name);
    // 77 is not mapped.
    let mut groups: Vec<_> = finish(command).good().split_whitespace().skip(1).map(str::to_string).collect();
    groups.sort();
    assert_eq!(groups, ["0", "65534"]);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn its_own_namespaces_permit_more() {
    let Some(mut bundle) =
        script("cut -d' ' -f1 /proc/uptime; cat /proc/sys/net/ipv4/ip_forward; ls -l /tmp/fifo | cut -c1-4")
    else {
        return;
    };
    for kind in ["time", "network"] {
        bundle.set("/linux/namespaces/-", json!({ "type": kind }));
    }
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100_000_000 } }));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.set("/linux/devices", json!([{ "path": "/tmp/fifo", "type": "p", "fileMode": 384 }]));
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the user namespace gives.
    bundle.set("/process/noNewPrivileges", json!(false));
    let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" });
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }));
    let output = bundle.run().good();
    let words: Vec<_> = output.split_whitespace().collect();
    assert!(words[0].parse::<f64>().unwrap() > 1e8, "{output}");
    assert_eq!(words[1..], ["1", "prw-"]);
    bundle.set("/process/args", json!(["/bin/mkdir", "/tmp/x"]));
    assert_ne!(bundle.run().code, 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn hooks_run_as_the_caller_and_as_the_containers_root() {
    let Some(mut bundle) = subordinate("cat /tmp/inside") else { return };
    let hook =
        |file: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; id -u >>{file}")] }]);
    let outside = bundle.file("outside").display().to_string();
    for point in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle.set("/hooks", bundle.config.get("hooks").cloned().unwrap_or(json!({})));
        bundle.set(&format!("/hooks/{point}"), hook(&outside));
    }
    bundle.set("/hooks/startContainer", hook("/tmp/inside"));
    assert_eq!(bundle.run().good(), "0\n");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "4242\n4242\n0\n4242\n4242\n");
}

/// Root of the container is none of the caller's own ids.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn subordinate_ids_alone() {
    let Some(mut bundle) = subordinate("id -u; cut -d' ' -f1 /proc/self/oom_score_adj") else { return };
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 65535 }]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o711)).unwrap();
    give(&bundle.file("rootfs"), FIRST);
    bundle.set("/process/oomScoreAdj", json!(500));
    assert_eq!(bundle.run().good(), "0\n500\n");
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"] }]);
    bundle.set("/hooks", json!({ "createContainer": hook, "startContainer": hook }));
    bundle.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    bundle.begin();
    assert_eq!(bundle.exec("id -u").good(), "7\n");
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_a_cgroup_of_its_own_it_sees_the_callers() {
    let Some(mut bundle) = script("tail -n1 /proc/self/cgroup; ls -d /sys/fs/cgroup/leaf; mkdir /sys/fs/cgroup/x")
    else {
        return;
    };
    share(&mut bundle, &["cgroup"]);
    let done = bundle.run();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(done.stdout, format!("{}\n/sys/fs/cgroup/leaf\n", own.lines().last().unwrap()));
    assert!(done.stderr.contains("Read-only file system"), "{done:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_required_cgroup_reports_the_kernels_error() {
    let Some(bundle) = script("true") else { return };
    bundle.write();
    let line = bundle.tare(&["--rootless", "false", "run", &bundle.id]).refused();
    assert!(line.starts_with("create cgroup /") && line.contains("permission denied"), "{line}");
    bundle.assert_nothing_left();
    for mode in ["true", "auto"] {
        bundle.tare(&["--rootless", mode, "run", &bundle.id]).silent();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_host_without_user_namespaces_is_named() {
    let Some(bundle) = script("true") else { return };
    bundle.write();
    let line = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" --root state run inner";
    let runtime = std::env::temp_dir().join("runtime");
    let words = ["-Ur", "sh", "-c", line, runtime.to_str().unwrap()];
    let line = finish(by(Path::new("/usr/bin/unshare"), &bundle, &words)).refused();
    let expected = "create the process with clone3: no space left on device; there are too many namespaces: see \
        /proc/sys/user/max_*_namespaces";
    assert_eq!(line, expected);
}

/// With hidepid=2 /proc shows a user no process of other ids, not even of the user's own container.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_hidden_in_proc_can_be_managed() {
    let Some(mut bundle) = subordinate("sleep 1000") else { return };
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8 }));
    bundle.write();
    let hidden = |arguments: &[&str]| {
        let line = "mount -t proc -o hidepid=2 proc /proc && \
            exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups -- \"$2\" --root \"$3\" $4";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", line, "sh", &USER.to_string()]).arg(runtime()).arg(bundle.root());
        command.arg(arguments.join(" ")).env("XDG_RUNTIME_DIR", "/nonexistent");
        finish(command)
    };
    let id = bundle.id.as_str();
    let path = bundle.path().to_str().unwrap();
    hidden(&["create", "--bundle", path, id]).silent();
    if kernel_before([6, 9]) {
        // Nothing but /proc tells such a kernel's processes apart.
        assert!(hidden(&["state", id]).good().contains("\"stopped\""));
        bundle.tare(&["delete", "--force", id]).silent();
        return bundle.assert_nothing_left();
    }
    assert!(hidden(&["state", id]).good().contains("\"created\""));
    hidden(&["start", id]).silent();
    assert!(hidden(&["state", id]).good().contains("\"running\""));
    hidden(&["delete", id]).refused();
    hidden(&["kill", id, "KILL"]).silent();
    crate::bundle::eventually("it has stopped", || hidden(&["state", id]).stdout.contains("\"stopped\""));
    hidden(&["delete", id]).silent();
    bundle.assert_nothing_left();
}

/// With the mappings of the config, and with those that tare adds; before `start` the kernel shows init to root alone.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn inspect_finds_no_differences() {
    for mapped in [true, false] {
        let Some(mut bundle) = script("sleep 1000") else { return };
        if !mapped {
            share_user_namespace(&mut bundle);
        }
        bundle.create().silent();
        let line = bundle.on("inspect").refused();
        assert!(line.ends_with("only root can inspect a container that is not started yet; start it first"), "{line}");
        bundle.on("start").silent();
        let report: Value = serde_json::from_str(&bundle.tare(&["inspect", "--json", &bundle.id]).good()).unwrap();
        assert_eq!(report["differences"], json!([]), "{report}");
        assert_eq!(report["user"][0], json!({ "name": "uid", "configured": 0, "effective": 0 }));
    }
}
