//! World: parent. Runs hooks one after the other and waits for each.
//!
//! Promises: a hook that fails, cannot be executed or runs too long is an error with the end of its stderr; no descendant
//! of a hook has our stdio, and none can keep us waiting: after the hook itself has ended nobody is waited for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, CWD, FileType, Mode, OFlags, openat, stat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process_group, waitid};

use super::child::{self, Join, Task};
use super::plan::Hook;
use super::streams::{self, End, Ends, Streams, Until};
use crate::error::{Code, Context, Error, ErrorKind, Result};
use crate::sys::access::accessible;
use crate::sys::clone::own_pidfd;
use crate::sys::environment;
use crate::sys::namespace::NamespaceSet;
use crate::timings;
use crate::wire::{Fault, Packet, Step};

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the namespaces of the runtime.
    Runtime {
        /// The working directory, as runc has it: the bundle; `/` once that is gone.
        directory: &'a Path,
        /// The container's init, if it waits for the hook: the end of init is the end of the hook.
        init: Option<BorrowedFd<'a>>,
    },
    /// In the namespaces of the container, with the root and the working directory that its init has at this time.
    Container {
        /// Its init.
        pidfd: BorrowedFd<'a>,
        /// Its namespaces that are not the runtime's.
        namespaces: NamespaceSet,
    },
}

/// Runs the hooks of a list in order, up to the first that fails; `state` is the state JSON for their stdin.
///
/// # Errors
/// Of kind [`ErrorKind::Hook`] with the path in the config: the hook cannot be executed, does not exit with 0, or
/// exceeds its timeout (its process group is killed then).
pub fn run(list: &[Hook], state: &[u8], place: Place<'_>) -> Result<()> {
    list.iter().try_for_each(|hook| named(hook, || run_one(hook, state, place)))
}

