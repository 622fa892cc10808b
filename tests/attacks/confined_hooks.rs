//! Class 33: hooks whose program comes from the image, and where hooks start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::{Bundle, give, is_tare, reap};
use crate::support::skip;

/// All that the kernel says of a process, without what differs between any two: pids, memory, counters.
const FACTS: &str = r#"#!/bin/sh
    grep -E '^(Umask|Uid|Gid|Groups|Sig(Blk|Ign)|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list)' /proc/self/status
    cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj
    pwd -P
    mkdir /tmp/made-by-$1 2>/dev/null && echo made
    for n in pid mnt net ipc uts user cgroup; do readlink /proc/self/ns/$n; done
    env
"#;

/// A container whose program and whose startContainer hook write down what they are.
fn bundle(hook_env: Option<&[&str]>) -> Bundle {
    let mut bundle = Bundle::script("/facts program >/tmp/program");
    fs::write(bundle.file("rootfs/facts"), FACTS).unwrap();
    for (file, mode) in [("rootfs/facts", 0o755), ("rootfs/tmp", 0o1777)] {
        fs::set_permissions(bundle.file(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut hook = json!({ "path": "/bin/sh", "args": ["/bin/sh", "-c", "/facts hook >/tmp/hook"] });
    if let Some(env) = hook_env {
        hook["env"] = json!(env);
    }
    bundle.set("/hooks", json!({ "startContainer": [hook] }));
    bundle.set("/process/env/-", json!("OF=the process")).set("/process/cwd", json!("/root"));
    fs::set_permissions(bundle.file("rootfs/root"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 77, "hard": 99 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]),
    );
    bundle.set("/process/oomScoreAdj", json!(123));
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
        }),
    );
    bundle
}

/// What the hook and the program wrote, after `run` or after create and start.
fn facts(bundle: &Bundle, way: &str) -> [String; 2] {
    let files = ["hook", "program"].map(|name| bundle.file("rootfs/tmp").join(name));
    files.iter().for_each(|file| drop(fs::remove_file(file)));
    bundle.write();
    let secret = |args: &[&str]| {
        let mut command = bundle.command(args);
        command.env("OF", "the runtime").env("SECRET", "of the runtime");
        crate::bundle::finish(command)
    };
    if way == "run" {
        secret(&["run", &bundle.id]).silent();
    } else {
        secret(&["create", &bundle.id]).silent();
        let pid = bundle.pid();
        secret(&["start", &bundle.id]).silent();
        reap(pid);
        bundle.tare(&["delete", "--force", &bundle.id]).silent();
    }
    files.map(|file| fs::read_to_string(file).unwrap())
}

/// The hook is a program of the image: it is what the program is, in all that confines it.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_33_start_container_hooks_are_confined_as_the_process() {
    let users =
        [json!({ "uid": 0, "gid": 0 }), json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27 })];
    for user in users {
        for no_new_privileges in [true, false] {
            for user_namespace in [false, true] {
                let mut bundle = bundle(None);
                bundle.set("/process/user", user.clone());
                bundle.set("/process/noNewPrivileges", json!(no_new_privileges));
                if user_namespace {
                    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
                    bundle.set("/linux/namespaces/-", json!({ "type": "user" }));
                    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
                    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
                    give(&bundle.file("rootfs"), 100_000);
                    // Below the caller's own score nobody in a user namespace may go.
                    bundle.set("/process/oomScoreAdj", json!(500));
                }
                for way in ["run", "create"] {
                    let [hook, program] = facts(&bundle, way);
                    let different: Vec<_> =
                        hook.lines().filter(|line| !program.lines().any(|other| other == *line)).collect();
                    let missing: Vec<_> =
                        program.lines().filter(|line| !hook.lines().any(|other| other == *line)).collect();
                    let same = different.is_empty() && missing.is_empty();
                    let what = format!(
                        "{way}, user {user}, no new privileges {no_new_privileges}, user namespace {user_namespace}"
                    );
                    assert!(
                        same,
                        "{what}: the hook has\n{}\nthe program\n{}",
                        different.join("\n"),
                        missing.join("\n")
                    );
                    assert!(hook.contains("Seccomp:\t2") && !hook.contains("made"), "{what}: {hook}");
                }
            }
        }
    }
}

/// Its own environment, if it has one; never the runtime's, which may hold secrets of the engine.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_33_the_environment_of_start_container_hooks() {
    for (env, expected) in [(None, "OF=the process"), (Some(&["OF=the hook", "PATH=/bin"][..]), "OF=the hook")] {
        let bundle = bundle(env);
        for way in ["run", "create"] {
            let [hook, _] = facts(&bundle, way);
            assert!(hook.lines().any(|line| line == expected), "{way}: no {expected} in {hook}");
            assert!(!hook.contains("SECRET"), "{way}: {hook}");
        }
    }
}

/// A relative name in a createContainer hook means something in the rootfs, never in `/` of the host.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_33_create_container_hooks_start_in_the_rootfs() {
    for command in ["run", "create"] {
        let mut bundle = Bundle::new();
        fs::write(bundle.file("rootfs/here"), "").unwrap();
        let (file, id) = (bundle.file("hook"), bundle.id.clone());
        let line = format!("cat >/dev/null; {{ pwd -P; ls; }} >{}", file.display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line] });
        bundle.set("/hooks", json!({ "createContainer": [hook] })).write();
        bundle.tare(&[command, &id]).silent();
        let text = fs::read_to_string(&file).unwrap();
        let directory = std::path::PathBuf::from(text.lines().next().unwrap());
        let in_rootfs = text.lines().any(|line| line == "here") && directory == bundle.file("rootfs");
        if !is_tare() && directory == bundle.path() {
            skip("this runtime starts createContainer hooks in the bundle");
            continue;
        }
        assert!(in_rootfs, "{command}: {text}");
    }
}
