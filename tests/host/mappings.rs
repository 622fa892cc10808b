//! A user namespace that is joined by path, and mappings in the config beside it; a device in a user namespace.

use std::fs;
use std::io::Read as _;

use nix::mount::{MntFlags, MsFlags};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, give, is_tare};

const HOST: u32 = 100_000;

fn map(first: u32, outside: u32, size: u32) -> Value {
    json!({ "containerID": first, "hostID": outside, "size": size })
}

/// A container in the user namespace at `path`, whose config has these mappings.
fn joining(path: &str, uids: &Value, gids: &Value) -> Done {
    let mut bundle = Bundle::script("cat /proc/self/uid_map | tr -s ' '");
    give(&bundle.file("rootfs"), HOST);
    bundle.set("/linux/namespaces/-", json!({ "type": "user", "path": path }));
    bundle.set("/linux/uidMappings", uids.clone()).set("/linux/gidMappings", gids.clone());
    bundle.run()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn mappings_with_a_path_must_equal_those_of_the_namespace() {
    let mut pod = Bundle::script("sleep 1000");
    let own = json!([map(0, HOST, 65536)]);
    give(&pod.file("rootfs"), HOST);
    pod.set("/linux/namespaces/-", json!({ "type": "user" }));
    pod.set("/linux/uidMappings", own.clone()).set("/linux/gidMappings", own.clone());
    pod.begin();
    let process = format!("/proc/{}/ns/user", pod.pid());
    // As CRI-O keeps them: a bind mount.
    let pinned = pod.file("pinned");
    fs::write(&pinned, "").unwrap();
    nix::mount::mount(Some(&*process), &pinned, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    for path in [process.as_str(), pinned.to_str().unwrap()] {
        let ran = |uids: &Value, gids: &Value| {
            assert_eq!(joining(path, uids, gids).good(), " 0 100000 65536\n", "{path}");
        };
        ran(&own, &own);
        if !is_tare() {
            continue;
        }
        // runc 1.1 wants mappings.
        ran(&json!([]), &json!([]));
        ran(&json!([map(1, HOST + 1, 65535), map(0, HOST, 1)]), &own);
        for (uids, gids, at) in [
            (json!([map(0, 200_000, 65536)]), own.clone(), "uid"),
            (json!([map(0, HOST, 65535)]), own.clone(), "uid"),
            (own.clone(), json!([map(0, HOST, 1)]), "gid"),
            (own.clone(), json!([]), "gid"),
        ] {
            let line = joining(path, &uids, &gids).refused();
            let what = format!("linux.{at}Mappings: user namespaces enabled, but both namespace path and non-matching");
            assert!(line.starts_with(&what), "{path}: {line}");
            assert!(line.ends_with(&format!("or repeat those of {path}: 0 100000 65536")), "{line}");
        }
    }
    nix::mount::umount2(&pinned, MntFlags::MNT_DETACH).unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_device_has_another_name_on_the_host() {
    if !is_tare() {
        return eprintln!("skipped: runc binds the node of the same name and no other");
    }
    let mut bundle = Bundle::script("echo x > /dev/other && stat -c %t:%T /dev/other");
    give(&bundle.file("rootfs"), HOST);
    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
    bundle.set("/linux/uidMappings", json!([map(0, HOST, 65536)]));
    bundle.set("/linux/gidMappings", json!([map(0, HOST, 65536)]));
    let device = |minor: u32| json!([{ "path": "/dev/other", "type": "c", "major": 1, "minor": minor }]);
    bundle.set("/linux/devices", device(3));
    assert_eq!(bundle.run().good(), "1:3\n");
    bundle.set("/linux/devices", device(200));
    let line = bundle.run().refused();
    assert_eq!(line, "linux.devices[0]: bind the host's device /dev/other: no such file or directory");
}

pub const ENDED: &str = "if the first process of the pid namespace to join has ended, no other can be made in there";

/// The namespace stays as long as this process means to make its children there.
pub fn join_an_ended_pid_namespace(bundle: &mut Bundle) -> std::process::Child {
    let words = ["--pid", "sh", "-c", "true & wait; echo over; exec sleep 1000"];
    let mut holder =
        std::process::Command::new("unshare").args(words).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut over = [0; 5];
    holder.stdout.take().unwrap().read_exact(&mut over).unwrap();
    let path = format!("/proc/{}/ns/pid_for_children", holder.id());
    bundle.set("/linux/namespaces/0", json!({ "type": "pid", "path": path }));
    holder
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_pid_namespace_whose_first_process_has_ended() {
    let mut bundle = Bundle::script("true");
    let mut holder = join_an_ended_pid_namespace(&mut bundle);
    let line = bundle.run().refused();
    holder.kill().unwrap();
    holder.wait().unwrap();
    if is_tare() {
        assert!(line.contains(ENDED), "{line}");
    }
}
