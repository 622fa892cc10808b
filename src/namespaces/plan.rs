//! World: plan. linux.namespaces, mappings, time offsets, hostname and domainname become flags and texts.
//!
//! Source: runtime-spec config-linux.md, "Namespaces" to "Offset for Time Namespace".

use std::ffi::CString;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIdMapping, Spec};

use super::kind::{NamespaceKind, NamespaceSet, word};
use super::sysctl::{self, Sysctl};
use crate::error::{Code, Error, Result, c_string};

/// What will be done about namespaces.
#[derive(Debug, Default)]
pub struct NamespacePlan {
    /// The namespaces that are made.
    pub new: NamespaceSet,
    /// The namespaces that are joined, in the order of the config.
    pub join: Vec<Join>,
    /// The id mappings of a new user namespace.
    pub mappings: Option<Mappings>,
    /// What the config says of the mappings of a user namespace that is joined.
    pub joined_mappings: Option<MapTexts>,
    /// The text for /proc/self/timens_offsets of a new time namespace.
    pub time_offsets: Vec<u8>,
    /// hostname.
    pub hostname: Option<CString>,
    /// domainname.
    pub domainname: Option<CString>,
    /// linux.sysctl, checked and sorted.
    pub sysctls: Vec<Sysctl>,
}

/// A namespace that is joined by path.
#[derive(Debug)]
pub struct Join {
    /// Its kind.
    pub kind: NamespaceKind,
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its place in linux.namespaces.
    pub index: usize,
}

/// Mappings as the kernel writes them, lines of "inside outside count".
#[derive(Debug)]
pub struct MapTexts {
    /// Of users.
    pub uid: String,
    /// Of groups.
    pub gid: String,
}

/// The texts for uid_map and gid_map, and who writes them. Source: user_namespaces(7).
#[derive(Debug)]
pub struct Mappings {
    /// Lines of "inside outside count".
    pub uid: String,
    /// The same for groups.
    pub gid: String,
    /// newuidmap(1) writes the first, since the kernel would not take it from the caller.
    pub uid_by_helper: bool,
    /// newgidmap(1) writes the second.
    pub gid_by_helper: bool,
    /// setgroups(2) has to be given up for the second.
    pub deny_set_groups: bool,
}

/// What the kernel asks about the writer of id mappings.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// CAP_SETUID over its own user namespace: any map.
    pub sets_uids: bool,
    /// CAP_SETGID over its own user namespace: any map.
    pub sets_gids: bool,
    /// CAP_SYS_ADMIN over its own user namespace: namespaces without a new user namespace.
    pub administers: bool,
}

impl Mappings {
    /// Decides who writes: without the capability the kernel takes one line for the caller's own id, and nothing else.
    fn for_caller(&mut self, caller: &Caller) {
        let own = |text: &str, id: u32| {
            let mut numbers = text.split_whitespace().skip(1).map(str::parse);
            (numbers.next(), numbers.next(), numbers.next()) == (Some(Ok(id)), Some(Ok(1)), None)
        };
        self.uid_by_helper = !caller.sets_uids && !own(&self.uid, caller.uid);
        self.gid_by_helper = !caller.sets_gids && !own(&self.gid, caller.gid);
        self.deny_set_groups = !caller.sets_gids && !self.gid_by_helper;
    }
}

impl NamespacePlan {
    /// Whether the container has a namespace of this kind of its own, new or joined.
    #[must_use]
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.is_new(kind) || self.join.iter().any(|join| join.kind == kind)
    }

    /// Whether a namespace of this kind is made.
    #[must_use]
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        self.new.contains(kind.into())
    }

    /// Those that clone3 makes: time and cgroup namespaces are made by other means, see `child`.
    #[must_use]
    pub fn new_with_clone(&self) -> NamespaceSet {
        self.new.difference(NamespaceSet::TIME | NamespaceSet::CGROUP)
    }

    /// All namespaces of the container's own, new and joined.
    #[must_use]
    pub fn all(&self) -> NamespaceSet {
        self.join.iter().fold(self.new, |all, join| all | join.kind.into())
    }
}

