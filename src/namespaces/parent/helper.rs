//! newuidmap and newgidmap: the set-user-ID programs that write id mappings for an ordinary user, as /etc/subuid and
//! /etc/subgid permit.
//!
//! World: parent. They are looked for in fixed places: PATH is the caller's, and engines often set none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Code, Error, Result};

const PLACES: [&str; 6] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin", "/sbin"];

/// Where a helper is installed.
#[must_use]
pub fn path(name: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

/// The helper for `file`, what it maps, and where the ids are that the user may map.
fn names(file: &str) -> (&'static str, &'static str, &'static str) {
    if file == "uid_map" { ("newuidmap", "uids", "/etc/subuid") } else { ("newgidmap", "gids", "/etc/subgid") }
}

/// Where the helper for `file` (uid_map or gid_map) is installed.
///
/// # Errors
/// It is missing.
pub(in crate::namespaces) fn find(file: &str) -> Result<PathBuf> {
    let (name, ids, _) = names(file);
    path(name).ok_or_else(|| {
        let what = format!("mapping {ids} that are not the caller's own needs {name}, which is not installed");
        let hint = format!(
            "install the package uidmap or shadow-utils, or map the caller's own id alone; looked in {}",
            PLACES.join(", ")
        );
        Error::new(Code::IdMappingHelperMissing, what).hint(hint)
    })
}

/// Has the helper for `file` (uid_map or gid_map) write `text` for process `pid`.
///
/// # Errors
/// The helper is missing, or refuses: in its own words.
pub(super) fn write(file: &str, pid: i32, text: &str) -> Result<()> {
    let program = find(file)?;
    let output = Command::new(&program)
        .arg(pid.to_string())
        .args(text.split_whitespace())
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::system(format!("execute {}", program.display()), e).coded(Code::IdMappingFailed))?;
    if output.status.success() {
        return Ok(());
    }
    Err(refused(file, String::from_utf8_lossy(&output.stderr).trim().replace('\n', ", ")))
}

/// What [`write`] says if the helper for `file` does not permit the map of `count` ids, which it reports itself.
pub(in crate::namespaces) fn not_allowed(file: &str, [inside, outside, count]: [u64; 3]) -> Error {
    let (name, ids, _) = names(file);
    let (kind, inside_end, outside_end) = (ids.trim_end_matches('s'), inside + count, outside + count);
    refused(file, format!("{name}: {kind} range [{inside}-{inside_end}) -> [{outside}-{outside_end}) not allowed"))
}

/// What [`write`] says if the kernel refuses the map that the helper for `file` writes.
pub(in crate::namespaces) fn write_failed(file: &str) -> Error {
    let (name, ..) = names(file);
    refused(file, format!("{name}: write to {file} failed: Invalid argument"))
}

fn refused(file: &str, said: String) -> Error {
    let (name, ids, database) = names(file);
    let what = format!("{name} refuses to map the {ids}");
    // Source: kernel/user_namespace.c, `new_idmap_permitted`: the writer of a map has CAP_SYS_ADMIN over the namespace.
    let hint = if said.ends_with("Operation not permitted") {
        let kind = ids.trim_end_matches('s');
        format!(
            "{name} must be set-user-ID root or, in a container without CAP_SYS_ADMIN, have the file capability \
             cap_set{kind}=ep instead (chmod u-s, setcap)"
        )
    } else {
        format!("{database} must give these ids to the user, and {name} must be set-user-ID root")
    };
    Error::new(Code::IdMappingRefused, what).detail(said).hint(hint)
}
