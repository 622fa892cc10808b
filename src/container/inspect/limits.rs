//! The cgroup, its limits and its device programs. World: plan.

use serde_json::{Value, json};

use super::effective::LimitFile;
use super::report::Entry;
use super::{Configured, Effective};
use crate::cgroup::devices::Devices;
use crate::cgroup::holds::{self, holds};
use crate::cgroup::limits::{IfMissing, Write};

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let mut entries = vec![path(configured, effective)];
    let Some(effective) = effective else {
        entries
            .extend(configured.writes.iter().map(|write| Entry::new(&write.file, write.value.as_str(), Value::Null)));
        entries.push(devices(configured, None));
        return entries;
    };
    if configured.record.cgroup.is_none() {
        return entries;
    }
    let kept = kept(&configured.writes);
    for file in &effective.limits {
        let asked: Vec<&&Write> = kept.iter().filter(|write| file_of(write, &effective.limits) == file.name).collect();
        if asked.is_empty() {
            entries.extend(not_asked(file, configured.record.unit.is_some()));
        }
        entries.extend(asked.into_iter().map(|write| limit(write, file, configured.page_size)));
    }
    entries.push(devices(configured, Some(effective)));
    entries
}

/// Where init is. A program may manage cgroups of its own below the container's, and move there.
fn path(configured: &Configured<'_>, effective: Option<&Effective>) -> Entry {
    let asked = configured.record.cgroup.as_deref();
    let now = effective.and_then(|effective| effective.cgroup_path.as_deref());
    let entry = Entry::new("path", json!(asked), json!(now));
    let (Some(asked), Some(now)) = (asked, now) else { return entry };
    let is_below = now.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    entry.differs(!is_below, || format!("the first process is in cgroup {now}, the container's is {asked}"))
}

/// The writes that no later one replaces.
fn kept(writes: &[Write]) -> Vec<&Write> {
    let replaced = |at: usize| writes[at + 1..].iter().any(|later| holds::replaces(later, &writes[at]));
    writes.iter().enumerate().filter(|(at, _)| !replaced(*at)).map(|(_, write)| write).collect()
}

/// The file that a write went to on this kernel.
fn file_of<'a>(write: &'a Write, files: &[LimitFile]) -> &'a str {
    let is_there = files.iter().any(|file| file.name == write.file && file.content.is_some());
    match &write.if_missing {
        IfMissing::Instead(file, _) if !is_there => file,
        _ => &write.file,
    }
}

fn limit(write: &Write, file: &LimitFile, page_size: u64) -> Entry {
    let value = match &write.if_missing {
        IfMissing::Instead(other, value) if *other == file.name => value,
        _ => &write.value,
    };
    let name = file.name.as_str();
    let Some(content) = &file.content else {
        let entry = Entry::new(name, value.as_str(), Value::Null);
        return match write.if_missing {
            IfMissing::Skip => entry.note("it holds without the file"),
            _ => entry.note("the file is not there, or cannot be read"),
        };
    };
    let shown = line(value, content);
    let entry = Entry::new(name, value.as_str(), shown);
    let sentence =
        |of: &str, now: &str| format!("{name}{of} is {now}, config says {value}: it was changed without `tare update`");
    match (holds(name, value, content, page_size), &file.of_unit) {
        (Some(false), _) => entry.differs(true, || sentence("", line(value, content))),
        (Some(true), Some(unit)) if holds(name, value, unit, page_size) == Some(false) => {
            entry.differs(true, || sentence(" of the unit", line(value, unit)))
        }
        (Some(true), _) => entry,
        (None, _) => entry.note("the two cannot be compared"),
    }
}

/// The line of a file that is about the same device as a value, if it has lines of devices.
fn line<'c>(value: &str, content: &'c str) -> &'c str {
    let key = value.split(' ').next().filter(|key| key.contains(':'));
    let of_key = key.and_then(|key| content.lines().find(|line| line.split(' ').next() == Some(key)));
    of_key.unwrap_or_else(|| content.trim())
}

/// A limit that the config does not set is shown where it is not that of a new cgroup.
fn not_asked(file: &LimitFile, has_unit: bool) -> Option<Entry> {
    let (name, content) = (file.name.as_str(), file.content.as_deref()?.trim());
    let usual = holds::untouched(name)?;
    let is_usual = content == usual || (usual == "default 100" && content == "100");
    let entry = Entry::new(name, Value::Null, content);
    if is_usual {
        return Some(entry);
    }
    if has_unit {
        return Some(entry.note("config does not set it; systemd may"));
    }
    Some(entry.differs(true, || format!("{name} is {content}, config does not set it")))
}

fn devices(configured: &Configured<'_>, effective: Option<&Effective>) -> Entry {
    let asked = match &configured.devices {
        Devices::Enforced(_) => json!("enforced"),
        Devices::AllowAll => json!("all allowed"),
        Devices::NotEnforcedInUserNamespace => json!("not enforced in a user namespace"),
    };
    let name = "devices";
    let Some(programs) = effective.and_then(|effective| effective.devices.as_ref()) else {
        let entry = Entry::new(name, asked, Value::Null);
        return if effective.is_some() { entry.note("only root may ask") } else { entry };
    };
    let word = |program: &crate::cgroup::AttachedProgram| json!({ "kind": if program.of_tare { "tare" } else { "other" }, "id": program.id });
    let entry = Entry::new(name, asked, Value::Array(programs.iter().map(word).collect()));
    let own = programs.iter().filter(|program| program.of_tare).count();
    match (&configured.devices, own) {
        (Devices::Enforced(_), 0) => entry.differs(true, || {
            "no device program of tare's is attached, config has device rules: every device can be used".to_owned()
        }),
        (Devices::AllowAll, 1..) => {
            entry.differs(true, || "a device program of tare's is attached, config allows all devices".to_owned())
        }
        _ => entry,
    }
}
