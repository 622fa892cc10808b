//! World: parent. exec: another process in an existing container, with the container's own confinement.
//!
//! The config is the copy that create kept, so that a bundle changed meanwhile changes nothing. A shared lock keeps
//! delete away until the process runs its program in the cgroup, where it can be killed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Container;
use super::create::{Warn, explain_death, open_procfs};
use super::exec_cgroup;
use super::exec_process;
use super::handover::Channels;
use super::record::{Phase, Record};
use super::status::{Status, status};
use super::store::{self, Directory};
use crate::bundle;
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::{Host, ProgramFacts};
use crate::init::{Exec, Kind, Task};
use crate::namespaces::NamespaceSet;
use crate::plan::{self, Program};
use crate::process::user;
use crate::spawn::{self, Child, End, Request};
use crate::terminal::foreground;
use crate::wire::Fault;

/// What the user asks of exec.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// --process: a file with the whole process object.
    pub process: Option<PathBuf>,
    /// The command line, when there is no such file.
    pub changes: super::exec_process::Changes,
    /// --detach.
    pub detach: bool,
    /// --pid-file.
    pub pid_file: Option<PathBuf>,
    /// --console-socket.
    pub console_socket: Option<PathBuf>,
    /// --pidfd-socket.
    pub pidfd_socket: Option<PathBuf>,
    /// --preserve-fds.
    pub preserve_fds: u32,
    /// --cgroup: a path below the container's cgroup.
    pub cgroup: Option<String>,
    /// --ignore-paused.
    pub ignore_paused: bool,
    /// Not --no-new-keyring: the container's keyring is joined by its name.
    pub new_keyring: bool,
}

/// Runs a process in a container; its exit code, or 128 + signal; 0 when detached.
///
/// # Errors
/// The container does not run; the process cannot be made; nothing of it is left then.
pub fn exec(root: &Path, id: &str, options: &Options, warn: Warn<'_>) -> Result<i32> {
    super::check_preserved(options.preserve_fds)?;
    let mut container = super::find(root, id)?;
    // A program can run for a moment before its creation is recorded as finished.
    if container.record.phase == Phase::Creating {
        container.directory.lock(FlockOperation::LockShared)?;
        container.record = Record::read(&container.directory)?.ok_or_else(|| store::absent(id))?;
        container.directory.lock(FlockOperation::Unlock)?;
    }
    let (child, master) = begin(&container, options, warn)
        .map_err(|error| explain_end(&container.record, explain_waiting(&container, error)))?;
    if options.detach {
        drop(master);
        return Ok(0);
    }
    drop(container);
    // A process that nobody waits for is not what was asked for.
    foreground::wait(child.pidfd.as_fd(), child.id()?, master, None).inspect_err(|_| {
        child.kill_and_reap();
    })
}

/// Until it is started, init is tare itself: the kernel shows that to the host's root alone, lest anybody traces it.
fn explain_waiting(container: &Container, error: Error) -> Error {
    let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    let waits = || super::status::gate(&container.directory).is_ok_and(|gate| gate.is_some());
    if denied && !rustix::process::geteuid().is_root() && waits() {
        return error.hint("only root can enter a container that is not started yet; start it first");
    }
    error
}

/// A container that ends meanwhile fails each step in its own way: its pid namespace, for one, has no memory for
/// another process (pid_namespaces(7), ENOMEM).
fn explain_end(record: &Record, error: Error) -> Error {
    let ended = || super::status::process_facts(record.pid).is_ok_and(|facts| facts.is_none_or(|facts| facts.ended));
    if error.kind() != ErrorKind::System || !ended() {
        return error;
    }
    Error::new(ErrorKind::WrongStatus, not_running(&record.id)).detail(error.to_string())
}

fn not_running(id: &str) -> String {
    format!("cannot exec in a stopped container: container not running: \"{id}\"")
}

/// Up to the point where the program runs; the pty's master when tare relays it.
fn begin(container: &Container, options: &Options, warn: Warn<'_>) -> Result<(Child, Option<OwnedFd>)> {
    let init = running_init(container, options.ignore_paused)?;
    super::status::require_signals(init.as_fd(), container.record.pid)?;
    let record = &container.record;
    let (spec, _) = saved_config(&container.directory)?;
    let (process, warnings) = process(&spec, options)?;
    for warning in &warnings {
        warn(Error::new(ErrorKind::InvalidConfig, warning.as_str()));
    }
    let mut program = program(record, init.as_fd(), &spec, &process, options)?;
    for warning in &program.process.warnings {
        warn(Error::new(ErrorKind::InvalidConfig, warning.as_str()));
    }
    let mut channels = Channels::open(Some(&mut program), false)?;
    // Not before: what was read of the image may come from a filesystem that the container serves.
    container.directory.lock(FlockOperation::LockShared)?;
    if container.directory.is_removed()? {
        return Err(store::absent(&record.id));
    }
    let asked = Asked { cgroup: options.cgroup.as_deref(), ignore_paused: options.ignore_paused, stdio: None };
    let (mut child, cgroup) = spawn_in(record, init.as_fd(), &program, &channels, &asked, options.detach)?;
    let followed = follow(record, &program, &mut child, cgroup.as_ref(), &mut channels, warn);
    match followed.and_then(|()| publish(&child, &mut channels, options)) {
        Ok(master) => Ok((child, master)),
        Err(error) => {
            child.kill_and_reap();
            Err(error)
        }
    }
}

