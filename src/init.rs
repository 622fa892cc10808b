//! World: child. The child's straight line: from the first fork to the program.
//!
//! A new container takes two processes. The intermediate one enters what must be entered before init exists and makes
//! init; it shares memory with the parent, which sleeps. init makes the container around itself and becomes the program.
//! A process that joins a pid namespace is seen by those who live there, so it is made last: a preparing process, born
//! in the container's cgroup but outside of that pid namespace, enters everything, closes every descriptor of the host,
//! and only then makes the process that becomes the program. A process that changes the mounts of a container joins no pid
//! namespace, and ends when that is done.
//! Order rules: names and keyring before the mounts; hooks before pivot_root; nothing of the host in reach after it;
//! privileges next to last; the seccomp filter last: after it only execve, and the one call that hands a listener over.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::namespaces::{NamespaceKind, NamespaceSet};
use crate::plan::{ContainerPlan, Program};
use crate::sys::clone::{Parent, Side, clone_with_memory, clone3, exit_now, trap};
use crate::sys::marks::Marks;
use crate::sys::memory::SharedPage;
use crate::wire::{At, Barrier, ChildResult, Fault, Packet, Step, mark, receive_go_on};
use crate::{namespaces, network, process, rootfs, seccomp, sys, terminal};

/// Everything that the child needs, opened before the fork.
pub struct Task<'a> {
    /// What makes the process differ: a new container, or another process in one.
    pub kind: TaskKind<'a>,
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
    /// The host's procfs, when the process needs it for its score or labels.
    pub procfs: Option<BorrowedFd<'a>>,
    /// What takes the place of the caller's stdio.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// The process is non-dumpable from its birth to its program (docs/security.md, "The window"). A caller without
    /// CAP_SYS_PTRACE can do nothing with such a process in /proc, so its own is only from the time when it joins
    /// something of a container, or has its id mappings.
    pub hidden: bool,
    /// Where the child marks its steps, for `--timings`.
    pub marks: Option<&'a Marks>,
    /// Where it leaves the fault of its last steps, if its filter may deny it to say so. With a gate `start` has it.
    pub page: Option<&'a [AtomicU64]>,
}

/// The child's ends of the channels for descriptors; each exists only when the plan needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handover<'a> {
    /// Takes the pty's master: the engine's console socket, or a pair of our own.
    pub console: Option<BorrowedFd<'a>>,
    /// Takes the seccomp listener.
    pub listener: Option<BorrowedFd<'a>>,
}

/// Which straight line the child takes.
pub enum TaskKind<'a> {
    /// init of a new container.
    Init(Init<'a>),
    /// A process in an existing container.
    Exec(Exec<'a>),
    /// Other mounts in an existing container; the process ends then.
    Mounts(Mounts<'a>),
}

/// A change of the mounts of an existing container.
pub struct Mounts<'a> {
    /// What is joined. The user namespace is joined before, if the child opens the sources.
    pub container: Exec<'a>,
    /// What to do there.
    pub change: MountChange<'a>,
    /// The numbers of all descriptors that it takes, in order; the others are closed.
    pub kept: &'a [i32],
}

/// What is done with the mounts.
pub enum MountChange<'a> {
    /// Mounts are added.
    Add(&'a rootfs::RootfsPlan, &'a rootfs::OpenRootfs),
    /// Mounts that were added are removed, in this order.
    Remove(&'a [rootfs::Removal]),
}

/// A new container.
pub struct Init<'a> {
    /// The whole plan.
    pub plan: &'a ContainerPlan,
    /// Namespaces to join.
    pub namespaces: &'a namespaces::OpenNamespaces,
    /// The rootfs and the sources of mounts.
    pub rootfs: &'a rootfs::OpenRootfs,
    /// The start gate; `None` for `run`.
    pub gate: Option<&'a Gate>,
}

