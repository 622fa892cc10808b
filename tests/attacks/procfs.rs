//! Classes 6, 7, 8, 19: /proc that is not procfs, writes that end elsewhere, masks and sysctls.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, finish, is_tare, runtime};
use crate::support::{Bait, Storm, both_refuse, mount, only_tare, rounds, skip, try_both};

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc or /sys of the image is a link.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_06_proc_and_sys_are_links() {
    let bait = Bait::new();
    for name in ["proc", "sys"] {
        for target in ["tmp", bait.text()] {
            let mut bundle = Bundle::new();
            fs::remove_dir(bundle.file("rootfs").join(name)).unwrap();
            symlink(target, bundle.file("rootfs").join(name)).unwrap();
            bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
            let lines = both_refuse(&bundle);
            if is_tare() {
                let at = if name == "proc" { "mounts[0].destination: " } else { "mounts[3].destination: " };
                assert!(lines.iter().all(|line| line.starts_with(at)), "{lines:?}");
            }
            bait.assert_untouched();
        }
    }
}

/// CVE-2019-16884, CVE-2025-54867: something on /proc or below it that swallows labels and masks.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_06_proc_is_covered() {
    let mut bundle = Bundle::new();
    fs::create_dir(bundle.file("fake")).unwrap();
    let base = bundle.config["mounts"].as_array().unwrap().len();
    bundle.set("/mounts/-", json!({}));
    let fake = bundle.file("fake");
    let fake = fake.to_str().unwrap();
    for (target, kind, source, options) in [
        ("/proc", "tmpfs", "tmpfs", &[][..]),
        ("/proc", "bind", fake, &["bind"]),
        ("/proc/self", "tmpfs", "tmpfs", &[]),
        ("/proc/self/attr", "tmpfs", "tmpfs", &[]),
        ("/proc/self/attr/exec", "bind", "/dev/null", &["bind"]),
        ("/proc/thread-self/attr", "bind", fake, &["rbind"]),
        ("/proc/sys/net", "tmpfs", "tmpfs", &[]),
        ("/proc/../proc/sys", "tmpfs", "tmpfs", &[]),
        ("/tmp/../proc/1", "bind", fake, &["bind"]),
    ] {
        bundle.set(&format!("/mounts/{base}"), mount(target, kind, source, options));
        eprintln!("{kind} on {target}");
        both_refuse(&bundle);
    }
    // The same by a link of the image, whatever the name says.
    symlink("/proc/sys", bundle.file("rootfs/tmp/link")).unwrap();
    for target in ["/tmp/link", "/tmp/link/net"] {
        bundle.set(&format!("/mounts/{base}"), mount(target, "tmpfs", "tmpfs", &[]));
        both_refuse(&bundle);
    }
}

/// With a label that can be read back the label itself would tell.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_06_the_label_is_right() {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !modules.contains("apparmor") && !modules.contains("selinux") {
        // Then no label is accepted either, rather than none given.
        for (field, value) in [("apparmorProfile", "docker-default"), ("selinuxLabel", "a:b:c:s0")] {
            let mut bundle = Bundle::new();
            bundle.set(&format!("/process/{field}"), json!(value));
            if is_tare() {
                both_refuse(&bundle);
            }
        }
        return skip("this kernel has neither AppArmor nor SELinux, so no label can be read back");
    }
    let mut bundle = Bundle::script("cat /proc/self/attr/current");
    bundle.set("/process/apparmorProfile", json!("unconfined"));
    assert_eq!(bundle.run().good().trim(), "unconfined");
}

/// CVE-2025-52881: /proc changes place with a fake while sysctls and the OOM score are written.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_07_proc_is_swapped() {
    let mut bundle = Bundle::script("cat /proc/sys/net/ipv4/ip_forward");
    let sentinel = bundle.file("sentinel");
    fs::write(&sentinel, "untouched\n").unwrap();
    let fake = bundle.file("rootfs/fake");
    for directory in ["sys/net/ipv4", "self/attr", "thread-self/attr"] {
        fs::create_dir_all(fake.join(directory)).unwrap();
    }
    for file in ["sys/net/ipv4/ip_forward", "self/oom_score_adj", "self/attr/exec", "thread-self/attr/exec"] {
        fs::hard_link(&sentinel, fake.join(file)).unwrap();
    }
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.set("/process/oomScoreAdj", json!(500));
    bundle.write();
    let _storm = Storm::exchange(bundle.file("rootfs/proc"), fake);
    for _ in 0..rounds() {
        let done = bundle.on("run");
        // Procfs was mounted on one of the two, and the program sees whichever has the name now.
        assert!(done.code != 0 || ["1\n", "untouched\n"].contains(&&*done.stdout), "{done:?}");
        assert_eq!(fs::read_to_string(&sentinel).unwrap(), "untouched\n");
    }
}

