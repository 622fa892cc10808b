//! World: parent. Deletes a container: kills what is left, removes the cgroup and the resctrl group, runs poststop, forgets.
//!
//! Needs only the record: no bundle, no rootfs. State goes last, so that an interrupted delete can be repeated.

use std::path::Path;
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::process::{Signal, pidfd_send_signal};

use super::StoredContainer;
use super::record::Record;
use super::saved_config;
use super::state::State;
use super::status::{self, Status, status};
use super::store::{self, Directory, Store};
use super::warning::Warn;
use crate::cgroup::{self, Cgroup, Hierarchy, Tag, UnitName};
use crate::error::{Code, Coded, Context, Error, Result};
use crate::hooks::{self, Place};
use crate::host::calls;
use crate::timings;

/// How long killed processes may take to vanish: the answer comes within 10 s.
const PATIENCE: Duration = Duration::from_secs(9);

/// How long a creation may take before `delete --force` ends it.
const CREATION: Duration = Duration::from_secs(1);

/// How long the first process of a scope may take to follow its creator.
const SLEEPER: Duration = Duration::from_secs(2);

/// Deletes a container; with `force` whatever it is doing, and an unknown id is a success.
///
/// # Errors
/// It runs (without `force`); something could not be removed: the record stays then.
pub fn delete(root: &Path, id: &str, force: bool, warn: Warn<'_>) -> Result<()> {
    store::check_id(id)?;
    let absent = || if force { Ok(()) } else { Err(store::absent(id)) };
    let Some(store) = Store::open(root)? else { return absent() };
    let Some(directory) = store.find(id)? else { return absent() };
    if force {
        kill_first(&directory);
    }
    directory.lock_patiently(PATIENCE)?;
    // Deleted while we waited: the id may be a new container's, which nobody asked to delete.
    if directory.is_removed()? {
        return absent();
    }
    delete_locked(&store, directory, force, warn)
}

/// Deletes a container whose directory is there and locked.
///
/// # Errors
/// As [`delete`].
pub(super) fn delete_locked(store: &Store, directory: Directory, force: bool, warn: Warn<'_>) -> Result<()> {
    let id = &directory.id;
    let record = match Record::read(&directory) {
        Ok(Some(record)) => record,
        Ok(None) if force => return delete_unrecorded(store, &directory),
        Ok(None) => {
            let what = format!("container \"{id}\" was not created completely");
            return Err(Error::new(Code::ContainerCreating, what).hint("use --force"));
        }
        Err(error) if force && !is_scarcity(&error) => return delete_damaged(store, &directory, error, warn),
        Err(error) => return Err(error),
    };
    let container = StoredContainer { directory, record };
    let (status, _) = status(&container.directory, &container.record)?;
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        let id = &container.record.id;
        let what = format!("cannot delete container \"{id}\" that is not stopped: {}", status.word());
        return Err(Error::new(Code::ContainerNotStopped, what).hint("stop it first, or use --force"));
    }
    destroy(store, &container, warn)
}

/// Before the lock is taken: the command that holds it may wait for a process that the container stopped, froze or
/// starved, or for an agent that never answers. Once these are dead, that command ends by itself. Only what is this
/// container's beyond doubt is killed; whatever fails here is tried again under the lock.
fn kill_first(directory: &Directory) {
    let _span = timings::span("kill the container before it is locked");
    let Ok(Some(record)) = Record::read(directory) else { return };
    // A creation that makes progress is done soon, and deleted then.
    if record.phase.is_unfinished() && directory.lock_patiently(CREATION).is_ok() {
        return;
    }
    let (cgroup, init) = (status::cgroup(&record), status::living_init(&record));
    let errors = [cgroup.as_ref().err(), init.as_ref().err()];
    if errors.into_iter().flatten().any(is_denial) {
        // It is the same under the lock, and then nothing has been killed.
        return;
    }
    if let Ok(Some(init)) = init {
        let _later = pidfd_send_signal(&init, Signal::KILL);
    }
    if let Ok(Some(cgroup)) = cgroup
        && tag(directory).and_then(|tag| cgroup.has_tag(&tag)).unwrap_or(false)
    {
        let _later = cgroup.kill_all();
    }
}

/// Whether the record may be well, and only now cannot be read.
fn is_scarcity(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR))
}

/// Whether a sandbox around tare may deny the call, so that another attempt fails as well.
fn is_denial(error: &Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS))
}