/// init's pidfd, if the container takes processes now.
fn running_init(container: &Container, ignore_paused: bool) -> Result<OwnedFd> {
    let id = &container.record.id;
    let refuse = |what: String| Err(Error::new(ErrorKind::WrongStatus, what));
    match status(&container.directory, &container.record)? {
        (Status::Running | Status::Created, Some(pidfd)) => Ok(pidfd),
        (Status::Paused, Some(pidfd)) if ignore_paused => Ok(pidfd),
        (Status::Paused, _) => refuse(format!("cannot exec in a paused container: \"{id}\"; resume it first")),
        (Status::Creating, _) => refuse(format!("cannot exec in container \"{id}\": it is being created")),
        _ => refuse(not_running(id)),
    }
}

/// The config that create kept.
///
/// # Errors
/// It is missing or damaged.
pub(super) fn saved_config(directory: &Directory) -> Result<(Spec, Vec<String>)> {
    bundle::parse_spec(&saved_bytes(directory)?)
}

/// Its text.
///
/// # Errors
/// It is missing.
pub(super) fn saved_bytes(directory: &Directory) -> Result<Vec<u8>> {
    directory
        .read("config.json")?
        .ok_or_else(|| Error::new(ErrorKind::System, format!("the saved config of \"{}\" is missing", directory.id)))
}

/// The program of init, for the words of a failed exec.
pub(super) fn saved_program(container: &Container) -> Result<Program> {
    let (spec, _) = saved_config(&container.directory)?;
    let process = spec.process().clone().ok_or_else(|| Error::new(ErrorKind::InvalidConfig, NO_PROCESS))?;
    let mut process = process;
    // Who gets the terminal was decided by create.
    process.set_terminal(Some(false));
    let request = plan::ExecRequest {
        id: &container.record.id,
        namespaces: container.record.namespaces,
        at: "process",
        console_socket: None,
        detach: true,
        new_keyring: false,
        preserve_fds: 0,
        set_groups: true,
    };
    plan::plan_exec(&spec, &process, &request, &ProgramFacts::gather(&process, &Host::default())?)
}

/// Why a container cannot be started.
pub(super) const NO_PROCESS: &str = "config.json has no process, so there is nothing to start";

fn process(spec: &Spec, options: &Options) -> Result<(Process, Vec<String>)> {
    match &options.process {
        Some(path) => {
            let (process, warnings) = bundle::parse_process(&bundle::read_json_file(path)?)?;
            Ok((exec_process::complete(process, spec.process().as_ref()), warnings))
        }
        None => options.changes.apply(spec.process().as_ref()).map(|process| (process, Vec::new())),
    }
}

fn program(
    record: &Record,
    init: BorrowedFd<'_>,
    spec: &Spec,
    process: &Process,
    options: &Options,
) -> Result<Program> {
    let host = Host::default();
    let request = plan::ExecRequest {
        id: &record.id,
        namespaces: record.namespaces,
        at: if options.process.is_some() { "" } else { "process" },
        console_socket: options.console_socket.as_deref(),
        detach: options.detach,
        new_keyring: options.new_keyring,
        preserve_fds: options.preserve_fds,
        set_groups: may_set_groups(record, init, &host)?,
    };
    let mut program = plan::plan_exec(spec, process, &request, &ProgramFacts::gather(process, &host)?)?;
    complete_home(&mut program, record, init)?;
    Ok(program)
}

/// HOME from the container's passwd file when the environment has none.
pub(super) fn complete_home(program: &mut Program, record: &Record, init: BorrowedFd<'_>) -> Result<()> {
    if !program.process.lacks_home() {
        return Ok(());
    }
    let root = of_init(record, init, "root", OFlags::PATH | OFlags::DIRECTORY)?;
    let home = user::home(root.as_fd(), program.process.uid)?;
    program.process.set_env("HOME", home)
}

/// Whether setgroups(2) is permitted in the user namespace of the container.
pub(super) fn may_set_groups(record: &Record, init: BorrowedFd<'_>, host: &Host) -> Result<bool> {
    if !record.namespaces.contains(NamespaceSet::USER) && !host.in_user_namespace()? {
        return Ok(true);
    }
    let mut word = [0; 16];
    let file = of_init(record, init, "setgroups", OFlags::RDONLY)?;
    let length =
        rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut word)).context(|| "read setgroups of init")?;
    Ok(!word[..length].starts_with(b"deny"))
}

