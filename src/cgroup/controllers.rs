//! Handing controllers down from the root to the container's cgroup. World: parent.
//!
//! Promise: everything that a level offers is handed on, because engines read memory.current,
//! pids.current, io.stat and the like; only a controller that a limit needs is an error when it
//! cannot be had. Source: cgroup-v2.rst, "Enabling and Disabling", "No Internal Process Constraint".

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use rustix::fs::Access;
use rustix::io::Errno;

use super::files;
use super::limits::Write;
use crate::error::{Code, Context, Error, Result};
use crate::sys::access::accessible;

const OFFERED: &str = "cgroup.controllers";
const HANDED_ON: &str = "cgroup.subtree_control";
/// What to do about EROFS. Engines mount cgroupfs read-only in containers without privileges.
pub const READ_ONLY: &str = "the cgroup filesystem is mounted read-only; run the outer container with a writable one \
    (Docker: --security-opt writable-cgroups=true; Podman: --security-opt unmask=/sys/fs/cgroup)";
/// A level that hands these on was set up by an engine, systemd or tare and needs no second look.
const USUAL: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// The controllers that a threaded cgroup can enable for its children. Source: cgroup-v2.rst, "Threads".
const FOR_THREADS: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];
/// What cgroup v1 calls by the same name (io is its blkio).
const KNOWN_TO_V1: [&str; 10] =
    ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc", "perf_event", "dmem"];

/// The first write that needs each controller.
fn needed(writes: &[Write]) -> impl Iterator<Item = (&str, &Write)> {
    let mut seen = BTreeSet::new();
    writes.iter().filter_map(move |write| {
        let controller = write.controller()?;
        seen.insert(controller).then_some((controller, write))
    })
}

fn names(content: &str) -> BTreeSet<&str> {
    content.split_whitespace().collect()
}

/// Whether `parent` enables everything that `root` offers for its children, at the cost of one or two reads. A threaded
/// cgroup does not.
///
/// # Errors
/// A file that cannot be read.
pub fn are_handed_on(root: BorrowedFd<'_>, parent: BorrowedFd<'_>, writes: &[Write]) -> Result<bool> {
    let handed_on = files::read(parent, HANDED_ON).context(|| format!("read {HANDED_ON}"))?;
    let handed_on = names(&handed_on);
    let is_of_processes = handed_on.iter().any(|controller| !FOR_THREADS.contains(controller));
    if !is_of_processes || !needed(writes).all(|(controller, _)| handed_on.contains(controller)) {
        return Ok(false);
    }
    if USUAL.iter().all(|controller| handed_on.contains(controller)) {
        return Ok(true);
    }
    let offered = files::read(root, OFFERED).context(|| format!("read {OFFERED}"))?;
    Ok(names(&offered).is_subset(&handed_on))
}

/// Whether `parent` hands on what `writes` need; without a need nothing is read.
///
/// # Errors
/// A file that cannot be read.
pub fn are_needed_handed_on(parent: BorrowedFd<'_>, writes: &[Write]) -> Result<bool> {
    if needed(writes).next().is_none() {
        return Ok(true);
    }
    let handed_on = files::read(parent, HANDED_ON).context(|| format!("read {HANDED_ON}"))?;
    let handed_on = names(&handed_on);
    Ok(needed(writes).all(|(controller, _)| handed_on.contains(controller)))
}

/// One level on the way down.
pub struct Level<'a> {
    /// Its directory.
    pub directory: BorrowedFd<'a>,
    /// Its path below the root, for errors.
    pub path: &'a str,
    /// The host also has v1 hierarchies.
    pub hybrid: bool,
}

