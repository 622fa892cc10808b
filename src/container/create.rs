//! World: parent. create's straight line: read, plan, record, open, spawn, talk, record.
//!
//! The record is on disk before anything that it names exists; whatever fails afterwards is undone here, and whatever
//! kills tare in between is undone by `delete --force` from the record alone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, openat};

use super::delete;
use super::handover::Channels;
use super::listen_fds;
use super::notify;
use super::open_files;
use super::record::{Phase, Record, VERSION};
use super::start_hooks;
use super::state::State;
use super::status::{self, Status};
use super::store::{Directory, Store};
use crate::bundle::{self, Bundle};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::hooks::{self, Place};
use crate::host::Host;
use crate::init::{Gate, Init, Kind, Task};
use crate::plan::annotations::PIDFD_RECEIVER;
use crate::plan::{self, Plan};
use crate::rootfs::parent::Passwd;
use crate::spawn::{self, Child, End, Request};
use crate::wire::Step;
use crate::{namespaces, network, process, rootfs, seccomp};

/// What the user asks of create and run.
#[derive(Debug, Clone)]
pub struct Options {
    /// --bundle.
    pub bundle: PathBuf,
    /// The config's name in the bundle.
    pub config: PathBuf,
    /// --console-socket.
    pub console_socket: Option<PathBuf>,
    /// --pidfd-socket.
    pub pidfd_socket: Option<PathBuf>,
    /// --pid-file.
    pub pid_file: Option<PathBuf>,
    /// --no-pivot.
    pub no_pivot: bool,
    /// Not --no-new-keyring.
    pub new_keyring: bool,
    /// --preserve-fds.
    pub preserve_fds: u32,
    /// --cgroup-manager, --systemd-cgroup.
    pub cgroup: crate::cgroup::Asked,
    /// --rootless, unless it is auto.
    pub rootless: Option<bool>,
}

/// Where warnings go: problems that need not stop us.
pub type Warn<'a> = &'a mut dyn FnMut(Error);

/// How the container is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// create: init waits on the gate.
    AtGate,
    /// run --detach: the program runs.
    Detached,
    /// run: the program runs, and tare stays with it.
    Foreground,
}

/// A container in the making: what exists already, so that it can be undone.
pub(super) struct Making {
    pub(super) store: Store,
    pub(super) directory: Directory,
    pub(super) record: Record,
    pub(super) plan: Plan,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) child: Option<Child>,
    /// The pty's master, when tare relays it.
    pub(super) master: Option<OwnedFd>,
    /// Where the container says that it is ready, when tare passes that on.
    pub(super) notify: Option<notify::Listener>,
    /// Network devices that the container has got.
    pub(super) devices: Option<network::devices::Moved>,
    /// Hooks have begun to run, so poststop is owed.
    pub(super) hooked: bool,
    /// systemd may have begun the unit, though there is no cgroup yet.
    unit_begun: bool,
    /// The namespaces to join, until init has joined them.
    joined: namespaces::parent::Prepared,
}

/// Creates a container; init waits on the start gate afterwards.
///
/// # Errors
/// Nothing is left behind then.
pub fn create(root: &Path, id: &str, options: &Options, warn: Warn<'_>) -> Result<()> {
    make(root, id, options, Begin::AtGate, warn).map(drop)
}

