//! Plans the list of mounts: which filesystem, which bind, with which attributes, where it may go.
//!
//! World: plan (pure). Here the config's words become the kernel's; the special cases of cgroup, sysfs, /proc and
//! tmpfs are decided here and nowhere else.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime as oci;

use super::{Bind, Filesystem, Idmap, KernelParameter, Mount, MountKind, OldCall, Remount, Rule, TreeChange};
use super::{inside, string};
use crate::error::{Code, Error, Result};
use crate::rootfs::RootfsFacts;
use crate::rootfs::options::{self, Options, Wanted};
use crate::sys::mount::{Attributes, MountFlags};

/// Files below /proc that may be covered: lxcfs emulates them, and two that engines set. As runc has them.
const BELOW_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Filesystems with one superblock for many mounts, or with nothing on disk: read-only is a matter of the mount.
pub(super) const NO_DISK: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2", "bpf", "ramfs"];

/// The longest value of FSCONFIG_SET_STRING. Source: fs/fsopen.c (strndup_user with 256).
const LONGEST_VALUE: usize = 255;

/// More would not fit the number in a fault.
const MOST: usize = 1 << 16;

pub(super) fn plan(mounts: &[oci::Mount], context: &Context<'_>) -> Result<Vec<Mount>> {
    if mounts.len() >= MOST {
        return Err(Error::refused(Code::MountOptionInvalid, "mounts", format!("more than {} mounts", MOST - 1)));
    }
    let one = |(number, mount)| Request::new(mount, format!("mounts[{number}]"), context).and_then(Request::decide);
    mounts.iter().enumerate().map(one).collect()
}

/// What all mounts have in common.
pub(super) struct Context<'a> {
    pub facts: &'a RootfsFacts<'a>,
    /// linux.mountLabel.
    pub label: Option<&'a str>,
    /// The parameter that it is for.
    pub label_key: &'static CStr,
    /// Propagation of the tree while it is built.
    pub building: MountFlags,
    /// The rootfs, as a path of the host.
    pub root: &'a Path,
    /// The container's own id mappings, if it makes a user namespace.
    pub mappings: Option<(Vec<oci::LinuxIdMapping>, Vec<oci::LinuxIdMapping>)>,
}

/// A destination that is written as a path of the host, with the rootfs in front, is what it is below the rootfs, as
/// with runc.
pub(super) fn below_root<'p>(destination: &'p Path, root: &Path) -> Cow<'p, Path> {
    match destination.strip_prefix(root) {
        Ok(rest) if root != Path::new("/") => Cow::Owned(Path::new("/").join(rest)),
        _ => Cow::Borrowed(destination),
    }
}

/// One mount of the config on its way to a decision.
struct Request<'a> {
    mount: &'a oci::Mount,
    at: String,
    target: CString,
    kind: &'a str,
    options: Options,
    context: &'a Context<'a>,
    facts: &'a RootfsFacts<'a>,
}

impl<'a> Request<'a> {
    fn new(mount: &'a oci::Mount, at: String, context: &'a Context<'a>) -> Result<Self> {
        let destination = format!("{at}.destination");
        if mount.destination().as_os_str().is_empty() {
            return Err(Error::refused(Code::MountDestinationInvalid, destination, "a mount needs a destination"));
        }
        let words = mount.options().as_deref().unwrap_or_default();
        Ok(Self {
            mount,
            target: inside(&below_root(mount.destination(), context.root), &destination)?,
            kind: mount.typ().as_deref().unwrap_or(""),
            options: options::parse(words, &format!("{at}.options"))?,
            at,
            context,
            facts: context.facts,
        })
    }

    fn decide(mut self) -> Result<Mount> {
        if self.kind == "bind" && self.options.bind.is_none() {
            self.options.bind = Some(false);
        }
        self.check_proc()?;
        if self.options.remount {
            return self.remount();
        }
        let own_cgroup = matches!(self.kind, "cgroup" | "cgroup2") && !self.facts.cgroup_namespace;
        let host_copy = self.host_copy();
        match self.options.bind {
            Some(recursive) => {
                let source = self.source()?;
                self.bind(source, recursive)
            }
            None if own_cgroup => self.cgroup_of_host(),
            None => match host_copy {
                Some(source) => {
                    // Mounts below it are locked together with it in a user namespace.
                    let tree = merge(self.options.tree, self.options.top);
                    self.options = Options::of_tree(tree, self.options.propagation);
                    // What the container may write there as root of its own user namespace is the host's.
                    if self.kind == "sysfs" {
                        self.options.tree.set.insert(Attributes::RDONLY);
                        self.options.tree.clear.remove(Attributes::RDONLY);
                    }
                    self.bind(source, true)
                }
                None => self.filesystem(),
            },
        }
    }