/// The clocks of a time namespace are set in /proc/self, which is anybody's after a mount namespace has been joined.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_07_proc_of_a_joined_mount_namespace() {
    if !Path::new("/proc/self/ns/time").exists() {
        return skip("this kernel has no time namespaces");
    }
    let mut bundle = Bundle::script("sleep 1000");
    let sentinel = bundle.file("rootfs/proc/self/timens_offsets");
    fs::create_dir(bundle.file("rootfs/proc/self")).unwrap();
    fs::write(&sentinel, "untouched\n").unwrap();
    bundle.set("/mounts", json!([]));
    bundle.begin();
    let mut joining = Bundle::new();
    let path = format!("/proc/{}/ns/mnt", bundle.pid());
    joining.set("/linux/namespaces/1", json!({ "type": "mount", "path": path }));
    joining.set("/linux/namespaces/-", json!({ "type": "time" }));
    joining.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 5, "nanosecs": 0 } }));
    try_both(&joining, &|_| assert_eq!(fs::read_to_string(&sentinel).unwrap(), "untouched\n"));
}

/// No process that has entered a container opens /proc by its path: descriptors of a verified procfs only.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_07_no_path_of_proc_is_opened() {
    if !only_tare() {
        return;
    }
    if !Path::new("/usr/bin/strace").exists() {
        return skip("needs strace");
    }
    let mut bundle = Bundle::script("sleep 1000");
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    bundle.set("/process/oomScoreAdj", json!(500));
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore", "/proc/keys"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"]));
    bundle.begin();
    let mut run = Bundle::new();
    run.config["linux"] = bundle.config["linux"].clone();
    run.config["process"] = bundle.config["process"].clone();
    let cgroup = json!(format!("/{}", run.name));
    run.set("/process/args", json!(["/bin/true"])).set("/linux/cgroupsPath", cgroup);
    run.write();
    for (of, args) in [(&run, vec!["run", &*run.id]), (&bundle, vec!["exec", &*bundle.id, "/bin/true"])] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(of.file("trace"));
        strace.args(["-e", "trace=open,openat,openat2,execve,execveat,open_tree,move_mount,mount"]);
        strace.arg(runtime()).arg("--root").arg(of.root()).args(&args).current_dir(of.path());
        assert_eq!(finish(strace).code, 0);
        let trace = fs::read_to_string(of.file("trace")).unwrap();
        let main = trace.split_whitespace().next().unwrap();
        let of_child: Vec<_> = trace.lines().filter(|line| line.split_whitespace().next() != Some(main)).collect();
        let program = of_child.iter().position(|line| line.contains("execve(\"/bin/true\"")).unwrap();
        let before = &of_child[..program];
        assert!(args[0] == "exec" || before.len() > 10, "nothing was seen:\n{trace}");
        // What is looked up below the root's descriptor is the container's own path, and verified.
        let by_path = |line: &&&str| line.contains("\"/proc") && !line.contains("RESOLVE_IN_ROOT");
        let by_path: Vec<_> = before.iter().filter(by_path).collect();
        assert!(by_path.is_empty(), "{by_path:#?}");
    }
}

/// CVE-2025-31133: /dev/null, which covers masked files, is the image's own link or file.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_08_the_cover_is_planted() {
    let bait = Bait::new();
    let script = "stat -c %t:%T /etc/file /proc/version; cat /etc/file; ls /etc/directory
        echo x >/etc/directory/new; echo x >/etc/file; echo x >/dev/null; grep -c ' /etc/file ' /proc/self/mountinfo";
    for plant in 0..3 {
        let mut bundle = Bundle::script(script);
        // With /dev of the image and no device made by the config, its null is all that there is.
        bundle.set("/mounts", json!([mount("/proc", "proc", "proc", &[])]));
        bundle.set("/linux/maskedPaths", json!(["/etc/file", "/etc/directory", "/proc/version", "/absent"]));
        let null = bundle.file("rootfs/dev/null");
        match plant {
            0 => symlink(bait.path().join("secret"), &null).unwrap(),
            1 => fs::write(&null, "mine\n").unwrap(),
            _ => symlink("/proc/sys/net/ipv4/ip_default_ttl", &null).unwrap(),
        }
        fs::write(bundle.file("rootfs/etc/file"), "secret\n").unwrap();
        fs::create_dir(bundle.file("rootfs/etc/directory")).unwrap();
        fs::write(bundle.file("rootfs/etc/directory/secret"), "").unwrap();
        try_both(&bundle, &|done| {
            // Either it is refused, or the covers are real ones.
            if !done.stdout.is_empty() {
                assert!(done.stdout.starts_with("1:3\n1:3\n1\n"), "{done:?}");
            }
            bait.assert_untouched();
            assert_eq!(fs::read_to_string(bundle.file("rootfs/etc/file")).unwrap(), "secret\n");
        });
    }
}