/// Kills, removes and forgets.
pub(super) fn destroy(store: &Store, container: &StoredContainer, warn: Warn<'_>) -> Result<()> {
    kill_init(container)?;
    bury(store, container, warn)
}

/// Removes and forgets a container whose init has ended.
pub(super) fn bury(store: &Store, container: &StoredContainer, warn: Warn<'_>) -> Result<()> {
    let StoredContainer { directory, record } = container;
    if record.phase.is_unfinished() {
        remove_unfinished(directory, record)?;
    } else {
        if let Some(cgroup) = whole_cgroup(directory, record)? {
            remove_cgroup(&cgroup)?;
        }
        stop_unit(record, || tag(directory))?;
    }
    remove_resctrl(record)?;
    detach_mounts(record)?;
    if record.hooks {
        match saved_config::hooks(directory) {
            Ok(plan) => poststop(&plan, record, warn),
            Err(error) => warn(error.context("poststop hooks")),
        }
    }
    store.remove(directory)
}

fn kill_init(container: &StoredContainer) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let (_, Some(pidfd)) = status(&container.directory, &container.record)? else { return Ok(()) };
    let _span = timings::span("kill init and wait for its end");
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        // Death between the look and the signal is what we want.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        // A sandbox around tare may deny the call.
        Err(_) if kills_by_cgroup(container) => {}
        Err(e) => {
            return Err(
                Error::system(format!("kill init of \"{}\"", container.record.id), e).coded(Code::ProcessesRemain)
            );
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let step = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let dead = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&step))).context(|| "wait for init to die")?;
        // With zombies in its pid namespace it stays on its way out until somebody waits for them.
        if dead > 0 || status::living_init(&container.record)?.is_none() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("init of \"{}\" does not end after SIGKILL", container.record.id);
            // init waits for every other process of its pid namespace.
            let cgroup = status::cgroup(&container.record).ok().flatten();
            let members = cgroup.and_then(|cgroup| cgroup.processes().ok()).filter(|pids| !pids.is_empty());
            let stuck = names(&members.unwrap_or_else(|| vec![container.record.pid]));
            return Err(Error::new(Code::ProcessesRemain, what).detail(stuck).hint(HANGS));
        }
    }
}

/// Kills all processes of the container by its cgroup; whether that was possible.
fn kills_by_cgroup(container: &StoredContainer) -> bool {
    let cgroup = whole_cgroup(&container.directory, &container.record);
    matches!(cgroup, Ok(Some(cgroup)) if cgroup.kill_all().is_ok())
}

/// Why a process outlives SIGKILL.
const HANGS: &str = "a process in state D waits in the kernel, see /proc/PID/stack; the first process of a pid namespace \
                     waits until the zombies in it have been reaped by their parents";

