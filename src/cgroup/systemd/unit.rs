//! `linux.cgroupsPath` of the systemd driver: `slice:prefix:name`. World: plan.
//!
//! Promise: the name is one that systemd takes, and the path is where systemd puts the unit; both are known before
//! anything exists, so that the record can name them. Source: systemd.slice(5), systemd.unit(5), systemd-escape(1);
//! runtime-spec says nothing, runc's form is what engines send.

use std::path::Path;

use crate::error::{Code, Error, Result};

/// systemd's UNIT_NAME_MAX without the NUL, and NAME_MAX of its cgroup.
const MAX_NAME: usize = 255;
/// Leaves room for the mount point and a file name below PATH_MAX.
const MAX_PATH: usize = 3500;
const AT: &str = "linux.cgroupsPath";

/// A unit, and where its cgroup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// With its suffix.
    pub name: String,
    /// The slice that it is put into; for a slice the one that its name says.
    pub slice: String,
    /// Below the root of the hierarchy.
    pub components: Vec<String>,
}

impl Unit {
    /// Whether it is a slice, which takes no processes by their id.
    #[must_use]
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(SLICE)
    }
}

/// The suffix of a slice.
pub const SLICE: &str = ".slice";

/// The unit of `linux.cgroupsPath`, below the cgroup `above` of systemd itself.
///
/// - `slice:prefix:name`: scope `prefix-name.scope` in the slice, and `-name.scope` for an empty prefix, as runc has
///   it; a name that ends in `.slice` is a slice itself;
/// - an empty slice: system.slice, or user.slice of a user's own systemd;
/// - absent: `tare-ID.scope` there.
///
/// # Errors
/// Another form; a slice or a name that systemd does not take.
pub fn resolve(cgroups_path: Option<&Path>, id: &str, user: bool, above: &str) -> Result<Unit> {
    let usual = if user { "user.slice" } else { "system.slice" };
    let text = cgroups_path
        .map(|path| path.to_str().ok_or_else(|| Error::refused(Code::CgroupPathInvalid, AT, "is not UTF-8")))
        .transpose()?;
    let unit = match text.filter(|text| !text.is_empty()) {
        None => scope(usual, "tare", id)?,
        Some(text) => {
            let parts: Vec<&str> = text.split(':').collect();
            let [slice, prefix, name] = parts.as_slice() else { return Err(other_form(text)) };
            if name.is_empty() {
                return Err(Error::refused(Code::CgroupPathInvalid, AT, format!("{text:?} has no name"))
                    .hint("it is slice:prefix:name"));
            }
            match (*slice, name.ends_with(SLICE)) {
                (slice, true) => whole_slice(slice, name)?,
                ("", false) => scope(usual, prefix, name)?,
                (slice, false) => scope(slice, prefix, name)?,
            }
        }
    };
    let mut components: Vec<String> = above.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    components.extend(unit.components);
    let length: usize = components.iter().map(|part| part.len() + 1).sum();
    if length > MAX_PATH {
        return Err(Error::refused(
            Code::CgroupPathInvalid,
            AT,
            format!("makes a path of {length} bytes, more than {MAX_PATH}"),
        ));
    }
    Ok(Unit { components, ..unit })
}

/// runc's words, which people search for.
fn other_form(text: &str) -> Error {
    let shown: String = text.chars().take(200).collect();
    let what = format!(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {shown:?} instead"
    );
    Error::refused(Code::CgroupPathInvalid, AT, what).hint("or leave --systemd-cgroup out")
}

fn scope(slice: &str, prefix: &str, name: &str) -> Result<Unit> {
    let name = format!("{}-{}.scope", escape(prefix)?, escape(name)?);
    if name.len() > MAX_NAME {
        let shown: String = name.chars().take(40).collect();
        return Err(Error::refused(
            Code::CgroupPathInvalid,
            AT,
            format!("unit {shown:?}... is {} bytes long, more than {MAX_NAME}", name.len()),
        ));
    }
    let mut components = expand(slice)?;
    components.push(cgroup_name(&name));
    Ok(Unit { name, slice: slice.to_owned(), components })
}

/// The parent of a slice is in its name, and there is no other.
fn whole_slice(above: &str, name: &str) -> Result<Unit> {
    let components = expand(name)?;
    let parent = match name.trim_end_matches(SLICE).rsplit_once('-') {
        Some((parent, _)) => format!("{parent}{SLICE}"),
        None => "-.slice".to_owned(),
    };
    if components.is_empty() {
        return Err(Error::refused(Code::CgroupPathInvalid, AT, "\"-.slice\" is the root of the hierarchy")
            .hint("name a slice below it"));
    }
    if !above.is_empty() && above != parent {
        let what = format!("slice {name:?} is in {parent:?} by its name, not in {above:?}");
        return Err(Error::refused(Code::CgroupPathInvalid, AT, what));
    }
    Ok(Unit { name: name.to_owned(), slice: parent, components })
}

