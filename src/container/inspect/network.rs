//! The interfaces of the container's network namespace, and the start gate. World: plan.

use serde_json::{Value, json};

use super::report::Entry;
use super::{Configured, Effective};
use crate::namespaces::NamespaceSet;

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let asked = configured.spec.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
    let mut asked: Vec<&str> = asked
        .into_iter()
        .flatten()
        .map(|(name, device)| device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(name))
        .collect();
    asked.sort_unstable();
    if !configured.record.namespaces.contains(NamespaceSet::NETWORK) {
        return vec![Entry::new("devices", Value::Null, "host")];
    }
    let present = effective.and_then(|effective| effective.interfaces.as_ref());
    let configured = if asked.is_empty() { Value::Null } else { json!(asked) };
    let entry = Entry::new("devices", configured, json!(present));
    let Some(present) = present else { return vec![entry] };
    // The kernel has chosen a number for `%d`.
    let is_there = |name: &&str| {
        let wanted = name.split_once("%d");
        let fits = |other: &String| match wanted {
            Some((before, after)) => {
                let number = other.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                number.is_some_and(|number| number.parse::<u32>().is_ok())
            }
            None => other == name,
        };
        present.iter().any(fits)
    };
    let missing: Vec<&str> = asked.into_iter().filter(|name| !is_there(name)).collect();
    vec![entry.differs(!missing.is_empty(), || {
        format!("network device {} of config is not in the container", missing.join(", "))
    })]
}

/// Whether the program waits for `start`.
pub(super) fn start(effective: Option<&Effective>) -> Vec<Entry> {
    let word = effective.map(|effective| if effective.waiting { "waiting for start" } else { "passed" });
    vec![Entry::new("gate", Value::Null, json!(word))]
}
