//! World: parent. restore: creates a container whose processes CRIU takes from a checkpoint.
//!
//! Order: prepare, as for create -> take the id -> record -> cgroup -> rehearsal -> CRIU, born in the cgroup -> its steps
//! ([`Steps`]) -> record that it is created -> tell the engine -> commit.
//!
//! CRIU mounts on mount points that exist, and creates none. The *rehearsal* is an init of the same container without a
//! program: it builds the rootfs with all checks of create, creates missing mount points on the way, and ends. Its mounts
//! and namespaces end with it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::creation::Creation;
use super::prepare::{PreparedCreation, notify_directory, prepare, stdio};
use super::transaction::{Guard, Transaction};
use super::{Created, Creating, StartMode, clone_init, created, open_rootfs, publish};
use crate::bundle;
use crate::checkpoint::criu::{Criu, Rootfs, Start};
use crate::checkpoint::messages::{CgroupMode, InheritedDescriptor, JoinedNamespace, Options, RequestType};
use crate::container::checkpoint::{self, Images, NETWORK_KEY, PID_KEY, RestoreOptions, Yard};
use crate::container::handover::Channels;
use crate::container::record::Phase;
use crate::container::recording;
use crate::container::state::State;
use crate::container::status::{self, Status};
use crate::container::store::{CRIU_ROOT, Store};
use crate::container::warning::Warn;
use crate::container::{StoredContainer, notify, start_hooks};
use crate::error::{Code, Coded, Context, Error, Result};
use crate::hooks::{self, Place};
use crate::host::Host;
use crate::init::Init;
use crate::namespaces::{self, NamespaceKind, OpenNamespaces};
use crate::network::devices::{self, Moved};
use crate::plan::ContainerPlan;
use crate::rootfs;
use crate::spawn::{Child, Outcome, Request};
use crate::sys::net;

/// The name of CRIU's log.
const LOG: &str = "restore.log";

/// What CRIU's name of a namespace is, where it is joined.
const JOINABLE: [(NamespaceKind, &str); 4] = [
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Time, "time"),
    (NamespaceKind::User, "user"),
];

/// What a container is restored from.
struct Source<'a> {
    options: &'a RestoreOptions,
    images: &'a Images,
    /// Where stdio led before the checkpoint.
    links: Vec<String>,
}

/// Creates a container from a checkpoint; its processes run.
pub(in crate::container) fn build(creating: Creating<'_>, options: &RestoreOptions, warn: Warn<'_>) -> Result<Created> {
    checkpoint::require_root("restoring")?;
    // CRIU gives the processes the filters that they had.
    recording::refuse_unattended(creating.request.options.record_syscalls.as_deref())?;
    let images = Images::open(&options.criu, false)?;
    let source = Source { options, images: &images, links: checkpoint::read_descriptors(&images)? };
    let mut prepared = prepare(&creating, warn)?;
    prepared.record.phase = Phase::Restoring;
    let transaction = Transaction::default();
    build_guarded(creating, prepared, &source, &transaction, warn)
        .map_err(|error| transaction.explain(error, creating.id, warn))
}

