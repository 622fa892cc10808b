//! Applies a plan to the calling process, between pivot_root and execve.
//!
//! World: child. Order: `outside` (before the container is entered), `keyring`, `make_working_directory` (before the
//! rootfs becomes read-only), `early`, `limits` (the steps before open descriptors), `working_directory` (after masking,
//! so that a masked directory cannot be kept), `stdio_owner`, `drop_privileges`, `exec`. A failure ends the process.

mod credentials;
mod directory;
mod program;

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

pub use self::credentials::{drop_privileges, shed_capabilities};
pub(super) use self::directory::{MAKING, OUTSIDE};
pub use self::directory::{make_working_directory, working_directory};
pub use self::program::exec;
pub(super) use self::program::{STAT, check_kind, find};
use super::{ProcessPlan, labels};
use crate::sys;
use crate::wire::{At, ChildResult, Fault, Step};

/// Why a session keyring may be missing: ENOSYS (the kernel has none), EDQUOT (the user has too many), EPERM (a seccomp
/// filter around tare denies keyctl, and the container inherits it).
pub(super) const TOLERATED_OF_KEYRINGS: &[Errno] = &[Errno::NOSYS, Errno::DQUOT, Errno::PERM];

/// Joins the container's session keyring, so that the caller's cannot be reached. Returns a fault that is tolerated, for
/// a warning.
///
/// # Errors
/// Every other failure.
pub fn keyring(plan: &ProcessPlan) -> ChildResult<Option<Fault>> {
    let Some(keyring) = &plan.keyring else { return Ok(None) };
    let serial = match sys::keyring::join_session(&keyring.name) {
        Ok(serial) => serial,
        Err(errno) if TOLERATED_OF_KEYRINGS.contains(&errno) => {
            return Ok(Some(Fault::new(Step::Keyring, 0, errno)));
        }
        Err(errno) => return Err(Fault::new(Step::Keyring, 0, errno)),
    };
    if let Some(permissions) = keyring.permissions {
        sys::keyring::set_permissions(serial, permissions).at(Step::Keyring)?;
    }
    Ok(None)
}

/// What takes the host's procfs or CAP_SYS_RESOURCE on the host: the OOM score, the labels, and in a user namespace
/// hard limits that rise. To be called before anything of a container is entered; a clone inherits all of it, and
/// execve takes the label of new keys away. `proc` is a procfs in which the caller sees itself.
///
/// # Errors
/// The kernel's; EBADF when `proc` is missing though [`ProcessPlan::needs_proc`] says that it is wanted.
pub fn outside(plan: &ProcessPlan, proc: Option<BorrowedFd<'_>>) -> ChildResult {
    if let Some(text) = &plan.oom_score_adj {
        let proc = proc.ok_or(Errno::BADF).at(Step::OomScoreAdj)?;
        write_attribute(proc, c"self/oom_score_adj", text, Step::OomScoreAdj)?;
    }
    if !plan.labels.is_empty() {
        label(plan, proc.ok_or(Errno::BADF).at(Step::Label)?)?;
    }
    if !plan.user_namespace {
        return Ok(());
    }
    for (i, rlimit) in plan.rlimits.iter().enumerate() {
        let now = rustix::process::getrlimit(rlimit.resource);
        let maximum = rlimit.value.maximum;
        // None is infinity.
        if now.maximum.is_some_and(|now| maximum.is_none_or(|maximum| maximum > now)) {
            let raised = rustix::process::Rlimit { current: now.current, maximum };
            rustix::process::prlimit(None, rlimit.resource, raised).at_index(Step::Rlimit, i)?;
        }
    }
    Ok(())
}

/// The resource limits. After everything that opens descriptors, since RLIMIT_NOFILE counts at once.
///
/// # Errors
/// The kernel's, with the number of the limit.
pub fn limits(plan: &ProcessPlan) -> ChildResult {
    for (i, rlimit) in plan.rlimits.iter().enumerate() {
        rustix::process::prlimit(None, rlimit.resource, rlimit.value).at_index(Step::Rlimit, i)?;
    }
    Ok(())
}

