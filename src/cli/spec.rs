//! `tare spec`: an example config.json, the same container that `runc spec` describes, or one with Docker's defaults.
//!
//! World: parent.

mod docker;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use tare::error::{Code, Error, Result};

/// Which example is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// For a caller without privileges.
    pub rootless: bool,
    /// With the capabilities, masks, mounts and seccomp profile of Docker.
    pub docker_default: bool,
}

/// Writes config.json into the bundle.
///
/// # Errors
/// It exists already; the directory is missing.
pub fn write(bundle: Option<&PathBuf>, name: Option<&PathBuf>, example: &Example) -> Result<()> {
    let name = name.map_or(Path::new("config.json"), PathBuf::as_path);
    let path = bundle.map_or(Path::new("."), PathBuf::as_path).join(name);
    let mut text = serde_json::to_string_pretty(&config(example))
        .map_err(|e| Error::new(Code::Internal, "encode the config").detail(e.to_string()))?;
    text.push('\n');
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let what = format!("{} exists", path.display());
            Err(Error::new(Code::FileExists, what).hint("remove it first: tare does not overwrite it"))
        }
        Err(e) => Err(Error::system(format!("write {}", path.display()), e)),
    }
}

fn config(example: &Example) -> Value {
    let mut config = if example.rootless { rootless_config() } else { root_config() };
    if example.docker_default {
        docker::apply(&mut config);
    }
    config
}

fn root_config() -> Value {
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "tare",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    let mut mount = json!({ "destination": destination, "type": kind, "source": source });
    if !options.is_empty() {
        mount["options"] = json!(options);
    }
    mount
}

/// Without root's help: an own user namespace that maps the caller to root, the host's network, /sys bound.
fn rootless_config() -> Value {
    let mut config = root_config();
    let kinds = ["pid", "ipc", "uts", "mount", "cgroup", "user"];
    config["linux"]["namespaces"] = json!(kinds.map(|kind| json!({ "type": kind })));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("resources");
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        // The group 5 (tty) is not mapped.
        for mount in mounts.iter_mut().filter(|mount| mount["type"] == "devpts") {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        for entry in mounts.iter_mut().filter(|entry| entry["type"] == "sysfs") {
            *entry = mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use tare::internals::{bundle, host::Host, namespaces};

    use super::{Example, config};

    #[test]
    fn each_config_is_what_tare_reads() {
        for (rootless, docker_default) in [(false, false), (true, false), (false, true), (true, true)] {
            let bytes = serde_json::to_vec(&config(&Example { rootless, docker_default })).unwrap();
            let (spec, warnings) = bundle::parse_spec(&bytes).unwrap();
            assert!(warnings.is_empty());
            namespaces::plan(&spec, &Host::default().caller()).unwrap();
        }
    }
}
