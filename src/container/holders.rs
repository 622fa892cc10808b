//! World: parent. Who holds the lock on a container's directory.
//!
//! A lock of flock(2) belongs to an open file: a process that a command has made keeps it when the command itself is
//! dead. /proc/PID/fdinfo shows the lock at each descriptor of that file, with the process that took it. Links and texts
//! of /proc alone are read: to look at what a descriptor leads to could wait for a server of FUSE in a container.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use procfs::ProcError;
use procfs::process::{FDTarget, Process, all_processes};

use super::store::Directory;

/// Characters of a command line that are shown.
const COMMAND: usize = 120;

/// A process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: i32,
    /// Its command line; it may say anything.
    pub(super) command: String,
}

/// The processes that a command has left behind with the lock on `directory`; none while the command that took the lock
/// lives, or where it cannot be told.
pub(super) fn left_behind(directory: &Directory) -> Vec<Holder> {
    let Some(inode) = field(&own(directory), "ino:") else { return Vec::new() };
    let mut holders: Vec<(i32, i32)> = Vec::new();
    for process in all_processes().into_iter().flatten().flatten() {
        holders.extend(taker(&process, &directory.id, &inode).map(|taker| (process.pid(), taker)));
    }
    if holders.iter().any(|(_, taker)| is_at_work(*taker, &holders)) {
        return Vec::new();
    }
    holders.into_iter().map(|(pid, _)| Holder { pid, command: command(pid) }).collect()
}

fn own(directory: &Directory) -> String {
    let path = format!("/proc/self/fdinfo/{}", directory.as_fd().as_raw_fd());
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Who took the lock that a process holds on the directory of container `id`.
fn taker(process: &Process, id: &str, inode: &str) -> Option<i32> {
    process.fd().ok()?.flatten().find_map(|open| {
        let FDTarget::Path(path) = open.target else { return None };
        if path.file_name() != Some(id.as_ref()) {
            return None;
        }
        // procfs does not parse fdinfo.
        let information = text(process, &format!("fdinfo/{}", open.fd));
        (field(&information, "ino:")? == inode).then(|| lock(&information)).flatten()
    })
}

/// A file of a process, empty if it cannot be read; its bytes may be anything.
fn text(process: &Process, file: &str) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is as good as the whole.
    let _read = process.open_relative(file).map(|mut file| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `lock:  1: FLOCK  ADVISORY  WRITE 123 00:19:1234 0 EOF`; the process is 0 where it has no number here.
fn lock(information: &str) -> Option<i32> {
    let mut locks = information.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == "FLOCK").then(|| words.nth(2)?.parse().ok()).flatten()
    })
}

fn field(information: &str, name: &str) -> Option<String> {
    information.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

/// Whether the process that took a lock is still there with it; one whose descriptors cannot be seen may be.
fn is_at_work(taker: i32, holders: &[(i32, i32)]) -> bool {
    let hidden = || match Process::new(taker).and_then(|process| process.fd()) {
        Ok(_) | Err(ProcError::NotFound(_)) => false,
        Err(_) => true,
    };
    holders.iter().any(|(pid, _)| *pid == taker) || (taker > 0 && hidden())
}

fn command(pid: i32) -> String {
    let Ok(process) = Process::new(pid) else { return String::new() };
    let words = text(&process, "cmdline");
    let words = if words.is_empty() { text(&process, "comm") } else { words };
    words.replace('\0', " ").trim().chars().take(COMMAND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_descriptor_is_found_with_its_taker() {
        let text =
            "pos:\t0\nflags:\t0300000\nmnt_id:\t30\nino:\t77\nlock:\t1: FLOCK  ADVISORY  WRITE 123 00:19:77 0 EOF\n";
        assert_eq!((field(text, "ino:").as_deref(), lock(text)), (Some("77"), Some(123)));
        assert_eq!(lock("lock:\t1: POSIX  ADVISORY  WRITE 123 00:19:77 0 EOF\n"), None);
        assert_eq!(lock("lock:\t1: FLOCK\n"), None);
        assert_eq!(lock("ino:\t77\n"), None);
    }
}
