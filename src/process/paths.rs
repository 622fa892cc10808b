//! Where the program may be, and where it starts.
//!
//! World: plan (pure). The search follows execvp(3), as the spec has it: a name with a slash is taken as
//! it is, another is looked for in each directory of PATH, an empty one being the working directory.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::plan::path;
use crate::error::{Code, Error, Result};

/// The files that may be `program`, in the order of the search; none for an empty name or without PATH.
pub(super) fn candidates(program: &CStr, search: Option<&[u8]>) -> Vec<CString> {
    let name = program.to_bytes();
    if name.contains(&b'/') {
        return vec![program.into()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let directories = search.filter(|search| !search.is_empty()).into_iter();
    directories.flat_map(|search| search.split(|byte| *byte == b':')).filter_map(|dir| join(dir, name)).collect()
}

fn join(directory: &[u8], name: &[u8]) -> Option<CString> {
    let directory = if directory.is_empty() { b"." } else { directory };
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    CString::new([directory, slash, name].concat()).ok()
}

/// One directory on the way to the working directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// Where it is.
    pub parent: CString,
    /// Its own name.
    pub name: CString,
}

/// The working directory, and what has to exist for it, outermost first.
pub(super) fn working_directory(cwd: &Path, at: &str) -> Result<(CString, Vec<Component>)> {
    let refuse = |what: String| Error::refused(Code::CwdInvalid, path(at, "cwd"), what);
    let bytes = cwd.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(refuse("cwd must not be empty".to_string()));
    }
    if !cwd.is_absolute() {
        return Err(refuse(format!("cwd must be an absolute path, not {cwd:?}")));
    }
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| refuse("contains a NUL character".to_string()));
    let whole = string(bytes)?;
    let mut components = Vec::new();
    let mut start = 0;
    for name in bytes.split(|byte| *byte == b'/') {
        if !name.is_empty() && name != b"." {
            components.push(Component { parent: string(&bytes[..start])?, name: string(name)? });
        }
        start += name.len() + 1;
    }
    Ok((whole, components))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(program: &CStr, search: Option<&str>) -> Vec<String> {
        let found = candidates(program, search.map(str::as_bytes));
        found.into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn the_search_follows_execvp() {
        assert_eq!(searched(c"sh", Some("/usr/bin:/bin/:bin:")), ["/usr/bin/sh", "/bin/sh", "bin/sh", "./sh"]);
        assert_eq!(searched(c"/bin/sh", Some("/usr/bin")), ["/bin/sh"]);
        assert_eq!(searched(c"./sh", None), ["./sh"]);
        assert!(searched(c"sh", None).is_empty());
        assert!(searched(c"sh", Some("")).is_empty());
        assert!(searched(c"", Some("/bin")).is_empty());
    }

    #[test]
    fn every_directory_above_the_working_directory_is_listed() {
        let of = |cwd: &str| {
            let (_, components) = working_directory(Path::new(cwd), "process").unwrap();
            let text = |string: CString| string.into_string().unwrap();
            components.into_iter().map(|c| (text(c.parent), text(c.name))).collect::<Vec<_>>()
        };
        let pair = |parent: &str, name: &str| (parent.to_string(), name.to_string());
        assert!(of("/").is_empty());
        assert_eq!(of("/srv/app"), [pair("/", "srv"), pair("/srv/", "app")]);
        assert_eq!(of("//srv/./../x/"), [pair("//", "srv"), pair("//srv/./", ".."), pair("//srv/./../", "x")]);
    }
}
