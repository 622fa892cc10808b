//! Classes 2, 3, 13: descriptors and directories of the host that a container gets hold of.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::bundle::{Bundle, is_tare};
use crate::support::{add_capability, add_user_namespace, both_refuse, rounds, through_shell};

/// CVE-2024-21626: runc up to 1.1.11 leaves a descriptor of /sys/fs/cgroup (usually 7 or 8) open for init.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_02_cwd_of_a_descriptor_is_refused() {
    let mut bundle = Bundle::script("pwd -P; ls");
    symlink("/proc/self/fd/7", bundle.file("rootfs/tmp/link")).unwrap();
    symlink("/proc/1/cwd/../..", bundle.file("rootfs/tmp/cwd")).unwrap();
    let mut hostile: Vec<_> = (3..20).map(|number| format!("/proc/self/fd/{number}")).collect();
    hostile.extend(["/proc/self/fd/7/../../..", "/proc/thread-self/fd/8", "/tmp/link"].map(str::to_string));
    for cwd in &hostile {
        bundle.set("/process/cwd", json!(cwd));
        both_refuse(&bundle);
    }
    bundle.set("/process/cwd", json!("/")).set("/process/args", json!(["/bin/sleep", "1000"]));
    bundle.begin();
    for cwd in hostile.iter().map(String::as_str).chain(["/tmp/cwd"]) {
        let done = bundle.tare(&["exec", "--cwd", cwd, &bundle.id, "/bin/sh", "-c", "[ . -ef / ] && echo inside"]);
        assert!(done.code != 0 || done.stdout == "inside\n", "{cwd}: {done:?}");
        assert!(!is_tare() || done.code == 255, "{cwd}: {done:?}");
    }
}

/// CVE-2016-9962 and every leak since: the caller's own descriptors are no business of the container either.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_02_open_descriptors_of_the_caller() {
    let line = "exec 57</etc 58</; exec \"$@\"";
    let bundle = Bundle::script("ls /proc/self/fd");
    // 3 is that of ls itself.
    let listed = |done: crate::bundle::Done| {
        assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{done:?}");
    };
    bundle.write();
    listed(through_shell(&bundle, line, &["run", &bundle.id]));
    let bundle = Bundle::script("ls -l /proc/self/fd >/tmp/fds; sleep 1000");
    bundle.write();
    through_shell(&bundle, line, &["create", &bundle.id]).silent();
    nothing_of_the_host(bundle.pid());
    bundle.on("start").silent();
    bundle.wait_file("tmp/fds");
    nothing_of_the_host(bundle.pid());
    listed(through_shell(&bundle, line, &["exec", &bundle.id, "/bin/ls", "/proc/self/fd"]));
}

/// A process has no directory of another mount namespace, and stands in its own root.
#[track_caller]
fn nothing_of_the_host(pid: i32) {
    use std::os::unix::fs::MetadataExt;
    let process = Path::new("/proc").join(pid.to_string());
    let mounts = fs::read_to_string(process.join("mountinfo")).unwrap();
    let of_host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounted: Vec<_> = of_host.lines().map(|line| line.split(' ').nth(2).unwrap().to_string()).collect();
    for entry in fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap()) {
        let facts = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap();
        let mount = facts.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap().trim();
        let own = mounts.lines().any(|line| line.split(' ').next() == Some(mount));
        // What a runtime has mounted for itself alone (a procfs) is no mount of the host.
        let of_host = |facts: &fs::Metadata| mounted.contains(&format!("{}:{}", facts.dev() >> 8, facts.dev() & 0xff));
        let directory = fs::metadata(entry.path()).is_ok_and(|facts| facts.is_dir() && of_host(&facts));
        assert!(own || !directory, "{} is {:?}", entry.path().display(), fs::read_link(entry.path()));
    }
    let [root, cwd] = ["root/.", "cwd/."].map(|link| fs::metadata(process.join(link)).unwrap());
    assert_eq!((root.dev(), root.ino()), (cwd.dev(), cwd.ino()));
}

/// With 0 to 2 closed, what a runtime opens first would become the container's stdio.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_03_closed_stdio() {
    for line in ["\"$@\" <&-", "\"$@\" >&-", "\"$@\" 2>&-", "\"$@\" <&- >&- 2>&-"] {
        let script = "for n in 0 1 2; do readlink /proc/self/fd/$n; done >/tmp/out 2>/dev/null";
        let script = format!("ls -l /proc/$$/fd >/tmp/fds; {script}; echo >>/tmp/out");
        let check = |bundle: &Bundle| {
            let listed = bundle.wait_file("tmp/out");
            let fds = fs::read_to_string(bundle.file("rootfs/tmp/fds")).unwrap();
            for link in fds.lines().filter_map(|line| line.split(" -> ").nth(1)) {
                let known = ["/dev/null", "/tmp/fds"].contains(&link) || link.ends_with(" (deleted)");
                assert!(known, "{line}: {link} of the runtime in\n{fds}{listed}");
            }
            for file in ["out", "fds"] {
                fs::remove_file(bundle.file("rootfs/tmp").join(file)).unwrap();
            }
        };
        let bundle = Bundle::script(&script);
        bundle.write();
        through_shell(&bundle, line, &["run", &bundle.id]);
        check(&bundle);
        let bundle = Bundle::script(&format!("{script}; sleep 1000"));
        bundle.write();
        through_shell(&bundle, line, &["create", &bundle.id]);
        bundle.on("start").silent();
        check(&bundle);
        through_shell(&bundle, line, &["exec", &bundle.id, "/bin/sh", "-c", &script]);
        check(&bundle);
    }
}

/// Root of a user namespace may trace what joins it, unless that is non-dumpable: then the runtime's descriptors of the
/// host are within reach in /proc. (runc before 1.0-rc2, CVE-2016-9962.)
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_13_the_joining_process_cannot_be_looked_into() {
    // The programs that are run have descriptors 0 to 2 alone, and the loop itself is left out.
    let line = r#"echo up >/tmp/up
        while :; do
            for hit in /proc/[0-9]*/fd/[3-9] /proc/[0-9]*/fd/[1-9][0-9]; do
                case $hit in "/proc/$$/"* | *"["*) ;; *) [ -e "$hit" ] && echo "$hit" >>/tmp/hits ;; esac
            done
        done"#;
    let mut bundle = Bundle::script(line);
    add_user_namespace(&mut bundle);
    add_capability(&mut bundle, "CAP_SYS_PTRACE");
    bundle.begin();
    bundle.wait_file("tmp/up");
    let mut pod = Bundle::new();
    for mappings in ["uidMappings", "gidMappings"] {
        pod.set(&format!("/linux/{mappings}"), json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]));
    }
    for (place, kind) in [("0", "pid"), ("-", "user")] {
        let path = format!("/proc/{}/ns/{kind}", bundle.pid());
        pod.set(&format!("/linux/namespaces/{place}"), json!({ "type": kind, "path": path }));
    }
    for _ in 0..rounds() {
        bundle.tare(&["exec", &bundle.id, "/bin/true"]).silent();
        pod.run().silent();
    }
    let hits = fs::read_to_string(bundle.file("rootfs/tmp/hits")).unwrap_or_default();
    let count = hits.lines().count();
    assert!(count == 0, "seen {count} times: {:?}", hits.lines().take(8).collect::<Vec<_>>());
}