fn build_guarded(
    creating: Creating<'_>,
    prepared: PreparedCreation,
    source: &Source<'_>,
    transaction: &Transaction,
    warn: Warn<'_>,
) -> Result<Created> {
    let Source { options, images, .. } = *source;
    let PreparedCreation { host, config, mut plan, namespaces, resctrl, notify, record, .. } = prepared;
    require_mount_namespace(&plan)?;
    let mut spec = bundle::parse_spec(&config)?.0;
    let mut creation = transaction.guard(Creation::take_id(Store::make(creating.root)?, record)?);
    creation.write_first(&config)?;
    // The container may have been created for a service manager, whether there is one now or not.
    notify::make(creation.directory())?;
    notify::admit(&mut spec, &notify_directory(creating.root, creating.id)?)?;
    let resctrl = creation.create_resctrl(plan.resctrl.as_ref(), resctrl, transaction)?;
    let mut cgroup = creation.create_cgroup(plan.cgroup.as_ref(), &host, transaction)?;
    rehearse(creating, &mut creation, &mut plan, &namespaces, &host)?;
    let mut channels = Channels::open(plan.program.as_mut(), true)?;
    let root = make_root(&creation)?;
    let tree = clone_rootfs(&plan)?;
    let yard = match created(&cgroup) {
        Some(_) => Yard::of_restore(creation.directory())?,
        None => None,
    };
    let hierarchy = yard.as_ref().map(|_| clone_hierarchy(host.hierarchy()?)).transpose()?;
    let cgroups = hierarchy.as_ref().zip(yard.as_ref()).map(|(tree, yard)| (tree.as_fd(), yard.mount_point()));
    let stdio = creating.request.options.stdio.unwrap_or_else(stdio);
    let mut inherited = vec![images.directory.as_fd(), images.log(LOG).directory];
    inherited.extend(namespaces.join.iter().map(|joined| joined.fd.as_fd()));
    let criu = Criu::start(&Start {
        program: options.criu.program.as_deref(),
        stdio,
        inherited,
        cgroup: created(&cgroup).map(crate::cgroup::Cgroup::directory),
        root: Some(Rootfs { tree: tree.as_fd(), mount_point: &root, cgroups, directories: images.directories()? }),
    })?;
    cgroup.as_mut().map_or(Ok(()), |guard| guard.cgroup.settle()).coded(Code::CgroupFailed)?;
    // What CRIU clones is in the groups that CRIU is in.
    resctrl.as_ref().map_or(Ok(()), |guard| guard.group.admit(criu.pid())).coded(Code::ResctrlFailed)?;
    criu.require_version()?;
    let mut request = request(&spec, source, &creation);
    request.root = Some(checkpoint::text(&root));
    request.cgroup_yard = yard.as_ref().map(|yard| checkpoint::text(&yard.path));
    add_namespaces(&mut request, &namespaces)?;
    match created(&cgroup) {
        Some(_) => request.cgroup_roots = criu.cgroups()?,
        None => request.cgroup_mode = Some(CgroupMode::Ignore.into()),
    }
    let mut steps =
        Steps { plan: &plan, creation: &mut creation, channels: &channels, transaction, init: None, devices: None };
    criu.work(RequestType::Restore, request, images.log(LOG), &mut |step, pid, descriptor| {
        steps.take(step, pid, descriptor, warn)
    })?;
    let Steps { init, devices: _devices, .. } = steps;
    let init = init.ok_or_else(|| Error::new(Code::CriuFailed, "CRIU restored no process"))?;
    let master = channels.master()?;
    creation.record_created()?;
    publish(&init, creation.record(), creating.request.options)?;
    if let Some(caller) = notify {
        caller.announce((creating.mode == StartMode::Detached).then_some(init.pid))?;
    }
    transaction.commit();
    Ok(Created { creation, init, plan, master, notify: None, recording: None })
}

fn require_mount_namespace(plan: &ContainerPlan) -> Result<()> {
    if plan.namespaces.is_new(NamespaceKind::Mount) {
        return Ok(());
    }
    Err(Error::refused(
        Code::CheckpointUnsupported,
        "linux.namespaces",
        "a container without a new mount namespace cannot be restored",
    ))
}

/// Has an init without a program build the rootfs once, for the mount points. It stays in the caller's cgroup: with the
/// systemd driver, the unit would end with it.
fn rehearse(
    creating: Creating<'_>,
    creation: &mut Creation,
    plan: &mut ContainerPlan,
    namespaces: &OpenNamespaces,
    host: &Host,
) -> Result<()> {
    // If this fails, there is no restore that would need them back.
    let program = plan.program.take();
    let console = std::mem::replace(&mut plan.rootfs.console, false);
    let rootfs = open_rootfs(creation, plan, namespaces)?;
    let opened = Init { plan, namespaces, rootfs: &rootfs, gate: None };
    let mut init = clone_init(creating, opened, None, &Channels::default(), host)?;
    let outcome = init.converse(false, |init, request| match request {
        Request::Mappings => {
            namespaces::parent::write_mappings(init.pid, &plan.namespaces).coded(Code::IdMappingFailed)
        }
        Request::MapIds(mount, tree) => {
            rootfs::parent::map_ids(&plan.rootfs, mount, tree.as_fd(), namespaces.user_namespace())
                .coded(Code::MountIdmapFailed)
        }
        // Hooks belong to the container that is restored, and so do warnings.
        Request::Hooks(_) | Request::Warning(_) | Request::Born | Request::Attaching(..) | Request::Ready => Ok(()),
    });
    let code = init.kill_and_reap();
    match outcome? {
        Outcome::Ready => {}
        Outcome::Failed(fault) => return Err(plan.explain(&fault)),
        Outcome::Died => return Err(crate::spawn::died(code)),
    }
    plan.program = program;
    plan.rootfs.console = console;
    Ok(())
}

