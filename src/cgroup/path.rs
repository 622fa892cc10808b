//! Where the cgroup is: `linux.cgroupsPath` as components below the root of the hierarchy. World: plan.
//!
//! Promise: a component is never `.`, `..`, too long or with control characters, so that joining
//! components cannot leave the hierarchy. Source: runtime-spec config-linux.md, "Control groups".

use std::path::Path;

use crate::error::{Code, Error, Result};

/// NAME_MAX.
const MAX_COMPONENT: usize = 255;
/// Leaves room for the mount point and a file name below PATH_MAX.
const MAX_PATH: usize = 3500;
const AT: &str = "linux.cgroupsPath";

/// The components of the container's cgroup below the root of the hierarchy.
///
/// - absolute: below the root;
/// - relative: beside the cgroup of the runtime, as runc has it: the runtime's own cgroup holds
///   processes and can therefore not hand controllers on. The systemd driver's slice:prefix:name is such a name too:
///   Docker's BuildKit gives that without --systemd-cgroup when Docker has the systemd driver;
/// - absent: `/tare/ID`, which the id alone determines, so that a cleanup without any state finds
///   it; without privileges it is relative, because only a delegated subtree can be written.
///
/// # Errors
/// A component that cannot be used; `own`, where it is needed.
pub fn resolve(cgroups_path: Option<&Path>, id: &str, rootless: bool, own: &Result<String>) -> Result<Vec<String>> {
    let Some(path) = given(cgroups_path) else {
        let parent = if rootless { beside(own.as_ref().map_err(Clone::clone)?) } else { vec!["tare".to_owned()] };
        return check_length(extend(parent, id, "id")?);
    };
    let text = path.to_str().ok_or_else(|| Error::refused(Code::CgroupPathInvalid, AT, "is not UTF-8"))?;
    let parent = if path.is_absolute() { Vec::new() } else { beside(own.as_ref().map_err(Clone::clone)?) };
    let components = extend(parent, text, AT)?;
    if text.split('/').all(str::is_empty) {
        return Err(Error::refused(Code::CgroupPathInvalid, AT, format!("{text:?} is the root of the hierarchy"))
            .hint("name a cgroup below it"));
    }
    check_length(components)
}

fn given(cgroups_path: Option<&Path>) -> Option<&Path> {
    cgroups_path.filter(|path| !path.as_os_str().is_empty())
}

/// Whether [`resolve`] needs the runtime's own cgroup.
#[must_use]
pub fn is_relative(cgroups_path: Option<&Path>, rootless: bool) -> bool {
    given(cgroups_path).map_or(rootless, |path| !path.is_absolute())
}

/// The parent of the runtime's own cgroup; the kernel wrote that path, so it needs no check.
fn beside(own: &str) -> Vec<String> {
    let mut components: Vec<String> = own.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    components.pop();
    components
}

/// Repeated and trailing slashes mean nothing, as everywhere in paths.
fn extend(mut components: Vec<String>, text: &str, at: &str) -> Result<Vec<String>> {
    for part in text.split('/').filter(|part| !part.is_empty()) {
        let wrong = match part {
            "." | ".." => Some("is not allowed"),
            part if part.chars().any(char::is_control) => Some("has a control character"),
            part if part.len() > MAX_COMPONENT => Some("is longer than 255 bytes"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let shown: String = part.chars().take(40).collect();
            return Err(Error::refused(Code::CgroupPathInvalid, at, format!("component {shown:?} {wrong}")));
        }
        components.push(part.to_owned());
    }
    Ok(components)
}

fn check_length(components: Vec<String>) -> Result<Vec<String>> {
    let length: usize = components.iter().map(|part| part.len() + 1).sum();
    if length > MAX_PATH {
        return Err(Error::refused(
            Code::CgroupPathInvalid,
            AT,
            format!("is {length} bytes long, more than {MAX_PATH}"),
        ));
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: Option<&str>, rootless: bool) -> Result<String> {
        let path = path.map(Path::new);
        let unneeded = Err(Error::refused(Code::Internal, "own", "not needed"));
        let own = if is_relative(path, rootless) { Ok("/user.slice/session-1.scope".to_owned()) } else { unneeded };
        resolve(path, "box", rootless, &own).map(|parts| format!("/{}", parts.join("/")))
    }

    #[test]
    fn absolute_relative_and_absent() {
        assert_eq!(at(Some("/docker/0123"), false).unwrap(), "/docker/0123");
        assert_eq!(at(Some("//docker//0123/"), false).unwrap(), "/docker/0123");
        assert_eq!(at(Some("mine/x"), false).unwrap(), "/user.slice/mine/x");
        assert_eq!(at(None, false).unwrap(), "/tare/box");
        assert_eq!(at(None, true).unwrap(), "/user.slice/box");
        assert_eq!(at(Some(""), false).unwrap(), "/tare/box");
        assert_eq!(at(Some("system.slice:docker:01"), false).unwrap(), "/user.slice/system.slice:docker:01");
    }

    #[test]
    fn hostile_paths_are_refused() {
        let long = format!("/{}", "x".repeat(256));
        let deep = "/abcdefg".repeat(500);
        let hostile = [
            "/",
            "//",
            ".",
            "..",
            "/..",
            "../x",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "a/../../b",
            "/a\nb",
            "/a\0b",
            "/a\x1bb",
            &long,
            &deep,
        ];
        for path in hostile {
            let error = at(Some(path), false).unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: ") && error.len() < 200, "{path:?}: {error}");
        }
        assert_eq!(
            at(Some("/a/../b"), false).unwrap_err().to_string(),
            "linux.cgroupsPath: component \"..\" is not allowed"
        );
    }
}
