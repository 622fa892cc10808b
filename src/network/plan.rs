//! World: plan. linux.netDevices -> the devices to move into the container's network namespace.
//!
//! Source: config-linux.md, "Network Devices"; the kernel's `dev_valid_name` for what a name may be.

use oci_spec::runtime::Spec;

use crate::error::{Code, Error, Result};

/// Longest name of a network device: IFNAMSIZ without the NUL.
const LONGEST: usize = 15;

/// A network device of the runtime's own network namespace that the container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name now.
    pub name: String,
    /// Its name in the container; may hold one `%d`, for which the kernel finds a number.
    pub new_name: String,
    /// JSON path.
    pub at: String,
}

impl Device {
    /// Whether the kernel chooses a part of the name.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.new_name.contains('%')
    }
}

/// The devices, sorted by name. `namespace`: the container has a network namespace, new or joined.
///
/// # Errors
/// A name that no device can have, two devices of one name, or no network namespace to move them to.
pub fn plan(spec: &Spec, namespace: bool) -> Result<Vec<Device>> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut devices = Vec::new();
    for (name, device) in asked.into_iter().flatten() {
        let at = format!("linux.netDevices[{name:?}]");
        check_name(name, false).map_err(|what| Error::refused(Code::NetworkDeviceInvalid, &at, what))?;
        // As in Go, an empty name is none.
        let new_name = device.name().as_ref().filter(|name| !name.is_empty()).unwrap_or(name);
        check_name(new_name, true)
            .map_err(|what| Error::refused(Code::NetworkDeviceInvalid, format!("{at}.name"), what))?;
        devices.push(Device { name: name.clone(), new_name: new_name.clone(), at });
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    if !devices.is_empty() && !namespace {
        return Err(Error::refused(
            Code::NamespaceMissing,
            "linux.netDevices",
            "the container has no network namespace of its own",
        )
        .hint("add {\"type\": \"network\"} to linux.namespaces"));
    }
    for (index, device) in devices.iter().enumerate() {
        let same = devices[..index].iter().find(|other| !other.is_template() && other.new_name == device.new_name);
        if let Some(other) = same {
            return Err(Error::refused(
                Code::NetworkDeviceInvalid,
                &device.at,
                format!("would be {:?} in the container, as {:?} would", device.new_name, other.name),
            )
            .hint("give one of them another name"));
        }
    }
    Ok(devices)
}

fn check_name(name: &str, template: bool) -> std::result::Result<(), String> {
    let shown: String = name.chars().take(40).collect();
    if name.is_empty() || name.len() > LONGEST {
        return Err(format!(
            "{shown:?} is not the name of a network device: it has {} bytes, not 1 to {LONGEST}",
            name.len()
        ));
    }
    if matches!(name, "." | "..") || name.chars().any(|c| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
    {
        return Err(format!("{shown:?} is not the name of a network device: no '/', ':' or blank may be in it"));
    }
    if name.replacen("%d", "", usize::from(template)).contains('%') {
        return Err(format!("{shown:?}: only a new name may have a '%', and only as one %d"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(devices: &Value, namespace: bool) -> std::result::Result<Vec<String>, String> {
        let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"netDevices": devices}})).unwrap();
        let devices = plan(&spec, namespace).map_err(|error| error.to_string())?;
        Ok(devices.iter().map(|device| format!("{}>{}", device.name, device.new_name)).collect())
    }

    #[test]
    fn names() {
        assert_eq!(planned(&json!({}), false), Ok(vec![]));
        assert_eq!(
            planned(
                &json!({"eth1": {}, "eth0": {"name": "net%d"}, "eth2": {"name": ""}, "e": {"name": "net%d"}}),
                true
            ),
            Ok(["e>net%d", "eth0>net%d", "eth1>eth1", "eth2>eth2"].map(str::to_owned).to_vec())
        );
        assert_eq!(
            planned(&json!({"eth0": {}}), false).unwrap_err(),
            "linux.netDevices: the container has no network namespace of its own; add {\"type\": \"network\"} to linux.namespaces"
        );
        assert_eq!(
            planned(&json!({"a": {"name": "x"}, "b": {"name": "x"}}), true).unwrap_err(),
            "linux.netDevices[\"b\"]: would be \"x\" in the container, as \"a\" would; give one of them another name"
        );
        for name in ["", "a/b", "..", "a b", "a:1", "eth%d", "sixteen-letters!", "a\n"] {
            assert!(planned(&json!({name: {}}), true).unwrap_err().starts_with("linux.netDevices["), "{name}");
        }
        for name in ["../x", "a%d%d", "a%s", "100%", "much-too-long-for-a-device", "\u{1}"] {
            let error = planned(&json!({"eth0": {"name": name}}), true).unwrap_err();
            assert!(error.starts_with("linux.netDevices[\"eth0\"].name: "), "{error}");
        }
    }
}