/// Creates the directory that CRIU sees the rootfs at; nothing is mounted there on the host.
fn make_root(creation: &Creation) -> Result<PathBuf> {
    let directory = creation.directory();
    let what = || format!("create {}", directory.path.join(CRIU_ROOT).display());
    rustix::fs::mkdirat(directory.as_fd(), CRIU_ROOT, Mode::RWXU).context(what)?;
    let path = std::path::absolute(&directory.path).map_err(|e| Error::system(what(), e))?;
    Ok(path.join(CRIU_ROOT))
}

fn clone_hierarchy(hierarchy: &crate::cgroup::Hierarchy) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, &*hierarchy.root, flags).context(|| format!("open {}", hierarchy.root.display()))
}

fn clone_rootfs(plan: &ContainerPlan) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, &*plan.rootfs_path, flags).context(|| format!("open the rootfs {}", plan.rootfs_path.display()))
}

fn request(spec: &Spec, source: &Source<'_>, creation: &Creation) -> Options {
    let record = creation.record();
    let pipes = source.links.iter().cloned().zip(0_i32..).filter(|(text, _)| text.starts_with("pipe:"));
    Options {
        external_mounts: checkpoint::restored(spec, &record.bundle),
        inherited: pipes.map(|(key, number)| InheritedDescriptor { key, number }).collect(),
        images_directory: source.images.directory.as_raw_fd(),
        work_directory: Some(source.images.log(LOG).directory.as_raw_fd()),
        log_file: Some(LOG.to_owned()),
        config_file: checkpoint::config_file(&record.annotations),
        ..asked(source.options)
    }
}

/// What of a request the options decide.
fn asked(options: &RestoreOptions) -> Options {
    Options {
        evasive_devices: Some(true),
        restore_as_sibling: Some(true),
        tcp_close: Some(options.tcp_close),
        lsm_profile: options.lsm_profile.clone(),
        lsm_mount_context: options.lsm_mount_context.clone(),
        ..checkpoint::asked(&options.criu)
    }
}

/// Namespaces that are joined keep their descriptors in CRIU.
fn add_namespaces(request: &mut Options, namespaces: &OpenNamespaces) -> Result<()> {
    for joined in &namespaces.join {
        let number = joined.fd.as_raw_fd();
        let inherit = |key: &str| InheritedDescriptor { key: key.to_owned(), number };
        match joined.kind {
            NamespaceKind::Network => request.inherited.push(inherit(NETWORK_KEY)),
            NamespaceKind::Pid => request.inherited.push(inherit(PID_KEY)),
            kind => {
                let Some((_, word)) = JOINABLE.iter().find(|(joinable, _)| *joinable == kind) else {
                    let at = format!("linux.namespaces[{}].path", joined.index);
                    return Err(Error::refused(
                        Code::CheckpointUnsupported,
                        at,
                        "CRIU cannot restore into an existing namespace of this type",
                    ));
                };
                let file = format!("/proc/self/fd/{number}");
                request.join_namespaces.push(JoinedNamespace { kind: (*word).to_owned(), file });
            }
        }
    }
    Ok(())
}

/// What tare does while CRIU restores.
struct Steps<'a> {
    plan: &'a ContainerPlan,
    creation: &'a mut Creation,
    channels: &'a Channels,
    transaction: &'a Transaction,
    /// The first process, once it exists.
    init: Option<Guard<Child>>,
    /// The network devices that the container got.
    devices: Option<Guard<Moved>>,
}

