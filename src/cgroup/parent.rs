//! Making the planned cgroup. World: parent.
//!
//! Order rules: the tag first, so that whatever happens next can be traced to its container; then
//! limits; then the device program; only then is anything cloned into it. Everything is done before
//! the first process, because moving a pid costs an RCU grace period.
//! Promise: levels that were made here are removed again when anything fails.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::control::Events;
use super::devices::Devices;
use super::hierarchy::Hierarchy;
use super::limits::{IfMissing, Write};
use super::plan::{CgroupPlan, Driver};
use super::systemd::{self, UnitName};
use super::tag::{self, Identity, Tag};
use super::{controllers, files, tree};
use crate::error::{Code, Context, Error, Result};
use crate::sys::bpf;
use crate::sys::parked::Parked;

/// How long a reaped process is waited for to leave its cgroup.
const REAPED: Duration = Duration::from_secs(1);

/// A cgroup that exists and is open.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) directory: OwnedFd,
    /// Below the root of the hierarchy, with a leading slash.
    pub(super) path: String,
    /// What is left to do when init is in it.
    pub(super) unsettled: Option<Unsettled>,
    /// The cgroup of the unit that this one is directly below, and that has the same limits.
    pub(super) unit: Option<Box<Self>>,
}

/// A scope of systemd that has just begun.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// The process that it began with; it goes when this is dropped.
    parked: Parked,
    /// The limit of processes, when it is too low for that process and init.
    late: Option<(Write, UnitName)>,
}

impl Unsettled {
    pub(super) fn new(parked: Option<Parked>, plan: &CgroupPlan) -> Option<Self> {
        let late = plan.late_write().cloned().zip(plan.unit());
        parked.map(|parked| Self { parked, late })
    }
}

/// The way down to the new cgroup: `parents[i]` is the directory that holds `names[i]`.
struct NewLevels<'p> {
    parents: Vec<OwnedFd>,
    names: Vec<&'p str>,
    /// Levels from this one on were made here.
    made_from: usize,
    /// Some level may contain threads instead of processes.
    may_be_threaded: bool,
}

impl Drop for NewLevels<'_> {
    /// Takes back what was made; a level that somebody uses meanwhile stays.
    fn drop(&mut self) {
        for (parent, name) in self.parents.iter().zip(&self.names).skip(self.made_from).rev() {
            let _ = rustix::fs::unlinkat(parent, *name, AtFlags::REMOVEDIR);
        }
    }
}

impl NewLevels<'_> {
    /// Nothing is to be taken back.
    fn keep(mut self) {
        self.made_from = usize::MAX;
    }
}

impl Cgroup {
    /// Makes the cgroup of `plan`, limits, devices and all; it has no process yet.
    ///
    /// # Errors
    /// The cgroup is in use, frozen or another container's; a controller or file that a limit needs
    /// is missing; the kernel refuses a value. Nothing that was made here is left then.
    ///
    /// # Kernel
    /// 5.7 (extended attributes of a cgroup), with cgroup v2.
    pub fn create(plan: &CgroupPlan, hierarchy: &Hierarchy, tag: &Tag) -> Result<Self> {
        let components = match &plan.driver {
            Driver::File(components) => components,
            Driver::Systemd(scope) => return systemd::parent::make(plan, scope, hierarchy, tag),
        };
        let root = open_root(hierarchy)?;
        let mut way = match short_way(root.as_fd(), components, &plan.writes)? {
            Some(way) => way,
            None => long_way(root, components, hierarchy, &plan.writes)?,
        };
        let directory = enter_leaf(&mut way, plan, tag)?;
        let cgroup = Self::at(directory, plan.path());
        cgroup.set_up(plan, tag)?;
        way.keep();
        Ok(cgroup)
    }

    pub(super) fn at(directory: OwnedFd, path: String) -> Self {
        Self { directory, path, unsettled: None, unit: None }
    }

    pub(super) fn mark(&self, tag: &Tag) -> Result<()> {
        tag::write(self.directory.as_fd(), tag).context(|| format!("tag cgroup {}", self.path))
    }

