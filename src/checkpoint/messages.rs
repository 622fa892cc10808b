//! World: plan. The messages of CRIU's RPC protocol that tare sends and reads.
//!
//! Field numbers and types are those of images/rpc.proto of CRIU 4.2. A field that tare does not use is not here:
//! protobuf skips it.

use prost::{Enumeration, Message};

/// What a request asks for, and what a response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum RequestType {
    /// An error before the type was known.
    Empty = 0,
    /// Write a checkpoint.
    Dump = 1,
    /// Restore one.
    Restore = 2,
    /// Write changed memory only, and let the processes run on.
    PreDump = 4,
    /// CRIU reached a step, and waits for an answer.
    Notify = 6,
    /// Which optional features CRIU and the kernel have.
    FeatureCheck = 9,
    /// CRIU's version.
    Version = 10,
}

/// How CRIU treats cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum CgroupMode {
    /// Leave them alone.
    Ignore = 0,
    /// Do not restore their properties.
    None = 1,
    /// Restore the properties of cgroups that exist.
    Props = 2,
    /// Restore the properties of cgroups that CRIU creates.
    Soft = 3,
    /// Restore all properties.
    Full = 4,
    /// As `Full`, and no cgroup may exist before.
    Strict = 5,
    /// CRIU's own default.
    Default = 6,
}

/// How CRIU blocks the network of the container while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum NetworkLock {
    /// With iptables-restore(8).
    Iptables = 1,
    /// With libnftables.
    Nftables = 2,
    /// Not at all.
    Skip = 3,
}

/// A page server.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PageServer {
    /// An IP address.
    #[prost(string, optional, tag = "1")]
    pub address: Option<String>,
    /// A TCP port.
    #[prost(int32, optional, tag = "2")]
    pub port: Option<i32>,
}

/// A mount that CRIU does not restore from its source.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExternalMount {
    /// Dump: the mount point in the container. Restore: the name that the dump gave it.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Dump: the name to store. Restore: the source on the host.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// A namespace that restored processes join.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct JoinedNamespace {
    /// Its kind, as in /proc/PID/ns.
    #[prost(string, required, tag = "1")]
    pub kind: String,
    /// A path that leads to it.
    #[prost(string, required, tag = "2")]
    pub file: String,
}

/// A descriptor that takes the place of a file of the checkpoint.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InheritedDescriptor {
    /// The file: `pipe:[INODE]`, or the key of an external namespace.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// The descriptor's number in CRIU.
    #[prost(int32, required, tag = "2")]
    pub number: i32,
}

/// The cgroup that takes the place of the one of the checkpoint.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CgroupRoot {
    /// The controllers or the name of a hierarchy of cgroup v1; empty for cgroup v2.
    #[prost(string, optional, tag = "1")]
    pub controllers: Option<String>,
    /// Below the root of the hierarchy.
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// The options of a dump or restore.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Options {
    /// The directory of the images.
    #[prost(int32, required, tag = "1")]
    pub images_directory: i32,
    /// The first process.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    /// Do not kill the processes after the dump.
    #[prost(bool, optional, tag = "3")]
    pub leave_running: Option<bool>,
    /// Accept Unix sockets whose other end is outside.
    #[prost(bool, optional, tag = "4")]
    pub external_unix_sockets: Option<bool>,
    /// Keep established TCP connections.
    #[prost(bool, optional, tag = "5")]
    pub tcp_established: Option<bool>,
    /// Use any path that leads to a device.
    #[prost(bool, optional, tag = "6")]
    pub evasive_devices: Option<bool>,
    /// Accept a session or process group that began outside.
    #[prost(bool, optional, tag = "7")]
    pub shell_job: Option<bool>,
    /// Keep file locks.
    #[prost(bool, optional, tag = "8")]
    pub file_locks: Option<bool>,
    /// 4: debug.
    #[prost(int32, optional, tag = "9")]
    pub log_level: Option<i32>,
    /// The name of the log in the work directory.
    #[prost(string, optional, tag = "10")]
    pub log_file: Option<String>,
    /// Where memory pages go instead of the images.
    #[prost(message, optional, tag = "11")]
    pub page_server: Option<PageServer>,
    /// Send [`RequestType::Notify`].
    #[prost(bool, optional, tag = "12")]
    pub notify: Option<bool>,
    /// The root of the container; for a restore it has to be a mount point.
    #[prost(string, optional, tag = "13")]
    pub root: Option<String>,
    /// The images of the previous dump, relative to the images directory.
    #[prost(string, optional, tag = "14")]
    pub parent_images: Option<String>,
    /// Track which pages change.
    #[prost(bool, optional, tag = "15")]
    pub track_memory: Option<bool>,
    /// Remove pages from older images that newer ones contain.
    #[prost(bool, optional, tag = "16")]
    pub auto_dedup: Option<bool>,
    /// The directory of the log.
    #[prost(int32, optional, tag = "17")]
    pub work_directory: Option<i32>,
    /// Link unlinked files back into the filesystem.
    #[prost(bool, optional, tag = "18")]
    pub link_remap: Option<bool>,
    /// External mounts.
    #[prost(message, repeated, tag = "23")]
    pub external_mounts: Vec<ExternalMount>,
    /// What CRIU before 2.0 has instead of `cgroup_mode`.
    #[prost(bool, optional, tag = "24")]
    pub manage_cgroups: Option<bool>,
    /// The cgroup of a restored container.
    #[prost(message, repeated, tag = "25")]
    pub cgroup_roots: Vec<CgroupRoot>,
    /// The restored process becomes a child of CRIU's parent.
    #[prost(bool, optional, tag = "26")]
    pub restore_as_sibling: Option<bool>,
    /// Descriptors that take the place of files.
    #[prost(message, repeated, tag = "27")]
    pub inherited: Vec<InheritedDescriptor>,
    /// How CRIU treats cgroups.
    #[prost(enumeration = "CgroupMode", optional, tag = "34")]
    pub cgroup_mode: Option<i32>,
    /// Namespaces that are not part of the checkpoint: `net[INODE]:KEY`.
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    /// CLONE_NEW* of namespaces that are restored without their content.
    #[prost(uint32, optional, tag = "38")]
    pub empty_namespaces: Option<u32>,
    /// Namespaces to join.
    #[prost(message, repeated, tag = "39")]
    pub join_namespaces: Vec<JoinedNamespace>,
    /// The cgroup to freeze during the dump: a path on the host.
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    /// Seconds until CRIU gives up stopping the processes.
    #[prost(uint32, optional, tag = "45")]
    pub timeout: Option<u32>,
    /// Forget TCP connections that are not established yet.
    #[prost(bool, optional, tag = "46")]
    pub tcp_skip_in_flight: Option<bool>,
    /// Serve, or fault in, memory pages on demand.
    #[prost(bool, optional, tag = "48")]
    pub lazy_pages: Option<bool>,
    /// Accept a terminal whose master is outside; a restore returns the new master.
    #[prost(bool, optional, tag = "50")]
    pub orphan_pts_master: Option<bool>,
    /// A configuration file, whose options win.
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    /// Restore TCP connections as closed.
    #[prost(bool, optional, tag = "52")]
    pub tcp_close: Option<bool>,
    /// `apparmor:NAME` or `selinux:LABEL`.
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    /// A directory with the cgroup hierarchies, instead of mounts of CRIU's own.
    #[prost(string, optional, tag = "60")]
    pub cgroup_yard: Option<String>,
    /// The SELinux mount context.
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    /// How the network is blocked.
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub network_lock: Option<i32>,
}