/// Starts a hook with the given stdin, stdout and stderr; the pid and the pidfd of a process, a child of the caller's, that
/// has executed the hook's program.
pub type Start<'a> = &'a mut dyn FnMut(&Hook, [BorrowedFd<'_>; 3]) -> Result<(i32, OwnedFd)>;

/// The same for hooks that `start` starts.
///
/// # Errors
/// As [`run`].
pub fn run_with(list: &[Hook], state: &[u8], init: BorrowedFd<'_>, start: Start<'_>) -> Result<()> {
    list.iter().try_for_each(|hook| named(hook, || run_started(hook, state, init, start)))
}

fn named(hook: &Hook, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let name = || format!("run {} hook #{}: {}", hook.list, hook.index, hook.path.to_string_lossy());
    let _span = timings::span_named(name);
    run().map_err(|error| of_hook(hook, error))
}

fn of_hook(hook: &Hook, error: Error) -> Error {
    // The words are runc's, whose tests look for them.
    let what = format!("error running {} hook #{}: {}", hook.list, hook.index, hook.path.to_string_lossy());
    let error = if error.kind() == ErrorKind::Hook { error } else { error.recoded(Code::HookFailed) };
    error.context(what).at(hook.at())
}

fn run_started(hook: &Hook, state: &[u8], init: BorrowedFd<'_>, start: Start<'_>) -> Result<()> {
    let (Ends { stdin, stdout, stderr }, streams) = streams::open(&hook.output)?;
    let until = Until { deadline: deadline(hook), init: Some(init) };
    let (pid, pidfd) = start(hook, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    drop((stdout, stderr));
    let (status, said) = wait(hook, state, streams, stdin, (pid, pidfd), until)?;
    judge(status, None).map_err(|error| error.detail(said))
}

fn deadline(hook: &Hook) -> Option<Instant> {
    hook.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

fn run_one(hook: &Hook, state: &[u8], place: Place<'_>) -> Result<()> {
    let container = JoinedContainer::open(place)?;
    let directory = working_directory(place)?;
    let (Ends { stdin, stdout, stderr }, streams) = streams::open(&hook.output)?;
    let (report, report_end) = streams::pipe("the report")?;
    let inherits = || Hook { env: Some(environment::inherited()), ..hook.clone() };
    let inheriting = if hook.env.is_none() { Some(inherits()) } else { None };
    let hook = inheriting.as_ref().unwrap_or(hook);
    let task = Task {
        hook,
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        report: report_end.as_fd(),
        join: container.as_ref().map(JoinedContainer::join),
        directory: directory.as_ref().map(AsFd::as_fd),
    };
    let init = match place {
        Place::Runtime { init, .. } => init,
        Place::Container { pidfd, .. } => Some(pidfd),
    };
    let until = Until { deadline: deadline(hook), init };
    let (pid, pidfd) = match child::start(&task) {
        Some(Ok((pid, pidfd))) => (pid, own_pidfd(pidfd)),
        Some(Err(fault)) if fault.errno == libc::ESRCH => return Err(gone()),
        Some(Err(fault)) => return Err(Error::new(Code::HookExecutableFailed, fault.step.name()).errno(fault.errno)),
        None => return Err(Error::new(Code::HookFailed, "the process died before it was started")),
    };
    // So that their end is seen.
    drop((report_end, stdout, stderr));
    let (status, said) = wait(hook, state, streams, stdin, (pid, pidfd), until)?;
    judge(status, Some(&report)).map_err(|error| error.detail(said))
}

/// Serves the hook until its end; its status, and what it said last. `_stdin` stays open meanwhile: a hook that does not
/// read must not become our SIGPIPE.
fn wait(
    hook: &Hook,
    state: &[u8],
    mut streams: Streams,
    _stdin: OwnedFd,
    (pid, pidfd): (i32, OwnedFd),
    until: Until<'_>,
) -> Result<(Option<WaitIdStatus>, String)> {
    let ended = streams.serve(pidfd.as_fd(), state, until);
    if !matches!(ended, Ok(End::Hook)) {
        end(pid, &pidfd);
    }
    let status = reap(pid, &pidfd)?;
    match ended? {
        End::Hook => Ok((status, streams.said())),
        End::Deadline => Err(timed_out(hook.timeout.unwrap_or_default()).detail(streams.said())),
        End::Init => Err(gone().detail(streams.said())),
    }
}

/// Where a hook in the runtime's namespaces works.
fn working_directory(place: Place<'_>) -> Result<Option<OwnedFd>> {
    let directory = match place {
        Place::Runtime { directory, .. } => directory,
        Place::Container { pidfd, .. } => return init_directory(pidfd).map(Some),
    };
    let open = |path: &Path| openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = match open(directory) {
        // A poststop hook may run long after the bundle was removed.
        Err(Errno::NOENT | Errno::NOTDIR) => open(Path::new("/")),
        opened => opened,
    };
    opened.map(Some).context(|| format!("open the working directory {} of hooks", directory.display()))
}

/// The working directory of init, by descriptor: the way to it may be closed to the ids of a user namespace.
fn init_directory(pidfd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let path = format!("/proc/{}/cwd", pid_of(pidfd)?);
    let opened = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.map_err(of_init("open the working directory of the container"))?;
    crate::sys::pidfd::send_signal(pidfd, 0).map_err(of_init("find the container's init"))?;
    Ok(opened)
}

/// What a hook process that joins the container needs.
struct JoinedContainer<'a> {
    pidfd: BorrowedFd<'a>,
    namespaces: NamespaceSet,
    root: Option<OwnedFd>,
}

impl<'a> JoinedContainer<'a> {
    fn open(place: Place<'a>) -> Result<Option<Self>> {
        let Place::Container { pidfd, mut namespaces } = place else { return Ok(None) };
        let pid = pid_of(pidfd)?;
        if namespaces.contains(NamespaceSet::USER) {
            // setns(2) into the user namespace one is already in is EINVAL.
            let own = stat("/proc/self/ns/user").context(|| "stat the user namespace")?;
            let its = stat(format!("/proc/{pid}/ns/user")).map_err(of_init("stat the user namespace"))?;
            if (own.st_dev, own.st_ino) == (its.st_dev, its.st_ino) {
                namespaces.remove(NamespaceSet::USER);
            }
        }
        let root = if !namespaces.contains(NamespaceSet::MOUNT) {
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
    Error::new(Code::HookInterrupted, "the container's init has ended")
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
    Error::new(Code::HookTimeout, format!("timed out after {} s, killed with its process group", timeout.as_secs()))
}

/// What the end of the hook means.
fn judge(status: Option<WaitIdStatus>, report: Option<&OwnedFd>) -> Result<()> {
    let Some(status) = status else { return Err(Error::new(Code::HookFailed, "its exit status could not be read")) };
    if let Some(signal) = status.terminating_signal() {
        return Err(Error::new(Code::HookFailed, format!("killed by signal {signal}")));
    }
    match status.exit_status() {
        Some(0) => Ok(()),
        code => Err(report
            .and_then(not_executed)
            .unwrap_or_else(|| Error::new(Code::HookFailed, format!("exit status {}", code.unwrap_or(-1))))),
    }
}

/// The step that failed before or in execve.
fn not_executed(report: &OwnedFd) -> Option<Error> {
    let Ok(Some(Packet::Failed(fault))) = Packet::receive(report.as_fd()) else { return None };
    Some(explain(&fault))
}

fn explain(fault: &Fault) -> Error {
    let error = Error::new(Code::HookExecutableFailed, fault.step.name()).errno(fault.errno);
    match (fault.step, fault.errno) {
        (Step::Exec, libc::ENOENT) => error.hint("the program or the interpreter of its first line is missing"),
        _ => error,
    }
}

/// Whether the program of a hook in the runtime's namespaces is there and may be executed. It is not started.
///
/// # Errors
/// The one that [`run`] would return for want of the program.
pub fn look(hook: &Hook) -> Result<()> {
    let status = stat(&*hook.path).and_then(|status| match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => accessible(CWD, &*hook.path, Access::EXEC_OK),
        _ => Err(Errno::ACCESS),
    });
    status.map_err(|errno| of_hook(hook, explain(&Fault::new(Step::Exec, 0, errno))))
}
