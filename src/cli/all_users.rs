//! check --all-users: one check after the other, each in a process of that user.
//!
//! World: parent. A process takes its user's ids before it looks at anything, so what it finds is what the user would.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use nix::unistd::{Uid, User, getgrouplist};
use serde_json::{Value, json};
use tare::error::{Code, Error, Result};

use super::values::Values;

/// The hidden option of the processes that check as somebody else.
pub const AS_USER: &str = "as-user";

/// Users with subordinate ids. Source: subuid(5).
const SUBUID: &str = "/etc/subuid";

/// Takes the ids of the user that --as-user names, if it is given.
///
/// # Errors
/// There is no such user, or the caller may not act as one.
pub fn become_user(values: Values<'_>) -> Result<()> {
    let name = values.command().and_then(|(_, command)| command.one::<String>(AS_USER));
    let Some(name) = name else { return Ok(()) };
    let user = User::from_name(name).ok().flatten().ok_or_else(|| refused(format!("there is no user {name:?}")))?;
    let with_nul = CString::new(name.as_str()).unwrap_or_default();
    let groups = getgrouplist(&with_nul, user.gid)
        .map_err(|errno| refused(format!("the groups of user {name:?} cannot be read")).detail(errno.to_string()))?;
    let groups: Vec<u32> = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
    tare::startup::become_user(user.uid.as_raw(), user.gid.as_raw(), &groups)
}

/// Prints a report for root and for each user with subordinate ids; the exit code.
///
/// # Errors
/// The caller is not root, or a check cannot be executed.
pub fn check(json: bool) -> Result<i32> {
    if !Uid::effective().is_root() {
        return Err(refused("check --all-users needs root, which alone can act as other users".to_owned()));
    }
    let mut reports = Vec::new();
    let mut would_start = true;
    for (index, user) in users().iter().enumerate() {
        let output = check_as(user)?;
        would_start &= output.status.success();
        if json {
            reports.push(report(user, &output)?);
        } else {
            let line = if index == 0 { "" } else { "\n" };
            super::print(format!("{line}{} (uid {}):\n", tare::error::escaped(&user.name), user.uid).as_bytes())?;
            super::print(&output.stdout)?;
            super::print(&output.stderr)?;
        }
    }
    if json {
        super::print(&super::table::pretty(&reports)?)?;
    }
    Ok(i32::from(!would_start))
}

/// Root, and whom /etc/subuid names, by name or number, in its order.
fn users() -> Vec<User> {
    let text = std::fs::read_to_string(SUBUID).unwrap_or_default();
    let owners = text.lines().filter_map(|line| line.split(':').next()).filter(|owner| !owner.is_empty());
    let by_number = |owner: &str| owner.parse().ok().and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok().flatten());
    let named = owners.filter_map(|owner| User::from_name(owner).ok().flatten().or_else(|| by_number(owner)));
    let root = User::from_uid(Uid::from_raw(0)).ok().flatten();
    let mut known = BTreeSet::new();
    root.into_iter().chain(named).filter(|user| known.insert(user.uid.as_raw())).collect()
}

/// The same command line as that user, with the environment of a login.
fn check_as(user: &User) -> Result<Output> {
    // The binary has a `main` of its own, so std knows no arguments.
    let line = std::fs::read("/proc/self/cmdline").map_err(|e| failed(user, e))?;
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).skip(1);
    let words = words.filter(|word| *word != b"--all-users").map(OsStr::from_bytes);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tare").args(words).arg(format!("--{AS_USER}={}", user.name)).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name);
    let session = format!("/run/user/{}", user.uid);
    if Path::new(&session).is_dir() {
        command.env("XDG_RUNTIME_DIR", OsStr::new(&session));
    }
    command.output().map_err(|e| failed(user, e))
}

fn failed(user: &User, error: std::io::Error) -> Error {
    Error::system(format!("check as user {:?}", user.name), error).coded(Code::ExecutableFailed)
}

/// What that process printed, with whose it is.
fn report(user: &User, output: &Output) -> Result<Value> {
    let mut report: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        let line = String::from_utf8_lossy(&output.stderr);
        refused(format!("check as user {:?}", user.name)).detail(line.trim_end().to_owned())
    })?;
    report["user"] = json!(user.name);
    report["uid"] = json!(user.uid.as_raw());
    Ok(report)
}

fn refused(what: String) -> Error {
    Error::new(Code::CredentialsFailed, what)
}
