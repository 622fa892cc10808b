//! World: parent. What of a container CRIU does not dump: mounts that come from the host, and the pipes of its stdio.
//!
//! A dump names each external mount, and a restore says what of the host takes its place. Bind mounts are named by their
//! destination in config.json, masked files by `/dev/null`, devices by their path, as runc does it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat};

use crate::checkpoint::messages::ExternalMount;
use crate::error::{Context, Result};
use crate::rootfs::plan::default_paths;

/// What covers masked files.
const NULL: &str = "/dev/null";

/// The external mounts of a running container: where they are, and their names.
///
/// # Errors
/// The root of process `pid` cannot be opened.
pub(super) fn dumped(spec: &Spec, pid: i32) -> Result<Vec<ExternalMount>> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &*path, flags, Mode::empty()).context(|| "open the root of the container")?;
    let root = std::os::fd::AsFd::as_fd(&root);
    let mut mounts = Vec::new();
    let mut name = |place: String, name: &str| mounts.push(ExternalMount { key: place, value: name.to_owned() });
    for mount in binds(spec) {
        let destination = text(mount.destination());
        let place = find(root, &destination).map_or_else(|| destination.clone(), |(place, _)| place);
        name(place, &destination);
    }
    for masked in masked_paths(spec) {
        if let Some((place, false)) = find(root, masked) {
            name(place, NULL);
        }
    }
    for device in devices(spec) {
        name(device.clone(), &device);
    }
    Ok(mounts)
}

/// What takes the place of the external mounts in a restored container.
pub(in crate::container) fn restored(spec: &Spec, bundle: &Path) -> Vec<ExternalMount> {
    let from = |name: String, source: String| ExternalMount { key: name, value: source };
    let binds = binds(spec).map(|mount| {
        let source = mount.source().clone().unwrap_or_default();
        // CRIU does not follow a link.
        let source = bundle.join(source);
        from(text(mount.destination()), text(&std::fs::canonicalize(&source).unwrap_or(source)))
    });
    let null = masked_paths(spec).next().map(|_| from(NULL.to_owned(), NULL.to_owned()));
    let devices = devices(spec).into_iter().filter(|device| device != NULL || null.is_none());
    let devices: Vec<_> = devices.map(|device| from(device.clone(), device)).collect();
    binds.chain(null).chain(devices).collect()
}

fn binds(spec: &Spec) -> impl Iterator<Item = &Mount> {
    spec.mounts().iter().flatten().filter(|mount| {
        let words = mount.options().as_deref().unwrap_or_default();
        mount.typ().as_deref() == Some("bind") || words.iter().any(|word| word == "bind" || word == "rbind")
    })
}

fn masked_paths(spec: &Spec) -> impl Iterator<Item = &str> {
    let linux = spec.linux().as_ref();
    linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten().map(String::as_str)
}

fn devices(spec: &Spec) -> Vec<String> {
    let linux = spec.linux().as_ref();
    let own = linux.and_then(|linux| linux.devices().as_ref()).into_iter().flatten().map(|device| text(device.path()));
    let mut all: Vec<String> = default_paths().chain(own).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The path of a file in a container without symbolic links, and whether it is a directory; `None` if there is none.
fn find(root: BorrowedFd<'_>, path: &str) -> Option<(String, bool)> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
    let directory = FileType::from_raw_mode(fstat(&file).ok()?.st_mode) == FileType::Directory;
    link(&file).filter(|place| place.starts_with('/')).map(|place| (place, directory))
}

/// What each of these descriptors is, if it is a pipe: `pipe:[INODE]`.
pub(in crate::container) fn stdio_pipes(stdio: [BorrowedFd<'_>; 3]) -> [Option<String>; 3] {
    stdio.map(|descriptor| {
        let mode = fstat(descriptor).ok()?.st_mode;
        let pipe = FileType::from_raw_mode(mode) == FileType::Fifo;
        link(&descriptor).filter(|text| pipe && text.starts_with("pipe:["))
    })
}

fn link(file: &impl AsRawFd) -> Option<String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    readlinkat(CWD, path, Vec::new()).ok()?.into_string().ok()
}

/// CRIU's messages hold text.
pub(in crate::container) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_the_host_is_external() {
        let spec = serde_json::json!({
            "ociVersion": "1.2.0",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/data", "type": "bind", "source": "/srv/data" },
                { "destination": "/etc/hosts", "source": "hosts", "options": ["rbind", "ro"] },
            ],
            "linux": { "maskedPaths": ["/proc/kcore"], "devices": [{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }] },
        });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let mounts = restored(&spec, Path::new("/b"));
        let pairs: Vec<_> = mounts.iter().map(|mount| (mount.key.as_str(), mount.value.as_str())).collect();
        assert_eq!(pairs[..3], [("/data", "/srv/data"), ("/etc/hosts", "/b/hosts"), (NULL, NULL)]);
        assert_eq!(pairs.iter().filter(|(name, _)| *name == NULL).count(), 1);
        assert!(pairs.contains(&("/dev/fuse", "/dev/fuse")) && pairs.contains(&("/dev/tty", "/dev/tty")));
    }

    #[test]
    fn pipes_are_named_and_other_files_are_not() {
        let (reader, writer) = std::io::pipe().unwrap();
        let null = std::fs::File::open(NULL).unwrap();
        let [first, second, third] = stdio_pipes([
            std::os::fd::AsFd::as_fd(&null),
            std::os::fd::AsFd::as_fd(&writer),
            std::os::fd::AsFd::as_fd(&reader),
        ]);
        assert_eq!(first, None);
        assert!(second.is_some_and(|text| text.starts_with("pipe:[") && Some(text) == third));
    }
}