/// Everything up to the point where init is ready (at the gate) or runs its program.
pub(super) fn make(root: &Path, id: &str, options: &Options, begin: Begin, warn: Warn<'_>) -> Result<Making> {
    super::store::check_id(id)?;
    let activation = listen_fds::activation(|name| std::env::var(name).ok(), std::process::id())?;
    let preserve_fds = options.preserve_fds.saturating_add(activation.count);
    super::check_preserved(preserve_fds)?;
    let host = Host::default();
    let bundle = Bundle::open(&options.bundle)?;
    let config = bundle.read_config(&options.config)?;
    let (mut spec, warnings) = bundle::parse_new_spec(&config)?;
    let caller = match notify::Caller::of_environment()? {
        Some(caller) if notify::admit(&mut spec, &absolute(root, id)?)? => Some(caller),
        _ => None,
    };
    let request = plan::Request {
        id,
        bundle: &bundle.path,
        console_socket: options.console_socket.as_deref(),
        detach: begin != Begin::Foreground,
        no_pivot: options.no_pivot,
        new_keyring: options.new_keyring,
        preserve_fds,
        cgroup: options.cgroup,
        rootless: options.rootless,
    };
    let mut plan = plan::plan(&spec, &request, &host)?;
    if plan.program.is_none() && begin != Begin::AtGate {
        return Err(Error::invalid("process", "config.json has no process, so there is nothing to run"));
    }
    if let Some(program) = &mut plan.program {
        activation.env.iter().try_for_each(|(name, value)| program.process.set_env(name, value))?;
    }
    for warning in warnings.iter().chain(plan.warnings()) {
        warn(Error::new(ErrorKind::InvalidConfig, warning.as_str()));
    }
    let joined = open_namespaces(&plan)?;
    status::require_pidfds()?;
    let record = first_record(id, &spec, &bundle, &plan)?;
    let store = Store::make(root)?;
    let directory = store.create(id)?;
    let (cgroup, child, master, notify) = (None, None, None, None);
    let (devices, hooked, unit_begun) = (None, false, false);
    let mut making =
        Making { store, directory, record, plan, cgroup, child, master, notify, devices, hooked, unit_begun, joined };
    match populate(&mut making, &config, options, begin, &host, caller, warn) {
        Ok(()) => {
            // They belong to the network namespace now, for as long as that exists.
            making.devices = None;
            Ok(making)
        }
        Err(error) => Err(match undo(&mut making, warn) {
            Ok(()) => error,
            Err(left) => error.hint(format!("{left}; `tare delete --force {id}` removes what is left")),
        }),
    }
}

/// Before anything exists: a namespace of the caller's own, in which the config changes something, is refused.
fn open_namespaces(plan: &Plan) -> Result<namespaces::parent::Prepared> {
    let joined = namespaces::parent::open_all(&plan.namespaces)?;
    if let Some(device) = plan.network_devices.first()
        && joined.is_callers_own(namespaces::Kind::Network)
    {
        let what = format!("network device {:?} cannot be moved to the host network namespace", device.name);
        let hint = "the network namespace of linux.namespaces is the runtime's own";
        return Err(Error::invalid(&device.at, what).hint(hint));
    }
    Ok(joined)
}

/// Where the notify socket of a container will be.
fn absolute(root: &Path, id: &str) -> Result<PathBuf> {
    let root = std::path::absolute(root).map_err(|e| {
        Error::new(ErrorKind::System, format!("the state root {}", root.display())).detail(e.to_string())
    })?;
    Ok(root.join(id).join(notify::DIRECTORY))
}

