//! World: plan. What surrounds a container in words: cgroup, device rules, namespaces, hooks, sysctls.

use oci_spec::runtime::{LinuxDeviceCgroup, Spec};

use super::{count, text};
use crate::cgroup::devices::Devices;
use crate::cgroup::{CgroupPlan, Driver};
use crate::hooks::Hook;
use crate::namespaces::{NamespaceKind, NamespacePlan, word};
use crate::network;
use crate::resctrl::ResctrlPlan;

/// The group and its schemata.
pub(super) fn resctrl(plan: Option<&ResctrlPlan>) -> Vec<String> {
    let Some(plan) = plan else { return Vec::new() };
    let group = plan.group.as_deref().unwrap_or("the default group");
    let mut steps = vec![format!("group {group}")];
    steps.extend(plan.lines.iter().map(|line| format!("write {} to schemata", line.text)));
    steps.extend(plan.monitor.as_ref().map(|name| format!("monitoring group {name}")));
    steps
}

/// Who makes it, what is written.
pub(super) fn cgroup(plan: Option<&CgroupPlan>) -> Vec<String> {
    let Some(plan) = plan else { return vec!["none: the container stays in the caller's".to_owned()] };
    let mut steps = vec![match &plan.driver {
        Driver::File(_) => format!("create {}", plan.path()),
        Driver::Systemd(scope) => {
            let whose = if scope.user { "the user's systemd" } else { "systemd" };
            format!("have {whose} start {} at {}", scope.unit.name, plan.path())
        }
    }];
    if let Driver::Systemd(scope) = &plan.driver {
        let names: Vec<&str> = scope.properties.iter().map(|property| property.name.as_str()).collect();
        steps.push(format!("properties of the unit: {}", names.join(", ")));
    }
    steps.extend(plan.writes.iter().map(|write| format!("write {} to {}", write.value.trim(), write.file)));
    steps.extend(plan.owner.map(|uid| format!("give it to uid {uid}")));
    steps.extend(plan.delegated.as_ref().map(|name| format!("move init to its cgroup {name}")));
    steps
}

/// The rules of the config. The defaults come after the last one about all devices.
pub(super) fn device_rules(spec: &Spec, plan: Option<&CgroupPlan>) -> Vec<String> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    match plan.map(|plan| &plan.devices) {
        None => Vec::new(),
        Some(Devices::AllowAll) => vec!["allow every device".to_owned()],
        Some(Devices::NotEnforcedInUserNamespace) => vec!["none: this caller may not set them".to_owned()],
        Some(Devices::Enforced(program)) => {
            let mut steps: Vec<String> = rules.iter().map(device_rule).collect();
            steps.push("allow mknod of every device, and the default devices".to_owned());
            steps.push("deny all others".to_owned());
            steps.push(format!("as a program of {}", count(program.len(), "instruction")));
            steps
        }
    }
}

fn device_rule(rule: &LinuxDeviceCgroup) -> String {
    let number = |number: Option<i64>| number.filter(|number| *number >= 0).map_or("*".to_owned(), |n| n.to_string());
    let verb = if rule.allow() { "allow" } else { "deny" };
    let kind = rule.typ().map_or("a".to_owned(), |kind| kind.as_str().to_owned());
    let access = rule.access().as_deref().unwrap_or("rwm");
    format!("{verb} {kind} {}:{} {access}", number(rule.major()), number(rule.minor()))
}

/// New ones, joined ones, and what is set in them.
pub(super) fn namespaces(plan: &NamespacePlan) -> Vec<String> {
    const KINDS: [NamespaceKind; 8] = [
        NamespaceKind::User,
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Network,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
        NamespaceKind::Time,
    ];
    let list = |kinds: &mut dyn Iterator<Item = NamespaceKind>| kinds.map(word).collect::<Vec<_>>().join(", ");
    let new = list(&mut KINDS.into_iter().filter(|kind| plan.is_new(*kind)));
    let host = list(&mut KINDS.into_iter().filter(|kind| !plan.has(*kind)));
    let mut steps = Vec::new();
    steps.extend((!new.is_empty()).then(|| format!("create {new}")));
    steps.extend(plan.join.iter().map(|join| format!("join {} {}", word(join.kind), join.path.display())));
    steps.extend((!host.is_empty()).then(|| format!("share the caller's {host}")));
    if let Some(mappings) = &plan.mappings {
        steps.extend(maps("uids", &mappings.uid, mappings.uid_by_helper.then_some("newuidmap")));
        steps.extend(maps("gids", &mappings.gid, mappings.gid_by_helper.then_some("newgidmap")));
    }
    if !plan.time_offsets.is_empty() {
        let offsets = String::from_utf8_lossy(&plan.time_offsets);
        steps.extend(offsets.lines().map(|line| format!("set the time offset {line}")));
    }
    steps.extend(plan.hostname.as_ref().map(|name| format!("set the hostname {}", text(name))));
    steps.extend(plan.domainname.as_ref().map(|name| format!("set the domainname {}", text(name))));
    steps
}

fn maps<'m>(ids: &'m str, map: &'m str, helper: Option<&'m str>) -> impl Iterator<Item = String> + 'm {
    let by = helper.map(|helper| format!(" with {helper}")).unwrap_or_default();
    map.lines().filter_map(move |line| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
        let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(format!("map {count} {ids} from {inside} to {outside}{by}"))
    })
}

/// Names now and in the container.
pub(super) fn network_devices(devices: &[network::Device]) -> Vec<String> {
    devices.iter().map(|device| format!("move {} into the container as {}", device.name, device.new_name)).collect()
}

/// Sorted by key.
pub(super) fn sysctls(plan: &NamespacePlan) -> Vec<String> {
    plan.sysctls.iter().map(|sysctl| format!("{} = {}", sysctl.key, String::from_utf8_lossy(&sysctl.value))).collect()
}

/// In their order.
pub(super) fn hooks(lists: &[&Vec<Hook>]) -> Vec<String> {
    let hook = |hook: &Hook| {
        let arguments = hook.args.as_slice().iter().skip(1).map(|argument| format!(" {}", text(argument)));
        let timeout = hook.timeout.map(|timeout| format!(" (at most {} s)", timeout.as_secs())).unwrap_or_default();
        format!("{}: {}{}{timeout}", hook.list, text(&hook.path), arguments.collect::<String>())
    };
    lists.iter().flat_map(|list| list.iter()).map(hook).collect()
}