impl Steps<'_> {
    /// The steps in the order of CRIU: the namespaces exist, and are empty -> the mounts are there -> the terminal -> all
    /// processes exist, and are stopped.
    fn take(&mut self, step: &str, pid: i32, descriptor: Option<OwnedFd>, warn: Warn<'_>) -> Result<()> {
        match step {
            "setup-namespaces" => {
                self.adopt(pid)?;
                self.run_hooks_before_mounts()
            }
            "post-setup-namespaces" => self.run_hooks_before_start(),
            "orphan-pts-master" => self.deliver_terminal(descriptor),
            "post-restore" => {
                self.adopt(pid)?;
                self.run_start_hooks(warn)
            }
            _ => Ok(()),
        }
    }

    /// Takes the first process over and records it.
    fn adopt(&mut self, pid: i32) -> Result<()> {
        if self.init.as_ref().is_some_and(|init| init.pid == pid) {
            return Ok(());
        }
        let what = || format!("open process {pid}, which CRIU restored");
        let id = Pid::from_raw(pid).ok_or_else(|| Error::new(Code::CriuFailed, what()))?;
        let pidfd = pidfd_open(id, PidfdFlags::empty()).context(what)?;
        let init = self.transaction.guard(Child::restored(pid, pidfd));
        self.creation.set_init(&init)?;
        self.creation.write_record()?;
        self.init = Some(init);
        Ok(())
    }

    fn init(&self) -> Result<&Child> {
        self.init.as_deref().ok_or_else(|| Error::new(Code::CriuFailed, "CRIU named no process"))
    }

    fn state(&self, pid: i32) -> Result<Vec<u8>> {
        State::new(self.creation.record(), Status::Creating).with_pid(pid).json()
    }

    fn run_hooks_before_mounts(&mut self) -> Result<()> {
        if !self.plan.network_devices.is_empty() {
            let devices =
                devices::bring(&self.plan.network_devices, self.init()?.pid).coded(Code::NetworkDeviceFailed)?;
            self.devices = Some(self.transaction.guard(devices));
        }
        let hooks = &self.plan.hooks;
        if hooks.prestart.is_empty() && hooks.create_runtime.is_empty() {
            return Ok(());
        }
        self.creation.owe_poststop(hooks);
        let init = self.init()?;
        let place = Place::Runtime { directory: &self.creation.record().bundle, init: Some(init.pidfd.as_fd()) };
        let state = self.state(init.pid)?;
        hooks::run(&hooks.prestart, &state, place)?;
        hooks::run(&hooks.create_runtime, &state, place)
    }

    fn run_hooks_before_start(&mut self) -> Result<()> {
        if self.plan.hooks.create_container.is_empty() {
            return Ok(());
        }
        self.creation.owe_poststop(&self.plan.hooks);
        let init = self.init()?;
        let place = Place::Container { pidfd: init.pidfd.as_fd(), namespaces: self.creation.record().namespaces };
        hooks::run(&self.plan.hooks.create_container, &self.state(status::pid_inside(init.pid)?)?, place)
    }

    fn run_start_hooks(&mut self, warn: Warn<'_>) -> Result<()> {
        if self.plan.hooks.start_container.is_empty() {
            return Ok(());
        }
        self.creation.owe_poststop(&self.plan.hooks);
        let StoredContainer { directory, record } = &self.creation.container;
        start_hooks::run(directory, record, self.init()?.pidfd.as_fd(), &self.plan.hooks.start_container, warn)
    }

    fn deliver_terminal(&self, master: Option<OwnedFd>) -> Result<()> {
        let (Some(console), Some(master)) = (self.channels.child_ends().console, master) else {
            let what = "the checkpoint has a terminal, and config.json has none";
            return Err(Error::refused(Code::TerminalInvalid, "process.terminal", what));
        };
        net::send_fd(console, b"/dev/ptmx", master.as_fd()).context(|| "send the terminal").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_reaches_criu() {
        let options = RestoreOptions::default()
            .tcp_close(true)
            .lsm_profile("apparmor:x")
            .lsm_mount_context("y")
            .file_locks(true)
            .lazy_pages(true);
        let (with, without) = (asked(&options), asked(&RestoreOptions::default()));
        let flags = |request: &Options| [request.tcp_close(), request.file_locks(), request.lazy_pages()];
        assert_eq!((flags(&with), flags(&without)), ([true; 3], [false; 3]));
        assert_eq!((with.lsm_profile(), with.lsm_mount_context()), ("apparmor:x", "y"));
        assert_eq!((without.lsm_profile, without.lsm_mount_context), (None, None));
        assert!(with.restore_as_sibling() && with.evasive_devices());
    }
}