fn first_record(id: &str, spec: &Spec, bundle: &Bundle, plan: &Plan) -> Result<Record> {
    Ok(Record {
        version: VERSION,
        phase: Phase::Creating,
        id: id.to_string(),
        oci_version: spec.version().clone(),
        bundle: bundle.path.clone(),
        rootfs: plan.rootfs_path.clone(),
        created: super::time::now(),
        owner: rustix::process::geteuid().as_raw(),
        boot_id: status::boot_id()?,
        pid: 0,
        start_time: 0,
        pidfd_inode: None,
        namespaces: plan.namespaces.all(),
        joined: plan.namespaces.all() & !plan.namespaces.new,
        cgroup: plan.cgroup.as_ref().map(crate::cgroup::Plan::path),
        cgroup_inode: None,
        unit: plan.cgroup.as_ref().and_then(crate::cgroup::Plan::unit),
        root_mount: None,
        idle: plan.program.is_none(),
        hooks: !plan.hooks.is_empty(),
        annotations: spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}

/// From the record to a child that is ready.
fn populate(
    making: &mut Making,
    config: &[u8],
    options: &Options,
    begin: Begin,
    host: &Host,
    caller: Option<notify::Caller>,
    warn: Warn<'_>,
) -> Result<()> {
    making.record.write(&making.directory)?;
    making.directory.replace("config.json", config)?;
    if let Some(caller) = caller {
        notify::make(&making.directory)?;
        // Who starts a container at its gate listens then.
        if begin != Begin::AtGate {
            making.notify = notify::Listener::open(&making.directory, caller)?;
        }
    }
    if let Some(plan) = &making.plan.cgroup {
        let tag = delete::tag(&making.directory)?;
        let created = Cgroup::create(plan, host.hierarchy()?, &tag);
        // Not where it is another's, or where there is no systemd.
        making.unit_begun =
            making.record.unit.is_some() && matches!(&created, Err(error) if error.kind() == ErrorKind::System);
        let cgroup = making.cgroup.insert(created?);
        making.record.cgroup_inode = Some(cgroup.inode()?);
        if let Some(owner) = plan.owner {
            cgroup.hand_over(owner)?;
        }
    }
    let at_gate = begin == Begin::AtGate;
    let notifies = making.plan.program.as_ref().is_some_and(plan::Program::notifies);
    if let Some(seccomp) = making.plan.program.as_ref().and_then(|program| program.seccomp.as_ref()) {
        seccomp::parent::look_for_agent(seccomp)?;
    }
    let gate = if at_gate { Some(make_gate(&making.directory, notifies)?) } else { None };
    let joined = std::mem::take(&mut making.joined);
    let watched = joined.watched_pid().map(|joined| joined.fd.as_fd());
    let callers_limit = open_files::make_room(making.plan.rootfs.descriptors())?;
    if let (Some(limit), Some(program)) = (callers_limit, making.plan.program.as_mut()) {
        program.process.keep_open_files(limit);
    }
    let opened = rootfs::parent::open(&making.plan.rootfs, joined.user_namespace(), watched)?;
    if let Some(mount) = opened.callers_mount(&making.plan.rootfs)? {
        making.record.root_mount = Some(mount);
        making.record.write(&making.directory)?;
    }
    complete_environment(&mut making.plan, &opened)?;
    let mut channels = Channels::open(making.plan.program.as_mut(), at_gate)?;
    let procfs = open_procfs(making.plan.program.as_ref())?;
    let sockets = spawn::sockets()?;
    let task = Task {
        kind: Kind::Init(Init { plan: &making.plan, namespaces: &joined, rootfs: &opened, gate: gate.as_ref() }),
        program: making.plan.program.as_ref(),
        cgroup: making.cgroup.as_ref().map(Cgroup::directory),
        socket: sockets.child.as_fd(),
        parent_socket: sockets.parent.as_fd(),
        handover: channels.child_ends(),
        procfs: procfs.as_ref().map(AsFd::as_fd),
        stdio: None,
        hidden: host.traces(),
    };
    let signals = spawn::block_signals()?;
    let spawned = spawn::spawn(&task, joined.joins_time());
    if begin != Begin::Foreground {
        spawn::restore_signals(&signals)?;
    }
    drop(sockets.child);
    let made = spawned?.map_err(|fault| {
        let cgroup = making.cgroup.as_ref().filter(|_| fault.step == Step::Clone);
        cgroup.and_then(|cgroup| cgroup.explain_entry(fault.errno)).unwrap_or_else(|| making.plan.explain(&fault))
    })?;
    let child = Child::new(made, sockets.parent);
    making.child = Some(child);
    settle_pid(making)?;
    making.cgroup.as_mut().map_or(Ok(()), Cgroup::settle)?;
    talk(making, begin, joined.user_namespace(), &mut channels, warn)?;
    // Another process than the first one, where a pid namespace was joined.
    if making.child.as_ref().is_some_and(|child| child.pid != making.record.pid) {
        settle_pid(making)?;
    }
    making.master = channels.master()?;
    making.record.phase = Phase::Created;
    making.record.write(&making.directory)?;
    publish(making, options)
}

fn settle_pid(making: &mut Making) -> Result<()> {
    let Some(child) = &making.child else { return Ok(()) };
    making.record.pid = child.pid;
    making.record.start_time = status::process_facts(child.pid)?.map_or(0, |facts| facts.start_time);
    // Root sees every process, unless /proc is another pid namespace's, where no pid would mean anything.
    if making.record.owner != 0 {
        making.record.pidfd_inode = crate::sys::pidfd::inode(child.pidfd.as_fd());
    }
    Ok(())
}

/// HOME from the container's passwd file when the config has none, as programs expect it.
fn complete_environment(plan: &mut Plan, opened: &rootfs::Prepared) -> Result<()> {
    let Some(program) = plan.program.as_mut().filter(|program| program.process.lacks_home()) else { return Ok(()) };
    let home = match opened.passwd(&plan.rootfs)? {
        Passwd::Mounted(file) => process::user::home_in(file.as_fd(), program.process.uid)?,
        Passwd::Missing => process::user::DEFAULT_HOME.into(),
        Passwd::Rootfs => home_in_rootfs(&plan.rootfs_path, program.process.uid)?,
    };
    program.process.set_env("HOME", home)
}

fn home_in_rootfs(path: &Path, uid: u32) -> Result<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open the rootfs {}", path.display()))?;
    process::user::home(root.as_fd(), uid)
}

/// The host's procfs, for the OOM score and security labels.
pub(super) fn open_procfs(program: Option<&plan::Program>) -> Result<Option<OwnedFd>> {
    if !program.is_some_and(|program| program.process.needs_proc()) {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context(|| "open /proc")?;
    // What is no procfs would take the label and enforce nothing.
    if rustix::fs::fstatfs(&proc).context(|| "examine /proc")?.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Error::new(ErrorKind::System, "/proc is not a procfs"));
    }
    Ok(Some(proc))
}

