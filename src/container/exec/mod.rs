//! World: parent. exec: another process in an existing container, with the container's own confinement.
//!
//! Order: find the running container -> take the process object from the saved config and the command line
//! (`process.rs`) -> plan the program (`plan_exec` in `src/plan.rs`) -> open the channels for terminal and seccomp listener
//! (`../handover.rs`) -> shared lock -> create the process and wait until it runs its program (`../join/`) -> pidfd socket
//! and pid file -> unlock -> wait for the program, unless detached.
//! The lock is taken late: planning reads files of the image, and a container that serves them could delay `delete`.

mod process;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use rustix::fs::FlockOperation;

use super::handover::Channels;
use super::join::{self, Joining};
use super::options::{ExecOptions, ProcessSource};
use super::record::Record;
use super::recording::{self, Recording};
use super::status::{self, Status, status};
use super::warning::Warn;
use super::{StoredContainer, check_preserved, find, pid_file, pidfd_socket, saved_config, store};
use crate::bundle;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::host::{Host, ProgramFacts, calls};
use crate::plan::{self, Program};
use crate::spawn::{Child, Signals};
use crate::terminal::foreground;
use crate::timings;

/// Runs a process in a container and returns its exit code, 128 + N if signal N killed it, or 0 if it is detached.
///
/// # Errors
/// The container does not run; the process cannot be created; nothing of it is left then.
pub fn exec(root: &Path, id: &str, options: &ExecOptions<'_>, warn: Warn<'_>) -> Result<i32> {
    calls::require()?;
    check_preserved(options.preserve_fds)?;
    if options.detach {
        recording::refuse_unattended(options.record_syscalls.as_deref())?;
    }
    let container = find_created(root, id)?;
    let (child, master, recording) =
        start_program(&container, options, warn).map_err(|error| explain(&container, error))?;
    if options.detach {
        drop(master);
        return Ok(0);
    }
    // Unlocks.
    drop(container);
    timings::complete();
    // If tare cannot wait for the process, it must not run unattended.
    let code = foreground::wait(child.pidfd.as_fd(), child.id()?, master, None).inspect_err(|_| {
        child.kill_and_reap();
    })?;
    recording.map_or(Ok(code), |recording| recording.finish(warn).map(|()| code))
}

/// Finds a container. Its program can run for a moment before create has recorded that it is done: that is waited for.
fn find_created(root: &Path, id: &str) -> Result<StoredContainer> {
    let mut container = find(root, id)?;
    if container.record.phase.is_unfinished() {
        container.directory.lock(FlockOperation::LockShared)?;
        container.read_again()?;
        container.directory.lock(FlockOperation::Unlock)?;
    }
    Ok(container)
}

/// Starts the program; also returns the master of its pty if tare relays it, and the recording of its system calls.
fn start_program(
    container: &StoredContainer,
    options: &ExecOptions<'_>,
    warn: Warn<'_>,
) -> Result<(Child, Option<OwnedFd>, Option<Recording>)> {
    let StoredContainer { directory, record } = container;
    let init = running_init(container, options.ignore_paused)?;
    let (mut program, recording) = plan_program(container, init.as_fd(), options, warn)?;
    let mut channels = Channels::open(Some(&mut program), false)?.record(recording);
    directory.lock(FlockOperation::LockShared)?;
    if directory.is_removed()? {
        return Err(store::absent(&record.id));
    }
    let marks = timings::child();
    let joining = Joining {
        record,
        init: init.as_fd(),
        program: &program,
        cgroup: options.cgroup.as_deref(),
        ignore_frozen: options.ignore_paused,
        stdio: options.stdio,
        marks: marks.as_deref(),
        signals: if options.detach { Signals::Restored } else { Signals::Blocked },
    };
    let child = joining.run(&mut channels, warn)?;
    match channels.master().and_then(|master| publish(&child, options).map(|()| master)) {
        Ok(master) => Ok((child, master, channels.recording())),
        Err(error) => {
            child.kill_and_reap();
            Err(error)
        }
    }
}