impl Level<'_> {
    /// Hands on what this level offers.
    ///
    /// # Errors
    /// A controller that one of `writes` needs is not offered or cannot be handed on.
    pub fn hand_on(&self, writes: &[Write]) -> Result<()> {
        let (offered, handed_on) = (self.read(OFFERED)?, self.read(HANDED_ON)?);
        let (offered, handed_on) = (names(&offered), names(&handed_on));
        self.check_offered(&offered, writes)?;
        let missing: Vec<String> = offered.difference(&handed_on).map(|controller| format!("+{controller}")).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if self.has_processes()? {
            let lacking = needed(writes).find(|(controller, _)| !handed_on.contains(controller));
            return lacking
                .map_or(Ok(()), |(controller, write)| Err(self.not_handed_on(controller, write, self.obstacle())));
        }
        match files::write(self.directory, HANDED_ON, &missing.join(" ")) {
            Ok(()) => Ok(()),
            Err(_) => self.enable_each(&missing, writes),
        }
    }

    /// Whether [`Self::hand_on`] can be expected to do it. Nothing is written.
    ///
    /// # Errors
    /// As [`Self::hand_on`].
    pub fn check(&self, writes: &[Write]) -> Result<()> {
        let (offered, handed_on) = (self.read(OFFERED)?, self.read(HANDED_ON)?);
        let (offered, handed_on) = (names(&offered), names(&handed_on));
        self.check_offered(&offered, writes)?;
        let Some((controller, write)) = needed(writes).find(|(controller, _)| !handed_on.contains(controller)) else {
            return Ok(());
        };
        if self.has_processes()? {
            return Err(self.not_handed_on(controller, write, self.obstacle()));
        }
        accessible(self.directory, HANDED_ON, Access::WRITE_OK)
            .map_err(|errno| self.not_handed_on(controller, write, errno))
    }

    /// Hands on what this level offers; `None` while processes are in the way.
    ///
    /// # Errors
    /// As [`Self::hand_on`].
    pub fn hand_on_at_once(&self, writes: &[Write]) -> Result<Option<()>> {
        if self.has_processes()? {
            return Ok(None);
        }
        let offered = self.read(OFFERED)?;
        let offered = names(&offered);
        self.check_offered(&offered, writes)?;
        let switches: Vec<String> = offered.iter().map(|controller| format!("+{controller}")).collect();
        match files::write(self.directory, HANDED_ON, &switches.join(" ")) {
            Ok(()) => Ok(Some(())),
            Err(Errno::BUSY) => Ok(None),
            Err(_) => self.enable_each(&switches, writes).map(Some),
        }
    }

    fn check_offered(&self, offered: &BTreeSet<&str>, writes: &[Write]) -> Result<()> {
        let lacking = needed(writes).find(|(controller, _)| !offered.contains(controller));
        lacking.map_or(Ok(()), |(controller, write)| Err(self.not_offered(controller, write)))
    }

    /// Writes one switch after the other: the kernel takes all or nothing, and this finds out which it takes.
    fn enable_each(&self, switches: &[String], writes: &[Write]) -> Result<()> {
        for switch in switches {
            let Err(errno) = files::write(self.directory, HANDED_ON, switch) else { continue };
            if let Some((controller, write)) = needed(writes).find(|(controller, _)| switch[1..] == **controller) {
                return Err(self.not_handed_on(controller, write, errno));
            }
        }
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String> {
        files::read(self.directory, file).context(|| format!("read {file} of {}", self.path))
    }

    /// Whether processes of its own keep it from handing on controllers. Those for threads would be handed on all the
    /// same, and make the cgroup one of threads, below which no other controller and no process can be.
    fn has_processes(&self) -> Result<bool> {
        let what = || format!("look for processes of cgroup {}", self.path);
        let kind = files::read_if_there(self.directory, "cgroup.type").context(what)?;
        // The root has no type, and may have both.
        let is_domain = kind.is_some_and(|kind| kind.trim() == "domain");
        Ok(is_domain && !files::read(self.directory, "cgroup.procs").context(what)?.is_empty())
    }

    /// Where processes are in the way: to move them helps only if the filesystem is writable.
    fn obstacle(&self) -> Errno {
        let writable = accessible(self.directory, HANDED_ON, Access::WRITE_OK);
        if writable == Err(Errno::ROFS) { Errno::ROFS } else { Errno::BUSY }
    }

    fn not_offered(&self, controller: &str, write: &Write) -> Error {
        let at = write.at.clone();
        if self.path != "/" {
            return Error::refused(
                Code::CgroupControllerMissing,
                at,
                format!("cgroup {} has no {controller} controller", self.path),
            );
        }
        if self.hybrid && KNOWN_TO_V1.contains(&controller) {
            return Error::refused(
                Code::CgroupControllerMissing,
                at,
                format!(
                    "the {controller} controller is bound to cgroup v1 on this hybrid host, and tare sets limits in v2"
                ),
            )
            .hint("boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out");
        }
        Error::refused(
            Code::CgroupControllerMissing,
            at,
            format!("this host's cgroup v2 has no {controller} controller"),
        )
    }

    fn not_handed_on(&self, controller: &str, write: &Write, errno: Errno) -> Error {
        let error = Error::system(format!("enable the {controller} controller below cgroup {}", self.path), errno)
            .coded(Code::CgroupFailed);
        let error = match errno {
            Errno::BUSY => error.hint(
                "that cgroup contains processes, and the kernel does not let it have controllers for its children then; move them to a child cgroup, or choose another parent with linux.cgroupsPath",
            ),
            Errno::OPNOTSUPP => error.hint("that cgroup is threaded, and this controller does not support threads"),
            Errno::ROFS => error.hint(READ_ONLY),
            Errno::ACCESS | Errno::PERM => error.hint("the cgroup is not delegated to this user"),
            _ => error,
        };
        error.at(write.at.clone())
    }
}
