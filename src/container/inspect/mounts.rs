//! The mounts of the config, those that were added, and those that neither explains. World: plan.
//!
//! The table is the container's: its length and its texts are bounded here.

use std::ffi::CString;

use oci_spec::runtime::Mount;
use serde_json::{Value, json};

use super::effective::Place;
use super::report::Entry;
use super::{Configured, Effective};
use crate::container::record::AddedMount;
use crate::mountinfo::Entry as MountEntry;
use crate::namespaces::NamespaceSet;
use crate::rootfs::options::FLAG_WORDS;
use crate::rootfs::plan::{ExpectedMount, TreePlan, default_paths};
use crate::sys::mount::{Attributes, MountFlags};

/// Mounts that are listed though the config does not have them.
const MOST: usize = 32;

/// A comparison under way.
struct Comparison<'a> {
    configured: &'a Configured<'a>,
    effective: &'a Effective,
    /// The numbers of mounts that the config explains.
    explained: Vec<u64>,
    /// Points of the table below which everything is explained.
    trees: Vec<CString>,
}

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let list = configured.spec.mounts().as_deref().unwrap_or_default();
    let Some(effective) = effective else {
        return list.iter().map(|mount| Entry::new(name(mount), words(mount), Value::Null)).collect();
    };
    let mut comparison = Comparison { configured, effective, explained: Vec::new(), trees: Vec::new() };
    let mut entries = vec![comparison.root()];
    entries.extend(list.iter().enumerate().map(|(number, mount)| comparison.configured(number, mount)));
    entries.extend(configured.record.mounts.iter().map(|mount| comparison.added(mount)));
    entries.extend(comparison.others());
    entries
}

fn name(mount: &Mount) -> String {
    mount.destination().to_string_lossy().into_owned()
}

/// As the config has it.
fn words(mount: &Mount) -> Value {
    let mut value = json!({ "options": mount.options().as_deref().unwrap_or_default() });
    if let Some(kind) = mount.typ().as_deref().filter(|kind| !kind.is_empty()) {
        value["type"] = json!(kind);
    }
    value
}

/// As the kernel has it.
fn shown(entry: &MountEntry) -> Value {
    let options: Vec<&str> = entry.options.split(',').collect();
    json!({ "type": entry.kind, "options": options, "propagation": propagation(entry) })
}

fn propagation(entry: &MountEntry) -> &'static str {
    let has = |word: &str| entry.propagation.split(' ').any(|field| field.split(':').next() == Some(word));
    match (has("shared"), has("master"), has("unbindable")) {
        (true, true, _) => "shared,slave",
        (true, false, _) => "shared",
        (_, true, _) => "slave",
        (.., true) => "unbindable",
        _ => "private",
    }
}

