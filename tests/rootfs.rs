//! The rootfs room on a real kernel: plans are carried out in a mount namespace of a test thread, and looked at from
//! inside. Needs root and busybox; skips say so.

mod rootfs_stage;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

use tare::error::errno_text;

use rootfs_stage::{Bundle, Outcome, find_mount};

#[test]
fn a_docker_container_has_its_tree() {
    let Some(bundle) = Bundle::new() else { return };
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
fn what_runc_spec_prints_works() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.run(include_str!("data/runc-spec.json"), || {
        assert_eq!(fs::write("/x", "").unwrap_err().raw_os_error(), Some(libc::EROFS));
        fs::write("/dev/shm/x", "").unwrap();
    });
}

#[test]
fn symbolic_links_to_mount_points_stay_inside() {
    let Some(bundle) = Bundle::new() else { return };
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
fn links_at_dev_proc_and_sys_are_refused() {
    let Some(bundle) = Bundle::new() else { return };
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
             the path must not contain a symbolic link"
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
fn the_kernel_names_the_option_it_does_not_take() {
    let Some(bundle) = Bundle::new() else { return };
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
fn tmpfs_copies_up_keeps_modes_and_turns_read_only() {
    let Some(bundle) = Bundle::new() else { return };
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
fn the_host_sees_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    let mounts = r#"[
        {"destination": "/a", "type": "tmpfs"},
        {"destination": "/b", "type": "bind", "source": "files", "options": ["rbind"]}
    ]"#;
    fs::create_dir_all(bundle.path("files")).unwrap();
    let Outcome::Ran = bundle.on_a_shared_host(&Bundle::config(mounts, r#"{"rootfsPropagation": "rshared"}"#)) else {
        panic!("failed")
    };
}
