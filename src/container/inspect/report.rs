//! What inspect says: for each subject a list of entries, each with what is configured and what the kernel has.
//!
//! World: plan. The names of the lists and of their entries are a part of the command line's JSON: docs/inspect.md.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

/// A container as it is configured, and as the kernel has it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Inspection {
    /// The id.
    pub id: String,
    /// created, running, paused or stopped.
    pub status: &'static str,
    /// Init's pid, 0 when there is none.
    pub pid: i32,
    /// Absolute path of the bundle.
    #[serde(serialize_with = "crate::container::path_text::lossy")]
    pub bundle: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Its namespaces.
    pub namespaces: Vec<Entry>,
    /// User, groups, umask and id mappings.
    pub user: Vec<Entry>,
    /// The five capability sets.
    pub capabilities: Vec<Entry>,
    /// no_new_privs, seccomp, the label of the security module, the keyring.
    pub security: Vec<Entry>,
    /// The OOM score and resource limits.
    pub process: Vec<Entry>,
    /// The cgroup, its limits and its device programs.
    pub cgroup: Vec<Entry>,
    /// The mounts, by destination.
    pub mounts: Vec<Entry>,
    /// Masked and read-only paths.
    pub paths: Vec<Entry>,
    /// The interfaces of the network namespace.
    pub network: Vec<Entry>,
    /// Whether the program still waits for `start`.
    pub start: Vec<Entry>,
    /// One sentence for each entry whose effective value is not what the config says.
    pub differences: Vec<String>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its name: a word of config.json or of the kernel, or a path of the container.
    pub name: String,
    /// What config.json says, as `update` has changed it; null if it says nothing.
    pub configured: Value,
    /// What the kernel has; null if that cannot be known.
    pub effective: Value,
    /// Why the effective value is another one though nothing has changed, or why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The sentence about the difference, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

impl Inspection {
    /// The lists with their names, in the order of the output.
    #[must_use]
    pub fn sections(&self) -> [(&'static str, &[Entry]); 10] {
        [
            ("namespaces", &self.namespaces),
            ("user", &self.user),
            ("capabilities", &self.capabilities),
            ("security", &self.security),
            ("process", &self.process),
            ("cgroup", &self.cgroup),
            ("mounts", &self.mounts),
            ("paths", &self.paths),
            ("network", &self.network),
            ("start", &self.start),
        ]
    }
}

impl Entry {
    pub(super) fn new(name: impl Into<String>, configured: impl Into<Value>, effective: impl Into<Value>) -> Self {
        let (name, configured, effective) = (name.into(), configured.into(), effective.into());
        Self { name, configured, effective, note: None, difference: None }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// The same with a sentence about its difference, if `differs`.
    pub(super) fn differs(mut self, differs: bool, sentence: impl FnOnce() -> String) -> Self {
        self.difference = differs.then(sentence);
        self
    }

    /// A value of the config that has to be in force; a config that is silent, and a kernel that cannot be asked, have no
    /// difference.
    pub(super) fn exact(name: &str, configured: impl Into<Value>, effective: impl Into<Value>) -> Self {
        let entry = Self::new(name, configured, effective);
        let known = !entry.configured.is_null() && !entry.effective.is_null();
        let differs = known && entry.configured != entry.effective;
        let sentence = format!("{name} is {}, config says {}", text(&entry.effective), text(&entry.configured));
        entry.differs(differs, || sentence)
    }
}

/// A value in a sentence.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "empty".to_owned(),
        Value::Array(list) => list.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Entry;

    #[test]
    fn only_known_values_differ() {
        assert_eq!(Entry::exact("uid", 5, 5).difference, None);
        assert_eq!(Entry::exact("uid", Value::Null, 5).difference, None);
        assert_eq!(Entry::exact("uid", 5, Value::Null).difference, None);
        assert_eq!(Entry::exact("uid", 5, 6).difference.as_deref(), Some("uid is 6, config says 5"));
        let groups = Entry::exact("groups", json!([1, 2]), json!([]));
        assert_eq!(groups.difference.as_deref(), Some("groups is empty, config says 1, 2"));
    }
}
