//! User, groups and capabilities. World: plan. Ids are those of the container's user namespace.

use serde_json::{Value, json};

use super::report::Entry;
use super::{Configured, Effective};
use crate::namespaces::NamespaceSet;
use crate::process::ProcessPlan;
use crate::process::capabilities::{Masks, SYS_ADMIN, names};

/// User, groups, umask and id mappings.
pub(super) fn user(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let plan = configured.program.map(|program| &program.process);
    let is_hosts = configured.is_callers_user_namespace(effective);
    let inside = |id: u32, map: usize| match effective {
        Some(effective) if !is_hosts => inside(&effective.mappings[map], id).map_or(Value::Null, Value::from),
        _ => json!(id),
    };
    let process = effective.map(|effective| &effective.process);
    let uid = Entry::exact(
        "uid",
        json!(plan.map(|plan| plan.uid)),
        process.map_or(Value::Null, |process| inside(process.uid, 0)),
    );
    let gid = Entry::exact(
        "gid",
        json!(plan.map(|plan| plan.gid)),
        process.map_or(Value::Null, |process| inside(process.gid, 1)),
    );
    let may_set = effective.is_none_or(|effective| effective.sets_groups);
    let groups =
        groups(configured, may_set, process.map(|process| process.groups.iter().map(|id| inside(*id, 1)).collect()));
    let octal = |mask: u32| format!("{mask:04o}");
    let umask = Entry::exact(
        "umask",
        json!(plan.map(|plan| octal(plan.umask))),
        json!(process.and_then(|process| process.umask).map(octal)),
    );
    let mut entries = vec![uid, gid, groups, umask];
    if configured.record.namespaces.contains(NamespaceSet::USER) {
        let linux = configured.spec.linux().as_ref();
        let lists = linux.map(|linux| [linux.uid_mappings(), linux.gid_mappings()]);
        for (position, name) in ["uidMappings", "gidMappings"].into_iter().enumerate() {
            let list = lists.and_then(|lists| lists[position].as_deref()).filter(|list| !list.is_empty());
            let asked = list.map(|list| {
                let line = |map: &oci_spec::runtime::LinuxIdMapping| [map.container_id(), map.host_id(), map.size()];
                mapping_words(list.iter().map(line))
            });
            let kept =
                effective.filter(|_| !is_hosts).map(|effective| mapping_words(lines(&effective.mappings[position])));
            entries.push(Entry::exact(name, json!(asked), json!(kept)));
        }
    }
    entries
}

fn groups(configured: &Configured<'_>, may_set: bool, kept: Option<Vec<Value>>) -> Entry {
    let plan = configured.program.map(|program| &program.process);
    let asked = plan.map(|plan| sorted(plan.groups.iter().map(|group| json!(group)).collect()));
    let kept = kept.map(sorted);
    let entry = Entry::new("additionalGids", json!(asked), json!(kept));
    // Without setgroups(2), or as an annotation asks, the caller's groups stay.
    if kept != asked && (configured.keeps_groups || !may_set) {
        return entry.note("the caller's groups stay");
    }
    let exact = Entry::exact("additionalGids", entry.configured.clone(), entry.effective.clone());
    Entry { difference: exact.difference, ..entry }
}

fn sorted(mut list: Vec<Value>) -> Vec<Value> {
    list.sort_unstable_by_key(Value::as_u64);
    list.dedup();
    list
}

/// Lines of `inside outside count`.
fn lines(text: &str) -> impl Iterator<Item = [u32; 3]> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse().ok());
        Some([words.next()??, words.next()??, words.next()??])
    })
}

/// In the order of the ids, since the kernel may keep another one than the config has.
fn mapping_words(lines: impl Iterator<Item = [u32; 3]>) -> Vec<String> {
    let mut lines: Vec<[u32; 3]> = lines.collect();
    lines.sort_unstable();
    lines.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}")).collect()
}

/// The id inside of one outside.
fn inside(map: &str, id: u32) -> Option<u32> {
    lines(map).find_map(|[inside, outside, count]| {
        let offset = id.checked_sub(outside).filter(|offset| *offset < count)?;
        inside.checked_add(offset)
    })
}

/// The five capability sets.
pub(super) fn capabilities(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let plan = configured.program.map(|program| &program.process);
    let has = effective.map(|effective| effective.process.capabilities);
    let waiting = effective.is_some_and(|effective| effective.waiting);
    // For the filter, which init loads itself.
    let kept = match configured.program {
        Some(program) if waiting && program.filter().is_some() && !program.process.no_new_privileges => SYS_ADMIN,
        _ => 0,
    };
    let expected = plan.map(|plan| if waiting { plan.capabilities } else { after_execve(plan) });
    let set = |name: &'static str, of: fn(&Masks) -> u64| {
        let words = |masks: &Masks| json!(list(of(masks)));
        let asked = plan.map_or(Value::Null, |plan| words(&plan.capabilities));
        let entry = Entry::new(name, asked, has.as_ref().map_or(Value::Null, words));
        let (Some(plan), Some(expected), Some(has)) = (plan, expected, has) else { return entry };
        let (asked, expected, has) = (of(&plan.capabilities), of(&expected), of(&has));
        if waiting && has != expected && has & !kept == expected & !kept {
            return entry.note("with CAP_SYS_ADMIN until start, for the filter");
        }
        let entry = match has == expected && has != asked {
            true if plan.uid == 0 => entry.note("execve gives user 0 what is bounding or inheritable"),
            true => entry.note("execve takes what is not ambient from a user other than 0"),
            false => entry,
        };
        entry.differs(has != expected, || sentence(name, expected, has))
    };
    vec![
        set("bounding", |masks| masks.bounding),
        set("effective", |masks| masks.effective),
        set("permitted", |masks| masks.permitted),
        set("inheritable", |masks| masks.inheritable),
        set("ambient", |masks| masks.ambient),
    ]
}

fn list(mask: u64) -> Vec<String> {
    let names = names(mask);
    names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn sentence(name: &str, expected: u64, has: u64) -> String {
    let (lacks, more) = (names(expected & !has), names(has & !expected));
    let lacks = (!lacks.is_empty()).then(|| format!("lack {lacks}, which config gives"));
    let more = (!more.is_empty()).then(|| format!("have {more}, which config does not give"));
    let what: Vec<String> = lacks.into_iter().chain(more).collect();
    format!("the {name} capabilities {}", what.join(", and "))
}

/// The sets of a program without file capabilities that has been executed with those of the plan. Source:
/// capabilities(7), "Transformation of capabilities during execve()"; with no_new_privs nothing is gained.
fn after_execve(plan: &ProcessPlan) -> Masks {
    let before = plan.capabilities;
    if plan.uid != 0 {
        return Masks { permitted: before.ambient, effective: before.ambient, ..before };
    }
    let raised = before.inheritable | before.bounding;
    let permitted = if plan.no_new_privileges { raised & before.permitted } else { raised };
    let permitted = permitted | before.ambient;
    Masks { permitted, effective: permitted, ..before }
}
