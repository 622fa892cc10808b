//! World: parent. Finds cgroups: by the tag that they carry, below one that is open; and derives from a cgroup's
//! counters why init died.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::files;
use super::hierarchy::Hierarchy;
use super::parent::Cgroup;
use super::stats::DeathFacts;
use super::tag::Tag;
use crate::error::{Code, Context, Error, Result};

/// Levels of cgroups that are searched at the most; the kernel's own limit is usually unset.
const DEPTH: usize = 32;

impl Cgroup {
    /// The cgroups with this tag anywhere in the hierarchy: for a container whose record cannot be read.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn find_tagged(hierarchy: &Hierarchy, tag: &Tag) -> Result<Vec<Self>> {
        let found = Self::all_tagged(hierarchy)?.into_iter();
        Ok(found.filter(|(_, found)| found.names(tag)).map(|(cgroup, _)| cgroup).collect())
    }

    /// Every cgroup that tare made, with its tag. What is below one is the container's own business.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn all_tagged(hierarchy: &Hierarchy) -> Result<Vec<(Self, Tag)>> {
        let mut found = Vec::new();
        search(hierarchy, "", DEPTH, &mut found)?;
        Ok(found)
    }

    /// The sub-cgroup at `path`, which cannot lead out of this one; `None` when there is none.
    ///
    /// # Errors
    /// The path leads out, or what is there cannot be opened.
    pub fn below(&self, path: &str) -> Result<Option<Self>> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(Error::new(
                Code::OptionValueInvalid,
                format!("{path} is not a sub cgroup path: it leads out of the container's cgroup"),
            ));
        }
        let relative = if parts.is_empty() { ".".to_string() } else { parts.join("/") };
        match files::open_directory(self.directory.as_fd(), &relative) {
            Ok(directory) if parts.is_empty() => Ok(Some(Self::at(directory, self.path.clone()))),
            Ok(directory) => {
                let path = format!("{}/{}", self.path, parts.join("/"));
                Ok(Some(Self::at(directory, path)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                Err(Error::system(format!("open {path:?} below cgroup {}", self.path), errno).coded(Code::CgroupFailed))
            }
        }
    }

    /// Why a process of this cgroup may have died early; `None` when the cgroup had no part in it. `limit` is that of
    /// its memory, as it was planned. To be asked before the process is reaped: an empty cgroup is gone soon.
    #[must_use]
    pub fn explain_death(&self, limit: Option<u64>) -> Option<String> {
        let facts = self.death_facts().ok()?;
        let refused = facts.refused_forks > 0;
        explain_oom_kill(&facts, limit)
            .or_else(|| refused.then(|| "a fork was refused; linux.resources.pids.limit was reached".to_string()))
            .or_else(|| limit.filter(|_| facts.gone).map(explain_gone))
    }

    /// Why the kernel may have killed a process of this cgroup; `None` when it was somebody else.
    #[must_use]
    pub fn explain_kill(&self, limit: Option<u64>) -> Option<String> {
        let facts = self.death_facts().ok()?;
        // systemd removes a cgroup as soon as it is empty, and may be at it.
        explain_oom_kill(&facts, limit).or_else(|| limit.filter(|_| facts.gone).map(explain_gone))
    }
}

/// What can be said of a kill when the cgroup with its memory limit was removed before it could be asked.
#[must_use]
pub fn explain_gone(limit: u64) -> String {
    format!("its cgroup is gone; possibly the OOM killer ended it; linux.resources.memory.limit is {limit} bytes")
}

fn explain_oom_kill(facts: &DeathFacts, planned: Option<u64>) -> Option<String> {
    if facts.oom_kills == 0 {
        return None;
    }
    let limit = facts.memory_limit.or(planned);
    let why = match limit.filter(|_| facts.own_limit_hits > 0) {
        Some(limit) => format!("linux.resources.memory.limit is {limit} bytes"),
        None => "a cgroup above it, or the system, ran out of memory".to_string(),
    };
    Some(format!("the OOM killer ended it; {why}"))
}

fn search(hierarchy: &Hierarchy, below: &str, depth: usize, found: &mut Vec<(Cgroup, Tag)>) -> Result<()> {
    let path = format!("{}{below}", hierarchy.root.display());
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        // It was removed meanwhile; it is another user's, who closed it.
        Err(e) if is_gone_or_closed(e.raw_os_error()) => return Ok(()),
        Err(e) => return Err(e).context(|| format!("read {path}")),
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        // tare makes no cgroup whose name is not UTF-8, nor one below it: config.json is text.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let below = format!("{below}/{name}");
        let cgroup = match Cgroup::open(hierarchy, &below) {
            Err(error) if is_gone_or_closed(error.raw_os_error()) => continue,
            cgroup => cgroup?,
        };
        if let Some(cgroup) = cgroup
            && let Some(tag) = cgroup.tag()?
        {
            found.push((cgroup, tag));
        } else if depth > 0 {
            search(hierarchy, &below, depth - 1, found)?;
        }
    }
    Ok(())
}

fn is_gone_or_closed(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::ENODEV | libc::EACCES | libc::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_explained_by_the_limit_that_was_hit() {
        let explained = |oom_kills, own_limit_hits, memory_limit| {
            explain_oom_kill(&DeathFacts { oom_kills, own_limit_hits, memory_limit, ..DeathFacts::default() }, None)
        };
        let own = "the OOM killer ended it; linux.resources.memory.limit is 4096 bytes";
        let above = "the OOM killer ended it; a cgroup above it, or the system, ran out of memory";
        assert_eq!(explained(1, 1, Some(4096)).as_deref(), Some(own));
        assert_eq!(explained(1, 0, Some(4096)).as_deref(), Some(above));
        assert_eq!(explained(1, 0, None).as_deref(), Some(above));
        assert_eq!(explained(0, 5, Some(4096)), None);
        // The file of the limit was removed with the cgroup, that of the events was read before.
        let facts = DeathFacts { oom_kills: 1, own_limit_hits: 1, ..DeathFacts::default() };
        assert_eq!(explain_oom_kill(&facts, Some(4096)).as_deref(), Some(own));
    }
}
