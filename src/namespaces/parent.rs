//! World: parent. Opens the namespaces that are joined, writes the id mappings of a new one.

mod helper;
mod mappings;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;

use super::kind::{NamespaceKind, NamespaceSet, word};
use super::plan::{Mappings, NamespacePlan};
use crate::error::{Code, Context, Error, Result};

pub use helper::path as helper;
pub(super) use helper::{find as find_helper, not_allowed, write_failed};

/// The opened namespaces.
#[derive(Debug, Default)]
pub struct OpenNamespaces {
    /// In the order in which they are joined.
    pub join: Vec<Joined>,
    /// The cgroup namespace that is joined is the caller's, and the container's user namespace will have no right over
    /// it: it is joined before that one is entered.
    pub cgroup_first: bool,
    /// The pid namespace that is joined belongs to the caller's user namespace.
    pub pid_is_callers: bool,
    /// Those that are joined by a path that leads to the caller's own namespace.
    pub callers_own: NamespaceSet,
}

impl OpenNamespaces {
    /// The user namespace that is joined, if there is one.
    #[must_use]
    pub fn user_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.join.iter().find(|joined| joined.kind == NamespaceKind::User).map(|joined| joined.fd.as_fd())
    }

    /// The pid namespace that is joined, where those who live in it may have CAP_SYS_PTRACE over tare's own user
    /// namespace: from them nothing is hidden that a process of tare holds. It is joined last, see `init`.
    #[must_use]
    pub fn watched_pid(&self) -> Option<&Joined> {
        self.join.iter().find(|joined| joined.kind == NamespaceKind::Pid && self.pid_is_callers)
    }

    /// Whether the namespace of this kind that is joined is the caller's own.
    #[must_use]
    pub fn is_callers_own(&self, kind: NamespaceKind) -> bool {
        self.callers_own.contains(kind.into())
    }

    /// Whether a time namespace is joined, which a process that shares memory cannot do.
    #[must_use]
    pub fn joins_time(&self) -> bool {
        self.join.iter().any(|joined| joined.kind == NamespaceKind::Time)
    }
}

/// One namespace to join.
#[derive(Debug)]
pub struct Joined {
    /// The open nsfs file.
    pub fd: OwnedFd,
    /// Its kind, checked by setns(2).
    pub kind: NamespaceKind,
    /// Its place in linux.namespaces.
    pub index: usize,
}

/// Opens every joined namespace; the user namespace comes last, since joining it gives up the rights over the others.
///
/// # Errors
/// A path that cannot be opened; the field is `linux.namespaces[i].path`. A path that leads to a namespace of the
/// caller's own, in which the config changes something. Mappings that are not those of the user namespace that is joined.
pub fn open_all(plan: &NamespacePlan) -> Result<OpenNamespaces> {
    let mut prepared = OpenNamespaces::default();
    for join in &plan.join {
        let at = format!("linux.namespaces[{}].path", join.index);
        let fd = open(&join.path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).map_err(|e| {
            let what = format!("open {} namespace {}", word(join.kind), join.path.display());
            Error::new(Code::NamespacePathInvalid, what).at(&*at).errno(e)
        })?;
        let facts = fstat(&fd).context(|| format!("stat {}", join.path.display()))?;
        if let Some(asked) = plan.joined_mappings.as_ref().filter(|_| join.kind == NamespaceKind::User) {
            mappings::check(join, fd.as_fd(), asked)?;
        }
        let own = format!("/proc/self/ns/{}", file(join.kind));
        let own = stat(&*own).context(|| format!("stat {own}"))?;
        if (own.st_dev, own.st_ino) == (facts.st_dev, facts.st_ino) {
            prepared.callers_own |= join.kind.into();
            // setns(2) into the user namespace one is already in is EINVAL, and nothing is to be done.
            if join.kind == NamespaceKind::User {
                continue;
            }
        }
        prepared.join.push(Joined { fd, kind: join.kind, index: join.index });
    }
    if let Some(pid) = prepared.join.iter().find(|joined| joined.kind == NamespaceKind::Pid) {
        prepared.pid_is_callers = is_callers(pid.fd.as_fd())?;
    }
    refuse_changes_of_the_callers(plan, &prepared)?;
    prepared.join.sort_by_key(|joined| joined.kind == NamespaceKind::User);
    if plan.has(NamespaceKind::User)
        && let Some(cgroup) = prepared.join.iter().find(|joined| joined.kind == NamespaceKind::Cgroup)
    {
        prepared.cgroup_first = is_callers(cgroup.fd.as_fd())?;
    }
    Ok(prepared)
}

/// The name in /proc/PID/ns. Source: namespaces(7).
pub(super) fn file(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Mount => "mnt",
        NamespaceKind::Network => "net",
        kind => word(kind),
    }
}