impl Comparison<'_> {
    fn tree(&self) -> &TreePlan {
        self.configured.tree
    }

    fn root(&mut self) -> Entry {
        let number = self.effective.mounts.root;
        self.explained.push(number);
        let word = self.configured.spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
        let mut asked = json!({ "options": [if self.tree().readonly { "ro" } else { "rw" }] });
        if let Some(word) = word {
            asked["propagation"] = json!(word);
        }
        let Some(entry) = self.effective.mounts.get(number) else {
            return Entry::new("/", asked, Value::Null).note("the root is not a mount");
        };
        let mut faults = Vec::new();
        if self.tree().readonly && !flags(&entry.options).contains(Attributes::RDONLY) {
            faults.push("is writable, config says ro".to_owned());
        }
        let owns = self.owns_mounts();
        faults.extend(wrong_propagation(entry, self.tree().propagation).filter(|_| owns));
        compared("/", asked, entry, &faults)
    }

    /// Whether the container has a mount namespace that is made for it.
    fn owns_mounts(&self) -> bool {
        let record = self.configured.record;
        record.namespaces.contains(NamespaceSet::MOUNT) && !record.joined.contains(NamespaceSet::MOUNT)
    }

    fn configured(&mut self, number: usize, mount: &Mount) -> Entry {
        let (name, asked) = (name(mount), words(mount));
        let Some(expected) = self.tree().mounts.get(number).cloned() else {
            return Entry::new(name, asked, Value::Null);
        };
        let later = |other: &&ExpectedMount| other.target == expected.target && !other.remount;
        let covered = self.tree().mounts.iter().skip(number + 1).any(|other| later(&other));
        let masked = self.tree().masked_paths.contains(&expected.target);
        if covered || masked || expected.remount {
            let why = if expected.remount { "it changes a mount before it" } else { "config covers it" };
            return Entry::new(name, asked, Value::Null).note(why);
        }
        let walk = self.effective.mounts.walk(&expected.target);
        let place = self.place(&expected.target);
        let found = walk.point.or(match place {
            Some(Place::There { mount, is_mount_point: true, .. }) => Some(mount),
            _ => None,
        });
        let Some(entry) = found.and_then(|number| self.effective.mounts.get(number)) else {
            let unknown = place == Some(Place::Unknown) || self.effective.mounts.is_cut;
            let entry = Entry::new(name.clone(), asked, Value::Null);
            return match unknown {
                true => entry.note("not looked up: a filesystem on the way might not answer"),
                false => entry.differs(true, || format!("nothing is mounted on {name}")),
            };
        };
        let mut faults = self.explain_stack(&walk.stack, &expected);
        self.explained.push(entry.number);
        if expected.recursive || expected.kind.is_none() {
            self.trees.push(entry.point.clone());
        }
        if faults.is_empty() {
            faults = wrong(entry, &self.settled(number, expected));
        }
        compared(&name, asked, entry, &faults)
    }

    /// A mount with what later words of the config make of it.
    fn settled(&self, number: usize, mut expected: ExpectedMount) -> ExpectedMount {
        let tree = self.tree();
        let target = expected.target.clone();
        for later in tree.mounts.iter().skip(number + 1).filter(|later| later.target == target) {
            expected.remounted(later);
        }
        if tree.readonly_paths.contains(&expected.target) {
            expected.read_only();
        }
        // What is mounted on a shared mount becomes shared.
        let shares = |kind: Option<MountFlags>| kind == Some(libc::MS_SHARED);
        if shares(Some(tree.propagation)) || tree.mounts.iter().any(|mount| shares(mount.propagation)) {
            expected.propagation = expected.propagation.filter(|kind| *kind == libc::MS_SHARED);
        }
        expected
    }

    /// Whether more mounts are on a point than the config and the record have there.
    fn explain_stack(&mut self, stack: &[u64], expected: &ExpectedMount) -> Vec<String> {
        let tree = self.tree();
        let of_config = tree.mounts.iter().filter(|other| other.target == expected.target && !other.remount).count();
        let read_only = tree.readonly_paths.iter().filter(|path| **path == expected.target).count();
        let added = |mount: &&AddedMount| mount.number.is_some_and(|number| stack.contains(&number));
        let added = self.configured.record.mounts.iter().filter(added).count();
        self.explained.extend(stack);
        // A bind mount may bring what its source has on the same point.
        let brought = self.trees.iter().any(|tree| is_below(tree, expected.target.to_bytes()));
        let more = stack.len() > of_config + read_only + added && !brought;
        if more { vec!["is covered by a mount that config does not have".to_owned()] } else { Vec::new() }
    }

    fn place(&self, path: &CString) -> Option<Place> {
        self.effective.places.iter().find(|(other, _)| other == path).map(|(_, place)| *place)
    }

    /// A mount of `tare mounts add`.
    fn added(&mut self, mount: &AddedMount) -> Entry {
        let name = mount.destination.to_string_lossy().into_owned();
        let entry = mount.number.and_then(|number| self.effective.mounts.get(number));
        let Some(entry) = entry else {
            let unsure = mount.number.is_none() || self.effective.mounts.is_cut;
            let row = Entry::new(name.clone(), "added by `tare mounts add`", Value::Null);
            return match unsure {
                true => row.note("whether it was mounted is not recorded"),
                false => row.differs(true, || format!("the mount on {name}, which `tare mounts add` added, is gone")),
            };
        };
        self.explained.push(entry.number);
        self.trees.push(entry.point.clone());
        Entry::new(name, "added by `tare mounts add`", shown(entry))
    }

    /// What neither the config nor the record explains.
    fn others(&mut self) -> Vec<Entry> {
        if !self.owns_mounts() {
            return Vec::new();
        }
        self.explain_paths();
        let others: Vec<&MountEntry> =
            self.effective.mounts.entries.iter().filter(|entry| self.is_other(entry)).collect();
        let row = |entry: &&MountEntry| {
            let name = entry.point.to_string_lossy().into_owned();
            let sentence = format!("{name} is a mount that config does not have");
            Entry::new(name, Value::Null, shown(entry)).differs(true, || sentence)
        };
        let mut entries: Vec<Entry> = others.iter().take(MOST).map(row).collect();
        let rest = others.len().saturating_sub(MOST);
        if rest > 0 || self.effective.mounts.is_cut {
            let count = if self.effective.mounts.is_cut { "more".to_owned() } else { format!("{rest} more") };
            let sentence = format!("{count} mounts that config does not have are not listed");
            entries.push(Entry::new("...", Value::Null, count).differs(true, || sentence));
        }
        entries
    }

    /// Masks, read-only paths and devices are mounts too.
    fn explain_paths(&mut self) {
        let tree = self.configured.tree;
        for path in tree.readonly_paths.iter().chain(&tree.masked_paths) {
            self.explained.extend(self.effective.mounts.walk(path).stack);
            if let Some(Place::There { mount, is_mount_point: true, .. }) = self.place(path) {
                self.explained.push(mount);
            }
        }
        for path in &tree.readonly_paths {
            let point = self.effective.mounts.walk(path).point;
            let point = point.and_then(|number| self.effective.mounts.get(number));
            self.trees.extend(point.map(|entry| entry.point.clone()));
        }
        let devices = self.configured.spec.linux().as_ref().and_then(|linux| linux.devices().as_deref());
        let devices = devices.unwrap_or_default().iter().map(|device| device.path().to_string_lossy().into_owned());
        let own = ["/dev/console", super::super::notify::INSIDE].map(str::to_owned);
        self.trees.extend(default_paths().chain(devices).chain(own).filter_map(|path| CString::new(path).ok()));
    }

    fn is_other(&self, entry: &MountEntry) -> bool {
        let is_brought = || self.trees.iter().any(|tree| is_below(tree, entry.point.to_bytes()));
        !self.explained.contains(&entry.number) && !is_brought()
    }
}

