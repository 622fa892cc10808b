//! Plans the tree of a container that exists again, to compare it with what the kernel has.
//!
//! World: plan (pure). Promise: what [`ExpectedMount`] claims holds right after the creation, on every kernel; flags that
//! a bind mount takes over from its source are not claimed.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, Spec};

use super::{Mount, MountKind, label_key, mounts, paths, root};
use crate::error::Result;
use crate::rootfs::RootfsFacts;
use crate::rootfs::options::Wanted;
use crate::sys::mount::{Attributes, MountFlags};

/// The tree of a container, as its config has it.
#[derive(Debug)]
pub struct TreePlan {
    /// `root.readonly`.
    pub readonly: bool,
    /// The propagation of the finished root, in `MS_*`.
    pub propagation: MountFlags,
    /// In the order of the config, same indices.
    pub mounts: Vec<ExpectedMount>,
    /// linux.readonlyPaths.
    pub readonly_paths: Vec<CString>,
    /// linux.maskedPaths.
    pub masked_paths: Vec<CString>,
}

/// What mountinfo shows of one mount of the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedMount {
    /// Where, in the container.
    pub target: CString,
    /// The type of a new filesystem.
    pub kind: Option<String>,
    /// It changes the mount that is at its target.
    pub remount: bool,
    /// What is mounted below its source comes with it.
    pub recursive: bool,
    /// Flags that are set; the access time mode aside.
    pub set: Attributes,
    /// Flags that are not set.
    pub clear: Attributes,
    /// The access time mode: a value below [`Attributes::ATIME`].
    pub atime: Option<Attributes>,
    /// In `MS_*`, if the config decides about it.
    pub propagation: Option<MountFlags>,
}

/// Plans the tree of `spec`. `mappings` are those of its user namespace, if it has one.
///
/// # Errors
/// A value that cannot be accepted, with its JSON path: `create` has accepted it.
pub fn plan_again(
    spec: &Spec,
    mappings: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
    facts: &RootfsFacts<'_>,
) -> Result<TreePlan> {
    let root = root(spec, facts)?;
    let host_root = Path::new(OsStr::from_bytes(root.path.to_bytes()));
    let label_key = label_key(spec)?;
    let context =
        mounts::Context { facts, label: root.label, label_key, building: root.building, root: host_root, mappings };
    let planned = mounts::plan(spec.mounts().as_deref().unwrap_or_default(), &context)?;
    let linux = spec.linux().as_ref();
    Ok(TreePlan {
        readonly: root.readonly,
        propagation: root.finished.map_or(root.building, |finished| finished.kind),
        mounts: planned.iter().map(|mount| expected(mount, facts.user_namespace)).collect(),
        readonly_paths: paths(linux.and_then(|linux| linux.readonly_paths().as_deref()), "linux.readonlyPaths")?,
        masked_paths: paths(linux.and_then(|linux| linux.masked_paths().as_deref()), "linux.maskedPaths")?,
    })
}

/// Flags of a mount that mountinfo shows, access times aside.
const SHOWN: Attributes = Attributes::RDONLY
    .union(Attributes::NOSUID)
    .union(Attributes::NODEV)
    .union(Attributes::NOEXEC)
    .union(Attributes::NODIRATIME)
    .union(Attributes::NOSYMFOLLOW);

fn expected(mount: &Mount, user_namespace: bool) -> ExpectedMount {
    let mut expected = ExpectedMount {
        target: mount.target.clone(),
        kind: None,
        remount: false,
        recursive: false,
        set: Attributes::empty(),
        clear: Attributes::empty(),
        atime: None,
        propagation: None,
    };
    match &mount.kind {
        MountKind::Filesystem(new) => {
            expected.kind = Some(new.name.to_string_lossy().into_owned());
            // The kernel may demand more flags of a filesystem in a user namespace.
            expected.clear = if user_namespace { Attributes::empty() } else { SHOWN };
            expected.atime = Some(Attributes::empty());
            expected.apply(new.attributes, Attributes::empty());
        }
        MountKind::Bind(bind) => {
            expected.recursive = bind.recursive;
            for change in &bind.changes {
                expected.apply(change.wanted, if user_namespace { change.implied } else { Attributes::empty() });
                expected.propagation = Some(change.propagation).filter(|kind| *kind != 0).or(expected.propagation);
            }
        }
        MountKind::Remount(remount) => {
            expected.remount = true;
            expected.apply(remount.top, if user_namespace { remount.implied } else { Attributes::empty() });
            expected.apply(remount.tree, Attributes::empty());
        }
    }
    if mount.late_readonly {
        expected.apply(Wanted { set: Attributes::RDONLY, clear: Attributes::empty() }, Attributes::empty());
    }
    expected.propagation = mount.propagation.last().map(|asked| asked.kind).or(expected.propagation);
    expected
}

