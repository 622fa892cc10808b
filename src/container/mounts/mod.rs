//! World: parent. Mounts of a container that exists: they are added to it, and those that were added are removed.
//!
//! Order of `add`: plan the mounts from the saved config and from facts about init -> open the sources, each once, in the
//! host's mount namespace -> exclusive lock -> record the destinations -> a process joins the container and mounts
//! (`work.rs`); before each mount its number is recorded. If one fails, those before it are removed again.
//! Sources are opened before the lock: a filesystem of the network that does not answer must not delay `delete`.
//! A mount is known by its number, not by its destination: the container can rename directories on the way to it.

mod list;
mod work;

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use super::record::{AddedMount, Record};
use super::status::{Status, cgroup, status};
use super::warning::Warn;
use super::{StoredContainer, find, join, open_files, saved_config};
use crate::error::{Code, Context, Error, Result};
use crate::host::{Host, calls};
use crate::mountinfo::{Entry, entries};
use crate::namespaces::NamespaceSet;
use crate::plan::{MountsRequest, plan_mounts};
use crate::rootfs::parent::open_added;
use crate::rootfs::{self, Removal, RootfsPlan};

pub use list::Mounts;

/// How often a mount is looked up again that the container has moved meanwhile.
const TRIES: usize = 32;

/// Mounts everything in `mounts`, or nothing.
///
/// # Errors
/// The container is not there, stopped or being made; a value cannot be accepted or done, with its JSON path.
pub fn add(root: &Path, id: &str, mounts: &Mounts, warn: Warn<'_>) -> Result<()> {
    calls::require()?;
    let container = find(root, id)?;
    let (init, frozen) = living(&container)?;
    let plan = plan(&container, init.as_fd(), mounts)?;
    for warning in mounts.warnings.iter().chain(&plan.warnings) {
        warn(Error::new(Code::ConfigWarning, warning.as_str()));
    }
    open_files::make_room(plan.mounts.len())?;
    let record = &container.record;
    let procfs =
        plan.mounts.iter().any(rootfs::plan::Mount::is_procfs) && record.namespaces.contains(NamespaceSet::PID);
    let pids = procfs.then(|| join::open_of_init(record, init.as_fd(), "ns/pid", OFlags::RDONLY)).transpose()?;
    let opened = open_added(&plan, pids.as_ref().map(AsFd::as_fd))?;
    let mut container = lock(container)?;
    let before = container.record.mounts.len();
    let added = |mount: &rootfs::plan::Mount| AddedMount { destination: path(&mount.target), number: None };
    container.record.mounts.extend(plan.mounts.iter().map(added));
    container.record.write(&container.directory)?;
    let mounted = work::add(&mut container, init.as_fd(), &plan, &opened, frozen);
    let Err(error) = mounted else { return Ok(()) };
    match take_back(&mut container, init.as_fd(), before) {
        Ok(()) => Err(error),
        Err(why) => {
            Err(error.hint(format!("{why}; some of the mounts may stay: remove them with `tare mounts remove`")))
        }
    }
}

/// Removes the mounts that were added on these destinations, with what is mounted below them.
///
/// # Errors
/// As [`add`]; one was not added by [`add`]: then nothing is removed.
pub fn remove(root: &Path, id: &str, mounts: &Mounts, warn: Warn<'_>) -> Result<()> {
    calls::require()?;
    let mut container = lock(find(root, id)?)?;
    let (init, _) = living(&container)?;
    for warning in &mounts.warnings {
        warn(Error::new(Code::ConfigWarning, warning.as_str()));
    }
    let spec = saved_config::spec(&container.directory)?;
    let destinations = rootfs::destinations(&spec, &container.record.bundle, &mounts.list)?;
    let chosen = choose(&container.record, &destinations)?;
    let of_config =
        rootfs::destinations(&spec, &container.record.bundle, spec.mounts().as_deref().unwrap_or_default())?;
    find_interrupted(&mut container.record, init.as_fd(), &chosen, &of_config)?;
    let name = |position: usize| {
        let asked = chosen.iter().position(|chosen| *chosen == position).unwrap_or_default();
        format!("mounts[{asked}].destination")
    };
    unmount(&mut container, init.as_fd(), chosen.clone(), &name)
}

