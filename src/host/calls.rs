//! The system calls without which tare makes no container, and an error that names those that are kept from it.
//!
//! World: parent. A seccomp filter or a sandbox around tare can deny each of them with any error number, which would
//! otherwise be blamed on the value of config.json that the call was about. Calls that tare can do without are not here:
//! for close_range, execveat and faccessat2 there are older ways that are as safe (`sys/descriptors.rs`, `sys/exec.rs`,
//! `sys/access.rs`). docs/kernels.md gives the reason for each call that has no replacement.

use rustix::io::Errno;

use crate::error::{Code, Error, Result};
use crate::sys::probe::{self, Question};
use crate::sys::{access, descriptors};

/// The first version of Linux that has all that tare needs.
const OLDEST: [u32; 2] = [5, 14];

/// What a call is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Every command, also one on a container that exists.
    Any,
    /// To create a container, or to enter one.
    Enter,
    /// The same; the kernel refuses it with EPERM to a caller that may not mount.
    Mount,
}

/// In order of their names.
const NEEDED: &[(&str, &Question, Use)] = &[
    ("clone3", &probe::CLONE3, Use::Any),
    ("fsconfig", &probe::FSCONFIG, Use::Enter),
    ("fsmount", &probe::FSMOUNT, Use::Mount),
    ("fsopen", &probe::FSOPEN, Use::Mount),
    ("fspick", &probe::FSPICK, Use::Mount),
    ("mount_setattr", &probe::MOUNT_SETATTR, Use::Enter),
    ("move_mount", &probe::MOVE_MOUNT, Use::Mount),
    ("open_tree", &probe::OPEN_TREE, Use::Enter),
    ("openat2", &probe::OPENAT2, Use::Any),
    ("pidfd_open", &probe::PIDFD_OPEN, Use::Any),
    ("pidfd_send_signal", &probe::PIDFD_SEND_SIGNAL, Use::Any),
    ("statx", &probe::STATX, Use::Any),
];

/// A call that is kept from tare, and the answer that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) call: &'static str,
    pub(super) errno: Errno,
}

/// All needed calls that are denied. Nothing changes.
pub(super) fn denied() -> Vec<Denied> {
    denied_to(|_| true)
}

fn denied_to(is_asked: impl Fn(Use) -> bool) -> Vec<Denied> {
    let asked = NEEDED.iter().filter(|(.., needed_for)| is_asked(*needed_for));
    asked
        .filter_map(|&(call, question, needed_for)| Some(Denied { call, errno: answer(question, needed_for)? }))
        .collect()
}

/// Why a call is denied, if it is.
fn answer(question: &Question, needed_for: Use) -> Option<Errno> {
    match question.ask() {
        // Is it the kernel or a filter that says so? Where nobody may mount, this is not the call that is missing.
        Err(Errno::PERM) if needed_for == Use::Mount => probe::ask_as_mounter(question)?.err(),
        answer => answer.err(),
    }
}

/// Refuses to do anything where a call is denied that creating or entering a container needs. To be called before anything
/// exists. Without a filter around tare this is one system call.
///
/// # Errors
/// One that names the calls.
pub fn require() -> Result<()> {
    if probe::is_filtered() { require_all() } else { Ok(()) }
}

/// The same where the kernel has just been found not to have one of them.
///
/// # Errors
/// As [`require`].
pub fn require_all() -> Result<()> {
    if probe::FACCESSAT2.ask().is_err() {
        access::do_without_faccessat2();
    }
    let denied = denied();
    if denied.is_empty() { prepare_to_close() } else { Err(refusal(&denied, &release())) }
}

/// The part of [`require`] that hooks need which run after the creation.
///
/// # Errors
/// As [`require`].
pub fn require_for_hooks() -> Result<()> {
    if probe::is_filtered() { prepare_to_close() } else { Ok(()) }
}

/// Makes ready for children that close descriptors without close_range(2), where that is denied.
fn prepare_to_close() -> Result<()> {
    let Err(errno) = probe::CLOSE_RANGE.ask() else { return Ok(()) };
    descriptors::note_reach().map_err(|_| refusal(&[Denied { call: "close_range", errno }], &release()))
}