/// CVE-2025-31133, the other end: what shall be covered is a link.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_08_what_is_covered_is_a_link() {
    let bait = Bait::new();
    let mut bundle = Bundle::script("cat /etc/passwd /etc/mask");
    let passwd = fs::read_to_string(bundle.file("rootfs/etc/passwd")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/etc/mask"]));
    for target in ["/etc/passwd", bait.path().join("secret").to_str().unwrap(), "/proc/version", "."] {
        let _absent = fs::remove_file(bundle.file("rootfs/etc/mask"));
        symlink(target, bundle.file("rootfs/etc/mask")).unwrap();
        try_both(&bundle, &|done| {
            assert!(!done.stdout.contains(&passwd.repeat(2)), "{target} is seen through the mask: {done:?}");
            assert!(done.stdout.is_empty() || done.stdout.starts_with(&passwd), "it was covered itself: {done:?}");
            bait.assert_untouched();
        });
    }
}

/// While masks are put up, what they cover changes place with a link.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_08_masks_in_a_storm() {
    let bait = Bait::new();
    let mut bundle = Bundle::new();
    fs::create_dir(bundle.file("rootfs/etc/masked")).unwrap();
    symlink(bait.path(), bundle.file("rootfs/etc/link")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/etc/masked", "/etc/masked/secret", "/etc/masked/sub"]));
    bundle.set("/linux/readonlyPaths", json!(["/etc/masked", "/etc/masked/sub"]));
    bundle.write();
    let _storm = Storm::exchange(bundle.file("rootfs/etc/masked"), bundle.file("rootfs/etc/link"));
    for _ in 0..rounds() {
        bundle.on("run");
        bait.assert_untouched();
    }
}

/// CVE-2025-52565: /dev/console is bound on what the image has there, or the pty is not what it seems.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_08_console() {
    let bait = Bait::new();
    for plant in ["dev/console", "dev/pts", "dev/ptmx"] {
        let mut bundle = Bundle::script("stat -c %t /dev/console; tty");
        bundle.set("/process/terminal", json!(true));
        bundle.set("/mounts", json!([mount("/proc", "proc", "proc", &[])]));
        symlink(bait.path().join("console"), bundle.file("rootfs").join(plant)).unwrap();
        bundle.write();
        let socket = bundle.file("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for command in ["run", "create"] {
            let detach: &[&str] = if command == "run" { &["--detach"] } else { &[] };
            let options = ["--console-socket", socket.to_str().unwrap(), &bundle.id];
            bundle.tare(&[&[command], detach, &options].concat());
            bait.assert_untouched();
            bundle.tare(&["delete", "--force", &bundle.id]);
            bundle.reap_orphans();
        }
    }
}

/// Keys that are not the container's own, or lead elsewhere.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_19_sysctls_of_the_host() {
    let mut bundle = Bundle::new();
    let read = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap();
    let watched = ["kernel/core_pattern", "vm/swappiness", "kernel/hostname", "net/ipv4/ip_forward"];
    let before = watched.map(read);
    for key in [
        "kernel.core_pattern",
        "net/../kernel/core_pattern",
        "net..kernel.core_pattern",
        "kernel.shmmax/../core_pattern",
        "vm.swappiness",
        "/net/ipv4/ip_forward",
        "net.ipv4./../../kernel/core_pattern",
        "fs.mqueue/../../vm/swappiness",
        "kernel.hostname",
        "net",
        "",
    ] {
        bundle.set("/linux/sysctl", json!({ key: "7" }));
        both_refuse(&bundle);
        assert_eq!(watched.map(read), before, "{key}");
    }
    // Of a namespace that the container shares with the host.
    let kinds = ["pid", "mount", "ipc", "cgroup"].map(|kind| json!({ "type": kind }));
    bundle.set("/linux/namespaces", json!(kinds)).unset("/hostname");
    bundle.set("/mounts", json!([mount("/proc", "proc", "proc", &[])]));
    for key in ["net.ipv4.ip_forward", "kernel.domainname"] {
        bundle.set("/linux/sysctl", json!({ key: "1" }));
        both_refuse(&bundle);
        assert_eq!(watched.map(read), before, "{key}");
    }
}