    /// In a user namespace only the owner of a network, pid or IPC namespace may mount the filesystem that shows it; the
    /// caller's own is bound where the container shares the namespace with the caller, or joins one that was there
    /// before its user namespace.
    fn host_copy(&self) -> Option<CString> {
        let shared = match self.kind {
            "sysfs" => !self.facts.network_namespace || self.facts.foreign_network_namespace,
            "proc" => !self.facts.pid_namespace || self.facts.foreign_pid_namespace,
            "mqueue" => !self.facts.ipc_namespace || self.facts.foreign_ipc_namespace,
            _ => false,
        };
        let source = match self.kind {
            "sysfs" => c"/sys",
            "proc" => c"/proc",
            _ => c"/dev/mqueue",
        };
        (shared && self.facts.user_namespace).then(|| source.to_owned())
    }

    /// Nothing may hide a part of procfs that the runtime or the kernel's own tools rely on.
    fn check_proc(&self) -> Result<()> {
        let target = self.target.to_string_lossy();
        if target == "/proc" {
            return match self.kind {
                "proc" => Ok(()),
                _ if self.options.bind.is_some() || self.options.remount => Ok(()),
                other => Err(Error::refused(
                    Code::MountDestinationInvalid,
                    &self.at,
                    format!("{other:?} cannot be mounted on /proc"),
                )),
            };
        }
        if target.starts_with("/proc/") && !BELOW_PROC.contains(&&*target) {
            let what = format!("{target:?} cannot be mounted on because it is inside /proc");
            return Err(Error::refused(Code::MountDestinationInvalid, format!("{}.destination", self.at), what));
        }
        Ok(())
    }

    /// The source of a bind mount: relative to the bundle.
    fn source(&self) -> Result<CString> {
        let at = format!("{}.source", self.at);
        match self.mount.source() {
            Some(source) if !source.as_os_str().is_empty() => {
                string(self.facts.bundle.join(source).as_os_str().as_bytes(), &at)
            }
            _ => Err(Error::refused(Code::MountSourceInvalid, at, "a bind mount needs a source")),
        }
    }

    fn bind(self, source: CString, recursive: bool) -> Result<Mount> {
        let data = |parameter: &&options::Parameter| is_typo(parameter);
        if let Some(parameter) = self.options.parameters.iter().find(data) {
            let what = format!("unknown option {:?} of a bind mount", parameter.key);
            let error = Error::refused(Code::MountOptionUnknown, self.option(parameter.option), what);
            return Err(match options::suggestion(&parameter.key) {
                Some(suggestion) => error.hint(suggestion),
                None => error,
            });
        }
        if self.options.copy_up {
            return Err(Error::refused(
                Code::MountOptionInvalid,
                format!("{}.options", self.at),
                "\"tmpcopyup\" applies only to tmpfs",
            ));
        }
        let procfs = self.target.as_bytes() == b"/proc";
        let kind = MountKind::Bind(Bind {
            source,
            inside: None,
            recursive,
            nofollow: self.options.source_nofollow,
            copy_symlink: self.options.copy_symlink,
            procfs,
            changes: self.changes(),
            idmap: self.idmap()?,
        });
        let rule = match self.options.destination_nofollow || self.options.copy_symlink {
            _ if procfs => Rule::NoSymlinks,
            true => Rule::NoFollowLast,
            false => Rule::Follow,
        };
        // What the config calls a cgroup or sysfs has no source there to be blamed.
        let label = if self.options.bind.is_some() { "bind" } else { self.kind };
        Ok(self.mount(label, rule, kind, false))
    }

    /// One call where possible. Without a word the tree gets what the rootfs has; "shared" alone keeps the tie.
    fn changes(&self) -> Vec<TreeChange> {
        let mut changes = Vec::new();
        let ((top, implied), tree) = (self.options.exact(), self.options.tree);
        if !top.is_empty() {
            changes.push(TreeChange { wanted: top, implied, propagation: 0, recursive: false });
        }
        let mut add = |wanted: Wanted, propagation, recursive| {
            changes.push(TreeChange { wanted, implied: Attributes::empty(), propagation, recursive });
        };
        let mut asked = self.options.propagation.iter();
        match asked.next() {
            Some(first) if first.recursive || tree.is_empty() => add(tree, first.kind, first.recursive),
            Some(first) => {
                add(tree, 0, true);
                add(Wanted::default(), first.kind, false);
            }
            None => add(tree, self.context.building, true),
        }
        asked.for_each(|next| add(Wanted::default(), next.kind, next.recursive));
        changes
    }