/// Whether a path is that of a tree or below it.
fn is_below(tree: &CString, path: &[u8]) -> bool {
    let rest = path.strip_prefix(tree.to_bytes());
    tree.as_bytes() == b"/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn compared(name: &str, asked: Value, entry: &MountEntry, faults: &[String]) -> Entry {
    let row = Entry::new(name, asked, shown(entry));
    row.differs(!faults.is_empty(), || format!("{name} {}", faults.join("; ")))
}

/// The flags of a mount; without relatime and noatime it has strict access times.
fn flags(options: &str) -> Attributes {
    let has = |wanted: &str| options.split(',').any(|word| word == wanted);
    let set =
        FLAG_WORDS.iter().filter(|(_, word, _)| has(word)).fold(Attributes::empty(), |all, (flag, ..)| all | *flag);
    match (has("noatime"), has("relatime")) {
        (true, _) => set | Attributes::NOATIME,
        (false, true) => set,
        (false, false) => set | Attributes::STRICTATIME,
    }
}

/// What is wrong with a mount.
fn wrong(entry: &MountEntry, expected: &ExpectedMount) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(kind) = expected.kind.as_ref().filter(|kind| **kind != entry.kind) {
        return vec![format!("has the type {}, config says {kind}", entry.kind)];
    }
    let has = flags(&entry.options);
    for (flag, set, clear) in FLAG_WORDS {
        if expected.set.contains(flag) && !has.contains(flag) {
            faults.push(format!("is {clear}, config says {set}"));
        }
        if expected.clear.contains(flag) && has.contains(flag) {
            faults.push(format!("is {set}, config does not say so"));
        }
    }
    let mode = |flags: Attributes| match flags & Attributes::ATIME {
        flags if flags == Attributes::NOATIME => "noatime",
        flags if flags == Attributes::STRICTATIME => "strictatime",
        _ => "relatime",
    };
    if let Some(asked) = expected.atime.filter(|asked| mode(*asked) != mode(has)) {
        faults.push(format!("is {}, config says {}", mode(has), mode(asked)));
    }
    faults.extend(expected.propagation.and_then(|kind| wrong_propagation(entry, kind)));
    faults
}

