//! World: parent. doctor: finds what killed commands left behind, and removes what is provably tare's and dead.
//!
//! Two sides are compared: the records below the state root, and the cgroups that carry tare's tag. Mounts need no look:
//! they are in namespaces of containers, which take them along, or named in the record. A unit goes with its cgroup.

use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Serialize;

use super::create::Warn;
use super::delete;
use super::record::{Phase, Record};
use super::status::{self, Status};
use super::store::{Directory, Store};
use crate::cgroup::{self, Cgroup, Hierarchy, Tag};
use crate::error::Result;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A create or run was killed before it was done.
    UnfinishedCreation,
    /// The record of a container cannot be read.
    DamagedRecord,
    /// A container of an earlier boot.
    BeforeReboot,
    /// A cgroup of tare's whose container is not known any more.
    OrphanCgroup,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
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

/// Looks for what was left behind, and removes it with `repair`.
///
/// # Errors
/// The state root or the cgroup hierarchy cannot be read; something repairable could not be removed.
pub fn examine(root: &Path, repair: bool, warn: Warn<'_>) -> Result<Report> {
    let mut report = Report { root: root.to_path_buf(), containers: 0, findings: Vec::new() };
    if let Some(store) = Store::open(root)? {
        for id in store.ids()? {
            // One that is deleted meanwhile is well.
            let Some(directory) = store.find(&id)? else { continue };
            report.containers += 1;
            let Some(mut finding) = container(&directory)? else { continue };
            if repair && finding.repairable {
                drop(directory);
                delete::delete(root, &id, true, warn)?;
                finding.repaired = true;
            }
            report.findings.push(finding);
        }
    }
    // Without cgroup v2 there is no cgroup of tare's.
    if let Ok(hierarchy) = cgroup::mount() {
        orphans(&hierarchy, repair, &mut report)?;
    }
    Ok(report)
}

/// What is wrong with a container.
fn container(directory: &Directory) -> Result<Option<Finding>> {
    // Whoever holds the lock is at work.
    if directory.lock(FlockOperation::NonBlockingLockShared).is_err() {
        return Ok(None);
    }
    let id = &directory.id;
    let finding = |kind: Kind, what: String, remedy: String, repairable: bool| {
        Ok(Some(Finding { kind, subject: id.clone(), what, remedy, repairable, repaired: false }))
    };
    let delete = || format!("`tare delete --force {id}` removes it");
    let record = match Record::read(directory) {
        Ok(Some(record)) => record,
        Ok(None) => {
            let living = living(&tagged(directory)?)?;
            let what = format!("its creation was interrupted before its record was written{}", with(&living));
            return finding(Kind::UnfinishedCreation, what, delete(), living.is_empty());
        }
        Err(error) => {
            let living = living(&tagged(directory)?)?;
            return finding(Kind::DamagedRecord, format!("{error}{}", with(&living)), delete(), living.is_empty());
        }
    };
    let (status, _) = status::status(directory, &record)?;
    if record.phase == Phase::Creating {
        let cgroups: Vec<Cgroup> = status::cgroup(&record)?.into_iter().collect();
        let living = living(&cgroups)?;
        let what = format!("its creation was interrupted{}", with(&living));
        return finding(Kind::UnfinishedCreation, what, delete(), living.is_empty() && status == Status::Stopped);
    }
    if record.boot_id != status::boot_id()? {
        let what = "it stopped when the machine was started anew".to_string();
        let remedy = format!("its engine, or `tare delete {id}`, removes it");
        return finding(Kind::BeforeReboot, what, remedy, false);
    }
    Ok(None)
}

/// The cgroups of a container without a record.
fn tagged(directory: &Directory) -> Result<Vec<Cgroup>> {
    match cgroup::mount() {
        Ok(hierarchy) => Cgroup::find_tagged(&hierarchy, &delete::tag(directory)),
        Err(_) => Ok(Vec::new()),
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

fn with(living: &[i32]) -> String {
    match living {
        [] => String::new(),
        pids => format!(", and processes of it live: {pids:?}"),
    }
}

/// Cgroups with a tag that no record answers to.
fn orphans(hierarchy: &Hierarchy, repair: bool, report: &mut Report) -> Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    for (cgroup, tag) in Cgroup::all_tagged(hierarchy)? {
        if tag.owner != owner || is_known(&tag, cgroup.path())? {
            continue;
        }
        let living = living(std::slice::from_ref(&cgroup))?;
        let mut finding = Finding {
            kind: Kind::OrphanCgroup,
            subject: cgroup.path().to_string(),
            what: format!(
                "it is of container {:?}, of which {} knows nothing{}",
                tag.id,
                tag.state_directory,
                with(&living)
            ),
            remedy: match living.as_slice() {
                [] => "`tare doctor --repair` removes it".to_string(),
                _ => "end the processes, if nobody needs them; then `tare doctor --repair` removes it".to_string(),
            },
            repairable: living.is_empty(),
            repaired: false,
        };
        if repair && finding.repairable {
            cgroup.remove()?;
            finding.repaired = true;
        }
        report.findings.push(finding);
    }
    Ok(())
}

/// Whether a container of this tag may have the cgroup: only a record that names another one says no.
fn is_known(tag: &Tag, path: &str) -> Result<bool> {
    let state = Path::new(&tag.state_directory);
    let Some(root) = state.parent() else { return Ok(false) };
    let Some(store) = Store::open(root)? else { return Ok(false) };
    let Some(directory) = store.find(&tag.id)? else { return Ok(false) };
    Ok(match Record::read(&directory) {
        Ok(Some(record)) => record.cgroup.as_deref() == Some(path),
        Ok(None) | Err(_) => true,
    })
}
