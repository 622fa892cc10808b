//! World: child. The child's straight line: from the first fork to the program.
//!
//! Two processes run here. The intermediate one enters what must be entered before init exists and makes init; it
//! shares memory with the parent, which sleeps. init (or an exec process) is a copy: it only makes system calls on
//! planned data, sends `Ready`, waits on the gate if there is one, and becomes the program.
//! Order rules: names and keyring before the mounts; hooks before pivot_root; nothing of the host in reach after it;
//! seccomp and privileges last; after `Ready` only read, write, exec and exit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::plan::{Plan, Program};
use crate::sys::clone::{Side, clone3, exit_now};
use crate::wire::{At, Done, Fault, Packet, Step, receive_go_on};
use crate::{namespaces, network, process, rootfs, seccomp, sys, terminal};

/// Everything that the child needs, opened before the fork.
pub struct Task<'a> {
    /// What makes the process differ: a new container, or another process in one.
    pub kind: Kind<'a>,
    /// The program it becomes.
    pub program: Option<&'a Program>,
    /// The cgroup that it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The child's end of the socket pair.
    pub socket: BorrowedFd<'a>,
    /// The parent's end, which the child closes.
    pub parent_socket: BorrowedFd<'a>,
    /// Where descriptors go that the child makes: the pty's master, the seccomp listener.
    pub handover: Handover<'a>,
    /// The host's procfs, when the program needs it for its score or labels; closed before the gate.
    pub procfs: Option<BorrowedFd<'a>>,
}

impl Task<'_> {
    /// Whether processes with rights over it are in the pid namespace that it enters: until it executes its program it
    /// holds descriptors of the host, and is non-dumpable for that reason (docs/security.md, class 13). Over a user namespace
    /// that is new nobody in a container has rights.
    #[must_use]
    pub fn is_seen_by_others(&self) -> bool {
        match &self.kind {
            Kind::Init(init) => {
                let namespaces = &init.plan.namespaces;
                !namespaces.is_new(namespaces::Kind::Pid) && !namespaces.is_new(namespaces::Kind::User)
            }
            Kind::Exec(_) => true,
        }
    }
}

/// The child's ends of the channels for descriptors; each exists only when the plan needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handover<'a> {
    /// Takes the pty's master: the engine's console socket, or a pair of our own.
    pub console: Option<BorrowedFd<'a>>,
    /// Takes the seccomp listener.
    pub listener: Option<BorrowedFd<'a>>,
}

/// The barrier before pivot_root: network devices come, hooks run.
pub const BEFORE_PIVOT: u8 = 0;
/// The barrier of the startContainer hooks of `run`.
pub const BEFORE_EXEC: u8 = 1;

/// Which straight line the child takes.
pub enum Kind<'a> {
    /// init of a new container.
    Init(Init<'a>),
    /// A process in an existing container.
    Exec(Exec<'a>),
}

/// A new container.
pub struct Init<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// Namespaces to join.
    pub namespaces: &'a namespaces::Prepared,
    /// The rootfs and the sources of mounts.
    pub rootfs: &'a rootfs::Prepared,
    /// The start gate; `None` for `run`.
    pub gate: Option<&'a Gate>,
}

/// An existing container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// Its init.
    pub init: BorrowedFd<'a>,
    /// CLONE_NEW* bits of what is joined, without the cgroup namespace.
    pub namespaces: u64,
    /// The cgroup namespace, when the container has its own.
    pub cgroup_namespace: Option<OwnedFd>,
    /// It is the caller's, see [`namespaces::Prepared::cgroup_first`].
    pub cgroup_first: bool,
    /// init's root, when no mount namespace brings it along.
    pub root: Option<OwnedFd>,
}

/// The two FIFOs of the start gate.
#[derive(Debug)]
pub struct Gate {
    /// init reads one byte from it.
    pub go: OwnedFd,
    /// init writes the reason of a failed exec to it.
    pub result: OwnedFd,
}

/// The process that was made, as the parent sees it.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Process id.
    pub pid: i32,
    /// Number of the pidfd in the shared table.
    pub pidfd: i32,
}