    fn idmap(&self) -> Result<Option<Idmap>> {
        let (uids, gids) = (self.mount.uid_mappings().as_deref(), self.mount.gid_mappings().as_deref());
        let some = |list: Option<&[oci::LinuxIdMapping]>| list.filter(|list| !list.is_empty()).map(<[_]>::to_vec);
        if let Some(mappings) = &self.options.mappings {
            if uids.is_some() || gids.is_some() {
                let what = "id mappings are given both in \"idmap=\" and in uidMappings or gidMappings";
                return Err(Error::refused(Code::IdMappingInvalid, format!("{}.options", self.at), what));
            }
            let own = self.context.mappings.as_ref();
            let uids = self.mappings(&mappings.uids, own.map(|own| own.0.as_slice()))?;
            let gids = self.mappings(&mappings.gids, own.map(|own| own.1.as_slice()))?;
            return Ok(Some(Idmap { recursive: self.options.idmap == Some(true), own: Some((uids, gids)) }));
        }
        match (some(uids), some(gids), self.options.idmap) {
            (None, None, None) => Ok(None),
            (None, None, Some(_)) if !self.facts.user_namespace => Err(Error::refused(
                Code::IdMappingMissing,
                format!("{}.options", self.at),
                "an id-mapped mount needs uidMappings and gidMappings, or a user namespace of the container",
            )),
            (None, None, Some(recursive)) => Ok(Some(Idmap { recursive, own: self.context.mappings.clone() })),
            (Some(uids), Some(gids), recursive) => {
                Ok(Some(Idmap { recursive: recursive.unwrap_or(false), own: Some((uids, gids)) }))
            }
            (uids, ..) => {
                let (has, lacks) =
                    if uids.is_some() { ("uidMappings", "gidMappings") } else { ("gidMappings", "uidMappings") };
                Err(Error::refused(Code::IdMappingMissing, format!("{}.{has}", self.at), format!("needs {lacks} too")))
            }
        }
    }

    /// With `@` the ids of the host are those of the container, which are looked up in its own mappings.
    fn mappings(
        &self,
        list: &[options::Mapping],
        own: Option<&[oci::LinuxIdMapping]>,
    ) -> Result<Vec<oci::LinuxIdMapping>> {
        let host = |one: &options::Mapping| {
            if !one.relative {
                return Some(one.host_id);
            }
            own?.iter().find_map(|range| {
                let offset = one.host_id.checked_sub(range.container_id()).filter(|offset| *offset < range.size())?;
                range.host_id().checked_add(offset)
            })
        };
        let convert = |one: &options::Mapping| {
            let host = host(one).ok_or_else(|| {
                let what = format!("id {} of an id mapping is not mapped in the container", one.host_id);
                Error::refused(Code::IdMappingInvalid, format!("{}.options", self.at), what)
            })?;
            let mapping = oci::LinuxIdMappingBuilder::default().container_id(one.container_id).host_id(host);
            mapping
                .size(one.size)
                .build()
                .map_err(|error| Error::refused(Code::IdMappingInvalid, &self.at, error.to_string()))
        };
        list.iter().map(convert).collect()
    }

    /// Without a cgroup namespace cgroup2 would show the host's whole tree: only the container's part is bound.
    fn cgroup_of_host(self) -> Result<Mount> {
        let Some(path) = self.facts.cgroup_path else {
            let what = "a cgroup mount needs a cgroup namespace or a cgroup created for the container";
            return Err(Error::refused(Code::CgroupMountUnsupported, &self.at, what));
        };
        let source = string(path.as_os_str().as_bytes(), &self.at)?;
        self.bind(source, false)
    }

