//! World: parent. doctor: finds what killed commands left behind, and removes what is provably tare's and dead.
//!
//! Two sides are compared: the records below the state root, and the cgroups that carry tare's tag. Mounts need no look:
//! they are in namespaces of containers, which take them along, or named in the record. A unit goes with its cgroup.
//!
//! Promises: what is removed is looked at with the lock held, so that no other command has made something of it; a cgroup
//! whose state root is not here (another mount namespace has it, or it was removed) is never touched; nothing that
//! others have planted ends the search: it is left out, or a finding.

use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Serialize, Serializer};

use super::record::{Phase, Record};
use super::status::Status;
use super::store::{self, Directory, Store};
use super::warning::Warn;
use super::{delete, holders, status};
use crate::cgroup::{self, Cgroup, Hierarchy, Tag};
use crate::error::{Error, ErrorKind, Result};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A create or run was killed before it was done.
    UnfinishedCreation,
    /// The record of a container cannot be read.
    DamagedRecord,
    /// A checkpoint was killed, and CRIU with it, while the container was frozen.
    InterruptedCheckpoint,
    /// A container of an earlier boot.
    BeforeReboot,
    /// The directory of a container is locked by a process that a dead command left behind.
    HeldLock,
    /// A cgroup of tare's whose container is not known any more.
    OrphanCgroup,
    /// An empty cgroup of tare's whose state root is not here.
    ForeignCgroup,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The container's id; of a cgroup its path below the root of the hierarchy.
    pub subject: String,
    /// What was seen, in words.
    pub what: String,
    /// What to do, in words.
    pub remedy: String,
    /// It is tare's and nothing of it lives: `--repair` removes it.
    pub repairable: bool,
    /// It was removed.
    pub repaired: bool,
}

/// What was found below a state root, and in the cgroup hierarchy.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The state root.
    #[serde(serialize_with = "lossy")]
    pub root: PathBuf,
    /// Containers with a record.
    pub containers: usize,
    /// What is wrong, containers first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong, or not any more.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }
}

/// A path need not be text, which JSON is.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Looks for what was left behind, and removes it with `repair`.
///
/// # Errors
/// The state root or the cgroup hierarchy cannot be read; something repairable could not be removed.
pub fn examine(root: &Path, repair: bool, warn: Warn<'_>) -> Result<Report> {
    let mut report = Report { root: root.to_path_buf(), containers: 0, findings: Vec::new() };
    if let Some(store) = Store::open(root)? {
        for id in store.ids()? {
            if let Some((is_container, finding)) = entry(&store, &id, repair, warn)? {
                report.containers += usize::from(is_container);
                report.findings.extend(finding);
            }
        }
    }
    // Without cgroup v2 there is no cgroup of tare's.
    if let Ok(hierarchy) = cgroup::mount() {
        orphans(&hierarchy, repair, &mut report)?;
    }
    Ok(report)
}

/// Looks at one name in the state root: whether it is a container's, and what is wrong. `None`: it is deleted meanwhile.
fn entry(store: &Store, id: &str, repair: bool, warn: Warn<'_>) -> Result<Option<(bool, Option<Finding>)>> {
    let directory = match store.find(id) {
        Ok(Some(directory)) => directory,
        Ok(None) => return Ok(None),
        Err(error) => {
            let remedy = "tare did not create this directory; remove it if it is not needed".to_owned();
            return Ok(Some((false, Some(finding(FindingKind::DamagedRecord, id, error.to_string(), remedy, false)))));
        }
    };
    match directory.lock(FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::WrongStatus => return Ok(Some((true, held(&directory)))),
        Err(error) => return Err(error),
    }
    if directory.is_removed()? {
        return Ok(None);
    }
    // From here on nobody else changes it.
    let mut found = container(&directory)?;
    if let Some(finding) = found.as_mut().filter(|finding| repair && finding.repairable) {
        delete::delete_locked(store, directory, true, warn)?;
        finding.repaired = true;
    }
    Ok(Some((true, found)))
}

fn finding(kind: FindingKind, subject: &str, what: String, remedy: String, repairable: bool) -> Finding {
    Finding { kind, subject: subject.to_owned(), what, remedy, repairable, repaired: false }
}

