//! A container that manages the cgroups below its own, and where exec lands then.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::bundle::{Bundle, eventually, give, is_tare};

/// The host's ids that the container's are mapped to.
const FIRST: u32 = 100_000;

/// Mounts cgroup2 with `options`; the script runs as root of a new user namespace.
fn delegated(script: &str, options: &[&str]) -> Option<Bundle> {
    if !is_tare() {
        eprintln!("skipped: runc before 1.2 gives no cgroup away and cannot join the host's cgroup namespace");
        return None;
    }
    let mut bundle = Bundle::script(script);
    give_rootfs(&bundle);
    let kinds = ["pid", "mount", "uts", "ipc", "network", "cgroup", "user"].map(|kind| json!({ "type": kind }));
    bundle.set("/linux/namespaces", json!(kinds));
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    mount(&mut bundle, options);
    Some(bundle)
}

fn mount(bundle: &mut Bundle, options: &[&str]) {
    let mount = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options });
    bundle.set("/mounts/-", mount);
}

/// The way to the rootfs is open, and its files are the container's.
fn give_rootfs(bundle: &Bundle) {
    fs::set_permissions(bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    give(&bundle.file("rootfs"), FIRST);
}

fn owner(bundle: &Bundle, name: &str) -> u32 {
    fs::metadata(bundle.cgroup().join(name)).unwrap().uid()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_writable_cgroup_mount_makes_the_containers_root_the_owner() {
    let script = "cd /sys/fs/cgroup; mkdir below && echo 0 >below/cgroup.procs && cat /proc/self/cgroup | tail -n1 \
        >/tmp/done; sleep 1000";
    let Some(bundle) = delegated(script, &["nosuid"]) else { return };
    bundle.begin();
    assert_eq!(bundle.wait_file("tmp/done"), "0::/below\n");
    for name in [".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        assert_eq!(owner(&bundle, name), FIRST, "{name}");
    }
    for name in ["cgroup.events", "cgroup.freeze", "cgroup.max.depth", "cgroup.type"] {
        assert_eq!(owner(&bundle, name), 0, "{name}");
    }
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

/// As CRI-O does: the pod's user namespace is pinned, and each of its containers joins it by a path.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_container_of_a_joined_user_namespace_owns_its_cgroup() {
    let script = "mkdir /sys/fs/cgroup/below && echo made >/tmp/done; sleep 1000";
    let Some(pod) = delegated("sleep 1000", &["ro"]) else { return };
    pod.begin();
    for command in ["create", "run"] {
        let Some(mut bundle) = delegated(script, &["rw"]) else { return };
        let path = format!("/proc/{}/ns/user", pod.pid());
        let user = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
        user.iter_mut().find(|namespace| namespace["type"] == "user").unwrap()["path"] = json!(path);
        if command == "create" {
            bundle.begin();
        } else {
            bundle.run_with(&["--detach"]).silent();
        }
        assert_eq!(bundle.wait_file("tmp/done"), "made\n", "{command}");
        assert_eq!((owner(&bundle, "."), owner(&bundle, "cgroup.procs")), (FIRST, FIRST), "{command}");
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        bundle.assert_nothing_left();
    }
}

/// config-linux.md, "Cgroup ownership": files that are given away on a kernel without the list.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn without_the_kernels_list_three_files_change_hands() {
    const LIST: &str = "/sys/kernel/cgroup";
    let Some(mut bundle) = delegated("sleep 1000", &["nosuid"]) else { return };
    // A sysfs of a user namespace's own would show what is covered here.
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
    // In a mount namespace of the command's own.
    bundle.write();
    let tare = bundle.command(&["create", "--bundle", bundle.path().to_str().unwrap(), &bundle.id]);
    let mut command = std::process::Command::new("unshare");
    let line = format!("mount -t tmpfs none {LIST} && exec \"$@\"");
    command.args(["--mount", "sh", "-ec", &line, "sh"]).arg(tare.get_program()).args(tare.get_args());
    command.current_dir(bundle.path());
    crate::bundle::finish(command).silent();
    for name in [".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        assert_eq!(owner(&bundle, name), FIRST, "{name}");
    }
    for name in ["cgroup.freeze", "cgroup.max.depth"] {
        assert_eq!(owner(&bundle, name), 0, "{name}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_readonly_cgroup_mount_or_none_gives_nothing_away() {
    let Some(mut bundle) = delegated("sleep 1000", &["ro"]) else { return };
    bundle.begin();
    assert_eq!(owner(&bundle, "."), 0);
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.set("/mounts/4/options", json!(["rw"]));
    // Nor does a writable one that shows the host's cgroups.
    let kinds = ["pid", "mount", "uts", "ipc", "network", "user"].map(|kind| json!({ "type": kind }));
    bundle.set("/linux/namespaces", json!(kinds));
    bundle.begin();
    assert_eq!(owner(&bundle, "."), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_owner_is_the_user_of_the_process() {
    let Some(mut bundle) = delegated("mkdir /sys/fs/cgroup/mine && echo yes >/tmp/done; sleep 1000", &["nosuid"])
    else {
        return;
    };
    let kinds = ["pid", "mount", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    bundle.set("/linux/namespaces", json!(kinds)).unset("/linux/uidMappings").unset("/linux/gidMappings");
    fs::set_permissions(bundle.file("rootfs/tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    bundle.set("/process/user", json!({ "uid": 1234, "gid": 0 }));
    bundle.begin();
    bundle.wait_file("tmp/done");
    assert_eq!((owner(&bundle, "cgroup.procs"), owner(&bundle, "cgroup.freeze")), (1234, 0));
}

/// A root that has no user namespace, like most that systemd runs in.
fn manager(script: &str) -> Bundle {
    let mut bundle = Bundle::script(&format!("cd /sys/fs/cgroup; {script}; echo done >/tmp/done; sleep 1000"));
    mount(&mut bundle, &["nosuid"]);
    bundle.begin();
    bundle.wait_file("tmp/done");
    bundle
}

fn own_cgroup(bundle: &Bundle, options: &[&str]) -> String {
    let command = ["/bin/cat", "/proc/self/cgroup"];
    let done = bundle.tare(&[&["exec"], options, &[&*bundle.id], &command].concat()).good();
    done.lines().last().unwrap().to_string()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_joins_the_cgroup_of_init_where_the_containers_takes_no_processes() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let Some(controller) = controllers.split_whitespace().next() else {
        eprintln!("skipped: this host's cgroup v2 has no controller");
        return;
    };
    let script =
        format!("mkdir -p a/init && echo 0 >a/init/cgroup.procs && echo +{controller} >cgroup.subtree_control");
    let bundle = manager(&script);
    assert_eq!(fs::read_to_string(bundle.cgroup().join("cgroup.subtree_control")).unwrap().trim(), controller);
    assert_eq!(own_cgroup(&bundle, &[]), "0::/a/init");
    assert_eq!(own_cgroup(&bundle, &["--cgroup", "/a/init"]), "0::/a/init");
    // What was asked for has no replacement.
    let refused = bundle.tare(&["exec", "--cgroup", "/", &bundle.id, "/bin/true"]).refused();
    if is_tare() {
        let path = format!("/{}", bundle.name);
        assert_eq!(
            refused,
            format!(
                "create the process in cgroup {path}: device or resource busy; \
                 it enables controllers for its children, so it cannot contain processes"
            )
        );
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_in_a_container_with_threaded_cgroups() {
    let bundle = manager("mkdir t && echo threaded >t/cgroup.type && mkdir u");
    assert_eq!(fs::read_to_string(bundle.cgroup().join("cgroup.type")).unwrap(), "domain threaded\n");
    assert_eq!(own_cgroup(&bundle, &[]), "0::/");
    assert_eq!(own_cgroup(&bundle, &["--cgroup", "t"]), "0::/t");
    let refused = bundle.tare(&["exec", "--cgroup", "u", &bundle.id, "/bin/true"]).refused();
    if is_tare() {
        assert!(
            refused.ends_with("its cgroup.type is \"domain invalid\", since a cgroup above it has threaded ones"),
            "{refused}"
        );
    }
    bundle.tare(&["delete", "--force", &bundle.id]).silent();
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn exec_into_a_sub_cgroup() {
    let bundle = manager("mkdir -p a/b frozen && echo 1 >frozen/cgroup.freeze");
    eventually("the sub-cgroup is frozen", || {
        fs::read_to_string(bundle.cgroup().join("frozen/cgroup.events")).unwrap().contains("frozen 1")
    });
    assert_eq!(own_cgroup(&bundle, &["--cgroup", "a/b"]), "0::/a/b");
    let refused = |below: &str| bundle.tare(&["exec", "--cgroup", below, &bundle.id, "/bin/true"]).refused();
    for (below, words) in [
        ("nothing", "--cgroup: the container has no sub-cgroup \"nothing\""),
        ("../..", "../.. is not a sub cgroup path: it leads out of the container's cgroup"),
        ("frozen", "--cgroup: the sub-cgroup \"frozen\" is frozen; write 0 to its cgroup.freeze first"),
    ] {
        // runc would wait in the frozen one for ever.
        if is_tare() {
            assert_eq!(refused(below), words);
        }
    }
}

/// The container's user namespace has no right over the host's cgroup namespace.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_new_user_namespace_with_a_joined_cgroup_namespace() {
    let Some(mut bundle) = delegated("readlink /proc/self/ns/cgroup; cat /proc/self/cgroup", &["ro"]) else { return };
    let mut kinds = ["pid", "mount", "uts", "ipc", "network", "user"].map(|kind| json!({ "type": kind })).to_vec();
    kinds.push(json!({ "type": "cgroup", "path": "/proc/self/ns/cgroup" }));
    bundle.set("/linux/namespaces", json!(kinds));
    let output = bundle.run().good();
    let own = fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_eq!(output.lines().next(), own.to_str());
    assert!(output.ends_with(&format!("0::/{}\n", bundle.name)), "{output}");
    bundle.set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.begin();
    let inside = bundle.exec("readlink /proc/self/ns/cgroup; tail -n1 /proc/self/cgroup").good();
    assert_eq!(inside, format!("{}\n0::/{}\n", own.display(), bundle.name));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn init_moves_to_the_cgroup_that_an_annotation_delegates() {
    let script = "cat /proc/self/cgroup >/tmp/own; mkdir /sys/fs/cgroup/below/leaf && echo >/tmp/done; sleep 1000";
    let Some(mut bundle) = delegated(script, &["nosuid"]) else { return };
    bundle.set("/annotations", json!({ "run.oci.delegate-cgroup": "below" }));
    for detached_run in [false, true] {
        if detached_run {
            bundle.run_with(&["--detach"]).silent();
        } else {
            bundle.begin();
        }
        bundle.wait_file("tmp/done");
        let own = fs::read_to_string(bundle.file("rootfs/tmp/own")).unwrap();
        assert_eq!(own.lines().last(), Some("0::/below"), "the root of its namespace is the container's cgroup");
        assert_eq!((owner(&bundle, "below"), owner(&bundle, "below/cgroup.procs")), (FIRST, FIRST));
        let read = |name: &str| fs::read_to_string(bundle.cgroup().join(name)).unwrap();
        assert_eq!(read("cgroup.subtree_control"), read("cgroup.controllers"));
        // Commands on the container find it where it is.
        assert_eq!(bundle.exec("tail -n1 /proc/self/cgroup").good(), "0::/below\n");
        bundle.on("pause").silent();
        assert_eq!(bundle.status(), "paused");
        bundle.on("resume").silent();
        assert!(bundle.on("ps").good().contains("sleep"));
        let pid = bundle.pid();
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
        crate::bundle::reap(pid);
        bundle.assert_nothing_left();
        fs::remove_file(bundle.file("rootfs/tmp/done")).unwrap();
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_cgroup_cannot_be_delegated_without_a_cgroup_or_by_a_path() {
    if !is_tare() {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.set("/annotations", json!({ "run.oci.delegate-cgroup": "a/b" }));
    assert!(bundle.run().refused().contains("must be the name of one directory, without a dot"));
    bundle.set("/annotations", json!({ "run.oci.delegate-cgroup": "below" })).write();
    let said = bundle.tare(&["--cgroup-manager", "disabled", "run", &bundle.id]).refused();
    assert!(said.contains("annotations[\"run.oci.delegate-cgroup\"]: the container has no cgroup"), "{said}");
    bundle.assert_nothing_left();
}
