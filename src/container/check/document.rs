//! The JSON of a config from which each value at fault is taken out, so that planning finds the next one.
//!
//! World: plan (pure). A plan ends at its first error. Taking the value out, or putting a harmless one in the place of a
//! required one, is all that is needed to go on. Promises: positions in lists are always those of the config as it was
//! written; an error that only follows from a change made here is told apart.

use serde_json::{Value, json};

use crate::json_path::{Segment, text};

/// A config, and what was changed in it.
#[derive(Debug)]
pub(super) struct Document {
    value: Value,
    /// In the config as it was written.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    path: Vec<Segment>,
    kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChangeKind {
    /// The value is gone.
    Removed,
    /// Another value is there.
    Replaced,
    /// A key that was missing is there.
    Added,
}

/// Where a path of an error leads.
#[derive(Debug)]
pub(super) struct Place {
    /// The part that exists, in the document as it is now.
    here: Vec<Segment>,
    /// The same in the config as it was written.
    written: Vec<Segment>,
    /// The rest of the path, which does not exist.
    rest: String,
    /// The whole path in the config as it was written, as the error spells it.
    pub(super) shown: String,
}

impl Place {
    /// To be compared with others: keys without quotes.
    fn text(&self) -> String {
        text(&self.written) + &self.rest
    }
}

/// What the sections named second may be missing when an element of the list named first was taken out.
const DEPENDENT: (&str, [&str; 8]) = (
    "linux.namespaces",
    [
        "linux.sysctl",
        "linux.uidMappings",
        "linux.gidMappings",
        "linux.timeOffsets",
        "linux.rootfsPropagation",
        "linux.netDevices",
        "hostname",
        "domainname",
    ],
);

/// A harmless value for what a config cannot do without.
fn harmless(path: &str) -> Option<Value> {
    Some(match path {
        "ociVersion" => json!("1.2.0"),
        "root" => json!({ "path": "/" }),
        "root.path" | "process.cwd" => json!("/"),
        "process.args" => json!(["/"]),
        "process.user" => json!({ "uid": 0, "gid": 0 }),
        "process.user.uid" | "process.user.gid" => json!(0),
        "linux.uidMappings" | "linux.gidMappings" => json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
        "linux.seccomp.defaultAction" => json!("SCMP_ACT_ALLOW"),
        _ => return None,
    })
}

/// The required keys of an object, for an error that names the object alone.
const REQUIRED: [(&str, &[&str]); 5] = [
    ("", &["ociVersion"]),
    ("root", &["path"]),
    ("process", &["cwd", "user"]),
    ("process.user", &["uid", "gid"]),
    ("linux.seccomp", &["defaultAction"]),
];

impl Document {
    /// `None` when the text is not JSON.
    pub(super) fn parse(config: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(config).ok()?;
        value.is_object().then_some(Self { value, changes: Vec::new() })
    }