/// An error of a system call, with the calls that are denied with its number if there are such. For commands that do not
/// [`require`] them first: what they need depends on the container.
#[must_use]
pub fn named(error: Error) -> Error {
    let Some(errno) = error.raw_os_error() else { return error };
    let denied = match Errno::from_raw_os_error(errno) {
        _ if error.code() == Code::SystemCallDenied => return error,
        Errno::NOSYS => denied(),
        _ if probe::is_filtered() => denied_to(|needed_for| needed_for == Use::Any),
        _ => return error,
    };
    let denied: Vec<_> = denied.into_iter().filter(|denied| denied.errno.raw_os_error() == errno).collect();
    if denied.is_empty() {
        return error;
    }
    let refusal = refusal(&denied, &release());
    let why = refusal.message();
    error.recoded(refusal.code()).hint(format!("{why}; {}", refusal.advice().unwrap_or_default()))
}

/// The error for calls that are denied; `release` is that of the kernel.
fn refusal(denied: &[Denied], release: &str) -> Error {
    let calls = list(denied);
    let missing = denied.iter().all(|denied| denied.errno == Errno::NOSYS);
    if missing && version(release).is_some_and(|version| version < OLDEST) {
        let what = format!("Linux {release} is too old: it does not have {calls}");
        return Error::new(Code::KernelTooOld, what).hint("use Linux 5.14 or later");
    }
    let one = denied.len() == 1;
    let (are, them) = if one { ("is", "it") } else { ("are", "them") };
    let errno = denied.first().map_or(Errno::PERM, |denied| denied.errno);
    Error::new(Code::SystemCallDenied, format!("{calls} {are} denied"))
        .errno(errno)
        .detail(format!("a seccomp filter or sandbox around tare forbids {them}"))
        .hint(format!(
            "allow {}, or run tare outside of it (Docker: --privileged, or --security-opt seccomp=unconfined)",
            if one { calls } else { them.to_owned() }
        ))
}

/// `clone3, openat2 and statx`.
fn list(denied: &[Denied]) -> String {
    let names: Vec<_> = denied.iter().map(|denied| denied.call).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// That of the kernel that runs, or of the sandbox in its place.
fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The first two numbers of a release: `5.14.0-1-cloud` is 5.14.
fn version(release: &str) -> Option<[u32; 2]> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(calls: &[(&'static str, Errno)], release: &str) -> String {
        let denied: Vec<_> = calls.iter().map(|&(call, errno)| Denied { call, errno }).collect();
        refusal(&denied, release).to_string()
    }

    #[test]
    fn the_calls_and_who_denies_them_are_named() {
        assert_eq!(
            shown(&[("openat2", Errno::PERM)], "6.1.0"),
            "openat2 is denied: operation not permitted (a seccomp filter or sandbox around tare forbids it); \
             allow openat2, or run tare outside of it (Docker: --privileged, or --security-opt seccomp=unconfined)"
        );
        let several = [("clone3", Errno::NOSYS), ("openat2", Errno::NOSYS), ("statx", Errno::NOSYS)];
        assert!(
            shown(&several, "6.1.0").starts_with("clone3, openat2 and statx are denied: function not implemented (")
        );
        assert_eq!(
            shown(&several, "5.4.0-99-generic"),
            "Linux 5.4.0-99-generic is too old: it does not have clone3, openat2 and statx; use Linux 5.14 or later"
        );
        // An old kernel does not say EPERM.
        assert!(shown(&[("openat2", Errno::PERM)], "5.4.0").starts_with("openat2 is denied"));
    }

    #[test]
    fn versions_of_releases() {
        assert_eq!(version("5.14.0-427.el9.x86_64"), Some([5, 14]));
        assert_eq!(version("6.18+"), Some([6, 18]));
        assert_eq!(version("unknown"), None);
        assert!(version("4.19.0-gvisor") < Some(OLDEST) && version("10.0") > Some(OLDEST));
    }

    #[test]
    fn nothing_is_denied_here() {
        assert_eq!(denied(), []);
        assert!(NEEDED.is_sorted_by_key(|(call, ..)| *call));
        let error = Error::system("open x", Errno::NOSYS);
        assert_eq!(named(error.clone()).to_string(), error.to_string());
    }
}