    pub(super) fn set_up(&self, plan: &CgroupPlan, tag: &Tag) -> Result<()> {
        self.mark(tag)?;
        self.write_all(plan.early_writes())?;
        match &plan.devices {
            Devices::Enforced(program) => self.attach(program, None),
            Devices::AllowAll | Devices::NotEnforcedInUserNamespace => Ok(()),
        }
    }

    /// With `old` the program takes that one's place.
    pub(super) fn attach(&self, program: &[bpf::Instruction], old: Option<BorrowedFd<'_>>) -> Result<()> {
        let program = load_device_program(program)?;
        bpf::attach_device_program(self.directory.as_fd(), program.as_fd(), old)
            .map_err(|errno| explain_device_program("attach the device program", errno))
    }

    /// Writes values in order. One that the kernel finds invalid beside the present ones is tried
    /// again after the others: a quota below the present burst and a burst above the present quota
    /// are both fine in the end.
    pub(super) fn write_all<'w>(&self, writes: impl IntoIterator<Item = &'w Write>) -> Result<()> {
        let mut again = Vec::new();
        for write in writes {
            match self.write_one(write) {
                Err(Errno::INVAL) => again.push(write),
                result => result.map_err(|errno| self.refused(write, errno))?,
            }
        }
        again.into_iter().try_for_each(|write| self.write_one(write).map_err(|errno| self.refused(write, errno)))
    }

    fn write_one(&self, write: &Write) -> std::result::Result<(), Errno> {
        match (files::write(self.directory.as_fd(), &write.file, &write.value), &write.if_missing) {
            (Err(Errno::NOENT), IfMissing::Skip) => Ok(()),
            (Err(Errno::NOENT), IfMissing::Instead(file, value)) => files::write(self.directory.as_fd(), file, value),
            (result, _) => result,
        }
    }

    pub(super) fn refused(&self, write: &Write, errno: Errno) -> Error {
        let Write { file, value, at, .. } = write;
        if errno != Errno::NOENT {
            let error = Error::system(format!("write {value:?} to {file}"), errno)
                .coded(Code::CgroupLimitFailed)
                .at(at.clone());
            return match (file.as_str(), std::fs::read_to_string("/sys/devices/system/cpu/online")) {
                ("cpuset.cpus", Ok(online)) => error.hint(format!("this system has the CPUs {}", online.trim())),
                _ => error,
            };
        }
        let controller = write.controller().unwrap_or("cgroup");
        Error::refused(
            Code::CgroupLimitUnsupported,
            at.clone(),
            format!("the {controller} controller of this kernel has no file {file}"),
        )
    }

    /// Does what can be done only when init is in the cgroup: the process that a scope began with goes.
    ///
    /// # Errors
    /// A limit is refused, or that process cannot be ended.
    pub fn settle(&mut self) -> Result<()> {
        let Some(Unsettled { parked, late }) = self.unsettled.take() else { return Ok(()) };
        let _span = crate::timings::span("settle the systemd scope");
        systemd::parent::unpark(parked)?;
        let Some((write, unit)) = late else { return Ok(()) };
        self.write_all([&write])?;
        self.unit.as_ref().map_or(Ok(()), |unit| unit.write_all([&write]))?;
        unit.set_limits(std::slice::from_ref(&write))
    }

    /// Opens the cgroup at `path` below the root of the hierarchy; `None` when it does not exist.
    ///
    /// # Errors
    /// It exists but cannot be opened.
    pub fn open(hierarchy: &Hierarchy, path: &str) -> Result<Option<Self>> {
        let root = open_root(hierarchy)?;
        match files::open_directory(root.as_fd(), path.trim_start_matches('/')) {
            Ok(directory) => Ok(Some(Self::at(directory, path.to_owned()))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::system(format!("open cgroup {path}"), errno).coded(Code::CgroupFailed)),
        }
    }

    /// The same of a container whose cgroup is directly below that of its unit.
    ///
    /// # Errors
    /// One of the two cannot be opened.
    pub fn open_in_unit(hierarchy: &Hierarchy, path: &str) -> Result<Option<Self>> {
        let Some(cgroup) = Self::open(hierarchy, path)? else { return Ok(None) };
        let unit = above(path).map_or(Ok(None), |path| Self::open(hierarchy, path))?;
        Ok(Some(Self { unit: unit.map(Box::new), ..cgroup }))
    }

    /// Replaces this cgroup by that of its unit if it is below one, and returns it: all that was created with it.
    pub fn whole(&mut self) -> &Self {
        if let Some(unit) = self.unit.take() {
            *self = *unit;
        }
        self
    }

    /// Makes the cgroup `name` below this one.
    pub(super) fn make_below(&self, name: &str) -> Result<Self> {
        let path = format!("{}/{name}", self.path);
        let made = make(self.directory(), name, &path)?;
        Ok(Self::at(open_unused(self.directory(), name, &path, made)?, path))
    }

    /// Hands on all controllers to the cgroup below. A process that has just been reaped may count for a moment longer,
    /// and not be listed any more: the kernel takes it out of its cgroup once it has been switched away for good.
    pub(super) fn hand_on_to_init(&self, writes: &[Write]) -> Result<()> {
        let deadline = Instant::now() + REAPED;
        let level = controllers::Level { directory: self.directory(), path: &self.path, hybrid: false };
        while level.hand_on_at_once(writes)?.is_none() {
            if Instant::now() >= deadline {
                // For the error, if a limit needs what cannot be enabled.
                return level.hand_on(writes);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The directory, for CLONE_INTO_CGROUP.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The path below the root of the hierarchy, with a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its number, which no other cgroup gets until the next boot.
    ///
    /// # Errors
    /// None in practice.
    pub fn inode(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.directory).context(|| format!("stat cgroup {}", self.path))?.st_ino)
    }

    /// Whose cgroup it is, when tare made it.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn tag(&self) -> Result<Option<Tag>> {
        tag::read(self.directory.as_fd()).context(|| format!("read the tag of cgroup {}", self.path))
    }

    /// Whether it is the container's that the tag names.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn has_tag(&self, tag: &Tag) -> Result<bool> {
        Ok(self.tag()?.is_some_and(|found| found.names(tag)))
    }

    /// Whether it is certainly that of another container: what a container can write there itself does not count, lest it
    /// escapes its end.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_anothers(&self, tag: &Tag) -> Result<bool> {
        let found = tag::read_trusted(self.directory.as_fd());
        let found = found.context(|| format!("read the tag of cgroup {}", self.path))?;
        Ok(found.is_some_and(|found| !found.names(tag)))
    }
}

