//! Tables: config in, plan or error line out. No root, no kernel.

use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::io::Errno;

use super::{MountKind, RootfsPlan, plan};
use crate::rootfs::RootfsFacts;
use crate::wire::{Fault, Step};

pub(super) fn facts() -> RootfsFacts<'static> {
    RootfsFacts {
        bundle: Path::new("/bundle"),
        user_namespace: false,
        mount_namespace: true,
        new_mount_namespace: true,
        hooks_before_pivot: false,
        network_namespace: true,
        foreign_network_namespace: false,
        pid_namespace: true,
        foreign_pid_namespace: false,
        ipc_namespace: true,
        foreign_ipc_namespace: false,
        maps_tty: true,
        cgroup_namespace: true,
        cgroup_path: Some(Path::new("/sys/fs/cgroup/c")),
        console: false,
        no_pivot: false,
        selinux: false,
    }
}

fn spec(mounts: &str, linux: &str) -> Spec {
    let text =
        format!(r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs"}}, "mounts": {mounts}, "linux": {linux}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn error(mounts: &str, linux: &str) -> String {
    plan(&spec(mounts, linux), &facts()).unwrap_err().to_string()
}

/// One line a mount, for comparison.
fn lines(plan: &RootfsPlan) -> Vec<String> {
    let line = |mount: &super::Mount| {
        let rest = match &mount.kind {
            MountKind::Filesystem(new) => {
                let parameters: Vec<String> = new
                    .parameters
                    .iter()
                    .map(|parameter| match &parameter.value {
                        Some(value) => format!("{}={}", text(&parameter.key), text(value)),
                        None => text(&parameter.key),
                    })
                    .collect();
                format!("{} [{}] {:#x}", text(&new.name), parameters.join(" "), new.attributes.set.bits())
            }
            MountKind::Bind(bind) => {
                let changes: Vec<String> = bind
                    .changes
                    .iter()
                    .map(|change| {
                        let (set, clear) = (change.wanted.set.bits(), change.wanted.clear.bits());
                        format!(
                            "+{set:#x}-{clear:#x} p{:#x}{}",
                            change.propagation,
                            ["", "r"][usize::from(change.recursive)]
                        )
                    })
                    .collect();
                format!(
                    "{}{} [{}]",
                    ["bind ", "rbind "][usize::from(bind.recursive)],
                    text(&bind.source),
                    changes.join(", ")
                )
            }
            MountKind::Remount(_) => "remount".to_string(),
        };
        let late = if mount.late_readonly { " late" } else { "" };
        format!("{} {:?} {rest}{late}", text(&mount.target), mount.rule)
    };
    plan.mounts.iter().map(line).collect()
}

fn text(string: &std::ffi::CStr) -> String {
    string.to_str().unwrap().to_string()
}

fn of(mounts: &str) -> Vec<String> {
    lines(&plan(&spec(mounts, "{}"), &facts()).unwrap())
}

#[test]
fn docker() {
    let spec: Spec = serde_json::from_str(include_str!("../../../tests/data/docker-config.json")).unwrap();
    let plan = plan(&spec, &facts()).unwrap();
    assert_eq!(text(&plan.root), "/bundle/rootfs");
    assert_eq!((plan.building, plan.finished, plan.readonly), (libc::MS_SLAVE, None, false));
    assert_eq!(
        lines(&plan),
        [
            "/proc NoSymlinks proc [source=proc] 0xe",
            "/dev Follow tmpfs [source=tmpfs mode=755 size=65536k] 0x22",
            "/dev/pts Follow devpts [source=devpts newinstance ptmxmode=0666 mode=0620 gid=5] 0xa",
            "/sys NoSymlinks sysfs [source=sysfs] 0xf",
            "/sys/fs/cgroup Follow cgroup2 [source=cgroup] 0xf",
            "/dev/mqueue Follow mqueue [source=mqueue] 0xe",
            "/dev/shm Follow tmpfs [source=shm mode=1777 size=67108864] 0xe",
            "/etc/resolv.conf Follow rbind /bundle/files/resolv.conf [+0x0-0x0 p0x40000r]",
            "/etc/hostname Follow rbind /bundle/files/hostname [+0x0-0x0 p0x40000r]",
            "/data Follow rbind /bundle/files [+0x1-0x20000e p0x0, +0x0-0x0 p0x40000r]",
        ]
    );
    let names: Vec<_> = plan.devices.nodes.iter().map(|node| text(&node.path)).collect();
    assert_eq!(names, ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]);
    assert!(plan.devices.own);
    assert_eq!((plan.masked_paths.len(), plan.readonly_paths.len()), (12, 5));
}