/// Plans the namespaces of `spec` for a caller.
///
/// # Errors
/// Duplicates, relative paths, mappings without a user namespace or the other way round, offsets without a time
/// namespace, a hostname without a UTS namespace, sysctls that are not the container's own.
pub fn plan(spec: &Spec, caller: &Caller) -> Result<NamespacePlan> {
    let mut plan = NamespacePlan::default();
    let linux = spec.linux().as_ref();
    for (index, namespace) in linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten().enumerate() {
        add(&mut plan, index, namespace.typ(), namespace.path().as_deref())?;
    }
    if let Some(linux) = linux {
        plan.mappings = mappings(linux, &plan)?;
        plan.joined_mappings = joined_mappings(linux, &plan)?;
        if let Some(mappings) = &mut plan.mappings {
            mappings.for_caller(caller);
        }
        plan.time_offsets = time_offsets(linux, &plan)?;
        plan.sysctls = sysctl::plan(linux.sysctl().as_ref(), &plan)?;
    }
    plan.hostname = name(spec.hostname().as_deref(), "hostname", &plan)?;
    plan.domainname = name(spec.domainname().as_deref(), "domainname", &plan)?;
    Ok(plan)
}

fn add(plan: &mut NamespacePlan, index: usize, kind: NamespaceKind, path: Option<&Path>) -> Result<()> {
    let at = format!("linux.namespaces[{index}]");
    if plan.has(kind) {
        return Err(Error::refused(
            Code::NamespaceDuplicate,
            at,
            format!("namespace type {} is listed twice", word(kind)),
        ));
    }
    match path {
        Some(path) if !path.as_os_str().is_empty() => {
            if !path.is_absolute() {
                let what = format!("namespace path {} is not absolute", path.display());
                return Err(Error::refused(Code::NamespacePathInvalid, format!("{at}.path"), what));
            }
            plan.join.push(Join { kind, path: path.to_path_buf(), index });
        }
        _ => plan.new |= kind.into(),
    }
    Ok(())
}

fn mappings(linux: &Linux, plan: &NamespacePlan) -> Result<Option<Mappings>> {
    let uid = linux.uid_mappings().as_deref().unwrap_or_default();
    let gid = linux.gid_mappings().as_deref().unwrap_or_default();
    if !plan.has(NamespaceKind::User) {
        for (list, at) in [(uid, "linux.uidMappings"), (gid, "linux.gidMappings")] {
            if !list.is_empty() {
                let hint = "add {\"type\": \"user\"} to linux.namespaces or remove the mappings";
                return Err(Error::refused(Code::NamespaceMissing, at, "id mappings are given, but no user namespace")
                    .hint(hint));
            }
        }
        return Ok(None);
    }
    if !plan.is_new(NamespaceKind::User) {
        return Ok(None);
    }
    for (list, at) in [(uid, "linux.uidMappings"), (gid, "linux.gidMappings")] {
        if list.is_empty() {
            let what = "a new user namespace is asked for, but no id mappings found";
            return Err(Error::refused(Code::IdMappingMissing, at, what).hint("map at least id 0 of the container"));
        }
    }
    Ok(Some(Mappings {
        uid: map_text(uid, "linux.uidMappings")?,
        gid: map_text(gid, "linux.gidMappings")?,
        uid_by_helper: false,
        gid_by_helper: false,
        deny_set_groups: false,
    }))
}

/// A joined user namespace has its mappings already; engines repeat them in the config.
fn joined_mappings(linux: &Linux, plan: &NamespacePlan) -> Result<Option<MapTexts>> {
    let uid = linux.uid_mappings().as_deref().unwrap_or_default();
    let gid = linux.gid_mappings().as_deref().unwrap_or_default();
    if !plan.join.iter().any(|join| join.kind == NamespaceKind::User) || uid.is_empty() && gid.is_empty() {
        return Ok(None);
    }
    Ok(Some(MapTexts { uid: map_text(uid, "linux.uidMappings")?, gid: map_text(gid, "linux.gidMappings")? }))
}