/// A command that holds the lock is at work; what it left behind when it died is not.
fn held(directory: &Directory) -> Option<Finding> {
    let holders = holders::left_behind(directory);
    let pids: Vec<String> = holders.iter().map(|holder| holder.pid.to_string()).collect();
    let shown: Vec<String> = holders.iter().map(|holder| format!("{} ({})", holder.pid, holder.command)).collect();
    let what = match shown.as_slice() {
        [] => return None,
        [one] => format!("its directory is locked by process {one}, which a dead command left behind"),
        more => format!("its directory is locked by processes that a dead command left behind: {}", more.join(", ")),
    };
    let remedy = format!("`kill -KILL {}` releases the lock; then run doctor again", pids.join(" "));
    Some(finding(FindingKind::HeldLock, &directory.id, what, remedy, false))
}

/// What is wrong with a container whose lock is held here.
fn container(directory: &Directory) -> Result<Option<Finding>> {
    let id = &directory.id;
    let found = |kind, what, remedy, repairable| Ok(Some(finding(kind, id, what, remedy, repairable)));
    let delete = || format!("`tare delete --force {id}` removes it");
    let record = match Record::read(directory) {
        Ok(Some(record)) => record,
        Ok(None) => {
            let life = Life::of_all(tagged(directory));
            let what = format!("its creation was interrupted before its record was written{}", life.words());
            return found(FindingKind::UnfinishedCreation, what, delete(), life.is_over());
        }
        Err(error) => {
            let life = Life::of_all(tagged(directory));
            return found(FindingKind::DamagedRecord, format!("{error}{}", life.words()), delete(), life.is_over());
        }
    };
    if record.phase.is_unfinished() {
        let init = status::living_init(&record)?;
        let life = Life::of_all(status::cgroup(&record).map(|cgroup| cgroup.into_iter().collect()));
        let what = format!("its creation was interrupted{}", life.words());
        return found(FindingKind::UnfinishedCreation, what, delete(), life.is_over() && init.is_none());
    }
    if record.phase == Phase::Checkpointing && status::status(directory, &record)?.0 == Status::Paused {
        let what = "its checkpoint was interrupted, and it is paused".to_string();
        return found(FindingKind::InterruptedCheckpoint, what, format!("`tare resume {id}` resumes it"), false);
    }
    if record.boot_id != status::boot_id()? {
        let what = "it stopped when the system rebooted".to_string();
        let remedy = format!("its engine, or `tare delete {id}`, removes it");
        return found(FindingKind::BeforeReboot, what, remedy, false);
    }
    Ok(None)
}

/// The cgroups of a container without a record.
fn tagged(directory: &Directory) -> Result<Vec<Cgroup>> {
    match cgroup::mount() {
        Ok(hierarchy) => Cgroup::find_tagged(&hierarchy, &delete::tag(directory)?),
        Err(_) => Ok(Vec::new()),
    }
}

/// What lives in cgroups, as far as they can be read: their owner may have closed them.
enum Life {
    Processes(Vec<i32>),
    Unknown(Error),
}

impl Life {
    fn of_all(cgroups: Result<Vec<Cgroup>>) -> Self {
        cgroups.and_then(|cgroups| living(&cgroups)).map_or_else(Self::Unknown, Self::Processes)
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Processes(pids) if pids.is_empty())
    }

    fn words(&self) -> String {
        match self {
            Self::Processes(pids) if pids.is_empty() => String::new(),
            Self::Processes(pids) => format!("; it still has processes: {pids:?}"),
            Self::Unknown(error) => format!("; whether it still has processes is unknown: {error}"),
        }
    }
}

fn living(cgroups: &[Cgroup]) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for cgroup in cgroups {
        // A process that ends, or one of a pid namespace that cannot be seen from here, is alive too.
        let listed = cgroup.processes()?;
        pids.extend(if listed.is_empty() && cgroup.populated()? { vec![0] } else { listed });
    }
    Ok(pids)
}

