//! World: parent. create: builds a container whose init waits at the start gate. run does the same without the gate.
//!
//! Order: prepare (`prepare.rs`; nothing exists yet) -> take the id -> record -> resctrl group -> cgroup -> gate -> rootfs and channels ->
//! clone init -> answer its requests (`requests.rs`) -> record that it is created -> tell the engine -> commit.
//! The record is on disk before anything that it names exists. If a step fails, guards undo what exists
//! (`transaction.rs`); if tare is killed, `delete --force` does so from the record.
//! Undo order: network devices, init, cgroup and unit, resctrl group, mounts, poststop hooks, record and directory.

mod creation;
mod home;
pub(super) mod prepare;
mod requests;
mod restore;
mod transaction;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::handover::Channels;
use super::options::CreateOptions;
use super::record::Record;
use super::recording::Recording;
use super::store::{Directory, Store};
use super::{death, notify, open_files, pid_file, pidfd_socket, procfs, start_gate};
use crate::annotation::PIDFD_RECEIVER;
use crate::bundle::Bundle;
use crate::cgroup::{Cgroup, CgroupManager};
use crate::error::{Code, Coded, Result};
use crate::host::Host;
use crate::init::{Gate, Init, Task, TaskKind};
use crate::plan::{ContainerPlan, Program};
use crate::spawn::{self, Child, Signals};
use crate::wire::Step;
use crate::{namespaces, rootfs, seccomp, timings};

use creation::{CreatedCgroup, Creation};
use prepare::{PreparedCreation, prepare};
use requests::Conversation;
use transaction::{Guard, Transaction};

pub use super::warning::Warn;
pub(super) use restore::build as build_restored;

/// What the caller asks of create and run.
#[derive(Debug, Clone, Copy)]
pub struct CreateRequest<'a> {
    /// Where the config and the rootfs are.
    pub bundle: &'a Bundle,
    /// What the caller chose.
    pub options: &'a CreateOptions<'a>,
    /// What creates the cgroup.
    pub cgroup_manager: CgroupManager,
    /// Whether to omit what only root may do; `None`: find out.
    pub rootless: Option<bool>,
}

/// What follows the creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartMode {
    /// create: init waits at the start gate.
    AtGate,
    /// run --detach: the program runs, and tare exits.
    Detached,
    /// run: the program runs, and tare waits for it.
    Foreground,
}

/// The container to create.
#[derive(Clone, Copy)]
pub(super) struct Creating<'a> {
    pub(super) root: &'a Path,
    pub(super) id: &'a str,
    pub(super) request: &'a CreateRequest<'a>,
    pub(super) mode: StartMode,
}

/// A container that was created. Its guards undo nothing any more.
pub(super) struct Created {
    pub(super) creation: Guard<Creation>,
    pub(super) init: Guard<Child>,
    pub(super) plan: ContainerPlan,
    /// The master of the pty if tare relays it.
    pub(super) master: Option<OwnedFd>,
    /// The socket for READY=1 if tare passes it on.
    pub(super) notify: Option<notify::Listener>,
    /// The seccomp profile to write when the program has ended.
    pub(super) recording: Option<Recording>,
}

/// Creates a container whose init waits at the start gate.
///
/// # Errors
/// The config cannot be applied, or the host refuses a step. Nothing is left behind then, or the error names it.
pub fn create(root: &Path, id: &str, request: &CreateRequest<'_>, warn: Warn<'_>) -> Result<()> {
    build(Creating { root, id, request, mode: StartMode::AtGate }, warn).map(drop)
}

/// Creates a container whose init is ready: it waits at the gate, or runs the program.
pub(super) fn build(creating: Creating<'_>, warn: Warn<'_>) -> Result<Created> {
    let prepared = prepare(&creating, warn)?;
    let transaction = Transaction::default();
    build_guarded(creating, prepared, &transaction, warn).map_err(|error| transaction.explain(error, creating.id, warn))
}

/// If a step fails, the guards are dropped, and each undoes its part: the one that is declared last comes first.
fn build_guarded(
    creating: Creating<'_>,
    prepared: PreparedCreation,
    transaction: &Transaction,
    warn: Warn<'_>,
) -> Result<Created> {
    let Creating { root, request: CreateRequest { options, .. }, mode, .. } = creating;
    let PreparedCreation { host, config, mut plan, namespaces, resctrl, notify, recording, record } = prepared;

    let mut creation = transaction.guard(Creation::take_id(Store::make(root)?, record)?);
    creation.write_first(&config)?;
    let notify = open_notify(creation.directory(), notify, mode)?;
    let resctrl = creation.create_resctrl(plan.resctrl.as_ref(), resctrl, transaction)?;
    let mut cgroup = creation.create_cgroup(plan.cgroup.as_ref(), &host, transaction)?;
    require_agent(plan.program.as_ref())?;
    let gate = create_gate(creation.directory(), plan.program.as_ref(), mode)?;
    let rootfs = open_rootfs(&mut creation, &mut plan, &namespaces)?;
    home::complete(&mut plan, &rootfs)?;
    let mut channels = Channels::open(plan.program.as_mut(), mode == StartMode::AtGate)?.record(recording);

    let opened = Init { plan: &plan, namespaces: &namespaces, rootfs: &rootfs, gate: gate.as_ref() };
    let mut init = transaction.guard(clone_init(creating, opened, created(&cgroup), &channels, &host)?);
    creation.set_init(&init)?;
    cgroup.as_mut().map_or(Ok(()), |guard| guard.cgroup.settle()).coded(Code::CgroupFailed)?;
    let resctrl = resctrl.as_ref().map(|guard| &guard.group);
    resctrl.map_or(Ok(()), |group| group.admit(init.pid)).coded(Code::ResctrlFailed)?;
    let conversation = Conversation {
        plan: &plan,
        namespaces: &namespaces,
        creation: &mut creation,
        channels: &mut channels,
        resctrl,
        transaction,
    };
    let _devices = conversation.hold(&mut init, mode, created(&cgroup), warn)?;
    if init.pid != creation.record().pid {
        // A watched pid namespace was joined, so init was cloned by the preparing process.
        creation.set_init(&init)?;
    }

    let master = channels.master()?;
    creation.record_created()?;
    publish(&init, creation.record(), options)?;
    transaction.commit();
    Ok(Created { creation, init, plan, master, notify, recording: channels.recording() })
}