/// A slave of nothing is private.
fn wrong_propagation(entry: &MountEntry, asked: MountFlags) -> Option<String> {
    let (now, word) = (
        propagation(entry),
        match asked {
            libc::MS_SHARED => "shared",
            libc::MS_SLAVE => "slave",
            libc::MS_UNBINDABLE => "unbindable",
            _ => "private",
        },
    );
    let fits = match word {
        "shared" => now.starts_with("shared"),
        "slave" => matches!(now, "slave" | "private"),
        word => now == word,
    };
    (!fits).then(|| format!("is {now}, config says {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(options: &str, propagation: &str, kind: &str) -> MountEntry {
        MountEntry {
            number: 2,
            parent: 1,
            point: c"/data".into(),
            options: options.into(),
            propagation: propagation.into(),
            kind: kind.into(),
            superblock: "rw".into(),
        }
    }

    fn expected(set: Attributes, clear: Attributes) -> ExpectedMount {
        ExpectedMount {
            target: c"/data".into(),
            kind: Some("tmpfs".into()),
            remount: false,
            recursive: false,
            set,
            clear,
            atime: Some(Attributes::empty()),
            propagation: None,
        }
    }

    #[test]
    fn each_flag_that_is_not_as_configured_is_named() {
        let wanted = expected(Attributes::RDONLY | Attributes::NOSUID, Attributes::NOEXEC);
        assert_eq!(wrong(&entry("ro,nosuid,nodev,relatime", "", "tmpfs"), &wanted), [""; 0]);
        let faults = wrong(&entry("rw,noexec,noatime", "", "tmpfs"), &wanted);
        assert_eq!(
            faults,
            [
                "is rw, config says ro",
                "is suid, config says nosuid",
                "is noexec, config does not say so",
                "is noatime, config says relatime"
            ]
        );
        assert_eq!(wrong(&entry("ro,nosuid,relatime", "", "ext4"), &wanted), ["has the type ext4, config says tmpfs"]);
    }

    #[test]
    fn a_slave_may_be_private() {
        let wrong = |propagation: &str, asked| wrong_propagation(&entry("rw", propagation, "x"), asked);
        assert_eq!(wrong("", libc::MS_SLAVE), None);
        assert_eq!(wrong("master:3 propagate_from:2", libc::MS_SLAVE), None);
        assert_eq!(wrong("shared:4 master:3", libc::MS_SHARED), None);
        assert_eq!(wrong("unbindable", libc::MS_UNBINDABLE), None);
        assert_eq!(wrong("shared:4", libc::MS_SLAVE).as_deref(), Some("is shared, config says slave"));
        assert_eq!(wrong("master:4", libc::MS_PRIVATE).as_deref(), Some("is slave, config says private"));
        assert_eq!(wrong("", libc::MS_SHARED).as_deref(), Some("is private, config says shared"));
    }
}