/// The container's own cgroup namespace. By path, which the process itself may not be able to open any more when it
/// joins.
fn cgroup_namespace(record: &Record, init: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if !record.namespaces.contains(NamespaceSet::CGROUP) {
        return Ok(None);
    }
    of_init(record, init, "ns/cgroup", OFlags::RDONLY).map(Some)
}

/// init's root, when the container has no mount namespace to find it in.
fn root(record: &Record, init: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    if record.namespaces.contains(NamespaceSet::MOUNT) {
        return Ok(None);
    }
    of_init(record, init, "root", OFlags::PATH | OFlags::DIRECTORY).map(Some)
}

/// What /proc has of init; the pidfd tells that the path was still init's.
fn of_init(record: &Record, init: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd> {
    let path = format!("/proc/{}/{name}", record.pid);
    let opened = rustix::fs::open(&*path, flags | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {path}"))?;
    crate::sys::pidfd::send_signal(init, 0).context(|| format!("look at init, process {}", record.pid))?;
    Ok(opened)
}

/// What is asked of the process that is made, besides its program.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    /// The sub-cgroup.
    pub(super) cgroup: Option<&'a str>,
    /// A frozen cgroup will do.
    pub(super) ignore_paused: bool,
    /// Instead of the caller's stdio.
    pub(super) stdio: Option<[BorrowedFd<'a>; 3]>,
}

/// Makes the process, in the cgroup that it belongs into.
pub(super) fn spawn_in(
    record: &Record,
    init: BorrowedFd<'_>,
    program: &Program,
    channels: &Channels,
    asked: &Asked<'_>,
    detach: bool,
) -> Result<(Child, Option<Cgroup>)> {
    let cgroup = exec_cgroup::choose(record, asked.cgroup, asked.ignore_paused)?;
    match spawn_once(record, init, program, cgroup.as_ref(), channels, asked.stdio, detach)? {
        Ok(child) => Ok((child, cgroup)),
        Err(fault) => {
            let cgroup = exec_cgroup::after(record, cgroup, asked.cgroup.is_some(), program, &fault)?;
            let again = spawn_once(record, init, program, Some(&cgroup), channels, asked.stdio, detach)?;
            let child = again.map_err(|fault| exec_cgroup::explain(Some(&cgroup), program, &fault))?;
            Ok((child, Some(cgroup)))
        }
    }
}

/// The inner error is the fault of a step before the process existed.
fn spawn_once(
    record: &Record,
    init: BorrowedFd<'_>,
    program: &Program,
    cgroup: Option<&Cgroup>,
    channels: &Channels,
    stdio: Option<[BorrowedFd<'_>; 3]>,
    detach: bool,
) -> Result<std::result::Result<Child, Fault>> {
    let procfs = open_procfs(Some(program))?;
    let sockets = spawn::sockets()?;
    let cgroup_namespace = cgroup_namespace(record, init)?;
    let cgroup_first = match &cgroup_namespace {
        Some(namespace) if record.namespaces.contains(NamespaceSet::USER) => {
            crate::namespaces::parent::is_callers(namespace.as_fd())?
        }
        _ => false,
    };
    let task = Task {
        kind: Kind::Exec(Exec {
            init,
            namespaces: record.namespaces.difference(NamespaceSet::CGROUP),
            cgroup_namespace,
            cgroup_first,
            root: root(record, init)?,
        }),
        program: Some(program),
        cgroup: cgroup.map(Cgroup::directory),
        socket: sockets.child.as_fd(),
        parent_socket: sockets.parent.as_fd(),
        handover: channels.child_ends(),
        procfs: procfs.as_ref().map(AsFd::as_fd),
        stdio,
        hidden: Host::default().traces(),
    };
    let signals = spawn::block_signals()?;
    let spawned = spawn::spawn(&task, false);
    if detach {
        spawn::restore_signals(&signals)?;
    }
    drop(sockets.child);
    Ok(spawned?.map(|made| Child::new(made, sockets.parent)))
}

/// Waits until the program runs.
pub(super) fn follow(
    record: &Record,
    program: &Program,
    child: &mut Child,
    cgroup: Option<&Cgroup>,
    channels: &mut Channels,
    warn: Warn<'_>,
) -> Result<()> {
    let end = child.converse(true, |child, request| match request {
        Request::Ready => channels.deliver_listener(program, record, Some(child.pid)),
        Request::Warning(fault) => {
            warn(program.explain(&fault));
            Ok(())
        }
        _ => Ok(()),
    })?;
    match end {
        End::Good => Ok(()),
        End::Failed(fault) => Err(program.explain(&fault)),
        End::Died => Err(explain_death(child, cgroup, None)),
    }
}

/// Tells the engine; the pty's master when tare relays it.
fn publish(child: &Child, channels: &mut Channels, options: &Options) -> Result<Option<OwnedFd>> {
    let master = channels.master()?;
    if let Some(socket) = &options.pidfd_socket {
        super::sockets::send_pidfd(socket, child.pidfd.as_fd(), "setns")?;
    }
    if let Some(path) = &options.pid_file {
        super::pid_file::write(path, child.pid)?;
    }
    Ok(master)
}
