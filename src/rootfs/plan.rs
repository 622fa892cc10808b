//! What the container's tree will look like: the decided form of root, mounts, linux.devices and linux's paths.
//!
//! World: plan (pure). Promises: every string is NUL-free and ends in NUL, every path of the container is absolute
//! and clean, nothing is left to interpret; an error names the JSON path.

mod added;
mod again;
mod devices;
mod explain;
mod mounts;

#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use oci_spec::runtime::{LinuxIdMapping, Spec};

use super::RootfsFacts;
use super::options::{Propagation, Wanted};
use crate::annotation::annotation;
use crate::error::{Code, Error, Result, c_string};
use crate::label;
use crate::sys::mount::{Attributes, MountFlags};

pub use added::{Removal, destinations, plan_added};
pub use again::{ExpectedMount, TreePlan, plan_again};
pub use devices::{Device, DeviceFile, Devices, NodeKind, default_paths};

/// The decided tree of one container.
#[derive(Debug)]
pub struct RootfsPlan {
    /// The rootfs on the host, absolute.
    pub root: CString,
    /// `root.readonly`.
    pub readonly: bool,
    /// The container's ids are not the host's: it may not find the sources of its mounts itself.
    pub user_namespace: bool,
    /// The container has a mount namespace; without one its mounts are the caller's until it is deleted.
    pub mount_namespace: bool,
    /// The rootfs is a mount of its own: always, but where there is neither a mount namespace nor anything to mount.
    pub attached: bool,
    /// Propagation while the tree is built, in `MS_*`: never one that reaches the host.
    pub building: MountFlags,
    /// Propagation of the finished root, where it differs.
    pub finished: Option<Propagation>,
    /// How the root is changed.
    pub change_root: ChangeRoot,
    /// The mount namespace may begin with the rootfs alone, where the kernel can make such a one. Not with a user
    /// namespace: the kernel gives it a procfs or sysfs only beside one of the host's. And not for hooks that look at the
    /// container before its root is changed.
    pub begins_with_rootfs: bool,
    /// In the order of the config, same indices.
    pub mounts: Vec<Mount>,
    /// A mount of the config is shared: what is mounted below it becomes shared too.
    pub shared_mounts: bool,
    /// /dev.
    pub devices: Devices,
    /// The terminal is bound on /dev/console.
    pub console: bool,
    /// linux.readonlyPaths.
    pub readonly_paths: Vec<CString>,
    /// linux.maskedPaths.
    pub masked_paths: Vec<CString>,
    /// What the user should know though nothing fails.
    pub warnings: Vec<String>,
    /// SELinux context of the tmpfs that masks directories.
    pub context: Option<CString>,
}

/// Levels of the deepest tree that `tmpcopyup` copies. Each ".." takes the kernel time in proportion to the depth
/// (`path_connected` of fs/namei.c): a tree of 16 384 levels takes 0.9 s, one of 65 536 would take 19 s.
pub const DEEPEST: usize = 16_384;

/// How the process gets its new root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRoot {
    /// pivot_root, then the old root is detached.
    Pivot,
    /// `--no-pivot`: move the tree onto "/" and chroot.
    Move,
    /// No mount namespace: chroot alone.
    Chroot,
}

/// One mount.
#[derive(Debug)]
pub struct Mount {
    /// Where, in the container.
    pub target: CString,
    /// For messages: the type, or "bind".
    pub label: String,
    /// How the target may be found.
    pub rule: Rule,
    /// What.
    pub kind: MountKind,
    /// To set on the attached mount, in this order.
    pub propagation: Vec<Propagation>,
    /// Read-only at the very end, when nothing has to be made in it any more.
    pub late_readonly: bool,
}

/// Which symbolic links may lead to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Any, inside the root, but not to procfs: its mounts are decided by name.
    Follow,
    /// None: procfs and sysfs are found by their names later on.
    NoSymlinks,
    /// `dest-nofollow`: the last component is not followed.
    NoFollowLast,
}

/// What is mounted.
#[derive(Debug)]
pub enum MountKind {
    /// A new filesystem.
    Filesystem(Filesystem),
    /// A tree of the host.
    Bind(Bind),
    /// A change of what is there.
    Remount(Remount),
}

/// A new instance of a filesystem.
#[derive(Debug)]
pub struct Filesystem {
    /// Its type.
    pub name: CString,
    /// For fsconfig, in order; `source` first.
    pub parameters: Vec<KernelParameter>,
    /// Attributes of the mount.
    pub attributes: Wanted,
    /// Copy what is below into it.
    pub copy_up: bool,
    /// A tmpfs without `mode=` takes the mode of the directory it covers.
    pub inherit_mode: bool,
    /// Only mount(2) can do it: flags and data.
    pub old_call: Option<OldCall>,
}

