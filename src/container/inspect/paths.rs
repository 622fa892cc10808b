//! Masked and read-only paths, verified in the container's tree. World: plan.

use std::ffi::CString;

use serde_json::Value;

use super::effective::{Place, PlaceKind};
use super::mount_table::MountTable;
use super::report::Entry;
use super::{Configured, Effective};

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let linux = configured.spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref()).unwrap_or_default();
    let read_only = linux.and_then(|linux| linux.readonly_paths().as_deref()).unwrap_or_default();
    let masked = masked.iter().zip(&configured.tree.masked_paths);
    let read_only = read_only.iter().zip(&configured.tree.readonly_paths);
    let masks = masked.map(|(name, path)| entry(name, "masked", path, effective, mask));
    masks.chain(read_only.map(|(name, path)| entry(name, "read-only", path, effective, protection))).collect()
}

/// What is at a path, as one word; the word that is asked for, or one that says why that is not needed or not known.
fn entry(
    name: &str,
    asked: &'static str,
    path: &CString,
    effective: Option<&Effective>,
    judge: fn(Place, &MountTable) -> &'static str,
) -> Entry {
    let Some(effective) = effective else { return Entry::new(name, asked, Value::Null) };
    let place = effective.places.iter().find(|(other, _)| other == path).map_or(Place::Unknown, |(_, place)| *place);
    match place {
        // What does not exist needs neither.
        Place::Nothing => Entry::new(name, asked, "absent"),
        Place::Unknown => {
            Entry::new(name, asked, Value::Null).note("not looked up: a filesystem on the way might not answer")
        }
        place @ Place::There { .. } => {
            let now = judge(place, &effective.mounts);
            Entry::new(name, asked, now).differs(now != asked, || format!("{name} is {now}, config says {asked}"))
        }
    }
}

/// A mask is the device null, or an empty tmpfs that is read-only.
fn mask(place: Place, mounts: &MountTable) -> &'static str {
    let Place::There { mount, is_mount_point: true, kind } = place else { return "visible" };
    let is_tmpfs = || mounts.get(mount).is_some_and(|entry| entry.kind == "tmpfs" && is_read_only(mounts, mount));
    match kind {
        PlaceKind::Null => "masked",
        PlaceKind::Directory if is_tmpfs() => "masked",
        _ => "visible",
    }
}

fn protection(place: Place, mounts: &MountTable) -> &'static str {
    match place {
        Place::There { mount, .. } if is_read_only(mounts, mount) => "read-only",
        _ => "writable",
    }
}

fn is_read_only(mounts: &MountTable, mount: u64) -> bool {
    let has = |options: &str| options.split(',').next() == Some("ro");
    mounts.get(mount).is_some_and(|entry| has(&entry.options) || has(&entry.superblock))
}
