//! For a program that is a container runtime and nothing else: what the `tare` binary does before it reads its arguments.
//!
//! World: parent. All of it changes the whole process, which an embedding program with work of its own may not want.

use crate::error::{Code, Error, Result};
pub use crate::sys::allocation::Allocator;

/// Opens /dev/null in the place of each of stdin, stdout and stderr that is closed: the next file that is opened would be
/// taken for it.
///
/// # Errors
/// /dev/null cannot be opened.
pub fn open_stdio() -> Result<()> {
    crate::sys::descriptors::open_stdio()
        .map_err(|errno| Error::system("open /dev/null in place of closed stdio", errno))
}

/// Gives every signal its default action, unblocks all, and ignores SIGPIPE: for `run` and `exec`, which forward signals,
/// and whose programs inherit the rest.
///
/// # Errors
/// None in practice.
pub fn reset_signals() -> Result<()> {
    with_pipe_ignored(crate::sys::signals::reset())
}

/// Gives SIGCHLD alone its default action, without which no child can be waited for, and ignores SIGPIPE.
///
/// # Errors
/// None in practice.
pub fn reset_child_signal() -> Result<()> {
    with_pipe_ignored(crate::sys::signals::reset_child())
}

/// Takes the ids and groups of a user for good, and thereby loses all capabilities unless `uid` is 0. For a process of
/// one thread: others would keep theirs.
///
/// # Errors
/// The caller may not change its ids (setresuid(2), setgroups(2)).
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    use crate::sys::credentials::{set_gid, set_groups, set_uid};
    let become_them = set_groups(groups).and_then(|()| set_gid(gid)).and_then(|()| set_uid(uid));
    become_them
        .map_err(|errno| Error::system(format!("take the ids of user {uid}"), errno).coded(Code::CredentialsFailed))
}

fn with_pipe_ignored(reset: std::result::Result<(), rustix::io::Errno>) -> Result<()> {
    reset.map_err(|errno| Error::system("reset the signals", errno))?;
    crate::sys::signals::ignore_pipe();
    Ok(())
}
