//! The rootfs room on a real kernel: plans are carried out in a mount namespace of a test thread, and looked at from
//! inside. Needs root and busybox.

mod rootfs_stage;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use tare::error::errno_text;

use rootfs_stage::tree::{describe, make_one_of_each};
use rootfs_stage::user::Caller;
use rootfs_stage::{Bundle, Outcome, find_mount};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_docker_container_has_its_tree() {
    let bundle = Bundle::new();
    bundle.file("files/resolv.conf", "nameserver 192.0.2.1\n");
    bundle.file("files/hostname", "box\n");
    let config = include_str!("data/docker-config.json");
    bundle.run(config, || {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert_eq!(find_mount(&table, "/proc"), "rw,nosuid,nodev,noexec,relatime proc proc");
        assert_eq!(find_mount(&table, "/dev"), "rw,nosuid tmpfs tmpfs");
        assert_eq!(find_mount(&table, "/dev/pts"), "rw,nosuid,noexec,relatime devpts devpts");
        assert_eq!(find_mount(&table, "/sys"), "ro,nosuid,nodev,noexec,relatime sysfs sysfs");
        assert_eq!(find_mount(&table, "/sys/fs/cgroup"), "ro,nosuid,nodev,noexec,relatime cgroup2 cgroup");
        assert_eq!(find_mount(&table, "/dev/mqueue"), "rw,nosuid,nodev,noexec,relatime mqueue mqueue");
        assert_eq!(find_mount(&table, "/dev/shm"), "rw,nosuid,nodev,noexec,relatime tmpfs shm");
        assert!(find_mount(&table, "/data").starts_with("ro,"));
        assert_eq!(fs::read_to_string("/etc/hostname").unwrap(), "box\n");
        assert_eq!(fs::metadata("/dev/shm").unwrap().permissions().mode() & 0o7777, 0o1777);
        assert_eq!(fs::metadata("/dev").unwrap().permissions().mode() & 0o7777, 0o755);
        for (name, major, minor) in
            [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        {
            let node = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
            assert!(node.file_type().is_char_device());
            assert_eq!((node.rdev(), node.mode() & 0o7777), (libc::makedev(major, minor), 0o666), "{name}");
        }
        let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("ptmx", "pts/ptmx")];
        for (name, text) in links {
            assert_eq!(fs::read_link(format!("/dev/{name}")).unwrap().to_str().unwrap(), text);
        }
        // Masked and read-only.
        let masked = ["interrupts", "kcore", "keys", "timer_list"].map(|name| format!("/proc/{name}"));
        let masked: Vec<_> = masked.iter().filter(|path| fs::exists(path).unwrap()).collect();
        assert!(!masked.is_empty());
        for path in masked {
            assert!(fs::read(path).unwrap().is_empty(), "{path}");
            assert_eq!(fs::metadata(path).unwrap().rdev(), libc::makedev(1, 3), "{path}");
        }
        assert_eq!(fs::read_dir("/sys/firmware").unwrap().count(), 0);
        let refused = |path: &str| fs::write(path, "1").unwrap_err().raw_os_error();
        assert_eq!(refused("/sys/firmware/x"), Some(libc::EROFS));
        assert_eq!(refused("/proc/sys/kernel/hostname"), Some(libc::EROFS));
        assert_eq!(refused("/proc/irq/default_smp_affinity"), Some(libc::EROFS));
        assert_eq!(refused("/data/x"), Some(libc::EROFS));
        assert_eq!(fs::read_dir("/").unwrap().filter(|entry| entry.as_ref().unwrap().file_name() == "host").count(), 0);
        // The old root is gone.
        assert!(!table.lines().any(|line| line.contains(" ext4 ") && line.contains(" / /home")));
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn what_runc_spec_prints_works() {
    let bundle = Bundle::new();
    bundle.run(include_str!("data/runc-spec.json"), || {
        assert_eq!(fs::write("/x", "").unwrap_err().raw_os_error(), Some(libc::EROFS));
        fs::write("/dev/shm/x", "").unwrap();
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn symbolic_links_to_mount_points_stay_inside() {
    let bundle = Bundle::new();
    let outside = bundle.path("outside");
    fs::create_dir(&outside).unwrap();
    bundle.file("files/f", "f");
    symlink(&outside, bundle.path("rootfs/absolute")).unwrap();
    symlink("../../../../../../..", bundle.path("rootfs/up")).unwrap();
    symlink("../../gone/./deep/../file", bundle.path("rootfs/dangling")).unwrap();
    symlink("/loop", bundle.path("rootfs/loop")).unwrap();
    let mounts = r#"[
        {"destination": "/absolute/new", "type": "tmpfs", "options": ["mode=700"]},
        {"destination": "/up/made", "type": "bind", "source": "files", "options": ["bind"]},
        {"destination": "/dangling", "type": "bind", "source": "files/f", "options": ["bind"]}
    ]"#;
    let inside = outside.clone();
    bundle.run(&Bundle::config(mounts, "{}"), move || {
        assert_eq!(fs::metadata(inside.join("new")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string("/made/f").unwrap(), "f");
        assert_eq!(fs::read_to_string("/gone/file").unwrap(), "f");
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    let mounts = r#"[{"destination": "/loop/x", "type": "tmpfs"}]"#;
    let error = bundle.fails(&Bundle::config(mounts, "{}"));
    let words = errno_text(libc::ELOOP);
    assert_eq!(error, format!("mounts[0].destination: resolve the mount destination /loop/x: {words}"));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn links_at_dev_proc_and_sys_are_refused() {
    let bundle = Bundle::new();
    let host = bundle.path("host");
    fs::create_dir(&host).unwrap();
    for name in ["proc", "sys", "dev"] {
        let path = bundle.path(&format!("rootfs/{name}"));
        fs::remove_dir(&path).unwrap();
        symlink("/host", &path).unwrap();
    }
    fs::create_dir(bundle.path("rootfs/host")).unwrap();
    let error = bundle.fails(&Bundle::config(r#"[{"destination": "/proc", "type": "proc"}]"#, "{}"));
    let words = errno_text(libc::ELOOP);
    assert_eq!(
        error,
        format!(
            "mounts[0].destination: resolve the mount destination /proc: {words}; \
             it must be mounted on ordinary directory: no part of the path may be a symbolic link"
        )
    );
    let error = bundle.fails(&Bundle::config(r#"[{"destination": "/sys", "type": "sysfs"}]"#, "{}"));
    assert!(error.starts_with("mounts[0].destination: "), "{error}");
    for mounts in ["[]", r#"[{"destination": "/dev", "type": "tmpfs"}]"#] {
        let error = bundle.fails(&Bundle::config(mounts, "{}"));
        assert_eq!(error, format!("open /dev of the container: {words}; /dev must not be a symbolic link"));
    }
    assert_eq!(fs::read_dir(bundle.path("rootfs/host")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_kernel_names_the_option_it_does_not_take() {
    let bundle = Bundle::new();
    let mounts = r#"[{"destination": "/x", "type": "tmpfs", "options": ["nosuid", "size=lots"]}]"#;
    assert_eq!(
        bundle.fails(&Bundle::config(mounts, "{}")),
        "mounts[0].options[1]: mount tmpfs on /x: invalid argument (tmpfs: Bad value for 'size')"
    );
    let mounts = r#"[{"destination": "/x", "type": "tmpfs", "options": ["nosiud"]}]"#;
    assert_eq!(
        bundle.fails(&Bundle::config(mounts, "{}")),
        "mounts[0].options[0]: mount tmpfs on /x: invalid argument (tmpfs: Unknown parameter 'nosiud'); \
         did you mean \"nosuid\"?"
    );
    let mounts = r#"[{"destination": "/x", "type": "tmpsf"}]"#;
    assert_eq!(
        bundle.fails(&Bundle::config(mounts, "{}")),
        "mounts[0]: mount tmpsf on /x: no such device (unknown filesystem type)"
    );
    let mounts = r#"[{"destination": "/x", "type": "bind", "source": "missing", "options": ["bind"]}]"#;
    let error = bundle.fails(&Bundle::config(mounts, "{}"));
    assert!(error.starts_with("mounts[0].source: bind /"), "{error}");
    assert!(error.ends_with("/missing on /x: open the source: no such file or directory"), "{error}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn tmpfs_copies_up_keeps_modes_and_turns_read_only() {
    let bundle = Bundle::new();
    fs::create_dir_all(bundle.path("rootfs/var/deep/er")).unwrap();
    bundle.file("rootfs/var/deep/er/file", "content");
    symlink("deep/er", bundle.path("rootfs/var/link")).unwrap();
    fs::set_permissions(bundle.path("rootfs/var/deep"), fs::Permissions::from_mode(0o2711)).unwrap();
    fs::set_permissions(bundle.path("rootfs/var"), fs::Permissions::from_mode(0o751)).unwrap();
    let mounts = r#"[
        {"destination": "/var", "type": "tmpfs", "options": ["ro", "tmpcopyup", "nosuid"]},
        {"destination": "/var/sub", "type": "tmpfs", "options": ["iversion", "nodev", "mode=711"]}
    ]"#;
    bundle.run(&Bundle::config(mounts, "{}"), || {
        assert_eq!(fs::read_to_string("/var/link/file").unwrap(), "content");
        assert_eq!(fs::metadata("/var/deep").unwrap().permissions().mode() & 0o7777, 0o2711);
        assert_eq!(fs::metadata("/var").unwrap().permissions().mode() & 0o7777, 0o751);
        assert_eq!(fs::write("/var/x", "").unwrap_err().raw_os_error(), Some(libc::EROFS));
        assert_eq!(fs::metadata("/var/sub").unwrap().permissions().mode() & 0o7777, 0o711);
        fs::write("/var/sub/x", "").unwrap();
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_host_sees_nothing() {
    let bundle = Bundle::new();
    let mounts = r#"[
        {"destination": "/a", "type": "tmpfs"},
        {"destination": "/b", "type": "bind", "source": "files", "options": ["rbind"]}
    ]"#;
    fs::create_dir_all(bundle.path("files")).unwrap();
    let Outcome::Ran = bundle.on_a_shared_host(&Bundle::config(mounts, r#"{"rootfsPropagation": "rshared"}"#)) else {
        panic!("failed")
    };
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn nothing_leaks_from_a_slave_either() {
    let bundle = Bundle::new();
    let mounts = r#"[{"destination": "/a", "type": "tmpfs"}]"#;
    let Outcome::Ran = bundle.on_a_shared_host(&Bundle::config(mounts, "{}")) else { panic!("failed") };
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_root_has_the_propagation_it_asked_for() {
    let bundle = Bundle::new();
    let tags = || {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap().to_string();
        line.split(' ').skip(6).take_while(|field| *field != "-").map(str::to_string).collect::<Vec<_>>()
    };
    let mounts = r#"[{"destination": "/proc", "type": "proc"}]"#;
    for (word, tag) in [("shared", "shared:"), ("rshared", "shared:"), ("unbindable", "unbindable")] {
        let linux = format!(r#"{{"rootfsPropagation": "{word}", "readonlyPaths": ["/etc"]}}"#);
        bundle.run(&Bundle::config(mounts, &linux), || assert!(tags()[0].starts_with(tag), "{word}: {:?}", tags()));
    }
    bundle.run(&Bundle::config(mounts, r#"{"rootfsPropagation": "private"}"#), || assert!(tags().is_empty()));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_mount_can_cover_the_root() {
    let bundle = Bundle::new();
    let mounts = r#"[
        {"destination": "/", "type": "tmpfs", "options": ["mode=755", "ro"]},
        {"destination": "/proc", "type": "proc"},
        {"destination": "/b", "type": "bind", "source": "rootfs/bin", "options": ["bind", "ro"]}
    ]"#;
    bundle.run(&Bundle::config(mounts, "{}"), || {
        assert!(fs::exists("/b/busybox").unwrap() && !fs::exists("/bin").unwrap());
        assert!(find_mount(&fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), "/").starts_with("ro,"));
        assert_eq!(fs::write("/x", "").unwrap_err().raw_os_error(), Some(libc::EROFS));
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn binds_have_the_attributes_they_asked_for() {
    let bundle = Bundle::new();
    bundle.file("files/f", "f");
    symlink("f", bundle.path("files/link")).unwrap();
    let mounts = r#"[
        {"destination": "/proc", "type": "proc"},
        {"destination": "/t", "type": "tmpfs", "options": ["nosuid", "nodev"]},
        {"destination": "/plain", "source": "files", "options": ["bind"]},
        {"destination": "/all", "source": "files", "options": ["rbind", "rro", "rnosuid", "nodev", "rnoatime", "nosymfollow"]},
        {"destination": "/t", "options": ["remount", "bind", "noexec", "suid"]},
        {"destination": "/t", "options": ["remount", "size=8k"]},
        {"destination": "/link", "source": "files/link", "options": ["bind", "copy-symlink"]},
        {"destination": "/new/file", "source": "files/f", "options": ["bind", "strictatime", "nodiratime"]}
    ]"#;
    // Those of the source.
    let flags = rustix::fs::statvfs(bundle.path("files")).unwrap().f_flag;
    let kept = if flags.contains(rustix::fs::StatVfsMountFlags::NOATIME) { "rw,noatime" } else { "rw,relatime" };
    bundle.run(&Bundle::config(mounts, "{}"), || {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let attributes = |path: &str| find_mount(&table, path).split(' ').next().unwrap().to_string();
        assert_eq!(attributes("/plain"), kept);
        assert_eq!(attributes("/all"), "ro,nosuid,nodev,noatime,nosymfollow");
        // As mount(2): exactly the flags that are named.
        assert_eq!(attributes("/t"), "rw,noexec,relatime");
        assert_eq!(attributes("/new/file"), "rw,nodiratime");
        assert_eq!(fs::write("/t/x", [0; 16384]).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(fs::read_link("/link").unwrap().to_str(), Some("f"));
        assert!(fs::metadata("/new/file").unwrap().is_file());
    });
}

/// Everything that an entry of the image is, its copy is too.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn tmpfs_copies_are_like_the_originals() {
    let bundle = Bundle::new();
    let data = bundle.path("rootfs/data");
    make_one_of_each(&data);
    let expected = describe(&data);
    let mounts = r#"[{"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup"]}]"#;
    bundle.run(&Bundle::config(mounts, "{}"), move || {
        let copied = describe("/data".as_ref());
        assert_eq!(copied.len(), expected.len());
        copied.iter().zip(&expected).for_each(|(copy, original)| assert_eq!(copy, original));
        // Hard links are files of their own.
        assert_eq!(fs::metadata("/data/file").unwrap().nlink(), 1);
        let blocks = |name: &str| fs::metadata(format!("/data/{name}")).unwrap().blocks();
        assert_eq!((blocks("all-hole"), blocks("empty")), (0, 0));
        assert!(blocks("holes") <= 32 && blocks("hole-at-end") <= 16, "{} {}", blocks("holes"), blocks("hole-at-end"));
    });
    // By mount(2), which covers the directory before it is copied.
    let mounts = r#"[{"destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "iversion"]}]"#;
    let expected = describe(&data);
    bundle.run(&Bundle::config(mounts, "{}"), move || assert_eq!(describe("/data".as_ref()), expected));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn masks_follow_links_inside_the_root() {
    let bundle = Bundle::new();
    bundle.file("rootfs/etc/secret", "secret");
    bundle.file("rootfs/etc/other", "other");
    bundle.file("rootfs/etc/third", "third");
    fs::create_dir_all(bundle.path("rootfs/a/b")).unwrap();
    symlink("/etc/other", bundle.path("rootfs/etc/link")).unwrap();
    symlink("../../third", bundle.path("rootfs/etc/third-link")).unwrap();
    symlink("etc/third", bundle.path("rootfs/third")).unwrap();
    symlink("/etc", bundle.path("rootfs/conf")).unwrap();
    let linux = r#"{"maskedPaths": ["/conf/secret", "/etc/link", "/a/b", "/absent", "/etc/third/x"],
        "readonlyPaths": ["/conf/third-link"]}"#;
    bundle.run(&Bundle::config("[]", linux), || {
        assert_eq!(fs::read_to_string("/etc/secret").unwrap(), "");
        assert_eq!(fs::read_to_string("/etc/link").unwrap(), "");
        assert_eq!(fs::read_to_string("/etc/other").unwrap(), "");
        assert!(fs::symlink_metadata("/etc/link").unwrap().is_symlink());
        assert_eq!(fs::read_to_string("/etc/third").unwrap(), "third");
        assert_eq!(fs::write("/etc/third", "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
        assert_eq!(fs::write("/a/b/x", "").unwrap_err().raw_os_error(), Some(libc::EROFS));
        assert!(!fs::exists("/absent").unwrap());
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn ids_are_mapped() {
    let bundle = Bundle::new();
    bundle.file("files/f", "f");
    let mounts = r#"[{"destination": "/m", "source": "files", "options": ["bind", "idmap"],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}]}]"#;
    bundle.run(&Bundle::config(mounts, "{}"), || {
        let owner = fs::metadata("/m/f").unwrap();
        assert_eq!((owner.uid(), owner.gid()), (1000, 2000));
    });
    // In the words of crun.
    let mounts = r#"[{"destination": "/m", "source": "files",
        "options": ["bind", "ridmap=uids=0-1000-10#10-3000-1;gids=0-2000-10"]}]"#;
    bundle.run(&Bundle::config(mounts, "{}"), || {
        let owner = fs::metadata("/m/f").unwrap();
        assert_eq!((owner.uid(), owner.gid()), (1000, 2000));
    });
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn devices_of_the_config_are_made_once() {
    let bundle = Bundle::new();
    let linux = r#"{"devices": [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 384, "uid": 5, "gid": 6},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200},
        {"path": "/run/pipe", "type": "p", "fileMode": 438}
    ]}"#;
    let config = Bundle::config("[]", linux);
    let look = || {
        let null = fs::metadata("/dev/null").unwrap();
        assert_eq!((null.uid(), null.gid(), null.mode() & 0o7777), (5, 6, 0o600));
        assert_eq!(fs::metadata("/dev/net/tun").unwrap().rdev(), libc::makedev(10, 200));
        assert!(fs::metadata("/run/pipe").unwrap().file_type().is_fifo());
        assert_eq!(fs::read_link("/dev/ptmx").unwrap().to_str(), Some("pts/ptmx"));
    };
    bundle.run(&config, look);
    // Without a mount on /dev the nodes stay in the rootfs; the same nodes are welcome the next time.
    bundle.run(&config, look);
    fs::remove_file(bundle.path("rootfs/dev/zero")).unwrap();
    bundle.file("rootfs/dev/zero", "");
    assert_eq!(bundle.fails(&config), "create the device /dev/zero (c 1:5): file exists");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn links_into_procfs_do_not_lead_around_the_list() {
    let bundle = Bundle::new();
    symlink("/proc/sys", bundle.path("rootfs/data")).unwrap();
    bundle.file("files/f", "f");
    let mounts = r#"[{"destination": "/proc", "type": "proc"},
        {"destination": "/data", "source": "files", "options": ["bind"]}]"#;
    let error = bundle.fails(&Bundle::config(mounts, "{}"));
    assert!(error.starts_with("mounts[1].destination: resolve the mount destination /data: "), "{error}");
    assert!(error.ends_with("; a symbolic link leads into procfs"), "{error}");
    let mounts = r#"[{"destination": "/proc", "source": "files", "options": ["bind"]}]"#;
    let error = bundle.fails(&Bundle::config(mounts, "{}"));
    assert!(error.ends_with("only the root of a procfs can be bound on /proc: invalid cross-device link"), "{error}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_storm_of_renames_never_leads_outside() {
    let bundle = Bundle::new();
    let outside = bundle.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(bundle.path("rootfs/shared/dir")).unwrap();
    symlink(&outside, bundle.path("rootfs/shared/link")).unwrap();
    let (dir, link) = (bundle.path("rootfs/shared/dir"), bundle.path("rootfs/shared/link"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mounts = r#"[{"destination": "/shared/dir/a/b", "type": "tmpfs"}]"#;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, &dir, here, &link, rustix::fs::RenameFlags::EXCHANGE).unwrap();
            }
        });
        for _ in 0..120 {
            // Either way is right, as long as nothing appears outside.
            let _ = bundle.attempt(&Bundle::config(mounts, "{}"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn other_ways_to_the_new_root() {
    let bundle = Bundle::new();
    let mounts = r#"[{"destination": "/proc", "type": "proc"}]"#;
    bundle.run_with(
        &Bundle::config(mounts, "{}"),
        |facts| facts.no_pivot = true,
        || {
            assert!(fs::exists("/bin/busybox").unwrap());
            let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            assert_eq!(table.lines().filter(|line| line.contains(" - proc ")).count(), 1, "{table}");
            assert!(!table.contains(" - sysfs "), "{table}");
        },
    );
    bundle.run_with(
        &Bundle::config("[]", "{}"),
        |facts| facts.mount_namespace = false,
        || {
            assert!(fs::exists("/bin/busybox").unwrap() && fs::exists("/dev/null").unwrap());
        },
    );
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_terminal_is_on_dev_console() {
    let bundle = Bundle::new();
    let mounts = r#"[
        {"destination": "/dev", "type": "tmpfs"},
        {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "ptmxmode=0666"]}
    ]"#;
    bundle.run_with(
        &Bundle::config(mounts, "{}"),
        |facts| facts.console = true,
        || {
            // Major 136: slaves of Unix98 ptys.
            assert_eq!(libc::major(fs::metadata("/dev/console").unwrap().rdev()), 136);
        },
    );
    // An image cannot lead it elsewhere.
    symlink("/etc/console", bundle.path("rootfs/dev/console")).unwrap();
    let mounts = r#"[{"destination": "/dev/pts", "type": "devpts", "options": ["newinstance"]}]"#;
    let error = bundle.fails_with(&Bundle::config(mounts, "{}"), |facts| facts.console = true);
    assert!(error.starts_with("process.terminal: bind the terminal on /dev/console: "), "{error}");
    assert!(!fs::exists(bundle.path("rootfs/etc/console")).unwrap());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn user_namespaces_have_the_same_tree() {
    let bundle = Bundle::new();
    bundle.file("files/resolv.conf", "nameserver 192.0.2.1\n");
    bundle.file("files/hostname", "box\n");
    let config = include_str!("data/docker-config.json");
    for caller in [Caller::Root, Caller::Rootless] {
        bundle.run_in_user_namespace(config, caller, || {
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert_eq!(find_mount(&table, "/proc"), "rw,nosuid,nodev,noexec,relatime proc proc");
            assert_eq!(find_mount(&table, "/sys"), "ro,nosuid,nodev,noexec,relatime sysfs sysfs");
            assert_eq!(find_mount(&table, "/sys/fs/cgroup"), "ro,nosuid,nodev,noexec,relatime cgroup2 cgroup");
            assert!(find_mount(&table, "/data").starts_with("ro,"));
            for (name, major, minor) in [("null", 1, 3), ("urandom", 1, 9), ("tty", 5, 0)] {
                let node = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
                assert_eq!(node.rdev(), libc::makedev(major, minor), "{name}");
            }
            fs::write("/dev/null", "x").unwrap();
            assert_eq!(fs::read_dir("/sys/firmware").unwrap().count(), 0);
            assert!(fs::read("/proc/interrupts").unwrap().is_empty());
            assert_eq!(fs::write("/proc/sys/kernel/hostname", "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
        });
    }
}
