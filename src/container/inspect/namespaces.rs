//! The eight namespaces: new, joined or the host's. World: plan.

use std::path::Path;

use serde_json::{Value, json};

use super::report::Entry;
use super::{Configured, Effective};
use crate::namespaces::NamespaceSet;

/// A kind of namespace: the word of the config, the file in /proc/PID/ns, and its bit.
pub(super) struct NamespaceRow {
    pub word: &'static str,
    pub file: &'static str,
    pub set: NamespaceSet,
}

const fn row(word: &'static str, file: &'static str, set: NamespaceSet) -> NamespaceRow {
    NamespaceRow { word, file, set }
}

/// In the order of the output.
pub(super) const KINDS: [NamespaceRow; 8] = [
    row("user", "user", NamespaceSet::USER),
    row("mount", "mnt", NamespaceSet::MOUNT),
    row("pid", "pid", NamespaceSet::PID),
    row("network", "net", NamespaceSet::NETWORK),
    row("ipc", "ipc", NamespaceSet::IPC),
    row("uts", "uts", NamespaceSet::UTS),
    row("cgroup", "cgroup", NamespaceSet::CGROUP),
    row("time", "time", NamespaceSet::TIME),
];

pub(super) fn entries(configured: &Configured<'_>, effective: Option<&Effective>) -> Vec<Entry> {
    let facts = |position: usize| effective.and_then(|effective| effective.namespaces.get(position).copied());
    let entry = |(position, kind)| entry(kind, configured, facts(position));
    KINDS.iter().enumerate().map(entry).collect()
}

fn entry(kind: &NamespaceRow, configured: &Configured<'_>, facts: Option<[Option<u64>; 3]>) -> Entry {
    let word = kind.word;
    let path = configured.joined(kind);
    let asked = match path {
        Some(path) => Asked::Joined(path),
        None if configured.record.joined.contains(kind.set) => Asked::Joined(Path::new("")),
        None if configured.record.namespaces.contains(kind.set) => Asked::New,
        None => Asked::Hosts,
    };
    let text = match asked {
        Asked::New => json!("new"),
        Asked::Joined(path) => json!(path.to_string_lossy()),
        Asked::Hosts => json!("host"),
    };
    let Some([Some(own), callers, named]) = facts else { return Entry::new(word, text, Value::Null) };
    let is_hosts = callers == Some(own);
    let place = match asked {
        _ if is_hosts => "host",
        Asked::Joined(_) => "joined",
        _ => "own",
    };
    let entry = Entry::new(word, text, json!({ "kind": place, "inode": own }));
    match asked {
        Asked::New => entry.differs(is_hosts, || format!("the {word} namespace is the host's, config asks for a new one")),
        Asked::Hosts => entry.differs(!is_hosts && callers.is_some(), || {
            format!("the {word} namespace is {own}, config asks for the host's: the program has left it, or tare is in another one")
        }),
        Asked::Joined(path) => {
            let sentence = || format!("the {word} namespace is {own}, the one at {} is another", path.display());
            let entry = entry.differs(named.is_some_and(|named| named != own), sentence);
            if named.is_none() { entry.note("the path is gone") } else { entry }
        }
    }
}

/// What the config asks for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    New,
    Joined(&'a Path),
    Hosts,
}