/// The two FIFOs, opened for reading and writing, which never blocks; init keeps both until exec. With an agent a socket
/// too.
fn make_gate(directory: &Directory, notifies: bool) -> Result<Gate> {
    let open = |name: &str| {
        directory.make_fifo(name)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(directory.as_fd(), name, flags, Mode::empty()).context(|| format!("open the FIFO {name}"))
    };
    let listener = if notifies { Some(super::sockets::listen(directory)?) } else { None };
    Ok(Gate { go: open("go")?, result: open("result")?, listener })
}

/// Serves init until it is ready; `user_namespace` is the one that it joined.
fn talk(
    making: &mut Making,
    begin: Begin,
    user_namespace: Option<BorrowedFd<'_>>,
    channels: &mut Channels,
    warn: Warn<'_>,
) -> Result<()> {
    let Some(mut child) = making.child.take() else { return Ok(()) };
    let (mut devices, mut hooked) = (None, false);
    let end = child.converse(begin != Begin::AtGate, |child, request| match request {
        Request::Mappings => match &making.plan.namespaces.mappings {
            Some(mappings) => namespaces::parent::write_mappings(child.pid, mappings)
                .and_then(|()| namespaces::parent::write_time_offsets(child.pid, &making.plan.namespaces)),
            None => Ok(()),
        },
        Request::Hooks(point) => {
            if point == crate::init::BEFORE_PIVOT && !making.plan.network_devices.is_empty() {
                devices = Some(network::devices::bring(&making.plan.network_devices, child.pid)?);
            }
            hooked = true;
            run_hooks(making, child, point, warn)
        }
        Request::MapIds(mount, tree) => {
            rootfs::parent::map_ids(&making.plan.rootfs, mount, tree.as_fd(), user_namespace)
        }
        Request::Warning(fault) => {
            warn(making.plan.explain(&fault));
            Ok(())
        }
        Request::Ready => match &making.plan.program {
            Some(program) => channels.deliver_listener(program, &making.record, None),
            None => Ok(()),
        },
    });
    (making.devices, making.hooked) = (devices, hooked);
    let child = making.child.insert(child);
    match end? {
        End::Good => Ok(()),
        End::Failed(fault) => Err(making.plan.explain(&fault)),
        End::Died => Err(explain_death(child, making.cgroup.as_ref(), memory_limit(&making.plan))),
    }
}