/// The intermediate process: enters foreign namespaces, makes init, ends.
///
/// # Errors
/// The fault of the step that failed.
pub fn intermediate(task: &Task<'_>) -> Done<Made> {
    if let Some(program) = task.program {
        // With the host's privileges, which a user namespace takes away.
        if program.user_namespace {
            process::child::before_user_namespace(&program.process, task.procfs)?;
        }
        process::child::initial_affinity(&program.process)?;
    }
    let cgroup = if enter_cgroup_first(task)? { None } else { task.cgroup };
    let new = match &task.kind {
        Kind::Init(init) => {
            let later = init.plan.namespaces.is_new(namespaces::Kind::User);
            let clocks = if later { None } else { namespaces::child::clocks(&init.plan.namespaces)? };
            hide(task)?;
            namespaces::child::join(init.namespaces)?;
            if !later {
                namespaces::child::new_time(&init.plan.namespaces, clocks)?;
            }
            init.plan.namespaces.new_with_clone()
        }
        Kind::Exec(exec) => {
            hide(task)?;
            namespaces::child::join_container(exec.init, exec.namespaces)?;
            0
        }
    };
    match clone3(new, cgroup).at(Step::Clone)? {
        Side::Parent { pid, pidfd } => Ok(Made { pid, pidfd }),
        Side::Child => run(task),
    }
}

/// Before anything of a container is joined; files of one's own in /proc may be closed to an ordinary user afterwards.
fn hide(task: &Task<'_>) -> Done {
    if task.is_seen_by_others() {
        return sys::process_attributes::set_dumpable(false).at(Step::JoinNamespace);
    }
    Ok(())
}

/// Whether the cgroup and its namespace had to be entered already.
fn enter_cgroup_first(task: &Task<'_>) -> Done<bool> {
    const CGROUP: u64 = namespaces::Kind::Cgroup as u64;
    let (namespace, index) = match &task.kind {
        Kind::Init(init) if init.namespaces.cgroup_first => {
            match init.namespaces.join.iter().find(|joined| joined.kind == CGROUP) {
                Some(joined) => (joined.fd.as_fd(), joined.index),
                None => return Ok(false),
            }
        }
        Kind::Exec(Exec { cgroup_namespace: Some(namespace), cgroup_first: true, .. }) => (namespace.as_fd(), 0),
        _ => return Ok(false),
    };
    namespaces::child::join_cgroup_first(namespace, task.cgroup, index)?;
    Ok(true)
}

/// init or exec process: never returns.
fn run(task: &Task<'_>) -> ! {
    let fault = match straight_line(task) {
        Ok(never) => match never {},
        Err(fault) => fault,
    };
    // Nobody can be told that telling failed.
    let _lost = Packet::Failed(fault).send(task.socket);
    exit_now(1)
}

/// A type without values: the straight line ends in exec.
pub enum Never {}

fn straight_line(task: &Task<'_>) -> Done<Never> {
    sys::allocation::forbid();
    session(task)?;
    match &task.kind {
        Kind::Init(init) => {
            container(task, init)?;
            enter_program(task, init.gate)
        }
        Kind::Exec(exec) => {
            if let Some(root) = &exec.root {
                rootfs::child::enter(root.as_fd())?;
            }
            if exec.namespaces & namespaces::plan::bit(namespaces::Kind::User) != 0 {
                namespaces::child::root()?;
            }
            if let Some(namespace) = exec.cgroup_namespace.as_ref().filter(|_| !exec.cgroup_first) {
                namespaces::child::join_container_cgroup(namespace.as_fd())?;
            }
            if let Some(program) = task.program {
                keyring(task, program)?;
                if let Some(terminal) = &program.terminal {
                    let root = rustix::fs::open(c"/", PATH, Mode::empty()).at(Step::Terminal)?;
                    open_terminal(task, terminal, root.as_fd())?;
                }
            }
            enter_program(task, None)
        }
    }
}

