//! What the record of a container says about its resctrl group, and how the group is found and removed by it.
//!
//! World: parent. The record is written before the group is made, so until the creation is complete the group that is
//! found may be another's; then it is removed only if no process is in it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::parent::Group;
use super::root::{Root, open_directory, read, remove};
use crate::error::{Context, Result};

/// The group of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Where resctrl was mounted.
    pub root: String,
    /// The group's name; `None` for the default group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The creation makes the group.
    pub made: bool,
    /// The group outlives the container, because `closID` names it.
    pub named: bool,
    /// The group's inode, once it is known: a removed one's place may be taken by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The monitoring group that the creation makes in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
}

impl Recorded {
    /// Opens the group; `None` if it is gone.
    ///
    /// # Errors
    /// It exists but cannot be opened.
    pub fn open(&self) -> Result<Option<Group>> {
        Root::open(&self.root)?.map_or(Ok(None), |root| self.open_below(root))
    }

    pub(super) fn open_below(&self, root: Root) -> Result<Option<Group>> {
        let Some(directory) = root.group(self.group.as_deref())? else { return Ok(None) };
        if !self.is(directory.as_fd())? {
            return Ok(None);
        }
        let monitor =
            self.monitor.as_ref().map(|name| open_directory(directory.as_fd(), &format!("mon_groups/{name}")));
        let monitor = monitor.and_then(std::result::Result::ok);
        Ok(Some(Group::new(root, directory, monitor, self.clone())))
    }

    /// Whether the group that is found is the recorded one.
    fn is(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        let facts = rustix::fs::fstat(directory).context(|| "stat the resctrl group")?;
        Ok(self.inode.is_none_or(|inode| inode == facts.st_ino))
    }

    /// Removes what the creation made and what does not outlive the container. `finished`: the creation was complete.
    ///
    /// # Errors
    /// Something stays.
    pub fn remove(&self, finished: bool) -> Result<()> {
        // Unmounting has removed all groups.
        Root::open(&self.root)?.map_or(Ok(()), |root| self.remove_below(&root, finished))
    }

    pub(super) fn remove_below(&self, root: &Root, finished: bool) -> Result<()> {
        let name = self.group.as_deref();
        let Some(directory) = root.group(name)? else { return Ok(()) };
        if !self.is(directory.as_fd())? {
            return Ok(());
        }
        let directory = directory.as_fd();
        if let Some(monitor) = &self.monitor {
            let path = format!("mon_groups/{monitor}");
            if finished || !is_used(directory, &format!("{path}/tasks")) {
                remove(directory, &path).map_err(|errno| {
                    root.refused(format!("remove monitoring group {monitor:?} of {}", root.shown(name)), errno)
                })?;
            }
        }
        let Some(own) = name.filter(|_| self.made) else { return Ok(()) };
        if if finished { self.named } else { is_used(directory, "tasks") } {
            return Ok(());
        }
        remove(root.directory(), own).map_err(|errno| root.refused(format!("remove {}", root.shown(name)), errno))
    }
}

/// Whether a process is in a group that has not ended.
fn is_used(directory: BorrowedFd<'_>, tasks: &str) -> bool {
    let text = read(directory, tasks).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).any(|pid| {
        // A thread other than the first one of its process cannot be opened; its process has not ended.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return exists(pid) };
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    })
}

fn exists(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}
