//! The id mappings of a user namespace that is joined by path.
//!
//! World: parent. Such a namespace has its mappings already, and engines repeat them in the config. Others there would be
//! dropped without a word, so they are an error: as with runc 1.2.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{fstat, stat};

use super::super::plan::{Join, MapTexts};
use crate::error::{Code, Context, Error, Result};
use crate::sys::parked::Parked;

/// Compares the mappings of the config with those of the namespace that was opened for `join`.
///
/// # Errors
/// They differ, at `linux.uidMappings` or `linux.gidMappings`; those of the namespace cannot be read.
pub(super) fn check(join: &Join, namespace: BorrowedFd<'_>, asked: &MapTexts) -> Result<()> {
    let present = read(join, namespace)?;
    for (at, asked, present) in
        [("linux.uidMappings", &asked.uid, &present.uid), ("linux.gidMappings", &asked.gid, &present.gid)]
    {
        if lines(asked) != lines(present) {
            let what = "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may \
                        only provide one";
            let shown = present.split_whitespace().collect::<Vec<_>>().join(" ");
            let hint = format!("leave the mappings out, or repeat those of {}: {shown}", join.path.display());
            return Err(Error::refused(Code::IdMappingInvalid, at, what).hint(hint));
        }
    }
    Ok(())
}

fn read(join: &Join, namespace: BorrowedFd<'_>) -> Result<MapTexts> {
    let own = is_still(Path::new("/proc/self/ns/user"), namespace).then_some("/proc/self");
    let named = || join.path.to_str()?.strip_suffix("/ns/user").filter(|process| process.starts_with("/proc/"));
    if let Some(process) = own.or_else(named)
        && let (Ok(uid), Ok(gid)) = (of_process(process, "uid_map"), of_process(process, "gid_map"))
        && (own.is_some() || is_still(&join.path, namespace))
    {
        return Ok(MapTexts { uid, gid });
    }
    // A bind mount of the namespace has no process: one is made there.
    let what = || format!("look into the user namespace {}", join.path.display());
    let parked = Parked::in_user_namespace(namespace.as_fd()).context(what)?;
    let process = format!("/proc/{}", parked.pid());
    let file = |name: &str| of_process(&process, name).context(what);
    Ok(MapTexts { uid: file("uid_map")?, gid: file("gid_map")? })
}

fn of_process(process: &str, file: &str) -> std::io::Result<String> {
    fs::read_to_string(format!("{process}/{file}"))
}

/// Whether the path still leads to the namespace: the pid in it may be another process's by now.
fn is_still(path: &Path, namespace: BorrowedFd<'_>) -> bool {
    match (stat(path), fstat(namespace)) {
        (Ok(now), Ok(opened)) => (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino),
        _ => false,
    }
}

/// Lines of "inside outside count" in order, those that go on from one another joined.
fn lines(text: &str) -> Vec<[u64; 3]> {
    let numbers = |line: &str| {
        let mut words = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
        Some([words.next()?, words.next()?, words.next()?])
    };
    let mut sorted: Vec<[u64; 3]> = text.lines().filter_map(numbers).collect();
    sorted.sort_unstable();
    let mut joined: Vec<[u64; 3]> = Vec::with_capacity(sorted.len());
    for [inside, outside, count] in sorted {
        match joined.last_mut() {
            Some(last) if last[0] + last[2] == inside && last[1] + last[2] == outside => last[2] += count,
            _ => joined.push([inside, outside, count]),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_the_same_however_they_are_written() {
        assert_eq!(lines("1 1001 9\n0 1000 1\n"), lines("         0       1000         10\n"));
        assert_eq!(lines("0 1000 1\n5 2000 1\n"), [[0, 1000, 1], [5, 2000, 1]]);
        assert_ne!(lines("0 1000 10\n"), lines("0 1000 11\n"));
        assert_eq!(lines(""), [[0_u64; 3]; 0]);
    }

    #[test]
    fn the_callers_own_mappings_are_read_from_its_process() {
        let own = fs::File::open("/proc/self/ns/user").unwrap();
        let join = Join { kind: super::super::NamespaceKind::User, path: "/proc/self/ns/user".into(), index: 0 };
        let text = MapTexts {
            uid: fs::read_to_string("/proc/self/uid_map").unwrap(),
            gid: fs::read_to_string("/proc/self/gid_map").unwrap(),
        };
        check(&join, own.as_fd(), &text).unwrap();
        let other = MapTexts { gid: "0 1 1\n".into(), ..text };
        let error = check(&join, own.as_fd(), &other).unwrap_err();
        assert_eq!(error.path(), Some("linux.gidMappings"));
        assert!(error.to_string().contains("non-matching mapping specified"), "{error}");
    }
}
