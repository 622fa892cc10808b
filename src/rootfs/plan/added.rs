//! Plans mounts for a container that exists: the config's mounts in every respect, without the rest of the tree.
//!
//! World: plan (pure). What cannot be undone is refused, because a mount that is added can be removed again.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{LinuxIdMapping, Mount as Asked, Spec};

use super::{ChangeRoot, Devices, Mount, MountKind, RootfsPlan};
use super::{inside, label_key, mounts, root, root_path};
use crate::error::{Code, Error, Result};
use crate::rootfs::RootfsFacts;

/// A mount to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// Where it is now, without symbolic links.
    pub point: CString,
    /// Its number in mountinfo.
    pub number: u64,
}

/// Plans `list` for a container whose config is `spec`. `mappings` are those of its user namespace, if it has one.
///
/// # Errors
/// A value that cannot be accepted or cannot be done, with its JSON path: `mounts[0].options[1]`.
pub fn plan_added(
    spec: &Spec,
    list: &[Asked],
    mappings: Option<(Vec<LinuxIdMapping>, Vec<LinuxIdMapping>)>,
    facts: &RootfsFacts<'_>,
) -> Result<RootfsPlan> {
    let root = root(spec, facts)?;
    let host_root = Path::new(OsStr::from_bytes(root.path.to_bytes()));
    let label_key = label_key(spec)?;
    let context =
        mounts::Context { facts, label: root.label, label_key, building: root.building, root: host_root, mappings };
    let mounts = mounts::plan(list, &context)?;
    mounts.iter().enumerate().try_for_each(|(number, mount)| refuse_what_stays(number, mount))?;
    let mut plan = RootfsPlan {
        warnings: mounts::ignored_by_binds(list),
        root: root.path.clone(),
        readonly: false,
        user_namespace: facts.user_namespace,
        mount_namespace: true,
        attached: true,
        building: root.building,
        finished: None,
        change_root: ChangeRoot::Pivot,
        begins_with_rootfs: false,
        mounts,
        // What is below may be, whatever the config says: its programs may have mounted since.
        shared_mounts: true,
        devices: Devices { own: false, nodes: Vec::new() },
        console: false,
        readonly_paths: Vec::new(),
        masked_paths: Vec::new(),
        context: None,
    };
    plan.find_sources_inside()?;
    Ok(plan)
}

/// The destinations of `list` as [`plan_added`] has them, for a container of `bundle`.
///
/// # Errors
/// One is missing or too long, with its JSON path.
pub fn destinations(spec: &Spec, bundle: &Path, list: &[Asked]) -> Result<Vec<CString>> {
    let root = spec.root().as_ref().map(|root| root_path(root.path(), bundle)).transpose()?.unwrap_or_default();
    let root = Path::new(OsStr::from_bytes(root.to_bytes()));
    let destination = |(number, mount): (usize, &Asked)| {
        let at = format!("mounts[{number}].destination");
        if mount.destination().as_os_str().is_empty() {
            return Err(Error::refused(Code::MountDestinationInvalid, at, "a mount needs a destination"));
        }
        inside(&mounts::below_root(mount.destination(), root), &at)
    };
    list.iter().enumerate().map(destination).collect()
}

fn refuse_what_stays(number: usize, mount: &Mount) -> Result<()> {
    let options = || format!("mounts[{number}].options");
    if mount.target.to_bytes() == b"/" {
        let what = "the root of a container that exists cannot be covered: its processes would not see it";
        return Err(Error::refused(Code::MountOptionUnsupported, format!("mounts[{number}].destination"), what));
    }
    match &mount.kind {
        MountKind::Remount(_) => {
            Err(Error::refused(Code::MountOptionUnsupported, options(), "\"remount\" adds no mount")
                .hint("remove the mount and add it with the other options"))
        }
        MountKind::Bind(bind) if bind.copy_symlink => Err(Error::refused(
            Code::MountOptionUnsupported,
            options(),
            "\"copy-symlink\" makes a link, which could not be removed again",
        )),
        _ => Ok(()),
    }
}
