//! World: plan. The container's tree in words: rootfs, mounts with their flags, devices, paths.

use std::ffi::CString;

use super::text;
use crate::rootfs::options::{FLAG_WORDS, Propagation, Wanted};
use crate::rootfs::plan::{
    Bind, ChangeRoot, Device, DeviceFile, Filesystem, KernelParameter, Mount, MountKind, NodeKind, RootfsPlan,
};
use crate::sys::mount::{Attributes, MountFlags};

/// The root itself.
pub(super) fn rootfs(plan: &RootfsPlan) -> Vec<String> {
    let mut steps = vec![text(&plan.root)];
    if plan.mount_namespace {
        steps.push(format!("propagation while it is built: {}", propagation_word(plan.building)));
    }
    steps.push(
        match plan.change_root {
            ChangeRoot::Pivot => "change the root with pivot_root",
            ChangeRoot::Move => "change the root with MS_MOVE and chroot",
            ChangeRoot::Chroot => "change the root with chroot, in the caller's mount namespace",
        }
        .to_owned(),
    );
    if plan.console {
        steps.push("bind the terminal on /dev/console".to_owned());
    }
    if plan.readonly {
        steps.push("make it read-only".to_owned());
    }
    steps.extend(plan.finished.map(|last| format!("propagation: {}", propagation(last))));
    steps
}

/// `tmpfs on /dev (nosuid, strictatime, mode=755)`.
pub(super) fn mount(mount: &Mount) -> String {
    let (what, mut words) = match &mount.kind {
        MountKind::Filesystem(new) => (mount.label.clone(), filesystem(new)),
        MountKind::Bind(bound) => (format!("bind {}", text(&bound.source)), bind(bound)),
        MountKind::Remount(change) => {
            let mut words = asked(change.top, change.implied, "");
            words.extend(attributes(change.tree, "r"));
            words.extend(parameters(&change.parameters));
            ("remount".to_owned(), words)
        }
    };
    if mount.late_readonly {
        words.push("read-only when it is complete".to_owned());
    }
    words.extend(
        mount.propagation.iter().filter(|_| !matches!(mount.kind, MountKind::Bind(_))).copied().map(propagation),
    );
    let words = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
    format!("{what} on {}{words}", text(&mount.target))
}

fn filesystem(new: &Filesystem) -> Vec<String> {
    let mut words = attributes(new.attributes, "");
    words.extend(parameters(&new.parameters));
    if new.copy_up {
        words.push("with a copy of what it covers".to_owned());
    }
    words
}

fn bind(bind: &Bind) -> Vec<String> {
    let mut words = Vec::new();
    if bind.recursive {
        words.push("with the mounts below".to_owned());
    }
    if bind.copy_symlink {
        words.push("a symbolic link is copied".to_owned());
    }
    for change in &bind.changes {
        words.extend(asked(change.wanted, change.implied, if change.recursive { "r" } else { "" }));
        let kind = Propagation { kind: change.propagation, recursive: change.recursive };
        words.extend((change.propagation != 0).then(|| propagation(kind)));
    }
    words.extend(
        bind.idmap
            .as_ref()
            .map(|idmap| if idmap.own.is_some() { "id-mapped" } else { "id-mapped as joined" }.to_owned()),
    );
    words
}

/// Without what no word of the config asked to clear.
fn asked(wanted: Wanted, implied: Attributes, before: &str) -> Vec<String> {
    attributes(Wanted { clear: wanted.clear - implied, ..wanted }, before)
}

/// As options of config.json; `before` is "r" for those of a whole tree.
fn attributes(wanted: Wanted, before: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (bit, set, clear) in FLAG_WORDS {
        match (wanted.set.contains(bit), wanted.clear.contains(bit)) {
            (true, _) => words.push(format!("{before}{set}")),
            (false, true) => words.push(format!("{before}{clear}")),
            (false, false) => {}
        }
    }
    if wanted.clear.contains(Attributes::ATIME) {
        let word = match wanted.set & Attributes::ATIME {
            Attributes::NOATIME => "noatime",
            Attributes::STRICTATIME => "strictatime",
            _ => "relatime",
        };
        words.push(format!("{before}{word}"));
    }
    words
}

/// Without the source, which is a name for most filesystems.
fn parameters(list: &[KernelParameter]) -> impl Iterator<Item = String> {
    list.iter().filter(|parameter| parameter.key.as_c_str() != c"source").map(
        |KernelParameter { key, value, .. }| {
            value.as_ref().map_or_else(|| text(key), |value| format!("{}={}", text(key), text(value)))
        },
    )
}

fn propagation(propagation: Propagation) -> String {
    format!("{}{}", if propagation.recursive { "r" } else { "" }, propagation_word(propagation.kind))
}

fn propagation_word(kind: MountFlags) -> &'static str {
    match kind {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "private",
    }
}

/// `c 1:3 /dev/null, mode 666`.
pub(super) fn device(node: &Device) -> String {
    let letter = match node.kind {
        NodeKind::Character => 'c',
        NodeKind::Block => 'b',
        NodeKind::Fifo => 'p',
    };
    let owner = node.owner.map(|(uid, gid)| format!(", owner {uid}:{gid}")).unwrap_or_default();
    let end = if node.file == DeviceFile::Bound {
        ", the host's node is bound".to_owned()
    } else {
        format!(", mode {:03o}{owner}", node.mode)
    };
    format!("{letter} {}:{} {}{end}", node.major, node.minor, text(&node.path))
}

/// A line each.
pub(super) fn paths(paths: &[CString]) -> Vec<String> {
    paths.iter().map(|path| text(path)).collect()
}