impl ExpectedMount {
    /// One change; `unsure` flags may stay though they are to be cleared.
    fn apply(&mut self, wanted: Wanted, unsure: Attributes) {
        let set = wanted.set - Attributes::ATIME;
        let clear = wanted.clear - Attributes::ATIME;
        if wanted.clear.contains(Attributes::ATIME) || !(wanted.set & Attributes::ATIME).is_empty() {
            self.atime = Some(wanted.set & Attributes::ATIME);
        }
        self.set = (self.set - clear) | set;
        self.clear = (self.clear | (clear - unsure)) - self.set;
    }

    /// What a later remount of the same target makes of it.
    pub fn remounted(&mut self, later: &Self) {
        self.set = (self.set - later.clear) | later.set;
        self.clear = (self.clear | later.clear) - self.set;
        self.atime = later.atime.or(self.atime);
        self.propagation = later.propagation.or(self.propagation);
    }

    /// What a readonly path on the same target makes of it.
    pub fn read_only(&mut self) {
        self.set |= Attributes::RDONLY;
        self.clear.remove(Attributes::RDONLY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(mounts: serde_json::Value) -> TreePlan {
        let config = serde_json::json!({ "ociVersion": "1.2.0", "root": { "path": "rootfs" }, "mounts": mounts });
        let facts = crate::rootfs::plan::tests::facts();
        plan_again(&serde_json::from_value(config).unwrap(), None, &facts).unwrap()
    }

    #[test]
    fn a_new_filesystem_has_exactly_its_flags_and_a_bind_those_that_are_named() {
        let tree = planned(serde_json::json!([
            { "destination": "/a", "type": "tmpfs", "source": "x", "options": ["nosuid", "ro", "strictatime"] },
            { "destination": "/b", "source": "/x", "options": ["rbind", "rprivate"] },
            { "destination": "/c", "source": "/x", "options": ["bind", "nodev"] },
        ]));
        let [tmpfs, plain, bind] = &tree.mounts[..] else { panic!("{tree:?}") };
        assert_eq!((tmpfs.set, tmpfs.kind.as_deref()), (Attributes::RDONLY | Attributes::NOSUID, Some("tmpfs")));
        assert!(tmpfs.clear.contains(Attributes::NOEXEC) && !tmpfs.clear.intersects(tmpfs.set));
        assert_eq!(tmpfs.atime, Some(Attributes::STRICTATIME));
        assert_eq!((plain.set, plain.clear, plain.atime), (Attributes::empty(), Attributes::empty(), None));
        assert_eq!((plain.propagation, plain.recursive), (Some(libc::MS_PRIVATE), true));
        assert_eq!((bind.set, bind.propagation), (Attributes::NODEV, Some(libc::MS_SLAVE)));
        assert!(bind.clear.contains(Attributes::RDONLY | Attributes::NOSUID) && bind.atime.is_none());
    }

    #[test]
    fn a_remount_changes_what_it_names() {
        let tree = planned(serde_json::json!([
            { "destination": "/a", "source": "/x", "options": ["bind", "ro", "noexec"] },
            { "destination": "/a", "options": ["remount", "bind", "rw", "nosuid"] },
        ]));
        let mut mount = tree.mounts[0].clone();
        mount.remounted(&tree.mounts[1]);
        assert_eq!(mount.set, Attributes::NOSUID);
        assert!(mount.clear.contains(Attributes::RDONLY | Attributes::NOEXEC));
        mount.read_only();
        assert_eq!(mount.set, Attributes::NOSUID | Attributes::RDONLY);
    }
}
