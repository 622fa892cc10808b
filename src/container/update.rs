//! World: parent. update: other limits and device rules for a container that exists.
//!
//! The limits are remembered in the saved config, before the cgroup changes: a killed update is completed by repeating
//! it. A refused one leaves neither the cgroup nor the memory of it changed.

use oci_spec::runtime::LinuxResources;
use rustix::fs::FlockOperation;
use serde_json::{Map, Value};

use super::record::Record;
use super::status::{Status, cgroup, status};
use super::warning::Warn;
use super::{StoredContainer, find, saved_config};
use crate::bundle;
use crate::cgroup::plan_change;
use crate::error::{Code, Coded, Error, Result};
use crate::host::Host;
use crate::resctrl::{self, Group, Line};

/// Limits and device rules to change, as in `linux.resources` of config.json. What they do not name stays.
///
/// ```
/// use tare::Resources;
/// let limits = Resources::from_json(br#"{"memory": {"limit": 67108864}}"#)?;
/// # let _ = limits;
/// # Ok::<(), tare::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Resources {
    limits: Value,
    /// Members of `linux.intelRdt`.
    schemata: Vec<(&'static str, String)>,
}

impl Resources {
    /// From JSON; keys in any case.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        bundle::parse_value(text, "the resources").map(Self::from)
    }

    /// From a JSON file, which may be a pipe.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is not JSON.
    pub fn from_file(path: &std::path::Path) -> Result<Self> {
        bundle::parse_value(&bundle::read_json_file(path)?, &path.display().to_string()).map(Self::from)
    }

    /// From stdin.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_stdin() -> Result<Self> {
        bundle::parse_value(&bundle::read_json_stdin()?, "stdin").map(Self::from)
    }

    /// As JSON, without the schemata.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.limits
    }

    /// Changes the L3 cache schema of the container's resctrl group, `l3CacheSchema` in `linux.intelRdt`.
    #[must_use]
    pub fn l3_cache_schema(mut self, schema: impl Into<String>) -> Self {
        self.schemata.push(("l3CacheSchema", schema.into()));
        self
    }

    /// Changes the memory bandwidth schema of the container's resctrl group, `memBwSchema` in `linux.intelRdt`.
    #[must_use]
    pub fn mem_bw_schema(mut self, schema: impl Into<String>) -> Self {
        self.schemata.push(("memBwSchema", schema.into()));
        self
    }
}

impl From<Value> for Resources {
    fn from(mut value: Value) -> Self {
        bundle::keys_in_any_case(&mut value);
        Self { limits: value, schemata: Vec::new() }
    }
}

impl TryFrom<&LinuxResources> for Resources {
    type Error = Error;

    fn try_from(resources: &LinuxResources) -> Result<Self> {
        let encoded = serde_json::to_value(resources);
        encoded
            .map(|limits| Self { limits, schemata: Vec::new() })
            .map_err(|e| Error::new(Code::ConfigValueInvalid, "encode the resources").detail(e.to_string()))
    }
}

/// Changes what `resources` names; the rest stays as it is.
///
/// # Errors
/// The container is not there, stopped or being made; a value cannot be accepted or done: nothing has changed then.
pub fn update(root: &std::path::Path, id: &str, resources: &Resources, warn: Warn<'_>) -> Result<()> {
    let mut container = find(root, id)?;
    container.directory.lock(FlockOperation::LockExclusive)?;
    container.read_again()?;
    refuse_wrong_status(&container)?;
    let saved = saved_config::bytes(&container.directory)?;
    let (spec, _) = bundle::parse_spec(&saved)?;
    let (asked, warnings) = bundle::parse_resources(resources.limits.clone())?;
    for warning in &warnings {
        warn(Error::new(Code::ConfigWarning, warning.as_str()));
    }
    let lines = resources.schemata.iter().map(|(key, text)| resctrl::line(key, text)).collect::<Result<Vec<_>>>()?;
    let mut group = group_to_change(&container.record, &lines)?;
    let cgroup = cgroup(&container.record)?.ok_or_else(|| {
        Error::new(
            Code::ContainerUnmanaged,
            format!("container \"{id}\" has no cgroup, so there are no limits to change"),
        )
    })?;
    let remembered = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let change = plan_change(&asked, remembered, &cgroup.present()?, Host::default().rootless()?)?;
    container.directory.replace(saved_config::FILE, &remember(&saved, resources)?)?;
    let written = group.as_mut().map_or(Ok(()), |group| group.write_lines(&lines));
    if let Err(error) =
        written.and_then(|()| cgroup.change(&change, container.record.unit.as_ref(), warn).coded(Code::CgroupFailed))
    {
        let error = match group.as_ref().map_or(Ok(()), Group::put_back) {
            Ok(()) => error,
            Err(left) => error.hint(format!("{left}; repeat the update")),
        };
        return Err(match container.directory.replace(saved_config::FILE, &saved) {
            Ok(()) => error,
            Err(why) => error.hint(format!("{why}; some of the new values may stay: repeat the update")),
        });
    }
    Ok(())
}