/// The hooks of a barrier: before pivot_root, or (run) just before the program.
fn run_hooks(making: &Making, child: &Child, point: u8, warn: Warn<'_>) -> Result<()> {
    let hooks = &making.plan.hooks;
    if point == crate::init::BEFORE_PIVOT {
        let state = |pid| State::new(&making.record, Status::Creating).with_pid(pid).json();
        let init = Some(child.pidfd.as_fd());
        let runtime = Place::Runtime { directory: &making.record.bundle, init };
        let outside = state(child.pid)?;
        hooks::run(&hooks.prestart, &outside, runtime)?;
        hooks::run(&hooks.create_runtime, &outside, runtime)?;
        if hooks.create_container.is_empty() {
            return Ok(());
        }
        let inside = Place::Container { pidfd: child.pidfd.as_fd(), namespaces: making.record.namespaces };
        return hooks::run(&hooks.create_container, &state(status::pid_inside(child.pid)?)?, inside);
    }
    let mut record = making.record.clone();
    record.pid = child.pid;
    start_hooks::run(&making.directory, &record, child.pidfd.as_fd(), &hooks.start_container, warn)
}

/// The early death of a child, with what the cgroup knows about it: the OOM killer, the pids limit.
pub(super) fn explain_death(child: &Child, cgroup: Option<&Cgroup>, limit: Option<u64>) -> Error {
    // Asked first: systemd removes the cgroup as soon as it is empty.
    let why = cgroup.and_then(|cgroup| cgroup.explain_death(limit));
    let error = spawn::died(child.kill_and_reap());
    match why {
        Some(why) => error.detail(why),
        None => error,
    }
}

/// The limit of the container's memory in bytes.
pub(super) fn memory_limit(plan: &Plan) -> Option<u64> {
    plan.cgroup.as_ref().and_then(crate::cgroup::Plan::memory_limit)
}

/// What the engine waits for: the pidfd on its socket, the pid in its file.
fn publish(making: &Making, options: &Options) -> Result<()> {
    let Some(child) = &making.child else { return Ok(()) };
    if let Some(socket) = &options.pidfd_socket {
        super::sockets::send_pidfd(socket, child.pidfd.as_fd(), "standard")?;
    }
    let receiver = making.record.annotations.get(PIDFD_RECEIVER).filter(|path| !path.is_empty());
    if let Some(path) = receiver {
        super::sockets::send_pidfd(Path::new(path), child.pidfd.as_fd(), "standard")
            .map_err(|error| error.at(format!("annotations[{PIDFD_RECEIVER:?}]")))?;
    }
    match &options.pid_file {
        Some(path) => super::pid_file::write(path, child.pid),
        None => Ok(()),
    }
}

/// Takes back everything that exists of a container whose creation failed.
///
/// # Errors
/// Something cannot be removed: the record stays then, so that it can be found.
fn undo(making: &mut Making, warn: Warn<'_>) -> Result<()> {
    if let Some(Err(lost)) = making.devices.take().map(|mut devices| devices.take_back()) {
        warn(lost);
    }
    if let Some(child) = making.child.take() {
        child.kill_and_reap();
    }
    let remove = |cgroup: Cgroup| {
        let whole = cgroup.with_unit();
        delete::remove_cgroup(&whole).and_then(|()| delete::stop_unit(&making.directory, &making.record))
    };
    let removed = match making.cgroup.take() {
        Some(cgroup) => remove(cgroup),
        None if making.unit_begun => delete::remove_unfinished(&making.directory, &making.record),
        None => Ok(()),
    };
    let detached = delete::detach_mounts(&making.record);
    if making.hooked {
        delete::poststop(&making.plan.hooks, &making.record, warn);
    }
    removed.and(detached).and_then(|()| making.store.remove(&making.directory))
}