    fn filesystem(mut self) -> Result<Mount> {
        let name = match self.kind {
            "" | "none" => {
                let error = Error::refused(
                    Code::MountTypeMissing,
                    format!("{}.type", self.at),
                    "a mount that is not a bind mount needs a type",
                );
                return Err(error.hint("or is the option \"bind\" or \"rbind\" missing?"));
            }
            // cgroup v1 does not exist for tare.
            "cgroup" => "cgroup2",
            name => name,
        };
        self.check_filesystem(name)?;
        let attributes = merge(self.options.top, self.options.tree);
        let readonly = attributes.set.contains(Attributes::RDONLY);
        // Files may still have to be made in them: mount points, device nodes, copies.
        let late_readonly = readonly && (name == "tmpfs" || self.target.as_bytes() == b"/dev");
        let mut parameters = self.parameters(name)?;
        if readonly && !NO_DISK.contains(&name) {
            parameters.push(KernelParameter { option: None, key: c"ro".to_owned(), value: None });
        }
        let mut attributes = Wanted { set: attributes.set, clear: attributes.clear & Attributes::ATIME };
        attributes.set.set(Attributes::RDONLY, readonly && !late_readonly);
        let kind = MountKind::Filesystem(Filesystem {
            name: string(name.as_bytes(), &format!("{}.type", self.at))?,
            inherit_mode: name == "tmpfs" && !self.options.parameters.iter().any(|data| data.key == "mode"),
            copy_up: self.options.copy_up,
            old_call: self.old_call(&parameters)?,
            parameters,
            attributes,
        });
        let rule = if matches!(name, "proc" | "sysfs") { Rule::NoSymlinks } else { Rule::Follow };
        let label = std::mem::take(&mut self.kind);
        Ok(self.mount(label, rule, kind, late_readonly))
    }

    fn check_filesystem(&self, name: &str) -> Result<()> {
        let at = || format!("{}.options", self.at);
        let mapped = [self.mount.uid_mappings(), self.mount.gid_mappings()];
        if mapped.iter().any(|list| !list.as_deref().unwrap_or_default().is_empty()) || self.options.idmap.is_some() {
            return Err(Error::refused(Code::MountOptionUnsupported, &self.at, "only a bind mount can be id-mapped"));
        }
        if self.options.copy_up && name != "tmpfs" {
            return Err(Error::refused(Code::MountOptionInvalid, at(), "\"tmpcopyup\" applies only to tmpfs"));
        }
        if self.options.source_nofollow || self.options.copy_symlink || self.options.destination_nofollow {
            let what = "\"src-nofollow\", \"dest-nofollow\" and \"copy-symlink\" apply only to bind mounts";
            return Err(Error::refused(Code::MountOptionInvalid, at(), what));
        }
        Ok(())
    }

    fn parameters(&self, name: &str) -> Result<Vec<KernelParameter>> {
        let source = self.mount.source().as_deref().unwrap_or(Path::new(name));
        let source = string(source.as_os_str().as_bytes(), &format!("{}.source", self.at))?;
        let mut list = vec![KernelParameter { option: None, key: c"source".to_owned(), value: Some(source) }];
        // runc leaves procfs, sysfs and cgroups to the policy, too.
        if let Some(label) = self.context.label.filter(|_| !matches!(name, "proc" | "sysfs" | "cgroup2")) {
            let value = Some(string(label.as_bytes(), "linux.mountLabel")?);
            list.push(KernelParameter { option: None, key: self.context.label_key.to_owned(), value });
        }
        list.extend(self.kernel_parameters()?);
        Ok(list)
    }

    fn kernel_parameters(&self) -> Result<Vec<KernelParameter>> {
        // Every engine asks for the group tty, which few user namespaces of ordinary users have; the devpts is the
        // container's alone, so that its nodes belong to the container's own group instead (as crun).
        let no_tty = self.kind == "devpts" && !self.facts.maps_tty;
        let dropped = |parameter: &&options::Parameter| {
            no_tty && parameter.key == "gid" && parameter.value.as_deref() == Some("5")
        };
        let one = |parameter: &options::Parameter| {
            let at = self.option(parameter.option);
            let value = parameter.value.as_ref().map(|value| string(value.as_bytes(), &at)).transpose()?;
            Ok(KernelParameter { option: Some(parameter.option), key: string(parameter.key.as_bytes(), &at)?, value })
        };
        self.options.parameters.iter().filter(|parameter| !dropped(parameter)).map(one).collect()
    }

    fn old_call(&self, parameters: &[KernelParameter]) -> Result<Option<OldCall>> {
        let long = |parameter: &&KernelParameter| {
            parameter.value.as_ref().is_some_and(|value| value.as_bytes().len() > LONGEST_VALUE)
        };
        let long = parameters.iter().find(long);
        if long.is_none() && !self.options.inode_version {
            return Ok(None);
        }
        // Such a mount is found again by its name, and "/" is the name of what it covers.
        if self.target.as_bytes() == b"/" {
            return Err(Error::refused(
                Code::MountOptionUnsupported,
                &self.at,
                "\"iversion\" or a value of more than 255 bytes for a mount on /",
            ));
        }
        let mut call = OldCall { source: CString::default(), flags: 0, data: CString::default() };
        let mut data: Vec<u8> = Vec::new();
        for KernelParameter { key, value, .. } in parameters {
            match (key.to_str().unwrap_or(""), value) {
                ("source", Some(value)) => call.source.clone_from(value),
                (word, None) if set_flag(word, &mut call.flags) => {}
                (_, value) => {
                    data.extend(if data.is_empty() { &b""[..] } else { b"," });
                    data.extend(key.as_bytes());
                    if let Some(value) = value {
                        let quoted = key.as_c_str() == c"context";
                        data.extend(if quoted { &b"=\""[..] } else { b"=" });
                        data.extend(value.as_bytes());
                        data.extend(if quoted { &b"\""[..] } else { b"" });
                    }
                }
            }
        }
        if self.options.inode_version {
            call.flags |= libc::MS_I_VERSION;
        }
        // mount(2) copies one page.
        if data.len() > 4095 {
            return Err(Error::refused(
                Code::MountOptionInvalid,
                format!("{}.options", self.at),
                "more than 4095 bytes of mount data",
            ));
        }
        call.data = string(&data, &self.at)?;
        Ok(Some(call))
    }