/// The resctrl group, if lines of its schemata are to change.
fn group_to_change(record: &Record, lines: &[Line]) -> Result<Option<Group>> {
    let Some(first) = lines.first() else { return Ok(None) };
    let absent = |what: &str, hint: &str| {
        let what = format!("container \"{}\" {what}", record.id);
        Error::new(Code::ContainerUnmanaged, what).at(&first.at).hint(hint)
    };
    let recorded = record.resctrl.as_ref();
    let recorded = recorded.ok_or_else(|| absent("is in no resctrl group", "create it with linux.intelRdt"))?;
    let gone = || absent("has lost its resctrl group", "somebody has removed the group or unmounted resctrl");
    recorded.open()?.map(Some).ok_or_else(gone)
}

fn refuse_wrong_status(container: &StoredContainer) -> Result<()> {
    let id = &container.record.id;
    let refuse = |code, why: &str| {
        let what = format!("container \"{id}\" cannot be updated: {why}");
        Err(Error::new(code, what))
    };
    match status(&container.directory, &container.record)?.0 {
        Status::Created | Status::Running | Status::Paused => Ok(()),
        Status::Stopped => refuse(Code::ContainerNotRunning, "container not running"),
        Status::Creating => refuse(Code::ContainerCreating, "it is being created"),
    }
}

/// The saved config with the new resources in it.
fn remember(saved: &[u8], resources: &Resources) -> Result<Vec<u8>> {
    let mut config = bundle::parse_value(saved, "the saved config")?;
    let mut limits = resources.limits.clone();
    bundle::keys_in_any_case(&mut limits);
    let schemata = resources.schemata.iter().map(|(key, text)| ((*key).to_owned(), Value::from(text.as_str())));
    let schemata: Map<String, Value> = schemata.collect();
    if let Some(config) = config.as_object_mut() {
        let linux = config.entry("linux").or_insert_with(|| serde_json::json!({}));
        merge(linux, serde_json::json!({ "resources": limits }));
        if !schemata.is_empty() {
            merge(linux, serde_json::json!({ "intelRdt": schemata }));
        }
    }
    serde_json::to_vec(&config).map_err(|e| Error::new(Code::Internal, "encode the config").detail(e.to_string()))
}

/// Members of objects are merged, everything else is replaced; null and an empty list stand for what is not given.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (_, Value::Array(list)) if list.is_empty() => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, member) in from {
                merge(into.entry(key).or_insert(Value::Null), member);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn what_is_not_given_is_remembered_as_it_was() {
        let saved = br#"{"ociVersion": "1.2.0", "linux": {"resources": {"memory": {"limit": 1, "swap": 2},
            "devices": [{"allow": false}]}}}"#;
        let asked = json!({"memory": {"limit": 5, "swap": null}, "CPU": {"Quota": 7}, "devices": []});
        let config: Value = serde_json::from_slice(&super::remember(saved, &asked.into()).unwrap()).unwrap();
        let resources = json!({"memory": {"limit": 5, "swap": 2}, "cpu": {"quota": 7}, "devices": [{"allow": false}]});
        assert_eq!(config, json!({"ociVersion": "1.2.0", "linux": {"resources": resources}}));
        let config: Value =
            serde_json::from_slice(&super::remember(b"{}", &json!({"pids": {"limit": 7}}).into()).unwrap()).unwrap();
        assert_eq!(config, json!({"linux": {"resources": {"pids": {"limit": 7}}}}));
        let saved = br#"{"linux": {"resources": {}, "intelRdt": {"closID": "a", "l3CacheSchema": "L3:0=1"}}}"#;
        let asked = super::Resources::from(json!({})).l3_cache_schema("L3:0=f").mem_bw_schema("MB:0=20");
        let config: Value = serde_json::from_slice(&super::remember(saved, &asked).unwrap()).unwrap();
        let rdt = json!({"closID": "a", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"});
        assert_eq!(config, json!({"linux": {"resources": {}, "intelRdt": rdt}}));
    }
}