    /// The text as it is now.
    pub(super) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.value).unwrap_or_default()
    }

    /// Finds the value that the path of an error names.
    pub(super) fn find(&self, path: &str) -> Place {
        let (mut here, mut value, mut rest) = (Vec::new(), &self.value, path);
        let mut shown = String::new();
        while let Some((segment, below, left)) = step(value, rest) {
            here.push(segment);
            match self.as_written(&here).last() {
                Some(Segment::Index(index)) => shown += &format!("[{index}]"),
                _ => shown += &rest[..rest.len() - left.len()],
            }
            (value, rest) = (below, left);
        }
        let written = self.as_written(&here);
        Place { here, written, rest: rest.to_owned(), shown: shown + rest }
    }

    /// Positions in a list count the elements that were taken out, too.
    fn as_written(&self, here: &[Segment]) -> Vec<Segment> {
        let mut written: Vec<Segment> = Vec::with_capacity(here.len());
        for segment in here {
            let segment = match segment {
                Segment::Index(index) => Segment::Index(self.index_as_written(&written, *index)),
                key @ Segment::Key(_) => key.clone(),
            };
            written.push(segment);
        }
        written
    }

    fn index_as_written(&self, list: &[Segment], index: usize) -> usize {
        let is_gone = |position: usize| {
            self.changes.iter().any(|change| {
                change.kind == ChangeKind::Removed
                    && change.path.split_last() == Some((&Segment::Index(position), list))
            })
        };
        (0..).filter(|position| !is_gone(*position)).nth(index).unwrap_or(index)
    }

    /// Whether an error at this place may be there only because of a change.
    pub(super) fn is_consequence(&self, place: &Place) -> bool {
        let at = place.text();
        self.changes.iter().any(|Change { path, kind }| {
            let changed = text(path);
            let depends = |section: &&str| is_within(&at, section);
            // An object to which a key was added may lack another one.
            (*kind != ChangeKind::Added && is_within(&changed, &at))
                || is_within(&at, &changed)
                || (is_within(&changed, DEPENDENT.0) && DEPENDENT.1.iter().any(depends))
        })
    }

    /// Changes the value at a place so that it is not at fault any more. `false`: nothing can be done.
    pub(super) fn repair(&mut self, place: &Place) -> bool {
        let mut path = place.here.clone();
        if place.rest.is_empty() {
            return self.complete(&path) || self.replace(&path) || self.remove_or_go_up(path);
        }
        let missing = place.rest.trim_start_matches('.');
        if !missing.contains(['.', '[']) && self.add(&path, missing) {
            return true;
        }
        while !path.is_empty() {
            if self.replace(&path) || self.remove(&path) {
                return true;
            }
            path.pop();
        }
        false
    }

    fn at(&mut self, path: &[Segment]) -> Option<&mut Value> {
        path.iter().try_fold(&mut self.value, |value, segment| match segment {
            Segment::Key(key) => value.get_mut(key.as_str()),
            Segment::Index(index) => value.get_mut(*index),
        })
    }

    /// Adds the first required key that an object lacks.
    fn complete(&mut self, path: &[Segment]) -> bool {
        let name = text(path);
        let Some((_, keys)) = REQUIRED.iter().find(|(object, _)| *object == name) else { return false };
        let lacks = |value: &Value, key: &str| value.as_object().is_some_and(|object| !object.contains_key(key));
        let Some(value) = self.at(path) else { return false };
        let Some(key) = keys.iter().find(|key| lacks(value, key)) else { return false };
        self.add(path, key)
    }

    fn add(&mut self, path: &[Segment], key: &str) -> bool {
        let mut whole = path.to_vec();
        whole.push(Segment::Key(key.to_owned()));
        let (Some(harmless), Some(object)) = (harmless(&text(&whole)), self.at(path).and_then(Value::as_object_mut))
        else {
            return false;
        };
        object.insert(key.to_owned(), harmless);
        self.note(&whole, ChangeKind::Added);
        true
    }

    fn replace(&mut self, path: &[Segment]) -> bool {
        let name = text(path);
        let Some(harmless) = harmless(&name) else { return false };
        let Some(value) = self.at(path).filter(|value| **value != harmless) else { return false };
        *value = harmless;
        self.note(path, ChangeKind::Replaced);
        true
    }

    /// What is harmless already is not removed: then what is above is at fault.
    fn remove_or_go_up(&mut self, mut path: Vec<Segment>) -> bool {
        while harmless(&text(&path)).is_some() {
            path.pop();
        }
        self.remove(&path)
    }

    fn remove(&mut self, path: &[Segment]) -> bool {
        let Some((last, above)) = path.split_last() else { return false };
        let written = self.as_written(path);
        let removed = match (self.at(above), last) {
            (Some(Value::Object(object)), Segment::Key(key)) => object.remove(key).is_some(),
            (Some(Value::Array(list)), Segment::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        };
        if removed {
            self.changes.push(Change { path: written, kind: ChangeKind::Removed });
        }
        removed
    }

    fn note(&mut self, here: &[Segment], kind: ChangeKind) {
        let path = self.as_written(here);
        self.changes.push(Change { path, kind });
    }
}

