//! no_new_privs, seccomp, the label of the security module, the keyring. World: plan.

use serde_json::{Value, json};

use super::report::Entry;
use super::{Configured, Effective};

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let process = effective.map(|effective| &effective.process);
    let plan = configured.program.map(|program| &program.process);
    let privileges = Entry::exact(
        "noNewPrivileges",
        json!(plan.map(|plan| plan.no_new_privileges)),
        json!(process.and_then(|process| process.no_new_privs)),
    );
    let [mode, filters] = seccomp(configured, effective);
    vec![privileges, mode, filters, label(configured, effective), keyring(configured, effective)]
}

/// The mode and the number of filters. Source: proc_pid_status(5), Seccomp.
fn seccomp(configured: &Configured<'_>, effective: Option<&Effective>) -> [Entry; 2] {
    let filter = configured.program.map(|program| program.filter().is_some());
    let word = |mode: u32| match mode {
        0 => json!("disabled"),
        1 => json!("strict"),
        2 => json!("filter"),
        other => json!(other),
    };
    let process = effective.map(|effective| &effective.process);
    let asked = filter.map_or(Value::Null, |filter| word(if filter { 2 } else { 0 }));
    let mode = process.and_then(|process| process.seccomp_mode).map_or(Value::Null, word);
    let count = json!(process.and_then(|process| process.seccomp_filters));
    if filter == Some(true) && effective.is_some_and(|effective| effective.waiting) {
        let note = "start loads the filter";
        let mode = Entry::new("seccomp.mode", asked, mode).note(note);
        return [mode, Entry::new("seccomp.filters", 1, count).note(note)];
    }
    let mode = Entry::exact("seccomp.mode", asked, mode);
    let mut filters = Entry::exact("seccomp.filters", json!(filter.map(u64::from)), count);
    if filters.effective.as_u64() > filters.configured.as_u64()
        && let Some(sentence) = &mut filters.difference
    {
        sentence.push_str(": the caller had one, or the program has added one");
    }
    [mode, filters]
}

/// AppArmor adds its mode to the name: `docker-default (enforce)`.
fn label(configured: &Configured<'_>, effective: Option<&Effective>) -> Entry {
    let process = configured.spec.process().as_ref();
    let profile = process.and_then(|process| process.apparmor_profile().as_deref()).filter(|text| !text.is_empty());
    let selinux = process.and_then(|process| process.selinux_label().as_deref()).filter(|text| !text.is_empty());
    let label = effective.and_then(|effective| effective.label.as_deref());
    let asked = profile.or(selinux);
    let entry = Entry::new("label", json!(asked), json!(label));
    let waiting = effective.is_some_and(|effective| effective.waiting);
    let (Some(asked), Some(label)) = (asked, label) else { return entry };
    if waiting {
        return entry.note("it is set when the program is executed");
    }
    let name = label.strip_suffix(')').and_then(|text| text.rsplit_once(" (")).map_or(label, |(name, _)| name);
    entry.differs(name != asked, || format!("the label is {name}, config says {asked}"))
}

/// The kernel tells nobody which keyring another process has, but whether the container's is there.
fn keyring(configured: &Configured<'_>, effective: Option<&Effective>) -> Entry {
    let name = configured.program.map(|_| format!("_ses.{}", configured.record.id));
    let is_there = effective.is_some_and(|effective| effective.keyring);
    let entry = Entry::new("keyring", json!(name), json!(name.as_deref().filter(|_| is_there)));
    if is_there || effective.is_none() { entry } else { entry.note("none of this name that the caller may see") }
}
