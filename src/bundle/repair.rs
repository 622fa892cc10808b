//! Accepts what the specification allows but oci-spec's types reject. World: plan.
//!
//! Only a config that the model refuses is repaired, so that the usual one is read once.

use oci_spec::runtime::{Capability, Spec};
use serde_json::{Value, json};

/// The spec's words and the model's. Source: runtime-spec config.md, "scheduler".
const FLAGS: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

/// Repairs `value`, a config or a process object; whether anything was changed. What is left out is said in `warnings`.
pub(super) fn repair(value: &mut Value, warnings: &mut Vec<String>) -> bool {
    let before = warnings.len();
    let nulls = drop_nulls(value);
    let empty = drop_empty(value);
    let limits = hugepage_limits(value);
    let process = if value.get("process").is_some() { &mut value["process"] } else { value };
    let empty = drop_empty_affinity(process) || empty;
    let user = add_user(process);
    let flags = scheduler_flags(process);
    drop_unknown_capabilities(process, warnings);
    nulls || empty || user || limits || flags || warnings.len() > before
}

/// What a process object has and a config has not.
const PROCESS: [&str; 2] = ["args", "cwd"];

/// A missing user is 0:0, the zero value of Go, and so of every engine and of runc.
fn add_user(process: &mut Value) -> bool {
    let Some(process) = process.as_object_mut().filter(|object| PROCESS.iter().any(|key| object.contains_key(*key)))
    else {
        return false;
    };
    let missing = !process.contains_key("user");
    if missing {
        process.insert("user".to_owned(), json!({ "uid": 0, "gid": 0 }));
    }
    missing
}

/// What asks for nothing, as Go's encoder writes it and runc reads it: a profile without a default action and rules, a
/// machine without a kernel, a device of no type.
fn drop_empty(value: &mut Value) -> bool {
    let empty = |member: Option<&Value>| match member {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(object)) => object.is_empty(),
        Some(_) => false,
        None => true,
    };
    let mut changed = false;
    if let Some(linux) = value.get_mut("linux").and_then(Value::as_object_mut)
        && let Some(profile) = linux.get("seccomp").and_then(Value::as_object)
        && empty(profile.get("defaultAction"))
        && empty(profile.get("syscalls"))
    {
        linux.remove("seccomp");
        changed = true;
    }
    if let Some(config) = value.as_object_mut().filter(|config| config.contains_key("vm") && empty(config.get("vm"))) {
        config.remove("vm");
        changed = true;
    }
    let rules = value.pointer_mut("/linux/resources/devices").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        changed |= rule.get("type") == Some(&json!("")) && rule.remove("type").is_some();
    }
    changed
}

fn drop_empty_affinity(process: &mut Value) -> bool {
    let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) else { return false };
    let before = affinity.len();
    affinity.retain(|_, cpus| *cpus != json!(""));
    affinity.len() < before
}

/// Engines in Go write `null` for what is absent, and read it so.
fn drop_nulls(value: &mut Value) -> bool {
    match value {
        Value::Object(object) => {
            let before = object.len();
            object.retain(|_, member| !member.is_null());
            let dropped = object.len() < before;
            object.values_mut().map(drop_nulls).filter(|changed| *changed).count() > 0 || dropped
        }
        Value::Array(list) => list.iter_mut().map(drop_nulls).filter(|changed| *changed).count() > 0,
        _ => false,
    }
}

/// The spec wants unknown capability names warned about, not refused (config.md, "capabilities").
fn drop_unknown_capabilities(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else { return };
    for (set, names) in sets.iter_mut() {
        let Some(names) = names.as_array_mut() else { continue };
        names.retain(|name| {
            let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
            if !known && name.is_string() {
                warnings.push(format!("process.capabilities.{set}: unknown capability {name} is left out"));
            }
            known || !name.is_string()
        });
    }
}