/// An existing container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// Its init.
    pub init: BorrowedFd<'a>,
    /// What is joined, without the cgroup namespace.
    pub namespaces: NamespaceSet,
    /// The cgroup namespace, when the container has its own.
    pub cgroup_namespace: Option<OwnedFd>,
    /// It is the caller's, see [`namespaces::OpenNamespaces::cgroup_first`].
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
    /// `start` connects to it to be sent the seccomp listener; it exists only for a profile with an agent.
    pub listener: Option<OwnedFd>,
}

/// The process that was made, as the parent sees it.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Process id.
    pub pid: i32,
    /// Number of the pidfd in the shared table.
    pub pidfd: i32,
}

/// The intermediate process of a new container: enters foreign namespaces, makes init, ends.
///
/// # Errors
/// The fault of the step that failed.
pub fn intermediate(task: &Task<'_>, init: &Init<'_>) -> ChildResult<Made> {
    prepare_outside(task)?;
    if !task.hidden && init.plan.namespaces.mappings.is_none() {
        sys::process_attributes::set_dumpable(false).at(Step::JoinNamespace)?;
    }
    let cgroup = if enter_cgroup_first(task, init)? { None } else { task.cgroup };
    let planned = &init.plan.namespaces;
    let later = planned.is_new(NamespaceKind::User);
    let clocks = if later { None } else { namespaces::child::clocks(planned)? };
    namespaces::child::join(init.namespaces)?;
    if !later {
        namespaces::child::new_time(planned, clocks)?;
    }
    let mut new = if enters_pid_first(init) { NamespaceSet::empty() } else { planned.new_with_clone() };
    if let Some(namespace) = init.rootfs.mount_namespace() {
        namespaces::child::join_mount(namespace)?;
        new.remove(NamespaceSet::MOUNT);
    }
    match clone3(Parent::OfCaller, new, cgroup) {
        Ok(Side::Parent { pid, pidfd }) => Ok(Made { pid, pidfd }),
        Ok(Side::Child) => run(task),
        Err(errno) => Err(errno).at(Step::Clone),
    }
}

/// A new user namespace has no right over a foreign pid namespace.
fn enters_pid_first(init: &Init<'_>) -> bool {
    init.namespaces.watched_pid().is_some() && init.plan.namespaces.is_new(NamespaceKind::User)
}

/// What is done with the host's privileges and its procfs, before anything of a container is joined. A clone inherits it.
fn prepare_outside(task: &Task<'_>) -> ChildResult {
    task.program.map_or(Ok(()), |program| process::child::outside(&program.process, task.procfs))
}

/// Whether the cgroup had to be entered already, before the user namespace that is joined: for the caller's cgroup
/// namespace, or because the cgroup belongs to the container's user, where the caller's own ids have no rights then.
fn enter_cgroup_first(task: &Task<'_>, init: &Init<'_>) -> ChildResult<bool> {
    let first = init.namespaces.join.iter().find(|joined| joined.kind == NamespaceKind::Cgroup);
    let namespace = first.filter(|_| init.namespaces.cgroup_first);
    let is_given_away = init.plan.cgroup.as_ref().is_some_and(|cgroup| cgroup.owner.is_some());
    if namespace.is_none() && !(is_given_away && init.namespaces.user_namespace().is_some()) {
        return Ok(false);
    }
    task.cgroup.map_or(Ok(()), namespaces::child::enter_cgroup)?;
    if let Some(joined) = namespace {
        namespaces::child::join_cgroup_first(joined.fd.as_fd(), joined.index)?;
    }
    Ok(true)
}

/// The first process of a task that has its own memory: init, or the one that prepares another process of a container.
/// Never returns.
pub fn run(task: &Task<'_>) -> ! {
    let fault = match straight_line(task) {
        Ok(never) => match never {},
        Err(fault) => fault,
    };
    fail(task, &fault)
}

fn fail(task: &Task<'_>, fault: &Fault) -> ! {
    // Nobody can be told that telling failed.
    let _lost = Packet::Failed(*fault).send(task.socket);
    exit_now(1)
}

/// A type without values: the straight line ends in exec.
pub enum Never {}