/// One fsconfig call.
#[derive(Debug)]
pub struct KernelParameter {
    /// Position in the mount's options; none for the source.
    pub option: Option<usize>,
    /// The key.
    pub key: CString,
    /// The value; none for a flag.
    pub value: Option<CString>,
}

/// Arguments of mount(2) for what fsconfig cannot say: values above 255 bytes and `iversion`.
#[derive(Debug)]
pub struct OldCall {
    /// The source.
    pub source: CString,
    /// `MS_*` of the superblock.
    pub flags: MountFlags,
    /// Options, joined.
    pub data: CString,
}

/// A tree of the host that is bound.
#[derive(Debug)]
pub struct Bind {
    /// On the host, absolute.
    pub source: CString,
    /// The source as a path of the container, where it lies in the rootfs: what earlier mounts made is there.
    pub inside: Option<CString>,
    /// With everything mounted below.
    pub recursive: bool,
    /// `src-nofollow`.
    pub nofollow: bool,
    /// `copy-symlink`: a source that is a symbolic link is copied, not followed.
    pub copy_symlink: bool,
    /// Only a whole procfs may be bound on /proc.
    pub procfs: bool,
    /// In this order, on the detached tree.
    pub changes: Vec<TreeChange>,
    /// Id mapping.
    pub idmap: Option<Idmap>,
}

impl Mount {
    /// A new procfs, which shows a pid namespace.
    #[must_use]
    pub fn is_procfs(&self) -> bool {
        matches!(&self.kind, MountKind::Filesystem(new) if new.name.as_c_str() == c"proc")
    }

    /// `tmpcopyup`.
    #[must_use]
    pub fn copies(&self) -> bool {
        matches!(&self.kind, MountKind::Filesystem(new) if new.copy_up)
    }

    /// A bind that [`Bind::is_shared`].
    #[must_use]
    pub fn is_shared_bind(&self) -> bool {
        matches!(&self.kind, MountKind::Bind(bind) if bind.is_shared())
    }
}

impl Bind {
    /// What a refusal of the source means in a user namespace: what the host has mounted stays as it is.
    #[must_use]
    pub fn refused_in_user_namespace(&self, errno: i32) -> Option<&'static str> {
        let clears = self.changes.iter().any(|change| !change.wanted.clear.is_empty());
        match errno {
            libc::EPERM if clears => Some("in a user namespace the flags that the host's mount has cannot be cleared"),
            libc::EINVAL if !self.recursive => {
                Some("in a user namespace what the host has mounted below cannot be left out; bind it with \"rbind\"")
            }
            _ => None,
        }
    }

    /// Mounts in the container reach the host and the other way round: it must stay a peer of the host's own mount.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.changes.iter().any(|change| change.propagation == libc::MS_SHARED)
    }
}

/// One mount_setattr call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeChange {
    /// Attributes.
    pub wanted: Wanted,
    /// Those to clear that no word asked to clear: they stay where the kernel has locked them.
    pub implied: Attributes,
    /// Propagation, 0 for unchanged.
    pub propagation: MountFlags,
    /// Of the whole tree.
    pub recursive: bool,
}

/// The id mapping of a bind mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idmap {
    /// `ridmap`.
    pub recursive: bool,
    /// uidMappings and gidMappings of the mount, or of the container; none for those of a namespace it joins.
    pub own: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
}

/// `remount`.
#[derive(Debug)]
pub struct Remount {
    /// Superblock parameters, none with `bind`.
    pub parameters: Vec<KernelParameter>,
    /// The superblock is reconfigured.
    pub superblock: bool,
    /// Attributes of the mount.
    pub top: Wanted,
    /// As [`TreeChange::implied`].
    pub implied: Attributes,
    /// Attributes of the tree.
    pub tree: Wanted,
}