/// What the config sets in a namespace of the container must not change the caller's, which is the host's. The plan sees
/// paths alone, and which namespace a path leads to is known only here. The words are runc's.
fn refuse_changes_of_the_callers(plan: &NamespacePlan, prepared: &OpenNamespaces) -> Result<()> {
    let own = |kind| prepared.is_callers_own(kind);
    let refuse = |at: String, what: String, kind: NamespaceKind| {
        let index = plan.join.iter().find(|join| join.kind == kind).map_or(0, |join| join.index);
        let hint = format!("linux.namespaces[{index}].path leads to the runtime's own namespace");
        Err(Error::refused(Code::NamespaceOfRuntime, at, what).hint(hint))
    };
    if own(NamespaceKind::Mount) {
        let join = plan.join.iter().find(|join| join.kind == NamespaceKind::Mount);
        let at = format!("linux.namespaces[{}].path", join.map_or(0, |join| join.index));
        let what = "the mount namespace is the runtime's own: pivot_root would change the root of the host";
        return Err(Error::refused(Code::NamespaceOfRuntime, at, what).hint("leave the path out for a new one"));
    }
    if let Some(sysctl) = plan.sysctls.iter().find(|sysctl| own(sysctl.kind)) {
        let what = format!("sysctl {:?} not allowed in host {} namespace", sysctl.key, word(sysctl.kind));
        return refuse(format!("linux.sysctl[{:?}]", sysctl.key), what, sysctl.kind);
    }
    for (at, name) in [("hostname", &plan.hostname), ("domainname", &plan.domainname)] {
        if name.is_some() && own(NamespaceKind::Uts) {
            return refuse(at.to_owned(), format!("unable to set {at} in host uts namespace"), NamespaceKind::Uts);
        }
    }
    Ok(())
}

/// Whether a namespace belongs to the caller's own user namespace.
///
/// # Errors
/// /proc is not mounted.
pub fn is_callers(namespace: BorrowedFd<'_>) -> Result<bool> {
    let what = || "ask for the owner of a namespace";
    let owner = match crate::sys::namespace::owner(namespace) {
        // Above the caller's: it cannot be joined in any order.
        Err(Errno::PERM) => return Ok(false),
        owner => owner.and_then(fstat).context(what)?,
    };
    let own = stat("/proc/self/ns/user").context(what)?;
    Ok((own.st_dev, own.st_ino) == (owner.st_dev, owner.st_ino))
}

/// Writes what the kernel takes only from outside of the new namespaces of process `pid`: the maps of its user namespace,
/// then the clocks of the time namespace that it has made for its children. Without a new user namespace, nothing.
///
/// # Errors
/// The kernel's or a helper's refusal, with the field of the config.
pub fn write_mappings(pid: i32, plan: &NamespacePlan) -> Result<()> {
    let Some(mappings) = &plan.mappings else { return Ok(()) };
    let _span = crate::timings::span("write the id mappings");
    write_maps(pid, mappings)?;
    write_time_offsets(pid, plan)
}

/// gid_map and uid_map; helpers write what the caller may not.
fn write_maps(pid: i32, mappings: &Mappings) -> Result<()> {
    if mappings.deny_set_groups {
        let path = format!("/proc/{pid}/setgroups");
        write(&path, "deny").map_err(|e| {
            Error::system(format!("write {path}"), e).coded(Code::IdMappingFailed).at("linux.gidMappings")
        })?;
    }
    let Mappings { uid, gid, uid_by_helper, gid_by_helper, .. } = mappings;
    for (file, text, by_helper, at) in
        [("gid_map", gid, gid_by_helper, "linux.gidMappings"), ("uid_map", uid, uid_by_helper, "linux.uidMappings")]
    {
        let written = if *by_helper { helper::write(file, pid, text) } else { write_map(file, pid, text) };
        written.map_err(|error| error.at(at))?;
    }
    Ok(())
}

fn write_time_offsets(pid: i32, plan: &NamespacePlan) -> Result<()> {
    if !plan.is_new(NamespaceKind::Time) || plan.time_offsets.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/{pid}/timens_offsets");
    let written = OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(&plan.time_offsets));
    written.map_err(|e| Error::system(format!("write {path}"), e).coded(Code::NamespaceFailed).at("linux.timeOffsets"))
}

fn write_map(file: &str, pid: i32, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    write(&path, text)
        .map_err(|e| map_refused(&path, text, Error::system(format!("write {path}"), e).coded(Code::IdMappingFailed)))
}

/// Why the kernel refuses a map.
pub(super) fn map_refused(path: &str, text: &str, error: Error) -> Error {
    // Source: kernel/user_namespace.c, `verify_root_map`, since Linux 5.12.
    if path.ends_with("/uid_map") && maps_callers_root(text) && !holds_setfcap() {
        return error.hint("a container with the caller's own root, id 0, needs CAP_SETFCAP, which the caller lacks");
    }
    error.hint(
        "overlapping ranges and ids that the caller does not own are refused by the kernel, see user_namespaces(7)",
    )
}

fn maps_callers_root(text: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().nth(1) == Some("0"))
}

fn holds_setfcap() -> bool {
    const SETFCAP: u64 = 1 << 31;
    crate::sys::credentials::capabilities().is_ok_and(|sets| sets.effective & SETFCAP != 0)
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()))
}