    fn remount(self) -> Result<Mount> {
        let superblock = self.options.bind.is_none();
        let mut parameters = Vec::new();
        if superblock {
            if self.options.inode_version {
                let what = "mount option \"iversion\" cannot be changed by a remount";
                return Err(Error::refused(Code::MountOptionUnsupported, format!("{}.options", self.at), what));
            }
            parameters = self.kernel_parameters()?;
            let top = self.options.top;
            let word = match (top.set.contains(Attributes::RDONLY), top.clear.contains(Attributes::RDONLY)) {
                (true, _) => Some(c"ro"),
                (false, true) => Some(c"rw"),
                (false, false) => None,
            };
            parameters.extend(word.map(|word| KernelParameter { option: None, key: word.to_owned(), value: None }));
        }
        let (top, implied) = self.options.exact();
        let kind = MountKind::Remount(Remount { parameters, superblock, top, implied, tree: self.options.tree });
        Ok(self.mount("remount", Rule::Follow, kind, false))
    }

    fn mount(self, label: &str, rule: Rule, kind: MountKind, late_readonly: bool) -> Mount {
        Mount {
            target: self.target,
            label: label.to_string(),
            rule,
            kind,
            propagation: self.options.propagation,
            late_readonly,
        }
    }

    fn option(&self, number: usize) -> String {
        format!("{}.options[{number}]", self.at)
    }
}

/// The flags of mount(2) for the words that fsconfig would have taken.
fn set_flag(word: &str, flags: &mut MountFlags) -> bool {
    let (bit, set) = match word {
        "sync" => (libc::MS_SYNCHRONOUS, true),
        "async" => (libc::MS_SYNCHRONOUS, false),
        "dirsync" => (libc::MS_DIRSYNC, true),
        "lazytime" => (libc::MS_LAZYTIME, true),
        "nolazytime" => (libc::MS_LAZYTIME, false),
        "mand" => (libc::MS_MANDLOCK, true),
        "nomand" => (libc::MS_MANDLOCK, false),
        "ro" => (libc::MS_RDONLY, true),
        _ => return false,
    };
    *flags = if set { *flags | bit } else { *flags & !bit };
    true
}

/// Both on one mount; the words of the tree are the later ones.
fn merge(top: Wanted, tree: Wanted) -> Wanted {
    let mut set = top.set - tree.clear;
    set.insert(tree.set);
    Wanted { set, clear: (top.clear - tree.set) | tree.clear }
}

/// A word that a bind mount does not know. `key=value` is data for a filesystem, which mount(2) ignores on a bind mount
/// and engines leave in the list; it is warned about, see [`ignored_by_binds`].
fn is_typo(parameter: &options::Parameter) -> bool {
    parameter.value.is_none() && !options::known().any(|word| word == parameter.key)
}

fn is_idmap(word: &str) -> bool {
    word.starts_with("idmap=") || word.starts_with("ridmap=")
}

/// Warnings about data in the options of bind mounts, which has no effect there.
pub fn ignored_by_binds(mounts: &[oci_spec::runtime::Mount]) -> Vec<String> {
    let is_bind = |words: &[String]| words.iter().any(|word| word == "bind" || word == "rbind");
    let mut warnings = Vec::new();
    for (number, mount) in mounts.iter().enumerate() {
        let words = mount.options().as_deref().unwrap_or_default();
        if !is_bind(words) {
            continue;
        }
        for (at, word) in words.iter().enumerate().filter(|(_, word)| word.contains('=') && !is_idmap(word)) {
            warnings.push(format!("mounts[{number}].options[{at}]: {word:?} has no effect on a bind mount"));
        }
    }
    warnings
}
