//! World: plan. Calls every room's plan in config order; what comes out has nothing left to interpret.
//!
//! A pure function of Spec, request and [`HostFacts`], so that plans are tested without root.

mod added_mounts;
pub(crate) mod annotations;
mod fault_codes;
mod rootless;
mod summary;

use std::path::{Path, PathBuf};

pub use added_mounts::{MountsRequest, explain_mounts, plan_mounts, plan_tree_again};
pub(crate) use rootless::keeps_groups;
pub use summary::{PlanSection, PlanSummary, summary};

use oci_spec::runtime::{Process, Spec};

use crate::annotation::annotation;
use crate::cgroup;
use crate::error::{Code, Error, Result};
use crate::hooks;
use crate::host::{HostFacts, ProgramFacts, Wanted};
use crate::namespaces::{self, NamespaceKind, NamespaceSet};
use crate::network;
use crate::process;
use crate::resctrl;
use crate::rootfs;
use crate::seccomp;
use crate::terminal;
use crate::wire::Fault;

/// What the caller asks besides config.json.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle, absolute.
    pub bundle: &'a Path,
    /// --console-socket.
    pub console_socket: Option<&'a Path>,
    /// Whether the runtime goes away before the container does.
    pub detach: bool,
    /// --no-pivot.
    pub no_pivot: bool,
    /// Not --no-new-keyring.
    pub new_keyring: bool,
    /// --preserve-fds plus the descriptors of socket activation.
    pub preserve_fds: u32,
    /// Whether to track the container in a cgroup, and who makes it.
    pub cgroup: cgroup::CgroupManager,
    /// --rootless: whether a container that asks nothing of a cgroup does without one where none can be made; by
    /// default where the caller is not the host's root.
    pub rootless: Option<bool>,
}

impl<'a> Request<'a> {
    /// What of it decides which facts about the host are needed.
    #[must_use]
    pub fn wanted(&self) -> Wanted<'a> {
        Wanted { id: self.id, cgroup: self.cgroup, rootless: self.rootless }
    }
}

/// What will be done for create or run.
#[derive(Debug)]
pub struct ContainerPlan {
    /// Namespaces, names, sysctls.
    pub namespaces: namespaces::NamespacePlan,
    /// Mounts, devices, paths.
    pub rootfs: rootfs::RootfsPlan,
    /// The cgroup and its limits; `None` with cgroups disabled.
    pub cgroup: Option<cgroup::CgroupPlan>,
    /// The resctrl group, if the config has `intelRdt`.
    pub resctrl: Option<resctrl::ResctrlPlan>,
    /// The program and its attributes; `None` when config.json has no process (it can never be started then).
    pub program: Option<Program>,
    /// Hooks.
    pub hooks: hooks::HookPlan,
    /// Network devices to move into the container.
    pub network_devices: Vec<network::Device>,
    /// Absolute path of the rootfs.
    pub rootfs_path: PathBuf,
    /// What annotations ask and is not done.
    pub not_done: Vec<String>,
}

/// The program that a process becomes, for init and exec alike.
#[derive(Debug)]
pub struct Program {
    /// Arguments, environment, user, capabilities, limits.
    pub process: process::ProcessPlan,
    /// The filter.
    pub seccomp: Option<seccomp::SeccompPlan>,
    /// The terminal.
    pub terminal: Option<terminal::TerminalPlan>,
    /// Descriptors behind stdio that the program inherits.
    pub preserve_fds: u32,
}