/// `a-b-c.slice` is in `a.slice/a-b.slice/`. The root is `-.slice`.
fn expand(slice: &str) -> Result<Vec<String>> {
    let shown: String = slice.chars().take(40).collect();
    let wrong = |what: &str| Err(Error::refused(Code::CgroupPathInvalid, AT, format!("slice {shown:?} {what}")));
    let Some(stem) = slice.strip_suffix(SLICE).filter(|stem| !stem.is_empty()) else {
        return wrong("does not end in \".slice\"");
    };
    if slice.len() > MAX_NAME {
        return wrong("is longer than 255 bytes");
    }
    if let Some(letter) = slice.chars().find(|letter| !is_valid(*letter)) {
        return wrong(&format!("has {letter:?}, which is not for the name of a unit"));
    }
    if stem == "-" {
        return Ok(Vec::new());
    }
    if stem.split('-').any(str::is_empty) {
        return wrong("has a dash at an end or two in a row");
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    Ok(ends.filter_map(|end| stem.get(..end)).map(|stem| cgroup_name(&format!("{stem}{SLICE}"))).collect())
}

/// Letters of a unit's name. Source: systemd.unit(5).
fn is_valid(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, ':' | '-' | '_' | '.' | '\\' | '@')
}

/// Other bytes as `\x2b`, as systemd-escape(1) has it; what is escaped already stays.
fn escape(text: &str) -> Result<String> {
    if let Some(letter) = text.chars().find(|letter| *letter == '/' || letter.is_control()) {
        let shown: String = text.chars().take(40).collect();
        return Err(Error::refused(
            Code::CgroupPathInvalid,
            AT,
            format!("{shown:?} has {letter:?}, which is not for the name of a unit"),
        ));
    }
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_valid(letter) {
            escaped.push(letter);
        } else {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| escaped.push_str(&format!("\\x{byte:02x}")));
        }
    }
    Ok(escaped)
}

/// A unit whose name could be that of a file of the kernel's gets a `_` before it in the hierarchy. Source: systemd's
/// cg_escape.
fn cgroup_name(name: &str) -> String {
    const CONTROLLERS: [&str; 13] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "bpf-firewall",
        "bpf-devices",
        "bpf-foreign",
        "bpf-socket-bind",
        "bpf-restrict-network-interfaces",
    ];
    let controller = name.rsplit_once('.').is_some_and(|(stem, _)| CONTROLLERS.contains(&stem));
    let escaped = controller || name.starts_with(['_', '.']) || name.starts_with("cgroup.");
    if escaped { format!("_{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: Option<&str>, user: bool, above: &str) -> Result<String> {
        resolve(path.map(Path::new), "box", user, above)
            .map(|unit| format!("{} {} /{}", unit.slice, unit.name, unit.components.join("/")))
    }

    #[test]
    fn every_form() {
        let root = |path: &str| unit(Some(path), false, "").unwrap();
        assert_eq!(root("system.slice:docker:0123"), "system.slice docker-0123.scope /system.slice/docker-0123.scope");
        assert_eq!(root(":docker:0123"), "system.slice docker-0123.scope /system.slice/docker-0123.scope");
        assert_eq!(root("::x"), "system.slice -x.scope /system.slice/-x.scope");
        assert_eq!(root("-.slice:a:b"), "-.slice a-b.scope /a-b.scope");
        assert_eq!(root("a-b-c.slice:p:n"), "a-b-c.slice p-n.scope /a.slice/a-b.slice/a-b-c.slice/p-n.scope");
        assert_eq!(root("a.slice:ignored:a-b.slice"), "a.slice a-b.slice /a.slice/a-b.slice");
        assert_eq!(root("::b.slice"), "-.slice b.slice /b.slice");
        assert_eq!(root("cpu.slice:p:n"), "cpu.slice p-n.scope /_cpu.slice/p-n.scope");
        assert_eq!(root(":_p:n"), "system.slice _p-n.scope /system.slice/__p-n.scope");
        assert_eq!(root(":p:a+b\\x2d"), r"system.slice p-a\x2bb\x2d.scope /system.slice/p-a\x2bb\x2d.scope");
        assert_eq!(unit(None, false, "").unwrap(), "system.slice tare-box.scope /system.slice/tare-box.scope");
        assert_eq!(unit(Some(""), false, "").unwrap(), "system.slice tare-box.scope /system.slice/tare-box.scope");
        let above = "/user.slice/user-1000.slice/user@1000.service";
        assert_eq!(
            unit(None, true, above).unwrap(),
            format!("user.slice tare-box.scope {above}/user.slice/tare-box.scope")
        );
        assert_eq!(
            unit(Some("a.slice:p:n"), true, above).unwrap(),
            format!("a.slice p-n.scope {above}/a.slice/p-n.scope")
        );
    }

    #[test]
    fn other_forms_and_bad_names_are_refused() {
        let long = format!(":{}:x", "p".repeat(300));
        let wrong = [
            "/docker/x",
            "x",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            ".slice:b:c",
            "a--b.slice:b:c",
            "-a.slice:b:c",
            "a-.slice:b:c",
            "a/b.slice:b:c",
            "a.slice:b/c:d",
            "a.slice:b:",
            "a.slice:b:c\n",
            "::-.slice",
            "x.slice::a-b.slice",
            &long,
            "../x.slice:b:c",
            "a.slice:..:/",
            "ä.slice:b:c",
        ];
        for path in wrong {
            let error = unit(Some(path), false, "").unwrap_err().to_string();
            assert!(error.starts_with("linux.cgroupsPath: ") && error.len() < 250, "{path:?}: {error}");
        }
        assert_eq!(
            unit(Some("/x"), false, "").unwrap_err().to_string(),
            "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \
             \"/x\" instead; or leave --systemd-cgroup out"
        );
    }
}
