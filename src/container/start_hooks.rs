//! World: parent. startContainer hooks: programs of the image, run with what the container's process has.
//!
//! Such a hook is another process of the container, as one of exec: in its namespaces and its cgroup, with the user,
//! capabilities, limits, working directory, labels and seccomp filter of `process`. So it cannot do more than the
//! program that follows. As with runc and crun, which run these hooks in init itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::create::Warn;
use super::exec::{Asked, follow, saved_config, spawn_in};
use super::handover::Channels;
use super::record::Record;
use super::state::State;
use super::status::{Status, pid_inside};
use super::store::Directory;
use crate::error::{Context, Error, Result};
use crate::hooks::{self, Hook};
use crate::host::{Host, ProgramFacts};
use crate::plan::{self, Program};

/// Runs them in order, up to the first that fails, with the state on stdin as the container sees it.
///
/// # Errors
/// Of kind hook, with the path in the config.
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

/// The pid and the pidfd of the hook, whose program runs by then.
fn start(
    directory: &Directory,
    record: &Record,
    init: BorrowedFd<'_>,
    hook: &Hook,
    stdio: [BorrowedFd<'_>; 3],
    warn: Warn<'_>,
) -> Result<(i32, OwnedFd)> {
    let mut program = program(directory, record, init, hook)?;
    let mut channels = Channels::open(Some(&mut program), false)?;
    let asked = Asked { stdio: Some(stdio), ..Asked::default() };
    let (mut child, cgroup) = spawn_in(record, init.as_fd(), &program, &channels, &asked, true)?;
    match follow(record, &program, &mut child, cgroup.as_ref(), &mut channels, warn) {
        Ok(()) => Ok((child.pid, child.pidfd)),
        Err(error) => {
            child.kill_and_reap();
            Err(error)
        }
    }
}

fn program(directory: &Directory, record: &Record, init: BorrowedFd<'_>, hook: &Hook) -> Result<Program> {
    let (spec, _) = saved_config(directory)?;
    let absent =
        || Error::invalid("process", "startContainer hooks need a process, since they run with its privileges");
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
        set_groups: super::exec::may_set_groups(record, init, &host)?,
    };
    let mut program = plan::plan_exec(&spec, &process, &request, &ProgramFacts::gather(&process, &host)?)?;
    if hook.env.is_none() {
        super::exec::complete_home(&mut program, record, init)?;
    }
    program.process.replace_program(hook.path.clone(), hook.args.clone(), hook.env.clone());
    Ok(program)
}
