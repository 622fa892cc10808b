//! Applies a plan to the calling process, between pivot_root and execve.
//!
//! World: child. Order: `keyring`, `make_working_directory` (before the rootfs becomes read-only), `early`,
//! `working_directory` (after masking, so that a masked directory cannot be kept), `stdio_owner`, `limits` (the
//! steps before open descriptors), `drop_privileges`, `exec`. A failure ends the process.

mod credentials;
mod directory;
mod program;

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use self::credentials::{Filter, drop_privileges};
pub use self::directory::{Entered, make_working_directory, working_directory};
pub(super) use self::directory::{MAKING, OUTSIDE};
pub(super) use self::program::STAT;
pub use self::program::{exec, find_program};
use super::{Plan, labels};
use crate::sys;
use crate::wire::{At, Done, Fault, Step};

/// Why a session keyring may be missing: ENOSYS (the kernel has none), EDQUOT (the user has too many), EPERM (a seccomp
/// filter around tare denies keyctl, and the container inherits it).
pub(super) const TOLERATED_OF_KEYRINGS: &[Errno] = &[Errno::NOSYS, Errno::DQUOT, Errno::PERM];

/// Joins the container's session keyring, so that the caller's cannot be reached. Returns a fault that is tolerated, for
/// a warning. `proc` is wanted for a SELinux label alone.
///
/// # Errors
/// Every other failure.
pub fn keyring(plan: &Plan, proc: Option<BorrowedFd<'_>>) -> Done<Option<Fault>> {
    let Some(keyring) = &plan.keyring else { return Ok(None) };
    let label = match &plan.labels.selinux {
        Some(label) => Some((label, proc.ok_or(Errno::BADF).at(Step::Label)?)),
        None => None,
    };
    if let Some((label, proc)) = label {
        write_attribute(proc, labels::KEY, label, Step::Label)?;
    }
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
    if let Some((_, proc)) = label {
        write_attribute(proc, labels::KEY, b"\n", Step::Label)?;
    }
    Ok(None)
}

/// What needs CAP_SYS_RESOURCE of the host: the OOM score, and hard limits that rise. To be called before
/// another user namespace is entered (a clone inherits both), and only then; [`limits`] does the rest.
/// `proc` is a procfs in which the caller sees itself.
///
/// # Errors
/// As [`limits`].
pub fn before_user_namespace(plan: &Plan, proc: Option<BorrowedFd<'_>>) -> Done {
    oom_score_adj(plan, proc)?;
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

/// The OOM score (unless [`before_user_namespace`] wrote it: the file belongs to the host's root) and the
/// resource limits. After everything that opens descriptors, since RLIMIT_NOFILE counts at once.
///
/// # Errors
/// The kernel's, with the number of the limit; EBADF when `proc` is missing though there is a score.
pub fn limits(plan: &Plan, proc: Option<BorrowedFd<'_>>) -> Done {
    if !plan.user_namespace {
        oom_score_adj(plan, proc)?;
    }
    for (i, rlimit) in plan.rlimits.iter().enumerate() {
        rustix::process::prlimit(None, rlimit.resource, rlimit.value).at_index(Step::Rlimit, i)?;
    }
    Ok(())
}

fn oom_score_adj(plan: &Plan, proc: Option<BorrowedFd<'_>>) -> Done {
    let Some(text) = &plan.oom_score_adj else { return Ok(()) };
    let proc = proc.ok_or(Errno::BADF).at(Step::OomScoreAdj)?;
    write_attribute(proc, c"self/oom_score_adj", text, Step::OomScoreAdj)
}

/// Scheduler, io priority, memory policy, cpu affinity, personality, labels. `proc` is the root of a
/// private procfs, wanted when [`Plan::needs_proc`] says so.
///
/// # Errors
/// The kernel's; EBADF when `proc` is missing though there is a label.
pub fn early(plan: &Plan, proc: Option<BorrowedFd<'_>>) -> Done {
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
    if plan.labels.is_empty() {
        return Ok(());
    }
    label(plan, proc.ok_or(Errno::BADF).at(Step::Label)?)
}

/// Every cpu; the kernel takes those of the cpuset.
static ALL_CPUS: [u64; 128] = [u64::MAX; 128];

/// The cpus of exec until it is in the container's cgroup; for the intermediate process, which makes it there.
///
/// # Errors
/// EINVAL for cpus that there are not.
pub fn initial_affinity(plan: &Plan) -> Done {
    match &plan.initial_affinity {
        Some(cpus) => sys::scheduling::set_affinity(cpus).at_index(Step::CpuAffinity, 0),
        None => Ok(()),
    }
}

/// What was asked for, else all cpus of the cgroup: the affinity of the caller (a service manager with
/// CPUAffinity=) is none of the container's. As runc since 1.4; the reset is best effort, as there.
fn affinity(plan: &Plan) -> Done {
    if let Some(cpus) = &plan.final_affinity {
        return sys::scheduling::set_affinity(cpus).at_index(Step::CpuAffinity, 1);
    }
    if plan.initial_affinity.is_some() {
        return Ok(());
    }
    let _ = sys::scheduling::set_affinity(&ALL_CPUS);
    Ok(())
}

fn label(plan: &Plan, proc: BorrowedFd<'_>) -> Done {
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
    }
    Ok(())
}

/// Writes one file of a private procfs. `self` and `thread-self` are ordinary symlinks there, and nobody
/// else can mount on it, so that they may be followed; other filesystems and magic links may not.
fn write_attribute(proc: BorrowedFd<'_>, path: &CStr, text: &[u8], step: Step) -> Done {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let written = rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve)
        .and_then(|file| rustix::io::write(&file, text))
        .and_then(|written| if written == text.len() { Ok(()) } else { Err(Errno::IO) });
    written.map_err(|errno| Fault::new(step, 0, errno).text(path.to_bytes()))
}

/// Gives stdio to the user of the process, so that it can open /dev/stdout and the like. Left alone: what
/// is theirs already, /dev/null, and without a terminal of the container's own every device of the host.
///
/// # Errors
/// The kernel's, but not EPERM, EINVAL, EROFS: ids that are not mapped and read-only filesystems (as runc).
pub fn stdio_owner(plan: &Plan) -> Done {
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (i, fd) in stdio.into_iter().enumerate() {
        let stat = rustix::fs::fstat(fd).at_index(Step::StdioOwner, i)?;
        let device = FileType::from_raw_mode(stat.st_mode).is_char_device();
        let null = device && stat.st_rdev == rustix::fs::makedev(1, 3);
        if stat.st_uid == plan.uid || null || (device && !plan.terminal) {
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