/// Plans the tree of a container.
///
/// # Errors
/// A value that cannot be accepted or cannot be done here, with its JSON path.
pub fn plan(spec: &Spec, facts: &RootfsFacts<'_>) -> Result<RootfsPlan> {
    let Root { readonly, path: root_path, building, finished, label } = root(spec, facts)?;
    let linux = spec.linux().as_ref();
    let empty = Vec::new();
    let list = |list: &Option<Vec<LinuxIdMapping>>| list.clone().filter(|list| !list.is_empty());
    let mappings = linux.and_then(|linux| list(linux.uid_mappings()).zip(list(linux.gid_mappings())));
    let label_key = label_key(spec)?;
    let host_root = Path::new(OsStr::from_bytes(root_path.to_bytes()));
    let context = mounts::Context { facts, label, label_key, building, root: host_root, mappings };
    let mounts = mounts::plan(spec.mounts().as_ref().unwrap_or(&empty), &context)?;
    let warnings = mounts::ignored_by_binds(spec.mounts().as_deref().unwrap_or_default());
    let mut plan = RootfsPlan {
        warnings,
        root: root_path.clone(),
        readonly,
        user_namespace: facts.user_namespace,
        mount_namespace: facts.mount_namespace,
        attached: true,
        building,
        finished,
        change_root: match (facts.mount_namespace, facts.no_pivot) {
            (false, _) => ChangeRoot::Chroot,
            (true, true) => ChangeRoot::Move,
            (true, false) => ChangeRoot::Pivot,
        },
        begins_with_rootfs: facts.new_mount_namespace
            && !facts.no_pivot
            && !facts.user_namespace
            && !facts.hooks_before_pivot
            && !mounts.iter().any(|mount| mount.target.to_bytes() == b"/"),
        shared_mounts: mounts
            .iter()
            .any(|mount| mount.propagation.iter().any(|propagation| propagation.kind == libc::MS_SHARED)),
        devices: devices::plan(linux.and_then(|linux| linux.devices().as_deref()), &mounts, facts)?,
        mounts,
        console: facts.console,
        readonly_paths: paths(linux.and_then(|linux| linux.readonly_paths().as_deref()), "linux.readonlyPaths")?,
        masked_paths: paths(linux.and_then(|linux| linux.masked_paths().as_deref()), "linux.maskedPaths")?,
        context: label.map(|label| string(label.as_bytes(), "linux.mountLabel")).transpose()?,
    };
    plan.find_sources_inside()?;
    if !plan.mount_namespace {
        plan.without_mount_namespace(linux.is_some_and(|linux| linux.rootfs_propagation().is_some()))?;
    }
    Ok(plan)
}

/// What the config says about the tree as a whole.
struct Root<'a> {
    readonly: bool,
    /// On the host, absolute.
    path: CString,
    building: MountFlags,
    finished: Option<Propagation>,
    label: Option<&'a str>,
}

fn root<'a>(spec: &'a Spec, facts: &RootfsFacts<'_>) -> Result<Root<'a>> {
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| Error::refused(Code::RootfsInvalid, "root", "a container needs a root filesystem"))?;
    let linux = spec.linux().as_ref();
    let (building, finished) = root_propagation(linux.and_then(|linux| linux.rootfs_propagation().as_deref()))?;
    let label = linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty());
    if let Some(label) = label {
        // It stands in quotes among the parameters that mount(2) takes as one text.
        label::check(label, LONGEST_LABEL, &['"'], "linux.mountLabel")?;
        label::check_selinux(facts.selinux, "linux.mountLabel")?;
    }
    let path = root_path(root.path(), facts.bundle)?;
    Ok(Root { readonly: root.readonly().unwrap_or(false), path, building, finished, label })
}

/// Which of the contexts of mount(8) linux.mountLabel is; Podman says so.
fn label_key(spec: &Spec) -> Result<&'static CStr> {
    const NAME: &str = "run.oci.mount_context_type";
    match annotation(spec, NAME) {
        None | Some("" | "context") => Ok(c"context"),
        Some("fscontext") => Ok(c"fscontext"),
        Some("defcontext") => Ok(c"defcontext"),
        Some("rootcontext") => Ok(c"rootcontext"),
        Some(other) => Err(Error::refused(
            Code::AnnotationInvalid,
            format!("annotations[{NAME:?}]"),
            format!("unknown value {other:?}"),
        )
        .hint("it is one of context, fscontext, defcontext, rootcontext")),
    }
}

/// Longer ones have no room beside the other parameters of a mount.
const LONGEST_LABEL: usize = 2048;