fn scheduler_flags(process: &mut Value) -> bool {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    let mut changed = false;
    for flag in flags.into_iter().flatten() {
        if let Some((_, models)) = FLAGS.iter().find(|(specs, _)| flag == specs) {
            *flag = json!(models);
            changed = true;
        }
    }
    changed
}

/// Go's decoder, and so runc, takes keys in any case. The keys below `unified` and `rdma` are the user's.
pub fn keys_in_any_case(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(keys_in_any_case),
        Value::Object(object) => {
            for key in object.keys().cloned().collect::<Vec<_>>() {
                let known = super::known::resources_key(&key);
                if let Some(known) = known.filter(|known| *known != key && !object.contains_key(*known))
                    && let Some(member) = object.remove(&key)
                {
                    object.insert(known.to_owned(), member);
                }
            }
            let users = |key: &String| key == "unified" || key == "rdma";
            object.iter_mut().filter(|(key, _)| !users(key)).for_each(|(_, member)| keys_in_any_case(member));
        }
        _ => {}
    }
}

/// They are unsigned in the spec, signed in the model; the kernel's own maximum is lower than either.
fn hugepage_limits(value: &mut Value) -> bool {
    let limits = value.pointer_mut("/linux/resources/hugepageLimits").and_then(Value::as_array_mut);
    let mut changed = false;
    for limit in limits.into_iter().flatten().filter_map(|entry| entry.get_mut("limit")) {
        if limit.as_u64().is_some_and(|bytes| i64::try_from(bytes).is_err()) {
            *limit = json!(i64::MAX);
            changed = true;
        }
    }
    changed
}