const PATH: rustix::fs::OFlags =
    rustix::fs::OFlags::PATH.union(rustix::fs::OFlags::DIRECTORY).union(rustix::fs::OFlags::CLOEXEC);

/// Dies with the parent from here to `Ready`, has its own session, default signals and no umask.
fn session(task: &Task<'_>) -> Done {
    sys::process_attributes::set_parent_death_signal(libc::SIGKILL).at(Step::Session)?;
    sys::descriptors::close(task.parent_socket);
    if parent_is_gone(task.socket).at(Step::Session)? {
        exit_now(1);
    }
    rustix::process::setsid().at(Step::Session)?;
    sys::signals::set_default().at(Step::Session)?;
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// A parent that died before the death signal was set has closed its end of the pair.
fn parent_is_gone(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP)))
}

/// Makes the container around init.
fn container(task: &Task<'_>, init: &Init<'_>) -> Done {
    let Init { plan, rootfs: prepared, .. } = init;
    if plan.namespaces.mappings.is_some() {
        namespaces::child::become_root(task.socket)?;
        namespaces::child::new_time_of_user_namespace(&plan.namespaces)?;
    } else if plan.namespaces.has(namespaces::Kind::User) {
        namespaces::child::root()?;
    }
    if !init.namespaces.cgroup_first {
        namespaces::child::join_cgroup(init.namespaces)?;
    }
    namespaces::child::new_cgroup(&plan.namespaces)?;
    if let Some(program) = task.program {
        keyring(task, program)?;
    }
    namespaces::child::names(&plan.namespaces)?;
    if plan.namespaces.is_new(namespaces::Kind::Network) {
        network::child::loopback()?;
    }
    rootfs::child::propagation(&plan.rootfs, prepared)?;
    let root = rootfs::child::attach_root(&plan.rootfs, prepared)?;
    let covering = rootfs::child::mounts(&plan.rootfs, prepared, root.as_fd())?;
    let root = covering.as_ref().unwrap_or(&root).as_fd();
    rootfs::child::devices(&plan.rootfs, prepared, root)?;
    if let Some(terminal) = task.program.and_then(|program| program.terminal.as_ref()) {
        let slave = open_terminal(task, terminal, root)?;
        rootfs::child::console(&plan.rootfs, root, slave.as_fd())?;
    }
    if plan.is_prepared_outside() {
        let shown = plan.hooks_look_in();
        if shown {
            sys::process_attributes::set_dumpable(true).at(Step::Hooks)?;
        }
        barrier(task.socket, BEFORE_PIVOT)?;
        if shown {
            sys::process_attributes::set_dumpable(false).at(Step::Hooks)?;
        }
    }
    rootfs::child::pivot(&plan.rootfs, prepared, root)?;
    if !plan.namespaces.sysctls.is_empty() {
        namespaces::child::sysctls(&plan.namespaces, root)?;
    }
    if let Some(program) = task.program {
        process::child::make_working_directory(&program.process)?;
    }
    rootfs::child::finish(&plan.rootfs, prepared, root)
}

/// The container's session keyring; the parent is told when it cannot be had.
fn keyring(task: &Task<'_>, program: &Program) -> Done {
    match process::child::keyring(&program.process, task.procfs)? {
        Some(fault) => Packet::Tolerated(fault).send(task.socket).at(Step::Keyring),
        None => Ok(()),
    }
}

/// Tells the parent to run the hooks of point `number` and waits.
fn barrier(socket: BorrowedFd<'_>, number: u8) -> Done {
    Packet::Barrier(number).send(socket).at(Step::Hooks)?;
    if receive_go_on(socket).at(Step::Hooks)? { Ok(()) } else { Err(Fault::new(Step::Hooks, 0, Errno::PIPE)) }
}

fn open_terminal(task: &Task<'_>, plan: &terminal::Plan, root: BorrowedFd<'_>) -> Done<OwnedFd> {
    let pty = terminal::child::open(plan, root)?;
    if let Some(console) = task.handover.console {
        terminal::child::send_master(console, &pty)?;
    }
    terminal::child::attach(&pty.slave)?;
    Ok(pty.slave)
}

