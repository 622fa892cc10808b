//! World: parent. Runs hooks one after the other and waits for each.
//!
//! Promises: a hook that fails, cannot be executed or runs too long is an error with the end of its stderr; no descendant
//! of a hook has our stdio, and none can keep us waiting: after the hook itself has ended nobody is waited for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, openat, stat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, waitid};

use super::child::{self, Join, Report, Task};
use super::plan::Hook;
use super::streams::{self, Ends};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::sys::clone::own_pidfd;
use crate::wire::Step;

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the namespaces of the runtime.
    Runtime {
        /// The working directory, as runc has it: the bundle; `/` once that is gone.
        directory: &'a Path,
    },
    /// In the namespaces of the container, with the root that it has there at this time; the working directory is `/`.
    Container {
        /// Its init.
        pidfd: BorrowedFd<'a>,
        /// Its namespaces that are not the runtime's: CLONE_NEW* bits.
        namespaces: u64,
    },
}

/// Runs the hooks of a list in order, up to the first that fails; `state` is the state JSON for their stdin.
///
/// # Errors
/// Of kind [`ErrorKind::Hook`] with the path in the config: the hook cannot be executed, does not exit with 0, or
/// exceeds its timeout (its process group is killed then).
pub fn run(list: &[Hook], state: &[u8], place: Place<'_>) -> Result<()> {
    list.iter().try_for_each(|hook| {
        run_one(hook, state, place).map_err(|error| {
            // The words are runc's, whose tests look for them.
            let what = format!("error running {} hook #{}: {}", hook.list, hook.index, hook.path.to_string_lossy());
            error.context(what).at(hook.at())
        })
    })
}

fn run_one(hook: &Hook, state: &[u8], place: Place<'_>) -> Result<()> {
    let container = Container::open(place)?;
    let directory = working_directory(place)?;
    let (Ends { stdin, stdout, stderr }, mut streams) = streams::open(&hook.output)?;
    let (report, report_end) = streams::pipe("the report")?;
    let task = Task {
        hook,
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        report: report_end.as_fd(),
        join: container.as_ref().map(Container::join),
        directory: directory.as_ref().map(AsFd::as_fd),
    };
    let deadline = hook.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (pid, pidfd) = match child::start(&task) {
        Some(Ok((pid, pidfd))) => (pid, own_pidfd(pidfd)),
        Some(Err(fault)) if fault.errno == libc::ESRCH => return Err(gone()),
        Some(Err(fault)) => return Err(Error::new(ErrorKind::Hook, fault.step.name()).errno(fault.errno)),
        None => return Err(Error::new(ErrorKind::Hook, "the process died before it was started")),
    };
    // So that their end is seen. stdin stays open here: a hook that does not read must not become our SIGPIPE.
    drop((report_end, stdout, stderr));
    let ended = streams.serve(pidfd.as_fd(), state, deadline);
    drop(stdin);
    if !matches!(ended, Ok(true)) {
        end(pid, &pidfd);
    }
    let status = reap(pid, &pidfd)?;
    if !ended? {
        return Err(timed_out(hook.timeout.unwrap_or_default()).detail(streams.said()));
    }
    judge(status, &report).map_err(|error| error.detail(streams.said()))
}

/// Where a hook in the runtime's namespaces works.
fn working_directory(place: Place<'_>) -> Result<Option<OwnedFd>> {
    let Place::Runtime { directory } = place else { return Ok(None) };
    let open = |path: &Path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = match open(directory) {
        // A poststop hook may run long after the bundle was removed.
        Err(Errno::NOENT | Errno::NOTDIR) => open(Path::new("/")),
        opened => opened,
    };
    opened.map(Some).context(|| format!("open the working directory {} of hooks", directory.display()))
}

/// What a hook process that joins the container needs.
struct Container<'a> {
    pidfd: BorrowedFd<'a>,
    namespaces: u64,
    root: Option<OwnedFd>,
}

impl<'a> Container<'a> {
    fn open(place: Place<'a>) -> Result<Option<Self>> {
        const MOUNT: u64 = libc::CLONE_NEWNS as u64;
        const USER: u64 = libc::CLONE_NEWUSER as u64;
        let Place::Container { pidfd, mut namespaces } = place else { return Ok(None) };
        let pid = pid_of(pidfd)?;
        if namespaces & USER != 0 {
            // setns(2) into the user namespace one is already in is EINVAL.
            let own = stat("/proc/self/ns/user").context(|| "stat the user namespace")?;
            let its = stat(format!("/proc/{pid}/ns/user")).map_err(of_init("stat the user namespace"))?;
            if (own.st_dev, own.st_ino) == (its.st_dev, its.st_ino) {
                namespaces &= !USER;
            }
        }
        let root = if namespaces & MOUNT == 0 {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path = format!("/proc/{pid}/root");
            Some(openat(CWD, path, flags, Mode::empty()).map_err(of_init("open the root of the container"))?)
        } else {
            None
        };
        // The pid was looked up by number: it meant this process all the time only if this process still lives.
        crate::sys::pidfd::send_signal(pidfd, 0).map_err(of_init("find the container's init"))?;
        Ok(Some(Self { pidfd, namespaces, root }))
    }

    fn join(&self) -> Join<'_> {
        Join { pidfd: self.pidfd, namespaces: self.namespaces, root: self.root.as_ref().map(AsFd::as_fd) }
    }
}

/// The pid behind a pidfd: proc_pid_fdinfo(5).
fn pid_of(pidfd: BorrowedFd<'_>) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).context(|| "read the pid of the container's init")?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(gone)
}

fn gone() -> Error {
    Error::new(ErrorKind::Hook, "the container's init has ended")
}

/// A failed look at the files of init in /proc: they vanish with it.
fn of_init(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| match errno {
        Errno::NOENT | Errno::SRCH => gone(),
        _ => Error::system(what, errno),
    }
}

/// Kills the hook with its process group.
fn end(pid: i32, pidfd: &OwnedFd) {
    if let Some(group) = Pid::from_raw(pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    // It may not lead its group yet.
    let _ = crate::sys::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
}

fn reap(pid: i32, pidfd: &OwnedFd) -> Result<Option<WaitIdStatus>> {
    rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))
        .inspect_err(|_| {
            // A dead hook that is not reaped would keep init from ending, whose pid namespace it is in.
            let _lost = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
        })
        .context(|| "wait for the hook")
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(ErrorKind::Hook, format!("timed out after {} s, killed with its process group", timeout.as_secs()))
}

/// What the end of the hook means.
fn judge(status: Option<WaitIdStatus>, report: &OwnedFd) -> Result<()> {
    let Some(status) = status else { return Err(Error::new(ErrorKind::Hook, "its end was lost")) };
    if let Some(signal) = status.terminating_signal() {
        return Err(Error::new(ErrorKind::Hook, format!("killed by signal {signal}")));
    }
    match status.exit_status() {
        Some(0) => Ok(()),
        code => Err(not_executed(report)
            .unwrap_or_else(|| Error::new(ErrorKind::Hook, format!("exit status {}", code.unwrap_or(-1))))),
    }
}

/// The step that failed before or in execve.
fn not_executed(report: &OwnedFd) -> Option<Error> {
    let mut bytes = [0; Report::LEN];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(report, &mut bytes)).ok()?;
    let (step, errno) = Report(bytes).read().filter(|_| count == bytes.len())?;
    let error = Error::new(ErrorKind::Hook, step.name()).errno(errno);
    Some(match (step, errno) {
        (Step::Exec, libc::ENOENT) => error.hint("the program or the interpreter of its first line is missing"),
        _ => error,
    })
}