/// `"pids": {}` limits nothing, but the model has 0 for it, as for a limit of 0 that somebody wrote.
pub(super) fn forget_empty_pids(spec: &mut Spec, bytes: &[u8]) {
    let resources = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut());
    let Some(resources) = resources.filter(|resources| resources.pids().is_some_and(|pids| pids.limit() == 0)) else {
        return;
    };
    let config: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if config.pointer("/linux/resources/pids/limit").is_none_or(Value::is_null) {
        resources.set_pids(None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse_process, parse_spec};

    #[test]
    fn unknown_capabilities_are_warned_about() {
        let json = r#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":["a"],"user":{"uid":0,"gid":0},
            "capabilities":{"bounding":["CAP_KILL","CAP_FLY"]}}}"#;
        let (spec, warnings) = parse_spec(json.as_bytes()).unwrap();
        assert_eq!(warnings, [r#"process.capabilities.bounding: unknown capability "CAP_FLY" is left out"#]);
        let process = spec.process().as_ref().unwrap();
        let bounding = process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.len(), 1);
    }

    #[test]
    fn scheduler_flags_as_the_spec_spells_them() {
        let json = r#"{"cwd":"/","user":{"uid":0,"gid":0},"scheduler":{"policy":"SCHED_FIFO","priority":1,
            "flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_RECLAIM"]}}"#;
        let (process, warnings) = parse_process(json.as_bytes()).unwrap();
        assert!(warnings.is_empty());
        let flags = process.scheduler().as_ref().unwrap().flags().as_ref().unwrap();
        use oci_spec::runtime::LinuxSchedulerFlag as Flag;
        assert_eq!(*flags, [Flag::SchedResetOnFork, Flag::SchedFlagDLOverrun, Flag::SchedFlagReclaim]);
        assert!(parse_process(json.replace("RECLAIM", "RECLAIMED").as_bytes()).is_err());
    }

    fn resources(json: &str) -> oci_spec::runtime::LinuxResources {
        let json = format!(r#"{{"ociVersion":"1.2.0","linux":{{"resources":{json}}}}}"#);
        let (spec, _) = parse_spec(json.as_bytes()).unwrap();
        spec.linux().as_ref().unwrap().resources().clone().unwrap()
    }

    #[test]
    fn large_hugepage_limits() {
        let json =
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":18446744073709551615},{"pageSize":"1GB","limit":5}]}"#;
        let limits: Vec<_> = resources(json).hugepage_limits().iter().flatten().map(|entry| entry.limit()).collect();
        assert_eq!(limits, [i64::MAX, 5]);
    }

    #[test]
    fn keys_of_an_update_in_any_case() {
        let json = serde_json::json!({"CPU": {"Cpus": "1"}, "BLOCKIO": {"Weight": 10}, "unknown": [null], "memory": null,
            "Unified": {"Memory.Max": "1"}, "Pids": {}, "hugepagelimits": [{"pagesize": "2MB", "LIMIT": 5}]});
        let (resources, _) = super::super::parse_resources(json).unwrap();
        assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("1"));
        assert_eq!(resources.block_io().as_ref().unwrap().weight(), Some(10));
        assert_eq!(resources.unified().as_ref().unwrap()["Memory.Max"], "1");
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].limit(), 5);
        assert!(resources.pids().is_none() && resources.memory().is_none());
        let error = super::super::parse_resources(serde_json::json!({"memory": {"limit": "1"}})).unwrap_err();
        assert_eq!(error.to_string(), "linux.resources.memory.limit: \"1\" where a whole number is expected");
        let error = super::super::parse_resources(serde_json::json!(5)).unwrap_err();
        assert_eq!(error.to_string(), "linux.resources: 5 where an object is expected");
    }

    #[test]
    fn what_asks_for_nothing_is_left_out() {
        let config = |json: &str| parse_spec(format!(r#"{{"ociVersion":"1.2.0",{json}}}"#).as_bytes());
        for json in [
            r#""linux":{"seccomp":{}}"#,
            r#""linux":{"seccomp":{"defaultAction":"","syscalls":[],"architectures":["SCMP_ARCH_X86_64"]}}"#,
            r#""linux":{"resources":{"devices":[{"allow":false,"type":"","access":"rwm"}]}}"#,
            r#""linux":{"intelRdt":{}}"#,
            r#""process":{"cwd":"/","args":["a"],"execCPUAffinity":{"initial":"","final":""}}"#,
            r#""vm":{}"#,
        ] {
            let (spec, warnings) = config(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert!(warnings.is_empty() && spec.vm().is_none(), "{json}");
            assert!(spec.linux().as_ref().is_none_or(|linux| linux.seccomp().is_none()), "{json}");
        }
        for json in [
            r#""linux":{"seccomp":{"syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}}"#,
            r#""process":{"cwd":"/","execCPUAffinity":{"initial":"x"}}"#,
            r#""vm":{"hypervisor":{"path":"/x"}}"#,
        ] {
            assert!(config(json).is_err(), "{json}");
        }
    }

    #[test]
    fn who_is_not_named_is_root() {
        let (spec, _) = parse_spec(br#"{"ociVersion":"1.2.0","process":{"cwd":"/","args":["a"]}}"#).unwrap();
        let user = spec.process().as_ref().unwrap().user().clone();
        assert_eq!((user.uid(), user.gid()), (0, 0));
        for json in [r#"{"cwd":"/","args":["a"]}"#, r#"{"cwd":"/","user":null}"#, r#"{"cwd":"/","user":{}}"#] {
            let (process, _) = parse_process(json.as_bytes()).unwrap();
            assert_eq!((process.user().uid(), process.user().gid()), (0, 0), "{json}");
        }
        // A container without a process stays one.
        assert!(parse_spec(br#"{"ociVersion":"1.2.0","mounts":null}"#).unwrap().0.process().is_none());
    }

    #[test]
    fn empty_pids_are_no_limit() {
        assert!(resources(r#"{"pids":{}}"#).pids().is_none());
        assert!(resources(r#"{"pids":{"limit":null}}"#).pids().is_none());
        assert_eq!(resources(r#"{"pids":{"limit":0}}"#).pids().unwrap().limit(), 0);
        assert_eq!(resources(r#"{"pids":{"limit":7}}"#).pids().unwrap().limit(), 7);
    }
}
