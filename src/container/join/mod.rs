//! World: parent. Another process in an existing container, for exec and startContainer hooks.
//!
//! Order: choose the cgroup (`cgroup.rs`) -> open what init has (`init_files.rs`) -> clone the preparing process into the
//! cgroup -> converse until the program was executed. `join` in `src/init.rs` is the child's side.
//! The caller holds a lock on the container, so that `delete` waits until the process can be killed through the cgroup.

mod cgroup;
mod init_files;

use std::os::fd::{AsFd, BorrowedFd};

use super::handover::Channels;
use super::record::Record;
use super::warning::Warn;
use super::{death, procfs};
use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::host::Host;
use crate::init::{Exec, Task, TaskKind};
use crate::namespaces::{self, NamespaceSet};
use crate::plan::Program;
use crate::spawn::{self, Child, Outcome, Request, Signals};
use crate::sys::marks::Marks;
use crate::timings;
use crate::wire::Fault;

pub(super) use cgroup::of_container;
pub(super) use init_files::{complete_home, may_set_groups, open_of_init};

/// The process to create.
#[derive(Clone, Copy)]
pub(super) struct Joining<'a> {
    /// The container.
    pub(super) record: &'a Record,
    /// The pidfd of its init.
    pub(super) init: BorrowedFd<'a>,
    pub(super) program: &'a Program,
    /// The path of a cgroup below the container's; `None` for the container's own.
    pub(super) cgroup: Option<&'a str>,
    /// Accept a frozen cgroup.
    pub(super) ignore_frozen: bool,
    /// Replaces the caller's stdin, stdout and stderr.
    pub(super) stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Where the process marks its steps.
    pub(super) marks: Option<&'a Marks>,
    /// The signal mask afterwards.
    pub(super) signals: Signals,
}

impl Joining<'_> {
    /// Creates the process and waits until it runs its program.
    ///
    /// # Errors
    /// The first step that failed; the process is dead and reaped then.
    pub(super) fn run(&self, channels: &mut Channels, warn: Warn<'_>) -> Result<Child> {
        let (mut child, cgroup) = self.spawn(channels)?;
        match self.follow(&mut child, cgroup.as_ref(), channels, warn) {
            Ok(()) => Ok(child),
            Err(error) => {
                child.kill_and_reap();
                Err(error)
            }
        }
    }

    /// Creates the process in its cgroup.
    fn spawn(&self, channels: &Channels) -> Result<(Child, Option<Cgroup>)> {
        let _span = timings::span("clone the process");
        let cgroup = cgroup::choose(self.record, self.cgroup, self.ignore_frozen)?;
        match self.spawn_in(cgroup.as_ref(), channels)? {
            Ok(child) => Ok((child, cgroup)),
            Err(fault) => {
                let second = cgroup::second_choice(self, cgroup, &fault)?;
                let again = self.spawn_in(Some(&second), channels)?;
                let child = again.map_err(|fault| cgroup::explain(Some(&second), self.program, &fault))?;
                Ok((child, Some(second)))
            }
        }
    }

    /// The inner error is the fault of a step before the process existed.
    fn spawn_in(&self, cgroup: Option<&Cgroup>, channels: &Channels) -> Result<std::result::Result<Child, Fault>> {
        let procfs = procfs::open(Some(self.program))?;
        let sockets = spawn::sockets()?;
        let page = spawn::fault_page(Some(self.program), false)?;
        let task = Task {
            kind: TaskKind::Exec(open_container(self.record, self.init)?),
            program: Some(self.program),
            cgroup: cgroup.map(Cgroup::directory),
            socket: sockets.child.as_fd(),
            parent_socket: sockets.parent.as_fd(),
            handover: channels.child_ends(),
            procfs: procfs.as_ref().map(AsFd::as_fd),
            stdio: self.stdio,
            hidden: Host::default().traces(),
            marks: self.marks,
            page: page.as_deref(),
        };
        let spawned = spawn::spawn(&task, false, self.signals);
        drop(sockets.child);
        Ok(spawned?.map(|made| Child::new(made, sockets.parent).sharing(page)))
    }

    /// Moves the process to the container's resctrl group; a group that is gone holds no process of the container.
    fn admit(&self, pid: i32) -> Result<()> {
        let Some(recorded) = &self.record.resctrl else { return Ok(()) };
        recorded.open()?.map_or(Ok(()), |group| group.admit(pid))
    }

    /// Serves the process until it has executed its program.
    fn follow(
        &self,
        child: &mut Child,
        cgroup: Option<&Cgroup>,
        channels: &mut Channels,
        warn: Warn<'_>,
    ) -> Result<()> {
        let _span = timings::span("answer the process until it runs");
        let conversed = child.converse(true, |child, request| match request {
            Request::Ready => channels.deliver_listener(self.program, self.record, Some(child.pid)),
            Request::Warning(fault) => {
                warn(self.program.explain(&fault));
                Ok(())
            }
            Request::Born => self.admit(child.pid),
            Request::Mappings | Request::Hooks(_) | Request::MapIds(..) | Request::Attaching(..) => Ok(()),
        });
        if self.marks.is_some() {
            let ready = matches!(conversed, Ok(Outcome::Ready));
            let end = if ready { timings::End::Executed } else { timings::End::Failed };
            timings::end_child(end, |fault| self.program.explain(fault));
        }
        match conversed? {
            Outcome::Ready => Ok(()),
            Outcome::Failed(fault) => Err(self.program.explain(&fault)),
            Outcome::Died => Err(death::explain_early(child, cgroup, None)),
        }
    }
}

/// Opens what a process that joins a container enters; `init` is the pidfd of its init.
///
/// # Errors
/// init has ended.
pub(super) fn open_container<'a>(record: &Record, init: BorrowedFd<'a>) -> Result<Exec<'a>> {
    let cgroup_namespace = init_files::cgroup_namespace(record, init)?;
    let cgroup_first = match &cgroup_namespace {
        Some(namespace) if record.namespaces.contains(NamespaceSet::USER) => {
            namespaces::parent::is_callers(namespace.as_fd())?
        }
        _ => false,
    };
    let root = init_files::root_without_mount_namespace(record, init)?;
    Ok(Exec {
        init,
        namespaces: record.namespaces.difference(NamespaceSet::CGROUP),
        cgroup_namespace,
        cgroup_first,
        root,
    })
}
