//! tare in a container of tare's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::{Bundle, busybox, copy_program, is_tare, kernel_before, runtime};

/// A container that executes `line` in a directory with the runtime and a rootfs.
fn outer(line: &str) -> Option<(Bundle, PathBuf)> {
    let mut bundle = Bundle::script(&format!("cd /box && {line}"));
    if !is_tare() {
        eprintln!("skipped: other runtimes have a program or rules of their own for this");
        return None;
    }
    let inner = bundle.file("rootfs/box");
    busybox::rootfs(&inner.join("rootfs"), &["proc", "dev", "sys", "tmp"], &["sh", "sleep", "id", "cat"]);
    copy_program(&runtime(), &inner.join("runtime"));
    // Of a runtime that was not linked statically.
    for path in ["/lib", "/lib64", "/usr/lib"] {
        if Path::new(path).is_dir() {
            fs::create_dir_all(bundle.file("rootfs").join(&path[1..])).unwrap();
            let mount = json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"] });
            bundle.set("/mounts/-", mount);
        }
    }
    Some((bundle, inner))
}

/// What `docker run --privileged` gives: every capability, every device, a writable cgroup mount.
fn privileged(bundle: &mut Bundle) {
    let all = "SYS_ADMIN BPF NET_ADMIN SETPCAP SETUID SETGID CHOWN DAC_OVERRIDE MKNOD KILL SYS_CHROOT NET_BIND_SERVICE";
    let all: Vec<_> = all.split(' ').map(|name| format!("CAP_{name}")).collect();
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(all));
    }
    bundle.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
    let options = json!(["nosuid"]);
    let mount = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options });
    bundle.set("/mounts/-", mount);
}

/// As in `docker run --privileged`.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_a_privileged_container() {
    let line = "./runtime --root /tmp/state run --detach --pid-file pid inner && \
        ./runtime --root /tmp/state exec inner /bin/sh -c 'echo inside' && \
        ./runtime --root /tmp/state delete --force inner && ls -d /sys/fs/cgroup/tare/inner";
    let Some((mut bundle, inner)) = outer(line) else { return };
    let mut config = bundle.config.clone();
    config["process"]["args"] = json!(["/bin/sleep", "1000"]);
    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "bind");
    config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    fs::write(inner.join("config.json"), config.to_string()).unwrap();
    privileged(&mut bundle);
    let done = bundle.run();
    assert_eq!(done.stdout, "inside\n", "{done:?}");
    assert!(done.stderr.contains("/sys/fs/cgroup/tare/inner: No such file"), "{done:?}");
    bundle.assert_nothing_left();
}

/// Podman, among others, enables controllers above its own processes, which makes that cgroup one of threads.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn right_below_a_threaded_root_of_a_cgroup_namespace() {
    let line = "/bin/busybox mkdir /sys/fs/cgroup/t && echo threaded >/sys/fs/cgroup/t/cgroup.type && \
        cat /sys/fs/cgroup/cgroup.type && \
        ./runtime --root /tmp/state run inner";
    let Some((mut bundle, inner)) = outer(line) else { return };
    let mut config = bundle.config.clone();
    config["process"]["args"] = json!(["/bin/sh", "-c", "echo inside"]);
    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "bind");
    config["linux"]["cgroupsPath"] = json!("/inner");
    fs::write(inner.join("config.json"), config.to_string()).unwrap();
    privileged(&mut bundle);
    assert_eq!(bundle.run().good(), "domain threaded\ninside\n");
    bundle.assert_nothing_left();
}

/// As in `docker run --security-opt seccomp=unconfined`, as root and as a user, with and without masked paths.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn in_a_container_that_may_only_make_user_namespaces() {
    for user in [0, 1000] {
        for masked in [false, true] {
            let line = "./runtime spec --rootless && \
                /bin/busybox sed -i 's/\"terminal\": true/\"terminal\": false/; s|\"sh\"|\"/bin/id\"|' config.json && \
                ./runtime --root /tmp/state run inner; echo $? $(ls /tmp/state)";
            let Some((mut bundle, inner)) = outer(line) else { return };
            for path in [&inner, &bundle.file("rootfs/tmp")] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
            }
            bundle.set("/process/user", json!({ "uid": user, "gid": user }));
            if user == 0 {
                // Docker has it among its capabilities; the kernel wants it of who maps the host's root.
                for set in ["bounding", "effective", "permitted"] {
                    bundle.set(&format!("/process/capabilities/{set}/-"), json!("CAP_SETFCAP"));
                }
            }
            bundle.set("/linux/maskedPaths", if masked { json!(["/proc/keys"]) } else { json!([]) });
            let done = bundle.run();
            if masked {
                assert_eq!(done.stdout, "1\n", "{done:?}");
                let remedy =
                    "run that one with unmasked paths, for example with docker's --security-opt systempaths=unconfined";
                // Before Linux 6.18 the kernel says it in its log alone.
                let says_why = done.stderr.contains("Mount too revealing") || kernel_before([6, 18]);
                assert!(says_why && done.stderr.trim().ends_with(remedy), "{done:?}");
            } else {
                assert_eq!(done.stdout, "uid=0 gid=0\n0\n", "{done:?}");
            }
            bundle.assert_nothing_left();
        }
    }
}