/// `process 71 (dd, state D), process 72 (sh, state S)`.
fn names(pids: &[i32]) -> String {
    let name = |pid: &i32| match Process::new(*pid).and_then(|process| process.stat()) {
        Ok(stat) => format!("process {pid} ({}, state {})", stat.comm, stat.state),
        Err(_) => format!("process {pid}"),
    };
    pids.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Removes a cgroup with whatever is left in it.
pub(super) fn remove_cgroup(cgroup: &Cgroup) -> Result<()> {
    let _span = timings::span("remove the cgroup");
    if cgroup.populated()? {
        let _span = timings::span("kill the processes in the cgroup");
        cgroup.kill_all().coded(Code::CgroupFailed)?;
        if !cgroup.wait_empty(PATIENCE)? {
            let what = format!("processes stay in cgroup {} after they were killed", cgroup.path());
            return Err(Error::new(Code::ProcessesRemain, what).detail(names(&cgroup.processes()?)).hint(HANGS));
        }
    }
    cgroup.remove().coded(Code::CgroupFailed)
}

/// Removes the cgroup and the unit of a creation that was cut short. Where it was about to be refused, they are another's:
/// processes in a cgroup without our tag, other than the one that a scope begins with and that dies with its creator.
pub(super) fn remove_unfinished(directory: &Directory, record: &Record) -> Result<()> {
    if let Some(cgroup) = whole_cgroup(directory, record)? {
        let tag = tag(directory)?;
        if cgroup.is_anothers(&tag)? {
            return Ok(());
        }
        let patience = if record.unit.is_some() { SLEEPER } else { Duration::ZERO };
        if !cgroup.has_tag(&tag)? && !cgroup.wait_empty(patience)? {
            return Ok(());
        }
        remove_cgroup(&cgroup)?;
    }
    stop_unit(record, || tag(directory))
}

/// All that is the container's: its cgroup, or that of its unit with it.
pub(super) fn whole_cgroup(directory: &Directory, record: &Record) -> Result<Option<Cgroup>> {
    let Some(path) = record.unit_cgroup() else { return status::cgroup(record) };
    let Some(cgroup) = Cgroup::open(&cgroup::mount()?, path)? else { return Ok(None) };
    // Without an inode it may not have been tagged yet, which is the caller's to judge.
    let is_ours = record.cgroup_inode.is_none() || cgroup.has_tag(&tag(directory)?)?;
    Ok(is_ours.then_some(cgroup))
}

/// Has systemd forget the unit of a container, whose cgroup is gone by now; that of another boot is forgotten already, and
/// one that has processes again is another container's.
pub(super) fn stop_unit(record: &Record, tag: impl FnOnce() -> Result<Tag>) -> Result<()> {
    let Some(unit) = &record.unit else { return Ok(()) };
    if status::boot_id()? != record.boot_id {
        return Ok(());
    }
    if let Some(path) = record.unit_cgroup().or(record.cgroup.as_deref())
        && let Some(cgroup) = Cgroup::open(&cgroup::mount()?, path)?
        && cgroup.populated()?
        && !cgroup.has_tag(&tag()?)?
    {
        return Ok(());
    }
    unit.stop()
}

/// Removes the resctrl group, when no process of the container is left; that of another boot is gone.
fn remove_resctrl(record: &Record) -> Result<()> {
    match &record.resctrl {
        Some(group) if status::boot_id()? == record.boot_id => {
            let _span = timings::span("remove the resctrl group");
            group.remove(!record.phase.is_unfinished())
        }
        _ => Ok(()),
    }
}

/// Takes the mounts of a container without a mount namespace from the caller's.
pub(super) fn detach_mounts(record: &Record) -> Result<()> {
    match record.root_mount {
        Some(mount) if status::boot_id()? == record.boot_id => crate::rootfs::parent::detach(&record.rootfs, mount),
        _ => Ok(()),
    }
}

/// What the cgroup of a container is tagged with.
///
/// # Errors
/// The state root has a relative path, and there is no working directory.
pub(super) fn tag(directory: &Directory) -> Result<Tag> {
    let path = std::path::absolute(&directory.path);
    Ok(Tag {
        owner: rustix::process::geteuid().as_raw(),
        id: directory.id.clone(),
        state_directory: path.context(|| format!("find {}", directory.path.display()))?,
        root: Some(directory.root),
    })
}

/// Runs the poststop hooks; a failure is a warning and the others go on (runtime.md, "Lifecycle").
pub(super) fn poststop(hooks: &hooks::HookPlan, record: &Record, warn: Warn<'_>) {
    if hooks.poststop.is_empty() {
        return;
    }
    let ready = calls::require_for_hooks();
    let state = match ready.and_then(|()| State::new(record, Status::Stopped).json()) {
        Ok(state) => state,
        Err(error) => return warn(error),
    };
    for hook in &hooks.poststop {
        if let Err(error) =
            hooks::run(std::slice::from_ref(hook), &state, Place::Runtime { directory: &record.bundle, init: None })
        {
            warn(error);
        }
    }
}

/// Usually create was interrupted before its first record, and nothing else exists yet; but a record can be removed.
fn delete_unrecorded(store: &Store, directory: &Directory) -> Result<()> {
    // Where there is no cgroup2, there is no cgroup of the container either.
    if let Ok(mount) = cgroup::mount() {
        remove_tagged(&mount, directory)?;
    }
    store.remove(directory)
}

/// A record that cannot be read: the cgroup is found by the tag that it carries.
fn delete_damaged(store: &Store, directory: &Directory, error: Error, warn: Warn<'_>) -> Result<()> {
    warn(error.context("delete by the tag of the cgroup"));
    remove_tagged(&cgroup::mount()?, directory)?;
    store.remove(directory)
}

fn remove_tagged(mount: &Hierarchy, directory: &Directory) -> Result<()> {
    for cgroup in Cgroup::find_tagged(mount, &tag(directory)?)? {
        remove_cgroup(&cgroup)?;
        if let Some(unit) = UnitName::at(cgroup.path()) {
            unit.stop_at(cgroup.path())?;
        }
    }
    Ok(())
}