impl RootfsPlan {
    /// How many descriptors its mounts and devices may take.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.mounts.len() + self.devices.nodes.len()
    }

    /// "The runtime MUST mount entries in the listed order": a source in the rootfs is what an earlier mount made there.
    /// It is found as a target is, so that a link of the image does not lead to the host. Not with `copy-symlink`, nor
    /// below a mount on "/", which may be all that uses the rootfs.
    fn find_sources_inside(&mut self) -> Result<()> {
        let root = Path::new(OsStr::from_bytes(self.root.to_bytes()));
        for (number, mount) in self.mounts.iter_mut().enumerate() {
            if mount.target.to_bytes() == b"/" {
                break;
            }
            let MountKind::Bind(bind) = &mut mount.kind else { continue };
            let Ok(rest) = Path::new(OsStr::from_bytes(bind.source.to_bytes())).strip_prefix(root) else { continue };
            let below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if !rest.as_os_str().is_empty() && rest.components().all(below) && !bind.copy_symlink {
                bind.inside = Some(inside(rest, &format!("mounts[{number}].source"))?);
            }
        }
        Ok(())
    }

    /// Without a mount namespace every mount is the caller's too, below the rootfs, until the container is deleted.
    fn without_mount_namespace(&mut self, propagation: bool) -> Result<()> {
        let asked = [
            (!self.mounts.is_empty(), "mounts"),
            (!self.masked_paths.is_empty(), "linux.maskedPaths"),
            (!self.readonly_paths.is_empty(), "linux.readonlyPaths"),
            (self.readonly, "root.readonly"),
            (self.console, "process.terminal"),
            (self.devices.any_bound(), "linux.devices"),
        ];
        let asked = asked.iter().find(|(asked, _)| *asked).map(|(_, at)| *at);
        self.attached = asked.is_some();
        let refused = if propagation { Some("linux.rootfsPropagation") } else { asked.filter(|_| self.user_namespace) };
        match refused {
            Some(at) => {
                Err(Error::refused(Code::NamespaceMissing, at, "needs a mount namespace of the container's own")
                    .hint("add {\"type\": \"mount\"} to linux.namespaces"))
            }
            None => Ok(()),
        }
    }
}

/// The host's tree must not change with the container's: while the tree is built it is a slave or private, and
/// "shared" makes a new peer group at the end. Source: runtime-spec config-linux.md "Rootfs Mount Propagation".
fn root_propagation(word: Option<&str>) -> Result<(MountFlags, Option<Propagation>)> {
    let last = |kind, recursive| Some(Propagation { kind, recursive });
    Ok(match word.unwrap_or("") {
        "" | "slave" | "rslave" => (libc::MS_SLAVE, None),
        "private" | "rprivate" => (libc::MS_PRIVATE, None),
        "shared" => (libc::MS_PRIVATE, last(libc::MS_SHARED, false)),
        "rshared" => (libc::MS_PRIVATE, last(libc::MS_SHARED, true)),
        "unbindable" => (libc::MS_PRIVATE, last(libc::MS_UNBINDABLE, false)),
        "runbindable" => (libc::MS_PRIVATE, last(libc::MS_UNBINDABLE, true)),
        other => {
            let error = Error::refused(
                Code::ConfigValueUnknown,
                "linux.rootfsPropagation",
                format!("unknown propagation {other:?}"),
            );
            return Err(match crate::error::nearest(other, ["shared", "slave", "private", "unbindable"]) {
                Some(known) => error.hint(format!("did you mean {known:?}?")),
                None => error.hint("one of shared, slave, private, unbindable"),
            });
        }
    })
}

fn root_path(path: &Path, bundle: &Path) -> Result<CString> {
    if path.as_os_str().is_empty() {
        return Err(Error::refused(Code::RootfsInvalid, "root.path", "the path of the root filesystem is empty"));
    }
    string(bundle.join(path).as_os_str().as_bytes(), "root.path")
}

fn paths(list: Option<&[String]>, at: &str) -> Result<Vec<CString>> {
    let path = |(number, path): (usize, &String)| {
        let at = format!("{at}[{number}]");
        if !path.starts_with('/') {
            return Err(Error::refused(Code::PathInvalid, at, format!("{path:?} is not an absolute path")));
        }
        inside(Path::new(path), &at)
    };
    list.unwrap_or_default().iter().enumerate().map(path).collect()
}

/// The clean absolute form of a path in the container; a relative one counts from the root.
///
/// What ".." means is decided here, by name, so that the names that are checked are the names that are used.
fn inside(path: &Path, at: &str) -> Result<CString> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) if part.len() > 255 => {
                return Err(Error::refused(Code::PathInvalid, at, "file name too long"));
            }
            Component::Normal(part) => parts.push(part.as_bytes()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let mut bytes = Vec::from(b"/");
    bytes.extend(parts.join(&b'/'));
    // PATH_MAX counts the NUL.
    if bytes.len() > 4095 {
        return Err(Error::refused(Code::PathInvalid, at, "path too long"));
    }
    string(&bytes, at)
}

fn string(bytes: &[u8], at: &str) -> Result<CString> {
    c_string(bytes, || at.to_string())
}
