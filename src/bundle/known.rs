//! The keys of config.json. World: plan. Source: runtime-spec 1.3.0, schema/ and config*.md.

/// What is known of a value.
pub(super) enum Shape {
    /// Anything: nobody looks into it.
    Any,
    /// An object with these members.
    Object(&'static [(&'static str, &'static Shape)]),
    /// A list of such values.
    List(&'static Shape),
    /// An object with keys of the user's own.
    Map(&'static Shape),
}

impl Shape {
    /// The shape of a member; `None` when its key is not known.
    pub(super) fn member(&self, key: &[u8]) -> Option<&'static Self> {
        match self {
            Self::Object(members) => members.iter().find(|(known, _)| known.as_bytes() == key).map(|(_, shape)| *shape),
            Self::Map(shape) => Some(shape),
            Self::Any | Self::List(_) => Some(&Self::Any),
        }
    }

    /// The shape of an element.
    pub(super) fn element(&self) -> &'static Self {
        match self {
            Self::List(shape) => shape,
            _ => &Self::Any,
        }
    }

    /// The known keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let members = if let Self::Object(members) = self { *members } else { &[] };
        members.iter().map(|(key, _)| *key)
    }
}

use Shape::{Any, List, Map, Object};

/// config.json.
pub(super) static CONFIG: Shape = Object(&[
    ("ociVersion", &Any),
    ("hooks", &HOOKS),
    ("annotations", &Any),
    ("hostname", &Any),
    ("domainname", &Any),
    ("mounts", &List(&MOUNT)),
    ("root", &Object(&[("path", &Any), ("readonly", &Any)])),
    ("process", &PROCESS),
    ("linux", &LINUX),
    ("solaris", &Any),
    ("windows", &Any),
    ("vm", &Any),
    ("zos", &Any),
    ("freebsd", &Any),
]);

static HOOKS: Shape = Object(&[
    ("prestart", &List(&HOOK)),
    ("createRuntime", &List(&HOOK)),
    ("createContainer", &List(&HOOK)),
    ("startContainer", &List(&HOOK)),
    ("poststart", &List(&HOOK)),
    ("poststop", &List(&HOOK)),
]);

static HOOK: Shape = Object(&[("path", &Any), ("args", &Any), ("env", &Any), ("timeout", &Any)]);

static MOUNT: Shape = Object(&[
    ("destination", &Any),
    ("type", &Any),
    ("source", &Any),
    ("options", &Any),
    ("uidMappings", &List(&MAPPING)),
    ("gidMappings", &List(&MAPPING)),
]);

static MAPPING: Shape = Object(&[("containerID", &Any), ("hostID", &Any), ("size", &Any)]);

/// A process object, and so a process file.
pub(super) static PROCESS: Shape = Object(&[
    ("terminal", &Any),
    ("consoleSize", &Object(&[("height", &Any), ("width", &Any)])),
    ("cwd", &Any),
    ("env", &Any),
    ("args", &Any),
    ("commandLine", &Any),
    ("rlimits", &List(&Object(&[("type", &Any), ("soft", &Any), ("hard", &Any)]))),
    ("apparmorProfile", &Any),
    ("capabilities", &CAPABILITIES),
    ("noNewPrivileges", &Any),
    ("oomScoreAdj", &Any),
    ("scheduler", &SCHEDULER),
    ("selinuxLabel", &Any),
    ("ioPriority", &Object(&[("class", &Any), ("priority", &Any)])),
    ("execCPUAffinity", &Object(&[("initial", &Any), ("final", &Any)])),
    ("user", &USER),
]);

static CAPABILITIES: Shape =
    Object(&[("effective", &Any), ("bounding", &Any), ("inheritable", &Any), ("permitted", &Any), ("ambient", &Any)]);

static SCHEDULER: Shape = Object(&[
    ("policy", &Any),
    ("nice", &Any),
    ("priority", &Any),
    ("flags", &Any),
    ("runtime", &Any),
    ("deadline", &Any),
    ("period", &Any),
]);

static USER: Shape =
    Object(&[("uid", &Any), ("gid", &Any), ("umask", &Any), ("additionalGids", &Any), ("username", &Any)]);

