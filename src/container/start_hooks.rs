//! World: parent. startContainer hooks: programs of the image that run in the container, for start and run.
//!
//! Such a hook joins the container like a process of exec: in its namespaces and its cgroup, with the user, capabilities,
//! limits, working directory, labels and seccomp filter of `process`. So it can do no more than the program that it
//! precedes, as in runc and crun, which run these hooks in init itself.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::handover::Channels;
use super::join::{self, Joining};
use super::record::Record;
use super::saved_config;
use super::state::State;
use super::status::{Status, pid_inside};
use super::store::Directory;
use super::warning::Warn;
use crate::error::{Code, Context, Error, Result};
use crate::hooks::{self, Hook};
use crate::host::{Host, ProgramFacts};
use crate::plan::{self, Program};
use crate::spawn::Signals;

/// Runs the hooks of `list` in order, up to the first that fails. Their stdin is the state, with the pid that init has in
/// the container.
///
/// # Errors
/// Of kind [`ErrorKind::Hook`](crate::error::ErrorKind::Hook), with the path in the config.
pub(super) fn run(
    directory: &Directory,
    record: &Record,
    init: BorrowedFd<'_>,
    list: &[Hook],
    warn: Warn<'_>,
) -> Result<()> {
    let state = State::new(record, Status::Created).with_pid(pid_inside(record.pid)?).json()?;
    crate::sys::signals::reset().context(|| "reset the signals")?;
    crate::sys::signals::ignore_pipe();
    hooks::run_with(list, &state, init, &mut |hook, stdio| start(directory, record, init, hook, stdio, warn))
}

/// Starts a hook and waits until its program runs; its pid and pidfd.
fn start(
    directory: &Directory,
    record: &Record,
    init: BorrowedFd<'_>,
    hook: &Hook,
    stdio: [BorrowedFd<'_>; 3],
    warn: Warn<'_>,
) -> Result<(i32, OwnedFd)> {
    let mut program = plan_program(directory, record, init, hook)?;
    let mut channels = Channels::open(Some(&mut program), false)?;
    let joining = Joining {
        record,
        init,
        program: &program,
        cgroup: None,
        ignore_frozen: false,
        stdio: Some(stdio),
        marks: None,
        signals: Signals::Restored,
    };
    let child = joining.run(&mut channels, warn)?;
    Ok((child.pid, child.pidfd))
}

/// The program of a hook: the container's process with the hook's path, arguments and environment.
fn plan_program(directory: &Directory, record: &Record, init: BorrowedFd<'_>, hook: &Hook) -> Result<Program> {
    let spec = saved_config::spec(directory)?;
    let absent = || {
        Error::refused(
            Code::ContainerWithoutProcess,
            "process",
            "startContainer hooks need a process, since they run with its privileges",
        )
    };
    let mut process = spec.process().clone().ok_or_else(absent)?;
    process.set_terminal(Some(false));
    process.set_exec_cpu_affinity(None);
    let host = Host::default();
    let request = plan::ExecRequest {
        id: &record.id,
        namespaces: record.namespaces,
        at: "process",
        console_socket: None,
        detach: true,
        new_keyring: true,
        preserve_fds: 0,
        set_groups: join::may_set_groups(record, init, &host)?,
    };
    let mut program = plan::plan_exec(&spec, &process, &request, &ProgramFacts::gather(&process, &host)?)?;
    if hook.env.is_none() {
        join::complete_home(&mut program, record, init)?;
    }
    program.process.replace_program(hook.path.clone(), hook.args.clone(), hook.env.clone());
    Ok(program)
}