/// Cgroups with a tag that no record answers to.
fn orphans(hierarchy: &Hierarchy, repair: bool, report: &mut Report) -> Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    for (cgroup, tag) in Cgroup::all_tagged(hierarchy)? {
        if tag.owner != owner || store::check_id(&tag.id).is_err() || tag.root_path().is_none() {
            continue;
        }
        let life = living(std::slice::from_ref(&cgroup)).map_or_else(Life::Unknown, Life::Processes);
        let found = match root_of(&tag) {
            Some(store) if is_known(&store, &tag, cgroup.path()) => None,
            Some(store) => orphan(&store, hierarchy, &cgroup, &tag, &life, repair)?,
            // What lives is most likely well, in another mount namespace.
            None => life.is_over().then(|| foreign(&cgroup, &tag)),
        };
        report.findings.extend(found);
    }
    Ok(())
}

/// The state root of a tag, if it is the one that is found at its path here.
fn root_of(tag: &Tag) -> Option<Store> {
    // What is there may be another user's, or no directory.
    let store = Store::open(tag.root_path()?).ok().flatten()?;
    tag.root.is_none_or(|root| root == store.identity).then_some(store)
}

/// Whether a container of this tag may have the cgroup: only a record that names another one says no.
fn is_known(store: &Store, tag: &Tag, path: &str) -> bool {
    match store.find(&tag.id).map(|directory| directory.map(|directory| Record::read(&directory))) {
        Ok(None) => false,
        Ok(Some(Ok(Some(record)))) => record.cgroup.as_deref() == Some(path) || record.unit_cgroup() == Some(path),
        Ok(Some(Ok(None) | Err(_))) | Err(_) => true,
    }
}

/// A cgroup whose state root is here and knows nothing of it; `None` when that has changed.
fn orphan(
    store: &Store,
    hierarchy: &Hierarchy,
    cgroup: &Cgroup,
    tag: &Tag,
    life: &Life,
    repair: bool,
) -> Result<Option<Finding>> {
    let what = format!(
        "it belongs to container {:?}, which does not exist in {}{}",
        tag.id,
        store.path.display(),
        life.words()
    );
    // A tag of an older version may be that of another mount namespace.
    let certain = tag.root.is_some();
    let remedy = match (life.is_over(), certain) {
        (true, true) => "`tare doctor --repair` removes it".to_string(),
        (true, false) => by_hand(cgroup),
        (false, _) => "end the processes if they are not needed; then `tare doctor --repair` removes it".to_string(),
    };
    let mut finding = finding(FindingKind::OrphanCgroup, cgroup.path(), what, remedy, life.is_over() && certain);
    if repair && finding.repairable {
        // No id can be taken meanwhile.
        store.lock(FlockOperation::LockExclusive)?;
        let removed = remove_orphan(store, hierarchy, cgroup, tag);
        store.lock(FlockOperation::Unlock)?;
        if !removed? {
            return Ok(None);
        }
        finding.repaired = true;
    }
    Ok(Some(finding))
}

/// With the state root locked: removes the cgroup, if it is still the one that was found, and an orphan.
fn remove_orphan(store: &Store, hierarchy: &Hierarchy, cgroup: &Cgroup, tag: &Tag) -> Result<bool> {
    let Some(present) = Cgroup::open(hierarchy, cgroup.path())? else { return Ok(true) };
    let same = present.inode()? == cgroup.inode()? && present.tag()?.as_ref() == Some(tag);
    if !same || is_known(store, tag, cgroup.path()) || !living(std::slice::from_ref(&present))?.is_empty() {
        return Ok(false);
    }
    present.remove().map(|()| true)
}

/// An empty cgroup whose state root is not here.
fn foreign(cgroup: &Cgroup, tag: &Tag) -> Finding {
    let what = format!(
        "it is empty and belongs to container {:?} in {}, a state directory that does not exist here",
        tag.id,
        tag.state_directory.display()
    );
    finding(FindingKind::ForeignCgroup, cgroup.path(), what, by_hand(cgroup), false)
}

fn by_hand(cgroup: &Cgroup) -> String {
    format!("if the container exists in no other mount namespace, use rmdir to remove the cgroup {}", cgroup.path())
}
