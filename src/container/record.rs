//! What tare remembers of a container: written before the container exists, replaced by rename.
//!
//! World: parent. The file is one line with a checksum and one line of JSON. A damaged record is an error of its own,
//! never "no container". Status is not in it: that is derived from the kernel each time (`status.rs`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::store::Directory;
use crate::error::{Code, Error, Result};
use crate::namespaces::NamespaceSet;

/// How far `create` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being made: everything named in the record may or may not exist.
    Creating,
    /// Made: init waits on the gate, runs or is dead.
    Created,
    /// As `Creating`, from a checkpoint.
    Restoring,
    /// As `Created`, and CRIU may be writing a checkpoint.
    Checkpointing,
}

impl Phase {
    /// Whether the creation has not been completed.
    #[must_use]
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Creating | Self::Restoring)
    }
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The layout of this struct.
    pub version: u32,
    /// How far `create` came.
    pub phase: Phase,
    /// The id.
    pub id: String,
    /// The spec's version in config.json.
    pub oci_version: String,
    /// Absolute path of the bundle.
    #[serde(with = "super::path_text")]
    pub bundle: PathBuf,
    /// Absolute path of the rootfs.
    #[serde(with = "super::path_text")]
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The uid that created it.
    pub owner: u32,
    /// The boot in which the pid below means something.
    pub boot_id: String,
    /// Init's process id in the creator's pid namespace, 0 before there is one.
    pub pid: i32,
    /// Init's start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// The inode of init's pidfd, for an ordinary user, to whom /proc may not show init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfd_inode: Option<u64>,
    /// The namespaces that are the container's own.
    #[serde(with = "as_number")]
    pub namespaces: NamespaceSet,
    /// Those of them that were joined: others live in them too.
    #[serde(default, with = "as_number", skip_serializing_if = "NamespaceSet::is_empty")]
    pub joined: NamespaceSet,
    /// The cgroup, as a path below the root of the v2 hierarchy; `None` with cgroups disabled.
    pub cgroup: Option<String>,
    /// The inode of the cgroup, once it is made: a removed one's place may be taken by another container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_inode: Option<u64>,
    /// The unit that the cgroup is of, with the systemd driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<crate::cgroup::UnitName>,
    /// The resctrl group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<crate::resctrl::Recorded>,
    /// The id of the rootfs' mount where it is the caller's too: without a mount namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_mount: Option<u64>,
    /// The mounts that it got while it existed, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<AddedMount>,
    /// The pipes that init got as stdin, stdout and stderr, `pipe:[INODE]`: a restored container gets others.
    #[serde(default, skip_serializing_if = "has_no_pipe")]
    pub stdio: [Option<String>; 3],
    /// config.json has no process: the container can be created, but not started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// Whether config.json has hooks that start or delete must run.
    pub hooks: bool,
    /// annotations of config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A mount that was added to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedMount {
    /// Where it was mounted; the container may have renamed a directory on the way since.
    #[serde(with = "super::path_text")]
    pub destination: PathBuf,
    /// Its number in mountinfo; none until it is about to be mounted, and [`Self::GONE`] once another mount has got the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

impl AddedMount {
    /// The number of no mount.
    pub const GONE: u64 = u64::MAX;
}

fn has_no_pipe(stdio: &[Option<String>; 3]) -> bool {
    stdio.iter().all(Option::is_none)
}