/// Whether the value at `path` is the one at `outer`, or in it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The first segment of a path that exists in `value`: `.key`, `["a key"]` or `[3]`; what it leads to, and the rest.
fn step<'v, 'p>(value: &'v Value, path: &'p str) -> Option<(Segment, &'v Value, &'p str)> {
    match value {
        Value::Object(object) => {
            let plain = path.strip_prefix('.').unwrap_or(path);
            let key = plain.get(..plain.find(['.', '[']).unwrap_or(plain.len()))?;
            if let Some(below) = object.get(key) {
                return Some((Segment::Key(key.to_owned()), below, &plain[key.len()..]));
            }
            let quoted = path.strip_prefix('[')?;
            let (key, below) = object.iter().find(|(key, _)| quoted.starts_with(&format!("{key:?}]")))?;
            Some((Segment::Key(key.clone()), below, &quoted[format!("{key:?}]").len()..]))
        }
        Value::Array(list) => {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let index = index.parse().ok()?;
            Some((Segment::Index(index), list.get(index)?, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: &Value) -> Document {
        Document::parse(value.to_string().as_bytes()).unwrap()
    }

    /// Repairs each path in turn; the document then.
    fn repaired(value: &Value, paths: &[&str]) -> Value {
        let mut document = document(value);
        for path in paths {
            let place = document.find(path);
            assert!(document.repair(&place), "{path}");
        }
        document.value
    }

    #[test]
    fn values_are_taken_out_and_required_ones_replaced() {
        let config = json!({
            "process": { "args": [], "cwd": "x", "rlimits": [{ "type": "a" }, { "type": "b" }] },
            "linux": { "sysctl": { "net.x": "1", "net.y": "2" }, "resources": { "unified": { "a.b": "1" } } },
        });
        let after = repaired(
            &config,
            &["process.args", "process.cwd", "process.rlimits[1].type", "linux.sysctl[\"net.x\"]", "linux.uidMappings"],
        );
        assert_eq!(
            after,
            json!({
                "process": { "args": ["/"], "cwd": "/", "rlimits": [{ "type": "a" }, {}] },
                "linux": {
                    "sysctl": { "net.y": "2" }, "resources": { "unified": { "a.b": "1" } },
                    "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }],
                },
            })
        );
    }

    #[test]
    fn an_object_gets_what_it_lacks_and_goes_when_it_lacks_nothing() {
        let config = json!({ "process": { "args": ["a"] }, "mounts": [{}, { "destination": "/" }] });
        let after = repaired(&config, &["process", "process", "mounts[0]"]);
        let process = json!({ "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        assert_eq!(after, json!({ "process": process, "mounts": [{ "destination": "/" }] }));
        assert_eq!(repaired(&after, &["process"]), json!({ "mounts": [{ "destination": "/" }] }));
    }

    #[test]
    fn positions_are_those_of_the_written_config() {
        let mut document = document(&json!({ "mounts": [0, 1, { "options": ["a", "b", "c"] }, 3] }));
        for (path, written) in [
            ("mounts[0]", "mounts[0]"),
            ("mounts[0]", "mounts[1]"),
            ("mounts[0].options[1]", "mounts[2].options[1]"),
            ("mounts[0].options[1]", "mounts[2].options[2]"),
            ("mounts[1].type", "mounts[3].type"),
        ] {
            let place = document.find(path);
            assert_eq!(place.shown, written);
            assert!(document.repair(&place));
        }
        assert_eq!(document.value, json!({ "mounts": [{ "options": ["a"] }] }));
    }

    #[test]
    fn keys_are_shown_as_the_error_spells_them() {
        let document = document(&json!({ "annotations": { "a.b/c": "" }, "linux": { "netDevices": { "eth0": {} } } }));
        for path in ["annotations[\"a.b/c\"]", "linux.netDevices[\"eth0\"].name", "linux.netDevices.eth0", "none.x[3]"]
        {
            assert_eq!(document.find(path).shown, path);
        }
    }

    #[test]
    fn what_follows_from_a_change_is_told_apart() {
        let mut document = document(&json!({
            "process": { "cwd": "/", "rlimits": [{ "type": "x" }] },
            "linux": { "namespaces": [{ "type": "nett" }], "sysctl": { "net.x": "1" }, "devices": [] },
        }));
        for path in ["process.rlimits[0].type", "linux.namespaces[0].type", "process"] {
            let place = document.find(path);
            assert!(path == "process" || !document.is_consequence(&place), "{path}");
            assert!(document.repair(&place));
        }
        for (path, follows) in [
            ("process.rlimits[0]", true),
            ("process.cwd", false),
            ("linux.namespaces[0]", true),
            ("linux.sysctl[\"net.x\"]", true),
            ("linux.devices", false),
            ("ociVersion", false),
        ] {
            assert_eq!(document.is_consequence(&document.find(path)), follows, "{path}");
        }
    }

    #[test]
    fn what_is_missing_at_the_top_can_be_told() {
        assert_eq!(
            repaired(&json!({}), &["root", "ociVersion"]),
            json!({ "root": { "path": "/" }, "ociVersion": "1.2.0" })
        );
        let mut document = document(&json!({}));
        let place = document.find("process.args");
        assert!(!document.repair(&place));
    }
}