/// The pidfd of init, and whether the container is paused.
fn living(container: &StoredContainer) -> Result<(OwnedFd, bool)> {
    let id = &container.record.id;
    let refuse =
        |code, why: &str| Err(Error::new(code, format!("the mounts of container \"{id}\" cannot be changed: {why}")));
    let namespaces = &container.record;
    match status(&container.directory, &container.record)? {
        (status @ (Status::Created | Status::Running | Status::Paused), Some(init)) => {
            if !namespaces.namespaces.contains(NamespaceSet::MOUNT) || namespaces.joined.contains(NamespaceSet::MOUNT) {
                return refuse(Code::MountsUnsupported, "it has no mount namespace of its own");
            }
            Ok((init, status == Status::Paused))
        }
        (Status::Creating, _) => refuse(Code::ContainerCreating, "it is being created"),
        _ => refuse(Code::ContainerNotRunning, "container not running"),
    }
}

/// Takes the lock and reads the record again.
fn lock(mut container: StoredContainer) -> Result<StoredContainer> {
    container.directory.lock(FlockOperation::LockExclusive)?;
    container.read_again()?;
    Ok(container)
}

/// What a plan of mounts of an existing container needs to know. `mappings` are the texts of uid_map and gid_map.
pub(super) fn request<'a>(
    record: &'a Record,
    host: &Host,
    mappings: [&'a str; 2],
    cgroup_path: Option<&'a Path>,
) -> Result<MountsRequest<'a>> {
    Ok(MountsRequest {
        bundle: &record.bundle,
        namespaces: record.namespaces,
        joined: record.joined,
        in_user_namespace: host.in_user_namespace()?,
        mappings,
        cgroup_path,
        selinux: host.selinux(),
    })
}

fn plan(container: &StoredContainer, init: BorrowedFd<'_>, mounts: &Mounts) -> Result<RootfsPlan> {
    let record = &container.record;
    let spec = saved_config::spec(&container.directory)?;
    let map = |name: &str| {
        let path = format!("/proc/{}/{name}", record.pid);
        std::fs::read_to_string(&path).context(|| format!("read {path}"))
    };
    let (uids, gids) = (map("uid_map")?, map("gid_map")?);
    let host = Host::default();
    let cgroup_path = match cgroup(record)? {
        Some(cgroup) => Some(PathBuf::from(format!("{}{}", host.hierarchy()?.root.display(), cgroup.path()))),
        None => host.hierarchy().ok().map(|hierarchy| hierarchy.root.clone()),
    };
    let request = request(record, &host, [&uids, &gids], cgroup_path.as_deref())?;
    let plan = plan_mounts(&spec, &mounts.list, &request)?;
    // The pid was still init's.
    crate::sys::pidfd::send_signal(init, 0).context(|| format!("look at init, process {}", record.pid))?;
    Ok(plan)
}

/// Removes what was recorded from position `from` on, and forgets it.
fn take_back(container: &mut StoredContainer, init: BorrowedFd<'_>, from: usize) -> Result<()> {
    let name = |position: usize| format!("mounts[{}].destination", position - from);
    unmount(container, init, (from..container.record.mounts.len()).collect(), &name)
}

/// The positions in the record, in the order of `destinations`: of two mounts on one destination the later one goes first.
fn choose(record: &Record, destinations: &[CString]) -> Result<Vec<usize>> {
    let mut chosen: Vec<usize> = Vec::with_capacity(destinations.len());
    for (number, destination) in destinations.iter().enumerate() {
        let wanted = path(destination);
        let here = |(position, mount): &(usize, &AddedMount)| mount.destination == wanted && !chosen.contains(position);
        let found = record.mounts.iter().enumerate().rev().find(here).map(|(position, _)| position);
        let absent = || {
            let what = format!("no mount on {} was added with `tare mounts add`", wanted.display());
            Error::new(Code::MountNotFound, what).at(format!("mounts[{number}].destination"))
        };
        chosen.push(found.ok_or_else(absent)?);
    }
    Ok(chosen)
}

