//! World: parent. inspect: a container as it is configured, against what the kernel has.
//!
//! Configured is the saved config, planned again (with the changes of `update`), and the record. Effective is read
//! through init's pid and the open cgroup (`effective.rs`, the only file that reads). The other files compare the two,
//! one subject each: a value of the config that is not in force is a difference, with one sentence. No lock is taken.

mod credentials;
mod effective;
mod limits;
mod mount_table;
mod mounts;
mod namespaces;
mod network;
mod paths;
mod process;
mod report;
mod security;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use self::effective::{Effective, Reader};
use self::namespaces::NamespaceRow;
pub use self::report::{Entry, Inspection};
use super::mounts::request as mounts_request;
use super::record::Record;
use super::status::{self, Status};
use super::{StoredContainer, find, saved_config};
use crate::cgroup::devices::{self, Devices};
use crate::cgroup::limits::Write;
use crate::error::{Code, Context, Error, Result};
use crate::host::Host;
use crate::plan::{Program, keeps_groups, plan_tree_again};
use crate::rootfs::plan::TreePlan;

/// What config.json and the record say of a container.
struct Configured<'a> {
    spec: &'a Spec,
    record: &'a Record,
    /// `None` if config.json has no process.
    program: Option<&'a Program>,
    tree: &'a TreePlan,
    /// Limits of the cgroup, in order.
    writes: Vec<Write>,
    devices: Devices,
    /// The caller's groups may stay.
    keeps_groups: bool,
    page_size: u64,
}

/// A resource limit; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rlimit {
    name: String,
    soft: Option<u64>,
    hard: Option<u64>,
}

/// Compares a container with its config. What a stopped container was is shown without a comparison.
///
/// # Errors
/// The container does not exist, is being created, or ends meanwhile; the caller may not look at its first process.
pub fn inspect(root: &Path, id: &str) -> Result<Inspection> {
    let container = find(root, id)?;
    let (status, init) = status::status(&container.directory, &container.record)?;
    if status == Status::Creating {
        return Err(status.refuses(id, "inspected"));
    }
    let compared = compare(&container, status, init.as_ref());
    let Some(init) = init else { return compared };
    // Whatever was read is init's, unless it has ended.
    let (is_alive, compared) = (crate::sys::pidfd::send_signal(init.as_fd(), 0).is_ok(), explain(&container, compared));
    let has_ended = || status::living_init(&container.record).is_ok_and(|init| init.is_none());
    if is_alive && !has_ended() {
        return compared;
    }
    let error =
        Error::new(Code::ContainerNotRunning, format!("container \"{id}\" cannot be inspected: it ended meanwhile"));
    Err(match compared {
        Ok(_) => error,
        Err(why) => error.detail(why.to_string()),
    })
}

/// Until `start`, init cannot be traced, and the kernel shows its files in /proc to root alone (proc(5)).
fn explain(container: &StoredContainer, compared: Result<Inspection>) -> Result<Inspection> {
    let is_denied = |error: &Error| matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    let waits = || status::gate(&container.directory).is_ok_and(|gate| gate.is_some());
    compared.map_err(|error| match is_denied(&error) && waits() {
        true => error.hint("only root can inspect a container that is not started yet; start it first"),
        false => error,
    })
}

fn compare(container: &StoredContainer, status: Status, init: Option<&OwnedFd>) -> Result<Inspection> {
    let record = &container.record;
    let spec = saved_config::spec(&container.directory)?;
    let program = if record.idle { None } else { Some(saved_config::program(container)?) };
    let host = Host::default();
    let reader = init.map(|init| Reader { record, init: init.as_fd() });
    let mappings = reader.map_or_else(|| Ok(mappings_of_config(&spec)), |reader| reader.mappings())?;
    let tree = tree(record, &spec, &mappings, &host)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let configured = Configured {
        spec: &spec,
        record,
        program: program.as_ref(),
        tree: &tree,
        writes: resources
            .map_or_else(|| Ok(Vec::new()), |resources| crate::cgroup::limits::plan(resources, "linux.resources"))?,
        devices: devices::plan(rules, "linux.resources.devices", host.rootless()?)?,
        keeps_groups: keeps_groups(&spec),
        page_size: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
    };
    let waiting = status::gate(&container.directory)?.is_some();
    let effective = reader.map(|reader| reader.read(&configured, mappings, waiting)).transpose()?;
    Ok(report(container, status, &configured, effective.as_ref()))
}