/// Scheduler, io priority, memory policy, cpu affinity, personality.
///
/// # Errors
/// The kernel's.
pub fn early(plan: &ProcessPlan) -> ChildResult {
    affinity(plan)?;
    if let Some(attributes) = &plan.scheduler {
        sys::scheduling::set_attributes(attributes).at(Step::Scheduler)?;
    }
    if let Some(value) = plan.io_priority {
        sys::scheduling::set_io_priority(value).at(Step::IoPriority)?;
    }
    if let Some(policy) = &plan.memory_policy {
        sys::scheduling::set_memory_policy(policy.mode, &policy.nodes).at(Step::MemoryPolicy)?;
    }
    if let Some(persona) = plan.personality {
        sys::scheduling::set_personality(persona).at(Step::Personality)?;
    }
    Ok(())
}

/// Every cpu; the kernel takes those of the cpuset.
static ALL_CPUS: [u64; 128] = [u64::MAX; 128];

/// What was asked for, else all cpus of the cgroup: the affinity of the caller (a service manager with
/// CPUAffinity=) is none of the container's. As runc since 1.4; the reset is best effort, as there.
fn affinity(plan: &ProcessPlan) -> ChildResult {
    if let Some(cpus) = &plan.final_affinity {
        return sys::scheduling::set_affinity(cpus).at_index(Step::CpuAffinity, 1);
    }
    if plan.initial_affinity.is_some() {
        return Ok(());
    }
    let _ = sys::scheduling::set_affinity(&ALL_CPUS);
    Ok(())
}

fn label(plan: &ProcessPlan, proc: BorrowedFd<'_>) -> ChildResult {
    if let Some(text) = &plan.labels.apparmor {
        match write_attribute(proc, labels::APPARMOR, text, Step::Label) {
            Err(fault) if fault.errno == Errno::NOENT.raw_os_error() => {
                write_attribute(proc, labels::EXEC, text, Step::Label)?;
            }
            written => written?,
        }
    }
    if let Some(text) = &plan.labels.selinux {
        write_attribute(proc, labels::EXEC, text, Step::Label)?;
        if plan.keyring.is_some() {
            write_attribute(proc, labels::KEY, text, Step::Label)?;
        }
    }
    Ok(())
}

/// Writes one file of a private procfs. `self` and `thread-self` are ordinary symlinks there, and nobody
/// else can mount on it, so that they may be followed; other filesystems and magic links may not.
fn write_attribute(proc: BorrowedFd<'_>, path: &CStr, text: &[u8], step: Step) -> ChildResult {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let written = rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve)
        .and_then(|file| rustix::io::write(&file, text))
        .and_then(|written| if written == text.len() { Ok(()) } else { Err(Errno::IO) });
    written.map_err(|errno| Fault::new(step, 0, errno).text(path.to_bytes()))
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_char_device() && stat.st_rdev == rustix::fs::makedev(1, 3)
}

/// The container's /dev/null; `None` where it has none. Another file of that name is opened, but neither read nor written.
fn own_null() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty()).ok()?;
    rustix::fs::fstat(&null).is_ok_and(|stat| is_null(&stat)).then_some(null)
}

fn replace(number: usize, file: &OwnedFd) -> ChildResult {
    match number {
        0 => rustix::stdio::dup2_stdin(file),
        1 => rustix::stdio::dup2_stdout(file),
        _ => rustix::stdio::dup2_stderr(file),
    }
    .at_index(Step::StdioOwner, number)
}

/// Gives stdio to the user of the process, so that it can open /dev/stdout and the like. Left alone: what
/// is theirs already, and without a terminal of the container's own every device of the host. The host's /dev/null becomes
/// the container's: an open file of a mount that the container does not have is a way out of it, and cannot be
/// checkpointed.
///
/// # Errors
/// The kernel's, but not EPERM, EINVAL, EROFS: ids that are not mapped and read-only filesystems (as runc).
pub fn stdio_owner(plan: &ProcessPlan) -> ChildResult {
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut null = None;
    for (i, fd) in stdio.into_iter().enumerate() {
        let stat = rustix::fs::fstat(fd).at_index(Step::StdioOwner, i)?;
        let device = FileType::from_raw_mode(stat.st_mode).is_char_device();
        if is_null(&stat) {
            if let Some(null) = null.get_or_insert_with(own_null) {
                replace(i, null)?;
            }
            continue;
        }
        if stat.st_uid == plan.uid || (device && !plan.terminal) {
            continue;
        }
        let owner = rustix::fs::Uid::from_raw(plan.uid);
        match rustix::fs::fchown(fd, Some(owner), None) {
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
            Err(errno) => return Err(Fault::new(Step::StdioOwner, i, errno)),
        }
    }
    Ok(())
}