/// The cgroup, unless cgroups are disabled.
fn created(guard: &Option<Guard<CreatedCgroup>>) -> Option<&Cgroup> {
    guard.as_ref().map(|guard| &guard.cgroup)
}

/// Creates the directory of the notify socket. run listens there at once; for create, `start` does.
fn open_notify(
    directory: &Directory,
    caller: Option<notify::Caller>,
    mode: StartMode,
) -> Result<Option<notify::Listener>> {
    let Some(caller) = caller else { return Ok(None) };
    notify::make(directory)?;
    if mode == StartMode::AtGate { Ok(None) } else { notify::Listener::open(directory, caller) }
}

/// Checks early that the agent of the seccomp profile is there, if the profile has one.
fn require_agent(program: Option<&Program>) -> Result<()> {
    program.and_then(|program| program.seccomp.as_ref()).map_or(Ok(()), seccomp::parent::look_for_agent)
}

/// Creates the start gate for create; run does without.
fn create_gate(directory: &Directory, program: Option<&Program>, mode: StartMode) -> Result<Option<Gate>> {
    if mode != StartMode::AtGate {
        return Ok(None);
    }
    let _span = timings::span("create the start gate");
    let connects = program.is_some_and(|program| program.notifies() || program.is_muted());
    start_gate::create(directory, connects).map(Some)
}

/// Opens the rootfs and the sources of mounts. Records the mount that a container without a mount namespace adds to the
/// caller's.
fn open_rootfs(
    creation: &mut Creation,
    plan: &mut ContainerPlan,
    namespaces: &namespaces::OpenNamespaces,
) -> Result<rootfs::OpenRootfs> {
    let _span = timings::span("open the rootfs and the sources of mounts");
    let watched = namespaces.watched_pid().map(|joined| joined.fd.as_fd());
    let callers_limit = open_files::make_room(plan.rootfs.descriptors())?;
    if let (Some(limit), Some(program)) = (callers_limit, plan.program.as_mut()) {
        program.process.keep_open_files(limit);
    }
    let opened = rootfs::parent::open(&plan.rootfs, namespaces.user_namespace(), watched).coded(Code::RootfsFailed)?;
    if let Some(mount) = opened.callers_mount(&plan.rootfs)? {
        creation.record_mount(mount)?;
    }
    Ok(opened)
}

/// Clones init into the cgroup.
fn clone_init(
    creating: Creating<'_>,
    init: Init<'_>,
    cgroup: Option<&Cgroup>,
    channels: &Channels,
    host: &Host,
) -> Result<Child> {
    let _span = timings::span("clone init");
    let marks = timings::child();
    let signals = if creating.mode == StartMode::Foreground { Signals::Blocked } else { Signals::Restored };
    let (plan, joins_time) = (init.plan, init.namespaces.joins_time());
    let procfs = procfs::open(plan.program.as_ref())?;
    let sockets = spawn::sockets()?;
    let page = spawn::fault_page(plan.program.as_ref(), creating.mode == StartMode::AtGate)?;
    let task = Task {
        kind: TaskKind::Init(init),
        program: plan.program.as_ref(),
        cgroup: cgroup.map(Cgroup::directory),
        socket: sockets.child.as_fd(),
        parent_socket: sockets.parent.as_fd(),
        handover: channels.child_ends(),
        procfs: procfs.as_ref().map(AsFd::as_fd),
        stdio: creating.request.options.stdio,
        hidden: host.traces(),
        marks: marks.as_deref(),
        page: page.as_deref(),
    };
    let spawned = spawn::spawn(&task, joins_time, signals);
    drop(sockets.child);
    let made = spawned?.map_err(|fault| {
        let cgroup = cgroup.filter(|_| fault.step == Step::Clone);
        let entry = cgroup.and_then(|cgroup| death::explain_entry(cgroup, plan, fault.errno));
        entry.unwrap_or_else(|| plan.explain(&fault))
    })?;
    Ok(Child::new(made, sockets.parent).sharing(page))
}

/// Tells the engine: sends the pidfd to its sockets and writes the pid file.
fn publish(init: &Child, record: &Record, options: &CreateOptions<'_>) -> Result<()> {
    let _span = timings::span("tell the engine");
    let pidfd = init.pidfd.as_fd();
    if let Some(socket) = &options.pidfd_socket {
        pidfd_socket::send(socket, pidfd, pidfd_socket::INIT)?;
    }
    let receiver = record.annotations.get(PIDFD_RECEIVER).filter(|path| !path.is_empty());
    if let Some(path) = receiver {
        pidfd_socket::send(Path::new(path), pidfd, pidfd_socket::INIT)
            .map_err(|error| error.at(format!("annotations[{PIDFD_RECEIVER:?}]")))?;
    }
    match &options.pid_file {
        Some(path) => pid_file::write(path, init.pid),
        None => Ok(()),
    }
}