static LINUX: Shape = Object(&[
    ("namespaces", &List(&Object(&[("type", &Any), ("path", &Any)]))),
    ("uidMappings", &List(&MAPPING)),
    ("gidMappings", &List(&MAPPING)),
    ("timeOffsets", &Map(&Object(&[("secs", &Any), ("nanosecs", &Any)]))),
    ("devices", &List(&DEVICE)),
    ("netDevices", &Map(&Object(&[("name", &Any)]))),
    ("cgroupsPath", &Any),
    ("rootfsPropagation", &Any),
    ("seccomp", &SECCOMP),
    ("sysctl", &Any),
    ("maskedPaths", &Any),
    ("readonlyPaths", &Any),
    ("mountLabel", &Any),
    ("intelRdt", &RDT),
    ("memoryPolicy", &Object(&[("mode", &Any), ("nodes", &Any), ("flags", &Any)])),
    ("personality", &Object(&[("domain", &Any), ("flags", &Any)])),
    ("resources", &RESOURCES),
]);

static DEVICE: Shape = Object(&[
    ("type", &Any),
    ("path", &Any),
    ("major", &Any),
    ("minor", &Any),
    ("fileMode", &Any),
    ("uid", &Any),
    ("gid", &Any),
]);

static SECCOMP: Shape = Object(&[
    ("defaultAction", &Any),
    ("defaultErrnoRet", &Any),
    ("architectures", &Any),
    ("flags", &Any),
    ("listenerPath", &Any),
    ("listenerMetadata", &Any),
    ("syscalls", &List(&SYSTEM_CALL)),
]);

static SYSTEM_CALL: Shape = Object(&[
    ("names", &Any),
    ("action", &Any),
    ("errnoRet", &Any),
    ("args", &List(&Object(&[("index", &Any), ("value", &Any), ("valueTwo", &Any), ("op", &Any)]))),
]);

static RDT: Shape = Object(&[
    ("closID", &Any),
    ("schemata", &Any),
    ("l3CacheSchema", &Any),
    ("memBwSchema", &Any),
    ("enableCMT", &Any),
    ("enableMBM", &Any),
    ("enableMonitoring", &Any),
]);

static RESOURCES: Shape = Object(&[
    ("unified", &Any),
    ("devices", &List(&RULE)),
    ("memory", &MEMORY),
    ("cpu", &CPU),
    ("pids", &Object(&[("limit", &Any)])),
    ("blockIO", &BLOCK_IO),
    ("hugepageLimits", &List(&Object(&[("pageSize", &Any), ("limit", &Any)]))),
    ("network", &Object(&[("classID", &Any), ("priorities", &List(&Object(&[("name", &Any), ("priority", &Any)])))])),
    ("rdma", &Map(&Object(&[("hcaHandles", &Any), ("hcaObjects", &Any)]))),
]);

/// The key of a resources object that is `key` in any case.
pub(super) fn resources_key(key: &str) -> Option<&'static str> {
    find(&RESOURCES, key)
}

fn find(shape: &'static Shape, key: &str) -> Option<&'static str> {
    match shape {
        Object(members) => members
            .iter()
            .find_map(|(name, member)| if name.eq_ignore_ascii_case(key) { Some(*name) } else { find(member, key) }),
        List(element) | Map(element) => find(element, key),
        Any => None,
    }
}

static RULE: Shape = Object(&[("allow", &Any), ("type", &Any), ("major", &Any), ("minor", &Any), ("access", &Any)]);

static MEMORY: Shape = Object(&[
    ("limit", &Any),
    ("reservation", &Any),
    ("swap", &Any),
    ("kernel", &Any),
    ("kernelTCP", &Any),
    ("swappiness", &Any),
    ("disableOOMKiller", &Any),
    ("useHierarchy", &Any),
    ("checkBeforeUpdate", &Any),
]);

static CPU: Shape = Object(&[
    ("shares", &Any),
    ("quota", &Any),
    ("burst", &Any),
    ("period", &Any),
    ("realtimeRuntime", &Any),
    ("realtimePeriod", &Any),
    ("cpus", &Any),
    ("mems", &Any),
    ("idle", &Any),
]);

static BLOCK_IO: Shape = Object(&[
    ("weight", &Any),
    ("leafWeight", &Any),
    ("weightDevice", &List(&WEIGHT)),
    ("throttleReadBpsDevice", &List(&RATE)),
    ("throttleWriteBpsDevice", &List(&RATE)),
    ("throttleReadIOPSDevice", &List(&RATE)),
    ("throttleWriteIOPSDevice", &List(&RATE)),
]);

static WEIGHT: Shape = Object(&[("major", &Any), ("minor", &Any), ("weight", &Any), ("leafWeight", &Any)]);

static RATE: Shape = Object(&[("major", &Any), ("minor", &Any), ("rate", &Any)]);