/// Of a stopped container, for the plan of its mounts.
fn mappings_of_config(spec: &Spec) -> [String; 2] {
    let linux = spec.linux().as_ref();
    let lists = [
        linux.and_then(|linux| linux.uid_mappings().as_deref()),
        linux.and_then(|linux| linux.gid_mappings().as_deref()),
    ];
    lists.map(|list| {
        let lines = list.unwrap_or_default().iter();
        lines.map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size())).collect()
    })
}

fn tree(record: &Record, spec: &Spec, mappings: &[String; 2], host: &Host) -> Result<TreePlan> {
    let hierarchy = host.hierarchy().ok();
    let below = record.cgroup.as_deref().unwrap_or_default();
    let cgroup_path = hierarchy.map(|hierarchy| PathBuf::from(format!("{}{below}", hierarchy.root.display())));
    let [uids, gids] = mappings;
    let request = mounts_request(record, host, [uids, gids], cgroup_path.as_deref())?;
    plan_tree_again(spec, &request).context(|| "plan the mounts of the saved config")
}

fn report(
    container: &StoredContainer,
    status: Status,
    configured: &Configured<'_>,
    effective: Option<&Effective>,
) -> Inspection {
    let record = &container.record;
    let mut inspection = Inspection {
        id: record.id.clone(),
        status: status.word(),
        pid: if effective.is_some() { record.pid } else { 0 },
        bundle: record.bundle.clone(),
        created: record.created.clone(),
        namespaces: namespaces::entries(configured, effective),
        user: credentials::user(configured, effective),
        capabilities: credentials::capabilities(configured, effective),
        security: security::entries(configured, effective),
        process: process::entries(configured, effective),
        cgroup: limits::entries(configured, effective),
        mounts: mounts::entries(configured, effective),
        paths: paths::entries(configured, effective),
        network: network::entries(configured, effective),
        start: network::start(effective),
        differences: Vec::new(),
    };
    let sentences = |entries: &[Entry]| entries.iter().filter_map(|entry| entry.difference.clone()).collect::<Vec<_>>();
    inspection.differences = inspection.sections().into_iter().flat_map(|(_, entries)| sentences(entries)).collect();
    inspection
}

impl Configured<'_> {
    /// The path of a namespace that is joined.
    fn joined(&self, kind: &NamespaceRow) -> Option<&Path> {
        let namespaces = self.spec.linux().as_ref()?.namespaces().as_deref()?;
        let is_it = |namespace: &&oci_spec::runtime::LinuxNamespace| kind.set == namespace.typ().into();
        let path = namespaces.iter().find(is_it)?.path().as_deref()?;
        Some(path).filter(|path| !path.as_os_str().is_empty())
    }

    /// The files of the cgroup that the config sets.
    fn files(&self) -> impl Iterator<Item = String> {
        let instead = |write: &Write| match &write.if_missing {
            crate::cgroup::limits::IfMissing::Instead(file, _) => Some((*file).to_owned()),
            _ => None,
        };
        self.writes.iter().flat_map(move |write| std::iter::once(write.file.clone()).chain(instead(write)))
    }

    /// Whether ids of the container are those that the caller sees.
    fn is_callers_user_namespace(&self, effective: Option<&Effective>) -> bool {
        let facts = effective.and_then(|effective| effective.namespaces.first());
        facts.is_none_or(|[own, callers, _]| own == callers)
    }
}
