//! World: parent. What create does before anything of the container exists: read, check, plan, open what is joined.
//!
//! Every error that the config alone decides is found here, and there is nothing to undo.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::{CreateRequest, Creating, StartMode};
use crate::bundle::{self, OpenBundle};
use crate::container::listen_fds::Activation;
use crate::container::options::Stdio;
use crate::container::record::{Phase, Record, VERSION};
use crate::container::recording::{self, Recording};
use crate::container::store::check_id;
use crate::container::warning::Warn;
use crate::container::{check_preserved, checkpoint, listen_fds, notify, status, time};
use crate::error::{Code, Coded, Error, Result};
use crate::host::{Host, HostFacts, calls};
use crate::plan::{self, ContainerPlan};
use crate::{cgroup, namespaces, resctrl, timings};

/// All that the creation needs.
pub(super) struct PreparedCreation {
    pub(super) host: Host,
    /// The text of config.json.
    pub(super) config: Vec<u8>,
    pub(super) plan: ContainerPlan,
    /// The namespaces to join.
    pub(super) namespaces: namespaces::OpenNamespaces,
    /// The resctrl group as it was found, if the container is to be in one.
    pub(super) resctrl: Option<resctrl::Looked>,
    /// The service manager to notify, if the container was given a socket for that.
    pub(super) notify: Option<notify::Caller>,
    /// The seccomp profile to record, if the caller wants one.
    pub(super) recording: Option<Recording>,
    /// The first record: the container's namespaces, cgroup and unit, none of which exists yet.
    pub(super) record: Record,
}

/// What the config asks for, decided.
pub(in crate::container) struct Decided {
    pub(in crate::container) spec: Spec,
    pub(in crate::container) plan: ContainerPlan,
    /// The service manager to notify, if there is one.
    notify: Option<notify::Caller>,
    /// What the user should know though nothing fails.
    pub(in crate::container) warnings: Vec<String>,
}

/// Reads the bundle and plans the container.
///
/// # Errors
/// The id or the config is invalid, or asks for something that cannot be done; a system call is denied.
pub(super) fn prepare(creating: &Creating<'_>, warn: Warn<'_>) -> Result<PreparedCreation> {
    let _span = timings::span("prepare");
    calls::require()?;
    let activation = inherited(creating)?;
    let record_syscalls = creating.request.options.record_syscalls.as_deref();
    if creating.mode != StartMode::Foreground {
        recording::refuse_unattended(record_syscalls)?;
    }
    let host = Host::default();
    let reading = timings::span("read config.json");
    let bundle = creating.request.bundle.open()?;
    let config = bundle.read_config()?;
    drop(reading);
    let Decided { spec, mut plan, notify, warnings } = decide(creating, &activation, &host, (&bundle, &config))?;
    let recording = Recording::begin(record_syscalls, &spec, plan.program.as_mut())?;
    for warning in warnings {
        warn(Error::new(Code::ConfigWarning, warning));
    }
    let Opened { namespaces, resctrl } = open(&plan)?;
    let mut record = first_record(creating, &spec, &bundle, &plan)?;
    record.resctrl = plan.resctrl.as_ref().zip(resctrl.as_ref()).map(|(plan, looked)| looked.recorded(plan));
    Ok(PreparedCreation { host, config, plan, namespaces, resctrl, notify, recording, record })
}

/// Checks the id and the descriptors that the container inherits; those of socket activation.
///
/// # Errors
/// The id is invalid; a descriptor is not open.
pub(in crate::container) fn inherited(creating: &Creating<'_>) -> Result<Activation> {
    check_id(creating.id)?;
    let activation = listen_fds::activation(|name| std::env::var(name).ok(), std::process::id())?;
    check_preserved(creating.request.options.preserve_fds.saturating_add(activation.count))?;
    Ok(activation)
}