/// Has the kernel verify a device program; it is in force nowhere yet.
pub(super) fn load_device_program(program: &[bpf::Instruction]) -> Result<OwnedFd> {
    bpf::load_device_program(program).map_err(|errno| explain_device_program("load the device program", errno))
}

fn explain_device_program(what: &str, errno: Errno) -> Error {
    let error = Error::system(what, errno).coded(Code::DeviceProgramFailed).at("linux.resources.devices");
    match errno {
        Errno::PERM => error.hint("device rules need CAP_BPF and CAP_NET_ADMIN in the initial user namespace"),
        _ => error,
    }
}

/// The path of the cgroup above; `None` for the root's.
#[must_use]
pub fn above(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty())
}

pub(super) fn open_root(hierarchy: &Hierarchy) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&hierarchy.root, flags, Mode::empty()).context(|| format!("open {}", hierarchy.root.display()))
}

/// The usual case: the parent exists, is not threaded, and enables every controller for its children.
fn short_way<'p>(root: BorrowedFd<'_>, components: &'p [String], writes: &[Write]) -> Result<Option<NewLevels<'p>>> {
    let Some((name, above)) = components.split_last() else { return Ok(None) };
    let path = if above.is_empty() { ".".to_owned() } else { above.join("/") };
    let parent = match files::open_directory(root, &path) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Error::system(format!("open cgroup /{path}"), errno).coded(Code::CgroupFailed)),
    };
    let ready = controllers::are_handed_on(root, parent.as_fd(), writes)?;
    Ok(ready.then(|| NewLevels { parents: vec![parent], names: vec![name], made_from: 1, may_be_threaded: false }))
}