/// Lines that the kernel takes at the most. Source: user_namespaces(7), Linux 4.15.
const MAP_LINES: usize = 340;

fn map_text(list: &[LinuxIdMapping], at: &str) -> Result<String> {
    use std::fmt::Write;
    if list.len() > MAP_LINES {
        return Err(Error::refused(
            Code::IdMappingInvalid,
            at,
            format!("{} mappings; the kernel accepts at most {MAP_LINES}", list.len()),
        ));
    }
    let mut text = String::new();
    for (index, map) in list.iter().enumerate() {
        let fits = |first: u32| first.checked_add(map.size()).is_some();
        if map.size() == 0 || !fits(map.container_id()) || !fits(map.host_id()) {
            let what = format!(
                "mapping of {} ids from {} to {} is empty or exceeds the range of ids",
                map.size(),
                map.container_id(),
                map.host_id()
            );
            return Err(Error::refused(Code::IdMappingInvalid, format!("{at}[{index}]"), what));
        }
        let _ = writeln!(text, "{} {} {}", map.container_id(), map.host_id(), map.size());
    }
    Ok(text)
}

fn time_offsets(linux: &Linux, plan: &NamespacePlan) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut text = Vec::new();
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else {
        return Ok(text);
    };
    if !plan.is_new(NamespaceKind::Time) {
        let what = "time offsets are given, but no new time namespace";
        return Err(Error::refused(Code::NamespaceMissing, "linux.timeOffsets", what)
            .hint("add {\"type\": \"time\"} to linux.namespaces"));
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| clock.as_str());
    for (clock, offset) in clocks {
        let at = format!("linux.timeOffsets.{clock}");
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::refused(Code::TimeOffsetInvalid, at, "unknown clock")
                .hint("the kernel knows monotonic and boottime"));
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            return Err(Error::refused(Code::TimeOffsetInvalid, format!("{at}.nanosecs"), "a second or more"));
        }
        let _ = writeln!(text, "{clock} {} {nanoseconds}", offset.secs().unwrap_or(0));
    }
    Ok(text)
}

/// Bytes of a hostname or domainname at the most. Source: sethostname(2).
const NAME_MAX: usize = 64;

fn name(name: Option<&str>, at: &str, plan: &NamespacePlan) -> Result<Option<CString>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !plan.has(NamespaceKind::Uts) {
        let what = format!("{at} is set, but the container has no UTS namespace of its own");
        return Err(
            Error::refused(Code::NamespaceMissing, at, what).hint("add {\"type\": \"uts\"} to linux.namespaces")
        );
    }
    if name.len() > NAME_MAX {
        return Err(Error::refused(
            Code::HostnameInvalid,
            at,
            format!("{} bytes; the kernel accepts at most {NAME_MAX}", name.len()),
        ));
    }
    c_string(name, || at.to_string()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helpers_write_what_the_kernel_would_not_take() {
        let decide = |uid: &str, gid: &str, privileged: bool| {
            let mut mappings = Mappings {
                uid: uid.into(),
                gid: gid.into(),
                uid_by_helper: false,
                gid_by_helper: false,
                deny_set_groups: false,
            };
            let caller =
                Caller { uid: 1000, gid: 100, sets_uids: privileged, sets_gids: privileged, administers: true };
            mappings.for_caller(&caller);
            (mappings.uid_by_helper, mappings.gid_by_helper, mappings.deny_set_groups)
        };
        assert_eq!(decide("0 1000 1\n", "0 100 1\n", false), (false, false, true));
        assert_eq!(decide("0 1000 1\n", "0 1000 1\n", false), (false, true, false));
        assert_eq!(decide("0 1000 1\n1 100000 65536\n", "0 100 1\n1 100000 65536\n", false), (true, true, false));
        assert_eq!(decide("0 1000 2\n", "0 100 1\n", false), (true, false, true));
        assert_eq!(decide("0 100000 65536\n", "0 100000 65536\n", true), (false, false, false));
    }
}