/// Process attributes, privileges, gate, exec.
fn enter_program(task: &Task<'_>, gate: Option<&Gate>) -> Done<Never> {
    let Some(program) = task.program else { return wait_for_ever(task, gate) };
    let process = &program.process;
    process::child::early(process, task.procfs)?;
    process::child::limits(process, task.procfs)?;
    let entered = process::child::working_directory(process)?;
    process::child::stdio_owner(process)?;
    shut_descriptors(task, program.preserve_fds, gate).at(Step::CloseDescriptors)?;
    let found = drop_privileges(task, program, entered)?;
    if let Kind::Init(init) = &task.kind
        && !init.plan.hooks.start_container.is_empty()
        && init.plan.hooks_look_in()
    {
        // The profile may deny it; the hook says then that it cannot enter.
        let _denied = sys::process_attributes::set_dumpable(true);
    }
    if let Kind::Init(init) = &task.kind
        && gate.is_none()
        && (!init.plan.hooks.start_container.is_empty() || init.plan.is_settled_late())
    {
        barrier(task.socket, BEFORE_EXEC)?;
    }
    sys::process_attributes::set_parent_death_signal(0).at(Step::Session)?;
    Packet::Ready.send(task.socket).at(Step::StartGate)?;
    if let Some(gate) = gate {
        wait_for_start(gate)?;
        let fault = Fault::new(Step::Exec, found, process::child::exec(process, found));
        let _lost = Packet::Failed(fault).send(gate.result.as_fd());
        exit_now(1)
    }
    Err(Fault::new(Step::Exec, found, process::child::exec(process, found)))
}

/// Nothing but what the program inherits survives exec; and while init waits on the gate, which may be long, it holds
/// no directory or mount of the host that somebody could reach through /proc.
fn shut_descriptors(task: &Task<'_>, preserved: u32, gate: Option<&Gate>) -> Result<(), Errno> {
    let first = 3_i32.saturating_add_unsigned(preserved);
    sys::descriptors::keep_on_exec(3, preserved)?;
    let Some(gate) = gate else { return sys::descriptors::close_on_exec_from(first.cast_unsigned()) };
    let listener = task.handover.listener.map_or(-1, |listener| listener.as_raw_fd());
    let mut kept = [gate.go.as_raw_fd(), gate.result.as_raw_fd(), task.socket.as_raw_fd(), listener];
    sys::descriptors::close_all_but(first, &mut kept)
}

fn drop_privileges(task: &Task<'_>, program: &Program, entered: process::child::Entered) -> Done<usize> {
    let Some(plan) = program.seccomp.as_ref().filter(|plan| !plan.empty) else {
        return process::child::drop_privileges(&program.process, entered, None);
    };
    let mut install = || match (seccomp::child::install(plan)?, task.handover.listener, &plan.notify) {
        (Some(listener), Some(socket), Some(notify)) => {
            seccomp::child::send_listener(socket, listener, notify.handover)
        }
        _ => Ok(()),
    };
    let filter = process::child::Filter { install: &mut install, permits_capset: plan.permits_capset };
    process::child::drop_privileges(&program.process, entered, Some(filter))
}

fn wait_for_start(gate: &Gate) -> Done {
    let mut byte = [0; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(&gate.go, &mut byte)) {
        Ok(1) => Ok(()),
        Ok(_) => Err(Fault::new(Step::StartGate, 0, Errno::PIPE)),
        Err(errno) => Err(Fault::new(Step::StartGate, 0, errno)),
    }
}

/// A container without a process: it exists until it is started, and then it has stopped.
fn wait_for_ever(task: &Task<'_>, gate: Option<&Gate>) -> Done<Never> {
    shut_descriptors(task, 0, gate).at(Step::CloseDescriptors)?;
    sys::process_attributes::set_parent_death_signal(0).at(Step::Session)?;
    Packet::Ready.send(task.socket).at(Step::StartGate)?;
    if let Some(gate) = gate {
        wait_for_start(gate)?;
    }
    exit_now(0)
}