/// Gives their numbers to mounts whose addition was interrupted: there may be none. What the config has mounted on the same
/// destination must stay, so it must not be taken for one.
fn find_interrupted(record: &mut Record, init: BorrowedFd<'_>, chosen: &[usize], of_config: &[CString]) -> Result<()> {
    if chosen.iter().all(|position| record.mounts[*position].number.is_some()) {
        return Ok(());
    }
    let table = table(record, init)?;
    for (number, position) in chosen.iter().enumerate() {
        let mount = &record.mounts[*position];
        if mount.number.is_some() {
            continue;
        }
        if of_config.iter().any(|used| path(used) == mount.destination) {
            let what = format!(
                "whether {} was mounted on is unknown: `tare mounts add` was killed",
                mount.destination.display()
            );
            let error = Error::new(Code::MountCovered, what).at(format!("mounts[{number}].destination"));
            return Err(error.hint("config.json mounts there too; delete the container"));
        }
        let known = |number| record.mounts.iter().any(|mount| mount.number == Some(number));
        let found = table.iter().rev().find(|entry| path(&entry.point) == mount.destination && !known(entry.number));
        record.mounts[*position].number = found.map(|entry| entry.number);
    }
    Ok(())
}

/// Unmounts what the record has at these positions, and forgets what is gone. `name` is the JSON path of one.
fn unmount(
    container: &mut StoredContainer,
    init: BorrowedFd<'_>,
    mut positions: Vec<usize>,
    name: &dyn Fn(usize) -> String,
) -> Result<()> {
    positions.sort_unstable_by(|one, other| other.cmp(one));
    let mut result = Ok(());
    for _ in 0..TRIES {
        let (places, list): (Vec<_>, Vec<_>) = {
            let table = table(&container.record, init)?;
            refuse_covered(&container.record, &table, &positions, name)?;
            positions.iter().filter_map(|at| Some((*at, removal(&container.record, &table, *at)?))).unzip()
        };
        result = if list.is_empty() { Ok(()) } else { work::remove(container, init, &list, |at| name(places[at])) };
        match &result {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT | libc::ELOOP)) => {}
            _ => break,
        }
    }
    let table = table(&container.record, init)?;
    for position in positions {
        if removal(&container.record, &table, position).is_none() {
            container.record.mounts.remove(position);
        }
    }
    container.record.write(&container.directory).and(result)
}

/// What the record has at `position`, if it is still mounted.
fn removal(record: &Record, table: &[Entry], position: usize) -> Option<Removal> {
    let number = record.mounts.get(position)?.number?;
    let entry = table.iter().find(|entry| entry.number == number)?;
    Some(Removal { point: entry.point.clone(), number })
}

/// A mount that another one covers cannot be reached by its path.
fn refuse_covered(record: &Record, table: &[Entry], positions: &[usize], name: &dyn Fn(usize) -> String) -> Result<()> {
    let numbers: Vec<u64> = positions.iter().filter_map(|at| removal(record, table, *at)).map(|it| it.number).collect();
    for position in positions {
        let Some(Removal { point, number }) = removal(record, table, *position) else { continue };
        let covers = |entry: &Entry| entry.parent == number && entry.point == point && !numbers.contains(&entry.number);
        if table.iter().any(covers) {
            let what = format!("another mount covers the one on {}", path(&point).display());
            return Err(Error::new(Code::MountCovered, what).at(name(*position)).hint("unmount that one first"));
        }
    }
    Ok(())
}

/// The mounts of init.
fn table(record: &Record, init: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = join::open_of_init(record, init, "mountinfo", OFlags::RDONLY)?;
    std::fs::File::from(file).read_to_end(&mut text).context(|| "read the mounts of init")?;
    Ok(entries(&text))
}

fn path(text: &CString) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text.to_bytes()))
}