/// Level by level: each is made when it is missing and hands on what it has.
fn long_way<'p>(
    root: OwnedFd,
    components: &'p [String],
    hierarchy: &Hierarchy,
    writes: &[Write],
) -> Result<NewLevels<'p>> {
    let names: Vec<&str> = components.iter().map(String::as_str).collect();
    let mut way = NewLevels { parents: vec![root], made_from: names.len(), names, may_be_threaded: true };
    let mut path = "/".to_owned();
    for depth in 0..way.names.len() {
        let (Some(parent), name) = (way.parents.last(), way.names[depth]) else { break };
        controllers::Level { directory: parent.as_fd(), path: &path, hybrid: hierarchy.hybrid }.hand_on(writes)?;
        if depth + 1 == way.names.len() {
            break;
        }
        path = format!("{}/{name}", path.trim_end_matches('/'));
        let made = make(parent.as_fd(), name, &path)?;
        if made {
            way.made_from = way.made_from.min(depth);
        }
        let below = files::open_directory(parent.as_fd(), name).context(|| format!("open cgroup {path}"))?;
        allow_reading(below.as_fd(), made, &path)?;
        if made {
            be_threaded_where_it_must(below.as_fd(), &path)?;
        }
        way.parents.push(below);
    }
    Ok(way)
}

/// Makes the last level, or takes one that is there, empty, thawed and nobody's.
fn enter_leaf(way: &mut NewLevels<'_>, plan: &CgroupPlan, tag: &Tag) -> Result<OwnedFd> {
    let path = plan.path();
    let depth = way.names.len() - 1;
    let (Some(parent), name) = (way.parents.last(), way.names[depth]) else {
        return Err(Error::new(Code::Internal, "a cgroup without a parent"));
    };
    let mut made = make(parent.as_fd(), name, &path)?;
    if !made && clear_leftover(parent.as_fd(), name, &path, tag)? {
        made = make(parent.as_fd(), name, &path)?;
    }
    if made {
        way.made_from = way.made_from.min(depth);
    }
    let directory = open_unused(parent.as_fd(), name, &path, made)?;
    if way.may_be_threaded {
        be_threaded_where_it_must(directory.as_fd(), &path)?;
    }
    Ok(directory)
}

/// Opens a cgroup that nobody uses, which was made here or not.
fn open_unused(parent: BorrowedFd<'_>, name: &str, path: &str, made: bool) -> Result<OwnedFd> {
    let directory = files::open_directory(parent, name).context(|| format!("open cgroup {path}"))?;
    allow_reading(directory.as_fd(), made, path)?;
    refuse_in_use(directory.as_fd(), path)?;
    Ok(directory)
}

/// Below a cgroup of threads a new one is of no use until it is one of threads too. Source: cgroup-v2.rst, "Threads".
fn be_threaded_where_it_must(directory: BorrowedFd<'_>, path: &str) -> Result<()> {
    let kind = files::read_if_there(directory, "cgroup.type").context(|| format!("read cgroup.type of {path}"))?;
    if kind.is_none_or(|kind| kind.trim() != "domain invalid") {
        return Ok(());
    }
    files::write(directory, "cgroup.type", "threaded").context(|| format!("make cgroup {path} threaded"))
}

/// Whether it was made now, or was there before.
fn make(parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<bool> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(not_made(path, errno)),
    }
}

/// The error for a directory that is not created.
pub(super) fn not_made(path: &str, errno: Errno) -> Error {
    let error = Error::system(format!("create cgroup {path}"), errno).coded(Code::CgroupFailed);
    if errno != Errno::ROFS {
        return error;
    }
    error.hint(controllers::READ_ONLY)
}

/// The runtime's umask is tight, but programs of any user in a container read their limits.
fn allow_reading(directory: BorrowedFd<'_>, made: bool, path: &str) -> Result<()> {
    if !made {
        return Ok(());
    }
    rustix::fs::fchmod(directory, Mode::from_raw_mode(0o755)).context(|| format!("set the mode of cgroup {path}"))
}

