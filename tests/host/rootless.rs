//! An ordinary user's containers, and those of root in a user namespace: on a host that delegates nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, finish, is_tare};

const USER: u32 = 4242;
/// The first of the user's subordinate ids.
const FIRST: u32 = 200_000;

/// The container of `tare spec --rootless`; its program is a line for the shell.
fn script(line: &str) -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    if !is_tare() {
        eprintln!("skipped: other runtimes find no state root here");
        return None;
    }
    give(bundle.path());
    bundle.user = Some(USER);
    bundle.tare(&["spec", "--rootless"]).silent();
    bundle.config = serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap();
    bundle.set("/process/terminal", json!(false)).set("/process/args", json!(["/bin/sh", "-c", line]));
    bundle.set("/root/readonly", json!(false));
    Some(bundle)
}

/// Everything in the bundle is the user's.
fn give(top: &Path) {
    let mut rest = vec![top.to_path_buf()];
    while let Some(path) = rest.pop() {
        lchown(&path, Some(USER), Some(USER)).unwrap();
        if !path.is_symlink() {
            rest.extend(fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path()));
        }
    }
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

fn add_mount(bundle: &mut Bundle, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
    bundle.set("/mounts/-", mount);
}

#[test]
fn a_life_without_root() {
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
        line.ends_with(
            "permission denied; the container is not started yet, and until then only root can enter it; \
        start it first"
        ),
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

#[test]
fn what_the_helper_refuses_is_said_in_its_words() {
    let Some(mut bundle) = subordinate("true") else { return };
    bundle.set("/linux/uidMappings/1/hostID", json!(FIRST + 1));
    let line = bundle.run().refused();
    assert!(line.starts_with("linux.uidMappings: newuidmap refuses to map the uids ("), "{line}");
    assert!(line.contains("not allowed") && line.contains("/etc/subuid must give these ids"), "{line}");
    bundle.assert_nothing_left();
}

#[test]
fn what_is_asked_and_cannot_be_had_is_an_error() {
    let cases: [(&str, Value, &str); 6] = [
        (
            "/process/user",
            json!({ "uid": 0, "gid": 0, "additionalGids": [0] }),
            "process.user.additionalGids: cannot set any additional groups in a rootless container",
        ),
        ("/linux/resources", json!({ "pids": { "limit": 10 } }), "linux.resources.pids.limit: needs cgroup /"),
        ("/linux/cgroupsPath", json!("/tare-rootless"), "linux.cgroupsPath: needs cgroup /tare-rootless"),
        ("/process/oomScoreAdj", json!(-500), "process.oomScoreAdj: write oom_score_adj: permission denied"),
        (
            "/process/rlimits",
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 1_000_000_000 }]),
            "process.rlimits[0]: set the rlimit: operation not permitted",
        ),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }]),
            "linux.namespaces: a rootless container needs a user namespace",
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
fn flags_of_the_hosts_mounts_stay() {
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

#[test]
fn the_runtime_that_the_container_sees_cannot_be_written() {
    let Some(bundle) = script("sleep 1000") else { return };
    bundle.create().silent();
    let exe = |bundle: &Bundle| fs::read_link(format!("/proc/{}/exe", bundle.pid())).unwrap().display().to_string();
    // Root's binary is out of the user's reach as it is.
    assert!(exe(&bundle).ends_with("/runtime"), "{}", exe(&bundle));
    let Some(bundle) = script("sleep 1000") else { return };
    let own = bundle.file("own");
    fs::copy(std::env::temp_dir().join("runtime"), &own).unwrap();
    chown(&own, Some(USER), Some(USER)).unwrap();
    bundle.write();
    finish(by(&own, &bundle, &["--root", "state", "create", &bundle.id])).silent();
    assert!(exe(&bundle).starts_with("/memfd:tare"), "{}", exe(&bundle));
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
fn root_of_a_user_namespace() {
    let Some(mut bundle) = script("cat /proc/self/uid_map; ls /dev/null; cat /proc/self/setgroups") else { return };
    // The container's own user namespace in that one.
    for map in ["uid", "gid"] {
        bundle.set(&format!("/linux/{map}Mappings"), json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    }
    let words = |done: Done| done.good().split_whitespace().map(str::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 0 1 /dev/null deny");
    // None of its own.
    share(&mut bundle, &["user"]);
    bundle.unset("/linux/uidMappings").unset("/linux/gidMappings");
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 4242 1 /dev/null deny");
    // A network namespace that this user namespace may have, too.
    bundle.set("/linux/namespaces/-", json!({ "type": "network" }));
    bundle.set("/mounts/5", json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] }));
    assert_eq!(words(unshared(&bundle, &["run", &bundle.id])), "0 4242 1 /dev/null deny");
    bundle.assert_nothing_left();
}