/// Optional features.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Features {
    /// Tracking of changed memory, for pre-dumps.
    #[prost(bool, optional, tag = "1")]
    pub memory_tracking: Option<bool>,
    /// userfaultfd(2), for lazy pages.
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
}

/// What tare sends.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    /// What is asked.
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub kind: i32,
    /// For a dump or restore.
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
    /// The answer to a [`RequestType::Notify`].
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    /// More requests follow.
    #[prost(bool, optional, tag = "4")]
    pub keep_open: Option<bool>,
    /// The features to check.
    #[prost(message, optional, tag = "5")]
    pub features: Option<Features>,
}

/// A step of CRIU.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Notification {
    /// Its name, such as `post-restore`.
    #[prost(string, optional, tag = "1")]
    pub script: Option<String>,
    /// The first process of the container, in CRIU's pid namespace.
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
}

/// The end of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Restored {
    /// The first process, in CRIU's pid namespace.
    #[prost(int32, required, tag = "1")]
    pub pid: i32,
}

/// A version, such as 4.2.1.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Version {
    /// 4.
    #[prost(int32, required, tag = "1")]
    pub major: i32,
    /// 2.
    #[prost(int32, required, tag = "2")]
    pub minor: i32,
    /// 1.
    #[prost(int32, optional, tag = "4")]
    pub sublevel: Option<i32>,
}

/// What CRIU sends.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Response {
    /// What it answers.
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub kind: i32,
    /// Whether that was done.
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    /// For a restore.
    #[prost(message, optional, tag = "4")]
    pub restored: Option<Restored>,
    /// For a step.
    #[prost(message, optional, tag = "5")]
    pub notification: Option<Notification>,
    /// Why it failed.
    #[prost(int32, optional, tag = "7")]
    pub errno: Option<i32>,
    /// For a feature check.
    #[prost(message, optional, tag = "8")]
    pub features: Option<Features>,
    /// The first error in the log.
    #[prost(string, optional, tag = "9")]
    pub message: Option<String>,
    /// For a version.
    #[prost(message, optional, tag = "10")]
    pub version: Option<Version>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that protoc makes of CRIU's own rpc.proto.
    #[test]
    fn bytes_are_those_of_the_protocol() {
        let options = Options {
            images_directory: 3,
            pid: Some(300),
            leave_running: Some(true),
            external_mounts: vec![ExternalMount { key: "/a".into(), value: "b".into() }],
            cgroup_mode: Some(CgroupMode::Soft.into()),
            ..Options::default()
        };
        let request = Request { kind: RequestType::Dump.into(), options: Some(options), ..Request::default() };
        let bytes = [
            0x08, 1, 0x12, 20, 0x08, 3, 0x10, 0xac, 2, 0x18, 1, 0xba, 1, 7, 0x0a, 2, b'/', b'a', 0x12, 1, b'b', 0x90,
            2, 3,
        ];
        assert_eq!(request.encode_to_vec(), bytes);
        assert_eq!(Request::decode(&bytes[..]).unwrap(), request);
    }

    #[test]
    fn a_response_with_unknown_fields_is_read() {
        // type NOTIFY, success, notify { script "post-dump", pid 7 }, status (11), which is not here.
        let bytes = [&[8, 6, 16, 1, 42, 13, 10, 9][..], b"post-dump", &[16, 7, 88, 1]].concat();
        let response = Response::decode(&bytes[..]).unwrap();
        let notification = response.notification.unwrap();
        assert_eq!((notification.script(), notification.pid()), ("post-dump", 7));
    }
}