/// Plans create or run.
///
/// # Errors
/// The first value that cannot be done, with its JSON path.
pub fn plan(spec: &Spec, request: &Request<'_>, host: &HostFacts) -> Result<ContainerPlan> {
    check_version(spec)?;
    refuse_what_is_not_done(spec)?;
    let completed = rootless::with_user_namespace(spec, host)?;
    let spec = completed.as_ref().unwrap_or(spec);
    let namespaces = namespaces::plan(spec, &host.caller)?;
    let cgroup = match plan_cgroup(spec, request, &namespaces, host)? {
        Some(plan) => rootless::without_delegation(plan, spec, request, host)?,
        None => None,
    };
    let cgroup_path = match &cgroup {
        Some(plan) => Some(PathBuf::from(format!("{}{}", hierarchy(host)?.root.display(), plan.path()))),
        // It stays in the caller's cgroup and sees what the caller sees.
        None => host.hierarchy.as_ref().ok().map(|hierarchy| hierarchy.root.clone()),
    };
    if cgroup.is_none() && annotation(spec, cgroup::DELEGATE).is_some_and(|name| !name.is_empty()) {
        let what = "the container has no cgroup, so there is none to delegate";
        return Err(Error::refused(Code::ContainerUnmanaged, format!("annotations[{:?}]", cgroup::DELEGATE), what));
    }
    let root =
        spec.root().as_ref().ok_or_else(|| Error::refused(Code::RootfsInvalid, "root", "config.json has no root"))?;
    let rootfs_path = request.bundle.join(root.path());
    let hooks = hooks::plan(spec)?;
    let foreign = |kind| namespaces.is_new(NamespaceKind::User) && namespaces.has(kind) && !namespaces.is_new(kind);
    let facts = rootfs::RootfsFacts {
        bundle: request.bundle,
        user_namespace: namespaces.has(NamespaceKind::User) || host.in_user_namespace,
        mount_namespace: namespaces.has(NamespaceKind::Mount),
        new_mount_namespace: namespaces.is_new(NamespaceKind::Mount),
        hooks_before_pivot: hooks.before_pivot(),
        network_namespace: namespaces.has(NamespaceKind::Network),
        foreign_network_namespace: foreign(NamespaceKind::Network),
        pid_namespace: namespaces.has(NamespaceKind::Pid),
        foreign_pid_namespace: foreign(NamespaceKind::Pid),
        ipc_namespace: namespaces.has(NamespaceKind::Ipc),
        foreign_ipc_namespace: foreign(NamespaceKind::Ipc),
        maps_tty: rootless::maps_tty(spec, &namespaces, host)?,
        // A joined one may be the host's, where mounting cgroup2 anew would change its options.
        cgroup_namespace: namespaces.is_new(NamespaceKind::Cgroup),
        cgroup_path: cgroup_path.as_deref(),
        console: spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true)),
        no_pivot: request.no_pivot,
        selinux: host.labels_mounts,
    };
    let rootfs = rootfs::plan(spec, &facts)?;
    let program = match (spec.process(), &host.program) {
        (Some(process), Some(host_facts)) => {
            let own_ids = namespaces.has(NamespaceKind::User);
            let mut facts = process_facts("process", request.id, own_ids, request.new_keyring, host_facts);
            facts.set_groups = rootless::may_set_groups(&namespaces, host)?;
            facts.keep_groups = rootless::keeps_groups(spec);
            let terminal = terminal::plan(process, request.console_socket, request.detach)?;
            Some(program(spec, process, &facts, terminal, request.preserve_fds)?)
        }
        (Some(_), None) => return Err(Error::new(Code::Internal, "the facts about the program are missing")),
        (None, _) => None,
    };
    let resctrl = resctrl::plan(spec, &resctrl::ResctrlFacts { id: request.id, root: &host.resctrl })?;
    let network_devices = network::plan(spec, namespaces.has(NamespaceKind::Network))?;
    let notifies = program.as_ref().is_some_and(Program::notifies);
    let not_done = annotations::warnings(spec, request.cgroup == cgroup::CgroupManager::Systemd, notifies)?;
    Ok(ContainerPlan { namespaces, rootfs, cgroup, resctrl, program, hooks, network_devices, rootfs_path, not_done })
}

fn hierarchy(host: &HostFacts) -> Result<&cgroup::Hierarchy> {
    host.hierarchy.as_ref().map_err(Clone::clone)
}

fn plan_cgroup(
    spec: &Spec,
    request: &Request<'_>,
    own: &namespaces::NamespacePlan,
    host: &HostFacts,
) -> Result<Option<cgroup::CgroupPlan>> {
    let systemd = match request.cgroup {
        cgroup::CgroupManager::Disabled => return Ok(None),
        cgroup::CgroupManager::File => None,
        // Root of a user namespace is in somebody's session, and the machine's systemd would not listen.
        cgroup::CgroupManager::Systemd => {
            Some(cgroup::Systemd { user: host.rootless, control_group: &host.control_group })
        }
    };
    let facts = cgroup::CgroupFacts {
        user_namespace: host.rootless,
        own_path: &host.own_cgroup,
        systemd,
        new_cgroup_namespace: own.is_new(NamespaceKind::Cgroup),
        other_ids: own.has(NamespaceKind::User),
    };
    cgroup::plan(spec, request.id, &facts).map(Some)
}

/// What exec asks.
#[derive(Debug, Clone)]
pub struct ExecRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The container's namespaces.
    pub namespaces: NamespaceSet,
    /// JSON path of the process: empty for a process file.
    pub at: &'a str,
    /// --console-socket.
    pub console_socket: Option<&'a Path>,
    /// Whether the runtime goes away before the process does.
    pub detach: bool,
    /// Not --no-new-keyring.
    pub new_keyring: bool,
    /// --preserve-fds.
    pub preserve_fds: u32,
    /// setgroups(2) is permitted in the container.
    pub set_groups: bool,
}

/// Plans another process in a container whose config is `spec`.
///
/// # Errors
/// The first value that cannot be done, with its JSON path.
pub fn plan_exec(spec: &Spec, process: &Process, request: &ExecRequest<'_>, host: &ProgramFacts) -> Result<Program> {
    let user_namespace = request.namespaces.contains(NamespaceSet::USER);
    let mut facts = process_facts(request.at, request.id, user_namespace, request.new_keyring, host);
    facts.init = false;
    facts.set_groups = request.set_groups;
    facts.keep_groups = rootless::keeps_groups(spec);
    let terminal = terminal::plan(process, request.console_socket, request.detach)?;
    program(spec, process, &facts, terminal, request.preserve_fds)
}