fn straight_line(task: &Task<'_>) -> ChildResult<Never> {
    sys::allocation::forbid();
    mark(Step::Clone, 0);
    session(task)?;
    match &task.kind {
        TaskKind::Init(init) => {
            let Some(watched) = init.namespaces.watched_pid() else {
                container(task, init)?;
                return enter_program(task, init.gate, Origin::First);
            };
            if enters_pid_first(init) {
                namespaces::child::join_pid(watched)?;
                namespaces::child::new(&init.plan.namespaces)?;
                container(task, init)?;
            } else {
                container(task, init)?;
                namespaces::child::join_pid(watched)?;
            }
            become_visible(task, init.gate)
        }
        TaskKind::Exec(exec) => {
            join(task, exec)?;
            become_visible(task, None)
        }
        TaskKind::Mounts(mounts) => {
            change_mounts(task, mounts)?;
            Packet::Ready.send(task.socket).at(Step::Mount)?;
            exit_now(0)
        }
    }
}

/// Changes the mounts of an existing container. The container never sees this process: it stays out of the pid namespace.
fn change_mounts(task: &Task<'_>, mounts: &Mounts<'_>) -> ChildResult {
    sys::process_attributes::set_dumpable(false).at(Step::JoinNamespace)?;
    sys::descriptors::close_all_but_sorted(3, mounts.kept).at(Step::CloseDescriptors)?;
    if let MountChange::Add(plan, prepared) = mounts.change
        && prepared.leaves_sources()
    {
        namespaces::child::copy_mounts_as_root(mounts.container.init)?;
        rootfs::child::added::open_sources(plan, prepared)?;
    }
    enter(&mounts.container)?;
    match mounts.change {
        MountChange::Add(plan, prepared) => rootfs::child::added::add(plan, prepared, task.socket),
        MountChange::Remove(list) => rootfs::child::added::remove(list),
    }
}

/// Enters an existing container, with all but its pid namespace.
fn join(task: &Task<'_>, exec: &Exec<'_>) -> ChildResult {
    prepare_outside(task)?;
    sys::process_attributes::set_dumpable(false).at(Step::JoinNamespace)?;
    enter(exec)?;
    let Some(program) = task.program else { return Ok(()) };
    keyring(task, program)?;
    if let Some(terminal) = &program.terminal {
        let root = rustix::fs::open(c"/", PATH, Mode::empty()).at(Step::Terminal)?;
        open_terminal(task, terminal, root.as_fd())?;
    }
    Ok(())
}

/// Joins the namespaces, with the ids that root has in them.
fn enter(exec: &Exec<'_>) -> ChildResult {
    let cgroup = |first| exec.cgroup_namespace.as_ref().filter(|_| exec.cgroup_first == first);
    if let Some(namespace) = cgroup(true) {
        namespaces::child::join_container_cgroup(namespace.as_fd())?;
    }
    namespaces::child::join_container(exec.init, exec.namespaces)?;
    if let Some(root) = &exec.root {
        rootfs::child::enter(root.as_fd())?;
    }
    if exec.namespaces.contains(NamespaceSet::USER) {
        namespaces::child::root()?;
    }
    if let Some(namespace) = cgroup(false) {
        namespaces::child::join_container_cgroup(namespace.as_fd())?;
    }
    Ok(())
}

/// Makes the process that the members of a pid namespace can see. It is born without a descriptor, a root or a
/// directory of the host; the preparing process ends.
fn become_visible(task: &Task<'_>, gate: Option<&Gate>) -> ChildResult<Never> {
    sys::process_attributes::set_dumpable(false).at(Step::CloseDescriptors)?;
    if let Some(program) = task.program {
        process::child::shed_capabilities(&program.process)?;
    }
    shut_descriptors(task, gate).at(Step::CloseDescriptors)?;
    let cloned = clone_with_memory(|| match visible(task, gate) {
        Ok(never) => match never {},
        Err(fault) => fail(task, &fault),
    });
    // The new process shares the memory: if this one marked a step now, it would be taken for one of the new process.
    let (pid, pidfd) = cloned.map_err(|errno| Fault::new(Step::Clone, 0, errno))?;
    if Packet::Born(pid).send_with(task.socket, pidfd.as_fd()).is_err() {
        let _gone = sys::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL);
        exit_now(1);
    }
    exit_now(0)
}