/// The pidfd of init, if the container accepts processes now.
fn running_init(container: &StoredContainer, ignore_paused: bool) -> Result<OwnedFd> {
    let id = &container.record.id;
    let refuse = |code, what: String| Err(Error::new(code, what));
    match status(&container.directory, &container.record)? {
        (Status::Running | Status::Created, Some(pidfd)) => Ok(pidfd),
        (Status::Paused, Some(pidfd)) if ignore_paused => Ok(pidfd),
        (Status::Paused, _) => {
            refuse(Code::ContainerPaused, format!("cannot exec in a paused container: \"{id}\"; resume it first"))
        }
        (Status::Creating, _) => {
            refuse(Code::ContainerCreating, format!("cannot exec in container \"{id}\": it is being created"))
        }
        _ => refuse(Code::ContainerNotRunning, not_running(id)),
    }
}

/// Plans the program from the saved config and the command line, and the recording of its system calls.
fn plan_program(
    container: &StoredContainer,
    init: BorrowedFd<'_>,
    options: &ExecOptions<'_>,
    warn: Warn<'_>,
) -> Result<(Program, Option<Recording>)> {
    let _span = timings::span("plan the program");
    let record = &container.record;
    let spec = saved_config::spec(&container.directory)?;
    let (process, warnings) = process_object(&spec, options)?;
    let mut warn_all = |warnings: &[String]| {
        warnings.iter().for_each(|warning| warn(Error::new(Code::ConfigWarning, warning.as_str())));
    };
    warn_all(&warnings);
    let host = Host::default();
    let request = plan::ExecRequest {
        id: &record.id,
        namespaces: record.namespaces,
        at: if matches!(options.source, ProcessSource::Container) { "process" } else { "" },
        console_socket: options.console_socket.as_deref(),
        detach: options.detach,
        new_keyring: !options.keep_keyring,
        preserve_fds: options.preserve_fds,
        set_groups: join::may_set_groups(record, init, &host)?,
    };
    let mut program = plan::plan_exec(&spec, &process, &request, &ProgramFacts::gather(&process, &host)?)?;
    let recording = Recording::begin(options.record_syscalls.as_deref(), &spec, Some(&mut program))?;
    join::complete_home(&mut program, record, init)?;
    warn_all(&program.process.warnings);
    Ok((program, recording))
}

/// The process object, with the warnings about its file if it has one.
fn process_object(spec: &Spec, options: &ExecOptions<'_>) -> Result<(Process, Vec<String>)> {
    let (process, warnings) = match &options.source {
        ProcessSource::Container => return Ok((options.changes.apply(spec.process().as_ref())?, Vec::new())),
        ProcessSource::File(path) => bundle::parse_process(&bundle::read_json_file(path)?)?,
        ProcessSource::Object(process) => (Process::clone(process), Vec::new()),
    };
    Ok((process::complete(process, spec.process().as_ref()), warnings))
}

/// Tells the engine about the process.
fn publish(child: &Child, options: &ExecOptions<'_>) -> Result<()> {
    let _span = timings::span("tell the engine");
    if let Some(socket) = &options.pidfd_socket {
        pidfd_socket::send(socket, child.pidfd.as_fd(), pidfd_socket::EXEC)?;
    }
    match &options.pid_file {
        Some(path) => pid_file::write(path, child.pid),
        None => Ok(()),
    }
}

/// Adds the cause that lies in the container: it is not started yet, or it has ended meanwhile.
fn explain(container: &StoredContainer, error: Error) -> Error {
    explain_end(&container.record, explain_waiting(container, error))
}

/// Until `start`, init runs tare's own code and is non-dumpable, so that it cannot be traced. For such a process the kernel
/// denies other users access to most files in /proc/PID (proc(5)).
fn explain_waiting(container: &StoredContainer, error: Error) -> Error {
    let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    let waits = || status::gate(&container.directory).is_ok_and(|gate| gate.is_some());
    if denied && !rustix::process::geteuid().is_root() && waits() {
        return error.hint("only root can enter a container that is not started yet; start it first");
    }
    error
}

/// If the container ends meanwhile, each step fails with its own error; a clone into its pid namespace, for example, with
/// ENOMEM (pid_namespaces(7)).
fn explain_end(record: &Record, error: Error) -> Error {
    let ended = || status::process_facts(record.pid).is_ok_and(|facts| facts.is_none_or(|facts| facts.ended));
    if error.kind() != ErrorKind::System || !ended() {
        return error;
    }
    Error::new(Code::ContainerNotRunning, not_running(&record.id)).detail(format!("it ended meanwhile: {error}"))
}

fn not_running(id: &str) -> String {
    format!("cannot exec in a stopped container: container not running: \"{id}\"")
}