fn process_facts<'a>(
    at: &'a str,
    id: &'a str,
    user_namespace: bool,
    new_keyring: bool,
    host: &ProgramFacts,
) -> process::ProcessFacts<'a> {
    process::ProcessFacts {
        id,
        at,
        user_namespace: user_namespace || host.in_user_namespace,
        set_groups: true,
        keep_groups: false,
        init: true,
        last_capability: host.last_capability,
        callers_capabilities: host.callers_capabilities,
        new_keyring,
        apparmor: host.apparmor,
        selinux: host.selinux,
    }
}

fn program(
    spec: &Spec,
    process: &Process,
    facts: &process::ProcessFacts<'_>,
    terminal: Option<terminal::TerminalPlan>,
    preserve_fds: u32,
) -> Result<Program> {
    let linux = spec.linux().as_ref();
    let seccomp = annotations::filter(spec)?;
    if let Some(action) = seccomp.as_ref().and_then(|plan| plan.refuses_execve) {
        return Err(Error::refused(
            Code::SeccompProfileRefusesExecve,
            "linux.seccomp",
            format!("the profile's action for execve is {action}"),
        )
        .hint("allow execve: the program is executed under the filter"));
    }
    Ok(Program { process: process::plan(process, linux, facts)?, seccomp, terminal, preserve_fds })
}

/// The spec wants configs of another major version refused (config.md, "Specification version").
fn check_version(spec: &Spec) -> Result<()> {
    let version = spec.version();
    if version.is_empty() {
        return Err(
            Error::refused(Code::SpecVersionInvalid, "ociVersion", "is missing").hint("it looks like \"1.2.0\"")
        );
    }
    let numbers = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = numbers.split('.').map(str::parse::<u32>).collect();
    match parts.as_slice() {
        [Ok(1), Ok(_), Ok(_)] => Ok(()),
        [Ok(_), Ok(_), Ok(_)] => Err(Error::refused(
            Code::SpecVersionUnsupported,
            "ociVersion",
            format!("version {version:?} of the spec is not 1.x"),
        )),
        _ => Err(Error::refused(Code::SpecVersionInvalid, "ociVersion", format!("{version:?} is not a version"))
            .hint("it looks like \"1.2.0\"")),
    }
}

/// Properties whose room is not built yet: an error, never silence.
fn refuse_what_is_not_done(spec: &Spec) -> Result<()> {
    if spec.vm().is_some() {
        return Err(Error::refused(Code::ConfigValueUnsupported, "vm", "tare does not run virtual machines"));
    }
    Ok(())
}

impl ContainerPlan {
    /// Whether the parent has something to do before pivot_root.
    #[must_use]
    pub fn is_prepared_outside(&self) -> bool {
        self.hooks.before_pivot() || !self.network_devices.is_empty()
    }

    /// Whether the parent has something to do between the clone of init and its program.
    #[must_use]
    pub fn is_settled_late(&self) -> bool {
        let late = |cgroup: &cgroup::CgroupPlan| cgroup.late_write().is_some() || cgroup.delegated.is_some();
        self.resctrl.is_some() || self.cgroup.as_ref().is_some_and(late)
    }

    /// What the user should know, but need not stop us.
    pub fn warnings(&self) -> impl Iterator<Item = &String> {
        let not_done = self.not_done.iter();
        not_done.chain(&self.rootfs.warnings).chain(self.program.iter().flat_map(|program| &program.process.warnings))
    }

    /// Turns a failed step of the child into the error that the user sees: the rooms are asked in turn.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Error {
        let program = || self.program.as_ref().and_then(|program| program.explain_own(fault));
        let room = self.namespaces.explain(fault).or_else(|| self.rootfs.explain(fault)).or_else(program);
        room.unwrap_or_else(|| explain_step(fault)).coded(fault_codes::code(fault.step))
    }
}

impl Program {
    /// Whether an agent decides about some system calls.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.seccomp.as_ref().is_some_and(|seccomp| seccomp.notify.is_some())
    }

    /// Whether the process returns a seccomp listener: for an agent, or for tare to record system calls.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.seccomp.as_ref().is_some_and(|seccomp| seccomp.handover().is_some())
    }

    /// Whether a failed execve may have to be reported by memory that the parent shares.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.filter().is_some_and(|filter| filter.mutes)
    }

    /// The filter, if there is one to load.
    #[must_use]
    pub fn filter(&self) -> Option<&seccomp::SeccompPlan> {
        self.seccomp.as_ref().filter(|plan| !plan.empty)
    }

    /// Turns a failed step of an exec process into the error that the user sees.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Error {
        self.explain_own(fault).unwrap_or_else(|| explain_step(fault)).coded(fault_codes::code(fault.step))
    }

    fn explain_own(&self, fault: &Fault) -> Option<Error> {
        let seccomp = || self.seccomp.as_ref().and_then(|seccomp| seccomp.explain(fault));
        self.process.explain(fault).or_else(seccomp)
    }
}

/// A step about which no value of the config decides.
fn explain_step(fault: &Fault) -> Error {
    Error::system(fault.step.name(), fault.errno).detail(String::from_utf8_lossy(fault.said()))
}