fn visible(task: &Task<'_>, gate: Option<&Gate>) -> ChildResult<Never> {
    mark(Step::Clone, 0);
    die_with_parent(task)?;
    sys::signals::set_default().at(Step::Session)?;
    enter_program(task, gate, Origin::Visible)
}

const PATH: rustix::fs::OFlags =
    rustix::fs::OFlags::PATH.union(rustix::fs::OFlags::DIRECTORY).union(rustix::fs::OFlags::CLOEXEC);

/// Dies with the parent from here to `Ready`, has its own session, default signals and no umask, and the stdio that it
/// is meant to have.
fn session(task: &Task<'_>) -> ChildResult {
    sys::descriptors::close(task.parent_socket);
    die_with_parent(task)?;
    rustix::process::setsid().at(Step::Session)?;
    sys::signals::set_default().at(Step::Session)?;
    rustix::process::umask(Mode::empty());
    if let Some([stdin, stdout, stderr]) = task.stdio {
        rustix::stdio::dup2_stdin(stdin).at(Step::Session)?;
        rustix::stdio::dup2_stdout(stdout).at(Step::Session)?;
        rustix::stdio::dup2_stderr(stderr).at(Step::Session)?;
    }
    Ok(())
}

fn die_with_parent(task: &Task<'_>) -> ChildResult {
    sys::process_attributes::set_parent_death_signal(libc::SIGKILL).at(Step::Session)?;
    if parent_is_gone(task.socket).at(Step::Session)? {
        exit_now(1);
    }
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
fn container(task: &Task<'_>, init: &Init<'_>) -> ChildResult {
    let Init { plan, rootfs: prepared, .. } = init;
    if plan.namespaces.mappings.is_some() {
        namespaces::child::new_time_of_user_namespace(&plan.namespaces)?;
        namespaces::child::become_root(task.socket)?;
        namespaces::child::enter_time_of_user_namespace(&plan.namespaces)?;
        if !task.hidden {
            sys::process_attributes::set_dumpable(false).at(Step::BecomeRoot)?;
        }
    } else if plan.namespaces.has(NamespaceKind::User) {
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
    if plan.namespaces.is_new(NamespaceKind::Network) {
        network::child::loopback()?;
    }
    rootfs::child::propagation(&plan.rootfs, prepared)?;
    let root = rootfs::child::attach_root(&plan.rootfs, prepared)?;
    let covering = rootfs::child::mounts(&plan.rootfs, prepared, root.as_fd(), task.socket)?;
    let root = covering.as_ref().unwrap_or(&root).as_fd();
    rootfs::child::devices(&plan.rootfs, prepared, root)?;
    if let Some(terminal) = task.program.and_then(|program| program.terminal.as_ref()) {
        let slave = open_terminal(task, terminal, root)?;
        rootfs::child::console(&plan.rootfs, root, slave.as_fd())?;
        if init.namespaces.watched_pid().is_none() {
            terminal::child::control()?;
        }
    }
    if plan.is_prepared_outside() {
        // Where createContainer hooks work, as with runc.
        rustix::process::fchdir(root).at(Step::Hooks)?;
        while_seen(task, || wait_at(task.socket, Barrier::BeforePivot))?;
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
fn keyring(task: &Task<'_>, program: &Program) -> ChildResult {
    match process::child::keyring(&program.process)? {
        Some(fault) => Packet::Tolerated(fault).send(task.socket).at(Step::Keyring),
        None => Ok(()),
    }
}

/// Hooks join the container by its init. A caller without CAP_SYS_PTRACE may look at its own processes alone, and only
/// while they can be dumped.
fn while_seen(task: &Task<'_>, act: impl FnOnce() -> ChildResult) -> ChildResult {
    if !task.hidden {
        sys::process_attributes::set_dumpable(true).at(Step::Hooks)?;
    }
    act()?;
    if !task.hidden {
        sys::process_attributes::set_dumpable(false).at(Step::Hooks)?;
    }
    Ok(())
}

/// Tells the parent that `barrier` is reached and waits.
fn wait_at(socket: BorrowedFd<'_>, barrier: Barrier) -> ChildResult {
    Packet::Barrier(barrier).send(socket).at(Step::Hooks)?;
    if receive_go_on(socket).at(Step::Hooks)? { Ok(()) } else { Err(Fault::new(Step::Hooks, 0, Errno::PIPE)) }
}

fn open_terminal(task: &Task<'_>, plan: &terminal::TerminalPlan, root: BorrowedFd<'_>) -> ChildResult<OwnedFd> {
    let pty = terminal::child::open(plan, root)?;
    if let Some(console) = task.handover.console {
        terminal::child::send_master(console, &pty)?;
    }
    terminal::child::attach(&pty.slave)?;
    Ok(pty.slave)
}

/// Where the process that becomes the program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The parent made it, or had it made, and has its pidfd.
    First,
    /// [`become_visible`] made it.
    Visible,
}

/// What the parent needs to wait for the process is in its hands before the program can run. Until then the process is
/// in the group of the one that prepared it, by which the parent finds it.
fn await_pidfd(task: &Task<'_>, origin: Origin) -> ChildResult {
    if origin == Origin::First {
        return Ok(());
    }
    if !receive_go_on(task.socket).at(Step::Pidfd)? {
        exit_now(1);
    }
    rustix::process::setsid().at(Step::Session)?;
    if task.program.is_some_and(|program| program.terminal.is_some()) {
        terminal::child::control()?;
    }
    Ok(())
}

/// Process attributes, privileges, gate, filter, exec.
fn enter_program(task: &Task<'_>, gate: Option<&Gate>, origin: Origin) -> ChildResult<Never> {
    let Some(program) = task.program else { return wait_for_ever(task, gate, origin) };
    let process = &program.process;
    process::child::early(process)?;
    process::child::limits(process)?;
    let entered = process::child::working_directory(process)?;
    process::child::stdio_owner(process)?;
    shut_descriptors(task, gate).at(Step::CloseDescriptors)?;
    let found = process::child::drop_privileges(process, entered, program.filter().is_some())?;
    await_pidfd(task, origin)?;
    if let TaskKind::Init(init) = &task.kind
        && gate.is_none()
        && (!init.plan.hooks.start_container.is_empty() || init.plan.is_settled_late())
    {
        while_seen(task, || wait_at(task.socket, Barrier::BeforeExec))?;
    }
    if let (TaskKind::Init(init), false) = (&task.kind, task.hidden)
        && gate.is_some()
        && !init.plan.hooks.start_container.is_empty()
    {
        // `start` looks for it at the gate, as in `while_seen`.
        sys::process_attributes::set_dumpable(true).at(Step::Hooks)?;
    }
    // Changed ids have taken the signal away. A hook, which alone has stdio of its own, is to end with the runtime.
    let signal = if task.stdio.is_some() { libc::SIGKILL } else { 0 };
    sys::process_attributes::set_parent_death_signal(signal).at(Step::Session)?;
    Packet::Ready.send(task.socket).at(Step::StartGate)?;
    let Some(gate) = gate else { return execute(program, found, task.handover.listener, task.page) };
    let started = wait_for_start(gate).and_then(|connection| {
        let connection = connection.as_ref().map(AsFd::as_fd);
        let page = connection.filter(|_| program.is_muted()).and_then(page_of_start);
        execute(program, found, connection, page.as_deref())
    });
    let Err(fault) = started;
    let _lost = Packet::Failed(fault).send(gate.result.as_fd());
    exit_now(1)
}

/// The memory that `start` has sent before it opened the gate. One that does not come (from a tare of another version) is
/// not waited for.
fn page_of_start(connection: BorrowedFd<'_>) -> Option<SharedPage> {
    let (_, file) = sys::net::receive_fd_at_once(connection, &mut [0]).ok()?;
    SharedPage::of_file(file?.as_fd()).ok()
}

/// The last act. With a page the filter may deny every call, so what fails is left there, and the process ends by a trap.
fn execute(
    program: &Program,
    found: usize,
    listener: Option<BorrowedFd<'_>>,
    page: Option<&[AtomicU64]>,
) -> ChildResult<Never> {
    let Err(fault) = load_and_execute(program, found, listener);
    if let Some(page) = page {
        fault.leave(page);
        trap();
    }
    Err(fault)
}

/// The filter, the listener if there is one, the program.
fn load_and_execute(program: &Program, found: usize, listener: Option<BorrowedFd<'_>>) -> ChildResult<Never> {
    if let Some(plan) = program.filter() {
        match (seccomp::child::install(plan)?, listener, plan.handover()) {
            (Some(made), Some(socket), Some(handover)) => seccomp::child::send_listener(socket, made, handover)?,
            (None, ..) => {}
            _ => return Err(Fault::new(Step::SeccompNotify, 0, Errno::NOTCONN)),
        }
    }
    Err(Fault::new(Step::Exec, found, process::child::exec(&program.process, found)))
}

/// Nothing of tare's stays open but sockets and the two FIFOs of the gate: no directory, file or mount that somebody
/// could reach through /proc. What the program inherits survives exec.
fn shut_descriptors(task: &Task<'_>, gate: Option<&Gate>) -> Result<(), Errno> {
    let preserved = task.program.map_or(0, |program| program.preserve_fds);
    sys::descriptors::keep_on_exec(3, preserved)?;
    let number = |descriptor: Option<BorrowedFd<'_>>| descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd());
    let mut kept = [
        task.socket.as_raw_fd(),
        number(task.handover.listener),
        number(gate.map(|gate| gate.go.as_fd())),
        number(gate.map(|gate| gate.result.as_fd())),
        number(gate.and_then(|gate| gate.listener.as_ref()).map(AsFd::as_fd)),
    ];
    sys::descriptors::close_all_but(3_i32.saturating_add_unsigned(preserved), &mut kept)
}

/// Waits for the byte of `start`, and from then on the container is running. Then waits for its connection, if it takes a
/// listener: it is there already.
fn wait_for_start(gate: &Gate) -> ChildResult<Option<OwnedFd>> {
    if rustix::process::getpid().as_raw_pid() == 1 {
        sys::signals::end_at_once().at(Step::StartGate)?;
    }
    let mut byte = [0; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(&gate.go, &mut byte)) {
        // Not left to execve, which closes in no certain order: whoever learns from `result` that the program runs must
        // find the gate gone.
        Ok(1) => sys::descriptors::close(gate.go.as_fd()),
        Ok(_) => return Err(Fault::new(Step::StartGate, 0, Errno::PIPE)),
        Err(errno) => return Err(Fault::new(Step::StartGate, 0, errno)),
    }
    let Some(listener) = &gate.listener else { return Ok(None) };
    let flags = rustix::net::SocketFlags::CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::net::accept_with(listener, flags)).map(Some).at(Step::SeccompNotify)
}

/// A container without a process: it exists until it is started, and then it has stopped.
fn wait_for_ever(task: &Task<'_>, gate: Option<&Gate>, origin: Origin) -> ChildResult<Never> {
    shut_descriptors(task, gate).at(Step::CloseDescriptors)?;
    await_pidfd(task, origin)?;
    sys::process_attributes::set_parent_death_signal(0).at(Step::Session)?;
    Packet::Ready.send(task.socket).at(Step::StartGate)?;
    if let Some(gate) = gate {
        wait_for_start(gate)?;
    }
    exit_now(0)
}