/// CLONE_NEW* bits.
mod as_number {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::NamespaceSet;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub fn serialize<S: Serializer>(set: &NamespaceSet, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(set.bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NamespaceSet, D::Error> {
        u64::deserialize(deserializer).map(NamespaceSet::from_bits_retain)
    }
}

/// The layout that this version writes.
pub const VERSION: u32 = 1;

/// The file's name.
const FILE: &str = "record";

impl Record {
    /// Writes the record in place of the one before.
    ///
    /// # Errors
    /// As [`Directory::replace`].
    pub fn write(&self, directory: &Directory) -> Result<()> {
        directory.replace(FILE, &self.encode()?)
    }

    /// The path of the unit's cgroup, where init's is one below it.
    pub fn unit_cgroup(&self) -> Option<&str> {
        let nested = self.unit.as_ref().is_some_and(|unit| unit.nested);
        self.cgroup.as_deref().filter(|_| nested).and_then(crate::cgroup::above)
    }

    /// The content of its file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self);
        let json = json.map_err(|e| Error::new(Code::Internal, "encode the record").detail(e.to_string()))?;
        Ok(Self::seal(&json))
    }

    /// The bytes of a record file: a checksum, and the JSON.
    #[must_use]
    pub fn seal(json: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{:016x}\n", checksum(json)).into_bytes();
        bytes.extend_from_slice(json);
        bytes.push(b'\n');
        bytes
    }

    /// Reads the record; `None` when there is none yet.
    ///
    /// # Errors
    /// It is damaged, or of another version.
    pub fn read(directory: &Directory) -> Result<Option<Self>> {
        let Some(bytes) = directory.read(FILE)? else { return Ok(None) };
        Self::decode(&bytes, &directory.id).map(Some).map_err(|why| {
            let what = format!("the record {} is damaged: {why}", directory.path.join(FILE).display());
            Error::new(Code::RecordDamaged, what)
                .hint(format!("`tare delete --force {}` removes the container", directory.id))
        })
    }

    /// The record of container `id` from its file, or what is wrong with it.
    pub fn decode(bytes: &[u8], id: &str) -> std::result::Result<Self, String> {
        let text = bytes.strip_suffix(b"\n").ok_or("it is truncated")?;
        let (sum, json) = text.split_at_checked(17).ok_or("it is truncated")?;
        if sum != format!("{:016x}\n", checksum(json)).as_bytes() {
            return Err("the checksum does not match".to_owned());
        }
        let record: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if record.version != VERSION || record.id != id {
            return Err("it belongs to another version or container".to_owned());
        }
        Ok(record)
    }
}

/// FNV-1a, 64 bit: finds torn and garbled files; it is no defence against forgery, the directory's mode is.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::store::Store;
    use super::*;

    pub fn example() -> Record {
        Record {
            version: VERSION,
            phase: Phase::Created,
            id: "a".into(),
            oci_version: "1.2.0".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-01-01T00:00:00Z".into(),
            owner: 0,
            boot_id: "x".into(),
            pid: 1,
            start_time: 2,
            pidfd_inode: None,
            namespaces: NamespaceSet::empty(),
            joined: NamespaceSet::empty(),
            cgroup: None,
            cgroup_inode: None,
            unit: None,
            resctrl: None,
            root_mount: None,
            mounts: Vec::new(),
            stdio: [const { None }; 3],
            idle: false,
            hooks: false,
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn namespaces_are_one_number() {
        let record = Record { namespaces: NamespaceSet::PID | NamespaceSet::TIME, ..example() };
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["namespaces"], libc::CLONE_NEWPID | libc::CLONE_NEWTIME);
        assert!(json.get("joined").is_none());
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    }

    #[test]
    fn a_damaged_record_is_never_absent() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::make(&root.path().join("state")).unwrap();
        let directory = store.create("a").unwrap();
        assert!(Record::read(&directory).unwrap().is_none());
        let record = example();
        record.write(&directory).unwrap();
        assert_eq!(Record::read(&directory).unwrap().unwrap(), record);
        let good = directory.read(FILE).unwrap().unwrap();
        for at in 0..good.len() {
            directory.replace(FILE, &good[..at]).unwrap();
            assert!(Record::read(&directory).is_err(), "cut at {at}");
            let mut flipped = good.clone();
            flipped[at] ^= 1;
            directory.replace(FILE, &flipped).unwrap();
            assert!(Record::read(&directory).is_err(), "flipped at {at}");
        }
    }
}
