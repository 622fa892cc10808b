//! World: parent. What checkpoint and restore ask of CRIU alike.

use std::collections::BTreeMap;

use super::options::{CgroupMode, CriuOptions};
use crate::annotation::CRIU_CONFIG;
use crate::checkpoint::messages::Options;
use crate::error::{Code, Error, Result};
use crate::namespaces::NamespaceSet;

/// CRIU's log has its debug messages, as with runc: a failure can hardly be explained without them.
const LOG_LEVEL: i32 = 4;

/// The key of an external network or pid namespace in a checkpoint; runc and crun use the same.
pub(in crate::container) const NETWORK_KEY: &str = "extRootNetNS";
/// See [`NETWORK_KEY`].
pub(in crate::container) const PID_KEY: &str = "extRootPidNS";

/// CRIU's configuration file by default: tare's own, else the one of runc.
pub(in crate::container) const CONFIG_FILES: [&str; 2] = ["/etc/criu/tare.conf", "/etc/criu/runc.conf"];

/// CRIU's configuration file for a container with these annotations.
pub(in crate::container) fn config_file(annotations: &BTreeMap<String, String>) -> Option<String> {
    match annotations.get(CRIU_CONFIG) {
        Some(path) => Some(path.clone()).filter(|path| !path.is_empty()),
        None => CONFIG_FILES.iter().find(|path| std::fs::exists(path).unwrap_or(false)).map(|path| (*path).to_owned()),
    }
}

/// CRIU needs the host's root.
///
/// # Errors
/// The caller is not root.
pub(in crate::container) fn require_root(what: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let what = format!("{what} a container needs root");
    Err(Error::new(Code::CheckpointDenied, what).hint("CRIU cannot do it for an ordinary user"))
}

/// What of a request the options of both commands decide. As with runc, the network of a container is never part of a
/// checkpoint: engines set it up again.
pub(in crate::container) fn asked(criu: &CriuOptions) -> Options {
    Options {
        log_level: Some(LOG_LEVEL),
        notify: Some(true),
        shell_job: Some(criu.shell_job),
        external_unix_sockets: Some(criu.ext_unix_sk),
        tcp_established: Some(criu.tcp_established),
        file_locks: Some(criu.file_locks),
        auto_dedup: Some(criu.auto_dedup),
        lazy_pages: Some(criu.lazy_pages),
        orphan_pts_master: Some(true),
        manage_cgroups: Some(true),
        cgroup_mode: Some(criu.cgroup_mode.unwrap_or(CgroupMode::Default).into()),
        network_lock: criu.network_lock.map(Into::into),
        empty_namespaces: Some(u32::try_from(NamespaceSet::NETWORK.bits()).unwrap_or_default()),
        ..Options::default()
    }
}
