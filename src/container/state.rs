//! World: parent. The state JSON of runtime-spec, with the fields that engines read besides it.
//!
//! Source: runtime-spec runtime.md, "State"; rootfs (BuildKit), created (CRI-O), owner (list).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::record::Record;
use super::status::{Status, status};
use super::{StoredContainer, find};
use crate::error::{Code, Error, ErrorKind, Result};

/// The state of a container, ready to be printed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The spec's version in config.json.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// Init's pid, 0 when there is none.
    pub pid: i32,
    /// creating, created, running, paused or stopped.
    pub status: &'static str,
    /// Absolute path of the bundle.
    #[serde(serialize_with = "super::path_text::lossy")]
    pub bundle: PathBuf,
    /// Absolute path of the rootfs.
    #[serde(serialize_with = "super::path_text::lossy")]
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The systemd unit, when systemd made the cgroup; in the spelling of crun.
    #[serde(rename = "systemd-scope", skip_serializing_if = "Option::is_none")]
    pub systemd_scope: Option<String>,
    /// annotations of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it.
    pub owner: String,
}

impl State {
    /// The state that `record` has while its status is `status`.
    #[must_use]
    pub fn new(record: &Record, status: Status) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.word(),
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            systemd_scope: record.unit.as_ref().map(|unit| unit.name.clone()),
            annotations: record.annotations.clone(),
            owner: owner(record.owner),
        }
    }

    /// The same for those who know init by another pid.
    #[must_use]
    pub fn with_pid(self, pid: i32) -> Self {
        Self { pid, ..self }
    }

    /// As JSON.
    ///
    /// # Errors
    /// None in practice.
    pub fn json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::new(Code::Internal, "encode the state").detail(e.to_string()))
    }
}

/// The user's name; root without a look into /etc/passwd.
fn owner(uid: u32) -> String {
    if uid == 0 {
        return "root".into();
    }
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The state of a container.
///
/// # Errors
/// It does not exist, its record is damaged, the kernel cannot be asked.
pub fn state(root: &std::path::Path, id: &str) -> Result<State> {
    find(root, id)?.state()
}

impl StoredContainer {
    fn state(&self) -> Result<State> {
        let (status, _) = status(&self.directory, &self.record)?;
        Ok(State::new(&self.record, status))
    }
}

/// The states of all containers; one that cannot be read is reported through `warn` and left out.
///
/// # Errors
/// The state root cannot be read.
pub fn list(root: &std::path::Path, mut warn: impl FnMut(Error)) -> Result<Vec<State>> {
    let Some(store) = super::store::Store::open(root)? else { return Ok(Vec::new()) };
    let mut states = Vec::new();
    for id in store.ids()? {
        match super::find_in(&store, &id).and_then(|container| container.state()) {
            Ok(state) => states.push(state),
            // Deleted while we looked.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => warn(e),
        }
    }
    Ok(states)
}