#[test]
fn runc_spec() {
    let spec: Spec = serde_json::from_str(include_str!("../../../tests/data/runc-spec.json")).unwrap();
    let facts = RootfsFacts { cgroup_namespace: false, console: true, ..facts() };
    let plan = plan(&spec, &facts).unwrap();
    assert!(plan.readonly && plan.console);
    // Without a cgroup namespace only the container's own part of the tree is shown.
    assert_eq!(
        lines(&plan).last().unwrap(),
        "/sys/fs/cgroup Follow bind /sys/fs/cgroup/c [+0xf-0x2000f0 p0x0, +0x0-0x0 p0x80000r]"
    );
}

#[test]
fn user_namespace_without_a_network_of_its_own() {
    let facts = RootfsFacts { user_namespace: true, network_namespace: false, ..facts() };
    let spec = spec(r#"[{"destination": "/sys", "type": "sysfs", "options": ["nosuid", "ro"]}]"#, "{}");
    let plan = plan(&spec, &facts).unwrap();
    assert_eq!(lines(&plan), ["/sys Follow rbind /sys [+0x3-0x0 p0x80000r]"]);
    assert!(plan.devices.any_bound());
}

#[test]
fn destinations_are_clean() {
    assert_eq!(of(r#"[{"destination": "a//b/../c/.", "type": "tmpfs"}]"#), ["/a/c Follow tmpfs [source=tmpfs] 0x0"]);
    assert_eq!(
        of(r#"[{"destination": "/../..", "type": "tmpfs", "options": ["ro"]}]"#),
        ["/ Follow tmpfs [source=tmpfs] 0x0 late"]
    );
}

#[test]
fn binds() {
    assert_eq!(
        of(r#"[{"destination": "/a", "type": "bind", "source": "/s"}]"#),
        ["/a Follow bind /s [+0x0-0x0 p0x80000r]"]
    );
    assert_eq!(
        of(r#"[{"destination": "/a", "source": "/s", "options": ["rbind", "rro", "rslave", "shared"]}]"#),
        ["/a Follow rbind /s [+0x1-0x0 p0x80000r, +0x0-0x0 p0x100000]"]
    );
    assert_eq!(
        of(r#"[{"destination": "/a", "source": "/s", "options": ["bind", "rnoexec", "private", "rw"]}]"#),
        ["/a Follow bind /s [+0x0-0x20000f p0x0, +0x8-0x0 p0x0r, +0x0-0x0 p0x40000]"]
    );
    assert_eq!(
        of(r#"[{"destination": "/a", "source": "/s", "options": ["bind", "dest-nofollow", "async"]}]"#),
        ["/a NoFollowLast bind /s [+0x0-0x0 p0x80000r]"]
    );
}

#[test]
fn disk_filesystems_are_read_only_below_too() {
    assert_eq!(
        of(r#"[{"destination": "/a", "type": "ext4", "source": "/dev/sda", "options": ["ro"]}]"#),
        ["/a Follow ext4 [source=/dev/sda ro] 0x1"]
    );
}

#[test]
fn what_fsconfig_cannot_say_goes_to_mount_2() {
    let long = "x".repeat(300);
    let mounts =
        format!(r#"[{{"destination": "/a", "type": "overlay", "options": ["lowerdir=/{long}", "sync", "xino=off"]}}]"#);
    let plan = plan(&spec(&mounts, "{}"), &facts()).unwrap();
    let MountKind::Filesystem(new) = &plan.mounts[0].kind else { panic!("no filesystem") };
    let call = new.old_call.as_ref().unwrap();
    assert_eq!((text(&call.source), call.flags), ("overlay".to_string(), libc::MS_SYNCHRONOUS));
    assert_eq!(text(&call.data), format!("lowerdir=/{long},xino=off"));
}

#[test]
fn errors_name_the_value() {
    let table = [
        (r#"[{"destination": "", "type": "tmpfs"}]"#, "mounts[0].destination: a mount needs a destination"),
        (
            r#"[{"destination": "/a", "options": ["ro"]}]"#,
            "mounts[0].type: a mount that is not a bind mount needs a type; \
             or is the option \"bind\" or \"rbind\" missing?",
        ),
        (r#"[{"destination": "/a", "options": ["bind"]}]"#, "mounts[0].source: a bind mount needs a source"),
        (
            r#"[{"destination": "/a", "source": "/s", "options": ["bind", "nosiud"]}]"#,
            "mounts[0].options[1]: unknown option \"nosiud\" of a bind mount; did you mean \"nosuid\"?",
        ),
        (r#"[{"destination": "/proc", "type": "tmpfs"}]"#, "mounts[0]: \"tmpfs\" cannot be mounted on /proc"),
        (
            r#"[{"destination": "/tmp/../proc/sys", "source": "/s", "options": ["bind"]}]"#,
            "mounts[0].destination: \"/proc/sys\" cannot be mounted on because it is inside /proc",
        ),
        (
            r#"[{"destination": "/a", "type": "tmpfs", "options": ["idmap"]}]"#,
            "mounts[0]: only a bind mount can be id-mapped",
        ),
        (
            r#"[{"destination": "/a", "source": "/s", "options": ["bind", "idmap"]}]"#,
            "mounts[0].options: an id-mapped mount needs uidMappings and gidMappings, or a user namespace of the \
             container",
        ),
        (
            r#"[{"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}]"#,
            "mounts[0].options: \"tmpcopyup\" applies only to tmpfs",
        ),
    ];
    for (mounts, line) in table {
        assert_eq!(error(mounts, "{}"), line);
    }
    assert!(of(r#"[{"destination": "/proc/meminfo", "source": "/s", "options": ["bind"]}]"#)[0].starts_with("/proc/"));
}

#[test]
fn errors_in_linux_name_the_value() {
    let table = [
        (
            r#"{"rootfsPropagation": "sharde"}"#,
            "linux.rootfsPropagation: unknown propagation \"sharde\"; did you mean \"shared\"?",
        ),
        (r#"{"maskedPaths": ["/a", "b"]}"#, "linux.maskedPaths[1]: \"b\" is not an absolute path"),
        (r#"{"devices": [{"path": "x", "type": "c"}]}"#, "linux.devices[0].path: \"x\" is not an absolute path"),
        (
            r#"{"devices": [{"path": "/x", "type": "a"}]}"#,
            "linux.devices[0].type: type \"a\" is for cgroup rules; a device node is one of c, b, u, p",
        ),
        (
            r#"{"devices": [{"path": "/x", "type": "c", "major": 1, "minor": -3}]}"#,
            "linux.devices[0].minor: -3 is not a minor number of a device",
        ),
        (r#"{"devices": [{"path": "/dev/..", "type": "c"}]}"#, "linux.devices[0].path: \"/\" cannot be a device"),
    ];
    for (linux, line) in table {
        assert_eq!(error("[]", linux), line);
    }
}

#[test]
fn without_a_mount_namespace() {
    let facts = RootfsFacts { mount_namespace: false, ..facts() };
    let tmpfs = r#"[{"destination": "/a", "type": "tmpfs"}]"#;
    assert!(plan(&spec(tmpfs, "{}"), &facts).unwrap().attached);
    assert!(!plan(&spec("[]", "{}"), &facts).unwrap().attached);
    let error = |spec: &Spec, facts: &RootfsFacts<'_>| plan(spec, facts).unwrap_err().to_string();
    assert_eq!(
        error(&spec("[]", r#"{"rootfsPropagation": "shared"}"#), &facts),
        "linux.rootfsPropagation: needs a mount namespace of the container's own; add {\"type\": \"mount\"} to \
         linux.namespaces"
    );
    // A user namespace has no right to the caller's mounts.
    let facts = RootfsFacts { user_namespace: true, ..facts };
    assert!(error(&spec(tmpfs, "{}"), &facts).starts_with("mounts: "));
    assert!(error(&spec("[]", r#"{"maskedPaths": ["/a"]}"#), &facts).starts_with("linux.maskedPaths: "));
}

#[test]
fn devices() {
    let linux = r#"{"devices": [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 8630, "uid": 7},
        {"path": "/dev/net/tun", "type": "u", "major": 10, "minor": 200},
        {"path": "/run/pipe", "type": "p", "fileMode": 384}
    ]}"#;
    let nodes = plan(&spec("[]", linux), &facts()).unwrap().devices.nodes;
    assert_eq!(nodes.len(), 8);
    assert_eq!((nodes[0].mode, nodes[0].owner, nodes[0].in_dev.as_deref()), (0o666, Some((7, 0)), Some(c"null")));
    assert_eq!((nodes[1].in_dev.as_deref(), nodes[1].mode), (None, 0o666));
    let bound = r#"[{"destination": "/dev", "source": "/dev", "options": ["rbind"]}]"#;
    let devices = plan(&spec(bound, linux), &facts()).unwrap().devices;
    assert!(!devices.own);
    assert_eq!(
        devices.nodes.iter().map(|node| node.file).collect::<Vec<_>>(),
        [super::DeviceFile::Expected, super::DeviceFile::Expected, super::DeviceFile::Made]
    );
}

#[test]
fn faults_are_placed() {
    let mounts = r#"[{"destination": "/a", "type": "tmpfs"},
        {"destination": "/b", "type": "tmpfs", "options": ["nodev", "mod=1"]}]"#;
    let plan = plan(&spec(mounts, r#"{"maskedPaths": ["/m"]}"#), &facts()).unwrap();
    let shown = |fault: Fault| plan.explain(&fault).unwrap().to_string();
    assert_eq!(
        shown(Fault::new(Step::Mount, 1, Errno::INVAL).parameter(1).text(b"tmpfs: x")),
        "mounts[1].options[1]: mount tmpfs on /b: invalid argument (tmpfs: x)"
    );
    assert_eq!(shown(Fault::new(Step::Mount, 0, Errno::PERM)), "mounts[0]: mount tmpfs on /a: operation not permitted");
    assert_eq!(
        shown(Fault::new(Step::MaskedPath, 0, Errno::PERM)),
        "linux.maskedPaths[0]: mask the path /m: operation not permitted"
    );
    assert_eq!(
        shown(Fault::new(Step::Device, 0, Errno::PERM)),
        "create the device /dev/null (c 1:3): operation not permitted"
    );
    assert!(plan.explain(&Fault::new(Step::Exec, 0, Errno::PERM)).is_none());
}

#[test]
fn the_label_is_the_context_that_an_annotation_names() {
    let key = |kind: &str| {
        let mut spec = spec(r#"[{"destination": "/t", "type": "tmpfs"}]"#, r#"{"mountLabel": "a:b:c:d"}"#);
        spec.set_annotations(Some([("run.oci.mount_context_type".to_owned(), kind.to_owned())].into()));
        let plan = plan(&spec, &RootfsFacts { selinux: true, ..facts() }).map_err(|error| error.to_string())?;
        let MountKind::Filesystem(filesystem) = &plan.mounts[0].kind else { panic!() };
        let labels = filesystem.parameters.iter().filter(|one| one.value.as_deref() == Some(c"a:b:c:d"));
        Ok(labels.map(|one| one.key.to_str().unwrap().to_owned()).collect::<String>())
    };
    assert_eq!(key(""), Ok("context".to_owned()));
    assert_eq!(key("rootcontext"), Ok("rootcontext".to_owned()));
    let error: String = key("roots").unwrap_err();
    assert_eq!(
        error,
        "annotations[\"run.oci.mount_context_type\"]: unknown value \"roots\"; \
         it is one of context, fscontext, defcontext, rootcontext"
    );
}