/// Parses the text of a config and plans the container. Nothing is changed or opened.
///
/// # Errors
/// The first value that cannot be accepted or carried out, with its JSON path.
pub(in crate::container) fn decide(
    creating: &Creating<'_>,
    activation: &Activation,
    host: &Host,
    (bundle, config): (&OpenBundle<'_>, &[u8]),
) -> Result<Decided> {
    let Creating { root, id, request: &CreateRequest { options, cgroup_manager, rootless, .. }, mode } = *creating;
    let parsing = timings::span("parse config.json");
    let (mut spec, mut warnings) = bundle::parse_new_spec(config)?;
    drop(parsing);
    let notify = match notify::Caller::of_environment()? {
        Some(caller) if notify::admit(&mut spec, &notify_directory(root, id)?)? => Some(caller),
        _ => None,
    };
    let request = plan::Request {
        id,
        bundle: &bundle.path,
        console_socket: options.console_socket.as_deref(),
        detach: mode != StartMode::Foreground,
        no_pivot: options.no_pivot,
        new_keyring: !options.keep_keyring,
        preserve_fds: options.preserve_fds.saturating_add(activation.count),
        cgroup: cgroup_manager,
        rootless,
    };
    let mut plan = plan_container(&spec, &request, host)?;
    if plan.program.is_none() && mode != StartMode::AtGate {
        return Err(Error::refused(
            Code::ContainerWithoutProcess,
            "process",
            "config.json has no process, so there is nothing to run",
        ));
    }
    if let Some(program) = &mut plan.program {
        activation.env.iter().try_for_each(|(name, value)| program.process.set_env(name, value))?;
    }
    warnings.extend(plan.warnings().cloned());
    Ok(Decided { spec, plan, notify, warnings })
}

/// What the plan refers to and is there already.
pub(in crate::container) struct Opened {
    /// The namespaces to join.
    pub(in crate::container) namespaces: namespaces::OpenNamespaces,
    /// The resctrl group as it was found, if the container is to be in one.
    resctrl: Option<resctrl::Looked>,
}

/// Opens what the plan joins. Nothing is changed.
///
/// # Errors
/// It is not there, or cannot be joined.
pub(in crate::container) fn open(plan: &ContainerPlan) -> Result<Opened> {
    let namespaces = open_namespaces(plan)?;
    let resctrl = plan.resctrl.as_ref().map(resctrl::look).transpose().coded(Code::ResctrlFailed)?;
    Ok(Opened { namespaces, resctrl })
}

fn plan_container(spec: &Spec, request: &plan::Request<'_>, host: &Host) -> Result<ContainerPlan> {
    let gathering = timings::span("gather facts about the host");
    let facts = HostFacts::gather(spec, &request.wanted(), host)?;
    drop(gathering);
    let _span = timings::span("plan");
    plan::plan(spec, request, &facts)
}

/// Opens the namespaces to join. Refuses to move network devices into the runtime's own network namespace.
fn open_namespaces(plan: &ContainerPlan) -> Result<namespaces::OpenNamespaces> {
    let _span = timings::span("open the namespaces to join");
    let namespaces = namespaces::parent::open_all(&plan.namespaces).coded(Code::NamespaceFailed)?;
    if let Some(device) = plan.network_devices.first()
        && namespaces.is_callers_own(namespaces::NamespaceKind::Network)
    {
        let what = format!("network device {:?} cannot be moved to the host network namespace", device.name);
        let hint = "the network namespace of linux.namespaces is the runtime's own";
        return Err(Error::refused(Code::NamespaceOfRuntime, &device.at, what).hint(hint));
    }
    Ok(namespaces)
}

/// The caller's own.
pub(super) fn stdio<'fd>() -> Stdio<'fd> {
    [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()]
}

/// The directory that the container will have at /run/notify.
pub(super) fn notify_directory(root: &Path, id: &str) -> Result<PathBuf> {
    let root = std::path::absolute(root).map_err(|e| {
        Error::new(Code::StateRootFailed, format!("the state root {}", root.display())).detail(e.to_string())
    })?;
    Ok(root.join(id).join(notify::DIRECTORY))
}

fn first_record(creating: &Creating<'_>, spec: &Spec, bundle: &OpenBundle<'_>, plan: &ContainerPlan) -> Result<Record> {
    let Creating { id, request, .. } = *creating;
    // A terminal takes the place of stdio.
    let stdio = match plan.program.as_ref().filter(|program| program.terminal.is_none()) {
        Some(_) => checkpoint::stdio_pipes(request.options.stdio.unwrap_or_else(stdio)),
        None => [const { None }; 3],
    };
    Ok(Record {
        version: VERSION,
        phase: Phase::Creating,
        id: id.to_string(),
        oci_version: spec.version().clone(),
        bundle: bundle.path.clone(),
        rootfs: plan.rootfs_path.clone(),
        created: time::now(),
        owner: rustix::process::geteuid().as_raw(),
        boot_id: status::boot_id()?.to_owned(),
        pid: 0,
        start_time: 0,
        pidfd_inode: None,
        namespaces: plan.namespaces.all(),
        joined: plan.namespaces.all().difference(plan.namespaces.new),
        cgroup: plan.cgroup.as_ref().map(cgroup::CgroupPlan::path),
        cgroup_inode: None,
        unit: plan.cgroup.as_ref().and_then(cgroup::CgroupPlan::unit),
        resctrl: None,
        root_mount: None,
        mounts: Vec::new(),
        stdio,
        idle: plan.program.is_none(),
        hooks: !plan.hooks.is_empty(),
        annotations: spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}