/// A tagged cgroup without processes is what a killed runtime left: its limits and its device
/// program are of no use and it goes, unless it is the cgroup of a container that still exists.
fn clear_leftover(parent: BorrowedFd<'_>, name: &str, path: &str, tag: &Tag) -> Result<bool> {
    let directory = files::open_directory(parent, name).context(|| format!("open cgroup {path}"))?;
    let present = Cgroup::at(directory, path.to_owned());
    let Some(found) = present.tag()? else { return Ok(false) };
    refuse_in_use(present.directory(), path)?;
    refuse_others(&found, tag, path)?;
    tree::remove_below(present.directory()).context(|| format!("remove what is below cgroup {path}"))?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(errno) => Err(Error::system(format!("remove cgroup {path}"), errno).coded(Code::CgroupFailed)),
    }
}

/// The cgroup of another container that still exists is not taken.
pub(super) fn refuse_others(found: &Tag, own: &Tag, path: &str) -> Result<()> {
    if found.names(own) || is_abandoned(found) {
        return Ok(());
    }
    let text = format!("cgroup {path} belongs to container {:?} in {}", found.id, found.state_directory.display());
    Err(Error::new(Code::CgroupInUse, text).at("linux.cgroupsPath"))
}

/// Whether no state root that is here has the container of a tag. One that is in another mount namespace is dead, its cgroup
/// being empty, and its record names the inode of that: ours will not be taken for it.
fn is_abandoned(tag: &Tag) -> bool {
    let here = tag.root_path().and_then(|root| rustix::fs::stat(root).ok());
    let same = here.is_some_and(|here| tag.root.is_none_or(|root| root == Identity::of(&here)));
    !same || matches!(rustix::fs::lstat(&tag.state_directory), Err(Errno::NOENT))
}

/// Before a unit begins: nothing may be left of another container at its place.
pub(super) fn clear_leftover_at(root: BorrowedFd<'_>, components: &[String], path: &str, tag: &Tag) -> Result<()> {
    let Some((name, above)) = components.split_last() else { return Ok(()) };
    let above = if above.is_empty() { ".".to_owned() } else { above.join("/") };
    let is_there = |result| match result {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::system(format!("open cgroup {path}"), errno).coded(Code::CgroupFailed)),
    };
    let Some(parent) = is_there(files::open_directory(root, &above))? else { return Ok(()) };
    let Some(directory) = is_there(files::open_directory(parent.as_fd(), name))? else { return Ok(()) };
    if !clear_leftover(parent.as_fd(), name, path, tag)? {
        refuse_in_use(directory.as_fd(), path)?;
    }
    Ok(())
}

/// systemd hands down what it knows itself; hugetlb, rdma and the like are handed on here when a limit needs them.
pub(super) fn hand_on_what_is_needed(hierarchy: &Hierarchy, components: &[String], writes: &[Write]) -> Result<()> {
    let root = open_root(hierarchy)?;
    let above = components.split_last().map(|(_, above)| above.join("/")).filter(|above| !above.is_empty());
    let above = above.as_deref().unwrap_or(".");
    let parent = files::open_directory(root.as_fd(), above).context(|| format!("open cgroup /{above}"))?;
    if !controllers::are_needed_handed_on(parent.as_fd(), writes)? {
        // A level that is made here has no cgroup below: the container's is gone, and the level goes too.
        drop(long_way(root, components, hierarchy, writes)?);
    }
    Ok(())
}

/// A populated cgroup would be shared and later killed; a frozen one (or a new one below a frozen
/// one) would stop init for ever.
pub(super) fn refuse_in_use(directory: BorrowedFd<'_>, path: &str) -> Result<()> {
    let events = Events::read(directory).context(|| format!("read cgroup.events of {path}"))?;
    match events {
        Events { populated: true, .. } => Err(not_empty(path)),
        Events { frozen: true, .. } => Err(frozen(path)),
        _ => Ok(()),
    }
}

/// The words are runc's, whose users search for them.
pub(super) fn not_empty(path: &str) -> Error {
    let what = format!("container's cgroup is not empty: {path} has processes");
    Error::new(Code::CgroupNotEmpty, what).at("linux.cgroupsPath")
}

/// As above.
pub(super) fn frozen(path: &str) -> Error {
    let what = format!("container's cgroup unexpectedly frozen: {path}, or a cgroup above it");
    Error::new(Code::CgroupFrozen, what).at("linux.cgroupsPath")
}
