//! World: parent. The process that changes the mounts of a container: it joins the container, does its work and ends.
//!
//! It is born in the cgroup of the caller, so that a container that is paused, or has no room for a process, can get
//! mounts too. Only where it copies files of the container into a tmpfs, it is in the cgroup that pays for them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::cgroup::Cgroup;
use crate::container::record::{AddedMount, Record};
use crate::container::{StoredContainer, join};
use crate::error::{Code, Error, Result};
use crate::host::Host;
use crate::init::{Handover, MountChange, Mounts, Task, TaskKind};
use crate::namespaces::NamespaceSet;
use crate::plan::explain_mounts;
use crate::rootfs::parent::{OpenRootfs, map_ids};
use crate::rootfs::{Removal, RootfsPlan};
use crate::spawn::{self, Child, Outcome, Request, Signals};
use crate::wire::{Fault, Step};

/// What a process needs to mount: procfs is made for a pid namespace that it does not join.
const JOINED: NamespaceSet =
    NamespaceSet::USER.union(NamespaceSet::MOUNT).union(NamespaceSet::NETWORK).union(NamespaceSet::IPC);

/// Mounts what is planned, and records the number of each mount before it is there. The last mounts of the record are
/// those of the plan.
///
/// # Errors
/// The step that failed; what was mounted before it is in the record.
pub(super) fn add(
    container: &mut StoredContainer,
    init: BorrowedFd<'_>,
    plan: &RootfsPlan,
    opened: &OpenRootfs,
    frozen: bool,
) -> Result<()> {
    let cgroup = paying(&container.record, plan, frozen)?;
    let change = MountChange::Add(plan, opened);
    let explain = |fault: &Fault| explain_mounts(plan, fault);
    let child = spawn(&container.record, init, change, opened.descriptors(), cgroup.as_ref());
    let first = container.record.mounts.len().saturating_sub(plan.mounts.len());
    converse(child?.map_err(|fault| explain(&fault))?, explain, |request| match request {
        Request::MapIds(number, tree) => map_ids(plan, number, tree.as_fd(), None),
        Request::Attaching(mount, number) => {
            let mounts = &mut container.record.mounts;
            // Another that had this number has gone: numbers are used again.
            let gone = mounts.iter_mut().filter(|other| other.number == Some(number));
            gone.for_each(|other| other.number = Some(AddedMount::GONE));
            if let Some(mount) = mounts.get_mut(first + mount) {
                mount.number = Some(number);
            }
            container.record.write(&container.directory)
        }
        _ => Ok(()),
    })
}

/// Removes mounts in this order; `name` is the JSON path of one.
///
/// # Errors
/// The first that could not be removed, with ESTALE or ENOENT if it is elsewhere by now.
pub(super) fn remove(
    container: &StoredContainer,
    init: BorrowedFd<'_>,
    list: &[Removal],
    name: impl Fn(usize) -> String,
) -> Result<()> {
    let explain = |fault: &Fault| {
        let number = usize::try_from(fault.index).unwrap_or(usize::MAX);
        match list.get(number).filter(|_| fault.step == Step::Unmount) {
            Some(removal) => {
                let what = format!("unmount {}", removal.point.to_string_lossy());
                Error::system(what, fault.errno).coded(Code::UnmountFailed).at(name(number))
            }
            None => Error::system(fault.step.name(), fault.errno),
        }
    };
    let child = spawn(&container.record, init, MountChange::Remove(list), Vec::new(), None)?;
    converse(child.map_err(|fault| explain(&fault))?, explain, |_| Ok(()))
}

/// The container's cgroup, if it is to pay for the files that are copied.
fn paying(record: &Record, plan: &RootfsPlan, frozen: bool) -> Result<Option<Cgroup>> {
    let Some(number) = plan.mounts.iter().position(crate::rootfs::plan::Mount::copies) else { return Ok(None) };
    if frozen {
        let what = "\"tmpcopyup\" copies files, which a paused container cannot";
        return Err(Error::new(Code::ContainerPaused, what)
            .at(format!("mounts[{number}].options"))
            .hint("resume it first"));
    }
    join::of_container(record)
}

/// The inner error is the fault of the clone.
fn spawn(
    record: &Record,
    init: BorrowedFd<'_>,
    change: MountChange<'_>,
    mut kept: Vec<i32>,
    cgroup: Option<&Cgroup>,
) -> Result<std::result::Result<Child, Fault>> {
    let sockets = spawn::sockets()?;
    let mut container = join::open_container(record, init)?;
    let joins_user_before = matches!(&change, MountChange::Add(_, opened) if opened.leaves_sources());
    let left = if joins_user_before { JOINED.difference(NamespaceSet::USER) } else { JOINED };
    container.namespaces = container.namespaces.intersection(left);
    kept.extend([sockets.child.as_raw_fd(), init.as_raw_fd()]);
    kept.extend(container.cgroup_namespace.as_ref().map(AsRawFd::as_raw_fd));
    kept.sort_unstable();
    let task = Task {
        kind: TaskKind::Mounts(Mounts { container, change, kept: &kept }),
        program: None,
        cgroup: cgroup.map(Cgroup::directory),
        socket: sockets.child.as_fd(),
        parent_socket: sockets.parent.as_fd(),
        handover: Handover::default(),
        procfs: None,
        stdio: None,
        hidden: Host::default().traces(),
        marks: None,
        page: None,
    };
    let spawned = spawn::spawn(&task, false, Signals::Restored);
    drop(sockets.child);
    Ok(spawned?.map(|made| Child::new(made, sockets.parent)))
}

fn converse(
    mut child: Child,
    explain: impl Fn(&Fault) -> Error,
    mut handle: impl FnMut(Request) -> Result<()>,
) -> Result<()> {
    let outcome = child.converse(false, |_, request| handle(request));
    let code = child.kill_and_reap();
    match outcome? {
        Outcome::Ready => Ok(()),
        Outcome::Failed(fault) => Err(explain(&fault)),
        Outcome::Died => Err(spawn::died(code).context("the process that changes the mounts")),
    }
}
