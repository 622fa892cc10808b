//! What decides where a cgroup is and what is written there; and what systemd says.

use std::collections::HashMap;
use std::path::Path;

use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::Value;

use super::{check_error, check_same};
use tare::internals::bundle::{keys_in_any_case, parse_resources, parse_value};
use tare::internals::cgroup::change::Present;
use tare::internals::cgroup::limits::Write;
use tare::internals::cgroup::systemd::{self, message::Message, message::total_length, properties, variant};
use tare::internals::cgroup::{self, CgroupFacts, CgroupPlan, Driver, Systemd, path};

/// No value leads out of the cgroup, or into two writes.
fn check_writes(writes: &[Write]) {
    for write in writes {
        assert!(!write.file.contains(['/', '\0', '\n']) && write.file.contains('.'), "{write:?}");
        assert!(!write.file.starts_with('.') && write.file.len() <= 255, "{write:?}");
        assert!(!write.value.is_empty() && !write.value.contains(['\0', '\n']), "{write:?}");
        assert!(write.at.starts_with("linux.resources"), "{write:?}");
        let own =
            ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control", "cgroup.type"];
        assert!(!own.contains(&write.file.as_str()), "{write:?}");
    }
}

fn check_components(components: &[String]) {
    assert!(!components.is_empty(), "the root of the hierarchy");
    for part in components {
        assert!(!matches!(part.as_str(), "" | "." | "..") && !part.contains('/'), "{components:?}");
        assert!(!part.chars().any(char::is_control) && part.len() <= 256, "{components:?}");
    }
    assert!(components.iter().map(|part| part.len() + 1).sum::<usize>() < 4000);
}

pub(super) fn check_plan(plan: &CgroupPlan) {
    check_writes(&plan.writes);
    match &plan.driver {
        Driver::File(components) => check_components(components),
        Driver::Systemd(scope) => {
            check_components(&scope.unit.components);
            let mut names: Vec<&str> = scope.properties.iter().map(|property| property.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), scope.properties.len(), "a property twice: {:?}", scope.properties);
        }
    }
    assert!(plan.path().starts_with('/'));
}

/// The plan of a config for systemd.
pub(super) fn scope(spec: &Spec) {
    let (own_path, control_group) = (Ok("/a/b".to_owned()), Ok("/".to_owned()));
    let plan = || {
        let systemd = Some(Systemd { user: false, control_group: &control_group });
        let facts = CgroupFacts {
            user_namespace: false,
            own_path: &own_path,
            new_cgroup_namespace: true,
            other_ids: true,
            systemd,
        };
        cgroup::plan(spec, "box", &facts)
    };
    match plan() {
        Ok(planned) => {
            check_plan(&planned);
            check_same(&planned, &plan().unwrap());
        }
        Err(error) => check_error(&error, "config.json"),
    }
}

/// A resources object as `update --resources` reads it -> a change of a cgroup that has limits.
pub(super) fn resources(input: &[u8]) {
    let mut value: Value = match parse_value(input, "resources") {
        Ok(value) => value,
        Err(error) => return check_error(&error, "resources"),
    };
    keys_in_any_case(&mut value);
    let parsed = match parse_resources(value) {
        Ok((parsed, _)) => parsed,
        Err(error) => return check_error(&error, "config.json"),
    };
    let full = Present {
        quota: Some(50_000),
        period: Some(200_000),
        burst: Some(1000),
        memory_limit: Some(8 << 20),
        memory_usage: Some(4 << 20),
    };
    let most = Present {
        quota: Some(u64::MAX),
        period: Some(u64::MAX),
        burst: Some(u64::MAX),
        memory_limit: Some(u64::MAX),
        memory_usage: Some(u64::MAX),
    };
    let remembered: [Option<&LinuxResources>; 2] = [None, Some(&parsed)];
    for present in [Present::default(), full, most] {
        for remembered in remembered {
            match cgroup::plan_change(&parsed, remembered, &present, false) {
                Ok(change) => {
                    check_writes(&change.writes);
                    let _properties = properties::of_writes(&change.writes);
                }
                Err(error) => check_error(&error, "linux.resources"),
            }
        }
    }
}

/// linux.cgroupsPath for both drivers.
pub(super) fn path(input: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    let asked = Path::new(std::ffi::OsStr::from_bytes(input));
    for rootless in [false, true] {
        match path::resolve(Some(asked), "box", rootless, &Ok("/a.slice/b.scope".to_owned())) {
            Ok(components) => check_components(&components),
            Err(error) => check_error(&error, "linux.cgroupsPath"),
        }
        match systemd::resolve(Some(asked), "box", rootless, "/user.slice") {
            Ok(unit) => {
                check_components(&unit.components);
                let valid = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
                for name in [&unit.name, &unit.slice] {
                    assert!(name.chars().all(valid) && name.len() <= 255, "{unit:?}");
                }
                assert!(unit.name.ends_with(".scope") || unit.is_slice(), "{unit:?}");
                assert!(unit.components[0] == "user.slice", "{unit:?}");
            }
            Err(error) => check_error(&error, "linux.cgroupsPath"),
        }
    }
}

/// The value of an annotation `org.systemd.property.*`, and its name in front of the first line's end.
pub(super) fn annotation(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (name, value) = text.split_once('\n').unwrap_or(("TimeoutStopUSec", &text));
    let key = format!("org.systemd.property.{name}");
    match properties::of_annotations(Some(&HashMap::from([(key, value.to_owned())]))) {
        Ok(found) => {
            let [property] = found.as_slice() else { panic!("{found:?}") };
            let name = &property.name;
            assert!(name.len() >= 3 && name.bytes().all(|letter| letter.is_ascii_alphabetic()), "{name:?}");
            // What is sent can be read back.
            let mut writer = systemd::value::Writer::default();
            writer.value(&property.value);
            let mut signature = String::new();
            property.value.signature(&mut signature);
            let mut reader = systemd::value::Reader::new(&writer.bytes, true);
            assert_eq!(reader.values(&signature).unwrap(), std::slice::from_ref(&property.value), "{signature}");
            assert!(reader.is_at_end());
        }
        Err(error) => check_error(&error, "annotations["),
    }
    let _words = variant::parse(&text);
}

/// A message of systemd or of whoever sits on its socket.
pub(super) fn message(input: &[u8]) {
    if let Ok(Some(length)) = total_length(input) {
        assert!(length >= 16);
    }
    if let Ok(message) = Message::decode(input)
        && let Ok(values) = message.arguments()
    {
        assert_eq!(systemd::value::signature_of(&values).is_empty(), values.is_empty());
    }
}
