//! Tells for a failed step of the child which value of config.json it was about.
//!
//! World: plan.

use super::{Bind, DEEPEST, Mount, MountKind, NodeKind, RootfsPlan, Rule};
use crate::error::{Code, Error};
use crate::rootfs::options::suggestion;
use crate::wire::{Fault, Step};

impl RootfsPlan {
    /// The error for `fault`; `None` when the step is not one of this room.
    #[must_use]
    pub fn explain(&self, fault: &Fault) -> Option<Error> {
        let Fault { step, errno, .. } = *fault;
        let number = usize::try_from(fault.index).unwrap_or(usize::MAX);
        let error = match step {
            Step::Propagation | Step::DevLink | Step::PivotRoot | Step::DetachOldRoot => plain(step.name()),
            Step::Rootfs => {
                let hint = (errno == libc::EACCES && self.attached).then(|| format!("{ACCESS}; if it has, {PROFILE}"));
                hinted(placed("root.path", format!("attach the rootfs {}", text(&self.root))), hint)
            }
            Step::MountTarget => self.target(number, errno),
            Step::MountSource => self.source(number, errno),
            Step::Mount | Step::MountAttributes | Step::MountPropagation | Step::CopyUp => self.mount(fault, number),
            Step::DevDirectory => {
                let hint = (errno == libc::ELOOP).then_some("/dev must not be a symbolic link");
                hinted(plain("open /dev of the container"), hint)
            }
            Step::Device => self.device(number),
            Step::Console => placed("process.terminal", step.name()),
            Step::ReadonlyRootfs => placed("root.readonly", step.name()),
            Step::RootPropagation => placed("linux.rootfsPropagation", step.name()),
            Step::MaskedPath => path(fault, "linux.maskedPaths", &self.masked_paths, number),
            Step::ReadonlyPath => path(fault, "linux.readonlyPaths", &self.readonly_paths, number),
            _ => return None,
        };
        Some(error.errno(errno).detail(String::from_utf8_lossy(fault.said())))
    }

    fn target(&self, number: usize, errno: i32) -> Error {
        let at = format!("mounts[{number}].destination");
        let Some(mount) = self.mounts.get(number) else { return placed(at, Step::MountTarget.name()) };
        let hint = match (errno, mount.rule) {
            (libc::ELOOP, Rule::NoSymlinks) => {
                Some("it must be mounted on ordinary directory: no part of the path may be a symbolic link")
            }
            (libc::EXDEV, _) => Some("a symbolic link leads into procfs"),
            _ => None,
        };
        hinted(placed(at, format!("resolve the mount destination {}", text(&mount.target))), hint)
    }

    fn source(&self, number: usize, errno: i32) -> Error {
        let at = format!("mounts[{number}].source");
        let Some(mount) = self.mounts.get(number) else { return placed(at, Step::MountSource.name()) };
        let MountKind::Bind(bind) = &mount.kind else { return placed(at, mount.phrase()) };
        let procfs = bind.procfs && errno == libc::EXDEV;
        let what = if procfs { "only the root of a procfs can be bound on /proc" } else { Step::MountSource.name() };
        let hint = if self.user_namespace { bind.refused_in_user_namespace(errno) } else { None };
        hinted(placed(at, format!("{}: {what}", mount.phrase())), hint)
    }

    fn mount(&self, fault: &Fault, number: usize) -> Error {
        let Fault { step, errno, .. } = *fault;
        let at = format!("mounts[{number}]");
        let Some(mount) = self.mounts.get(number) else { return placed(at, step.name()) };
        let what = match step {
            Step::Mount => mount.phrase(),
            other => format!("{}: {}", mount.phrase(), other.name()),
        };
        let parameters = match &mount.kind {
            MountKind::Filesystem(filesystem) => &filesystem.parameters[..],
            MountKind::Remount(remount) => &remount.parameters[..],
            MountKind::Bind(_) => &[],
        };
        if let Some(parameter) = fault.parameter.and_then(|parameter| parameters.get(usize::from(parameter))) {
            let at = match parameter.option {
                Some(option) => format!("{at}.options[{option}]"),
                None if parameter.key.as_c_str() == c"source" => format!("{at}.source"),
                None => at,
            };
            // Source: fs/fs_parser.c, `__fs_parse` and `vfs_parse_fs_param`.
            let unknown = fault.said().windows(UNKNOWN.len()).any(|part| part == UNKNOWN);
            let code = if unknown { Code::MountOptionUnknown } else { Code::MountOptionRefused };
            return hinted(placed(at, what).recoded(code), suggestion(&parameter.key.to_string_lossy()));
        }
        hinted(placed(at, what), self.mount_hint(mount, step, errno))
    }

    fn mount_hint(&self, mount: &Mount, step: Step, errno: i32) -> Option<String> {
        match (step, errno) {
            (Step::CopyUp, _) => not_copied(errno),
            (Step::Mount, libc::EINVAL) if matches!(mount.kind, MountKind::Bind(_)) => {
                // Docker looks for "not a directory".
                Some("a file cannot be mounted on a directory, nor a directory on a file".to_string())
            }
            (Step::Mount, libc::EPERM) if self.user_namespace => {
                refused_in_user_namespace(&mount.label).map(str::to_string)
            }
            (Step::Mount, libc::EACCES) if super::mounts::NO_DISK.contains(&&*mount.label) => Some(PROFILE.to_string()),
            _ => None,
        }
    }

    fn device(&self, number: usize) -> Error {
        let Some(node) = self.devices.nodes.get(number) else { return placed("linux.devices", Step::Device.name()) };
        let letter = match node.kind {
            NodeKind::Character => 'c',
            NodeKind::Block => 'b',
            NodeKind::Fifo => 'p',
        };
        let what = format!("create the device {} ({letter} {}:{})", text(&node.path), node.major, node.minor);
        match node.number {
            Some(number) => placed(format!("linux.devices[{number}]"), what),
            None => plain(what),
        }
    }
}

const ACCESS: &str = "tare must have access to each directory on the way to it";

/// Of filesystems without a source nothing else says EACCES. Source: security/apparmor/mount.c.
const PROFILE: &str = "a profile of AppArmor or SELinux denies mounts to tare; run the outer container without it \
    (Docker: --security-opt apparmor=unconfined or label=disable)";

/// What a filesystem says of an option that it does not know.
const UNKNOWN: &[u8] = b"Unknown parameter";

fn plain(what: impl Into<String>) -> Error {
    Error::new(Code::SystemCallFailed, what)
}

fn placed(at: impl Into<String>, what: impl Into<String>) -> Error {
    plain(what).at(at)
}

fn hinted(error: Error, hint: Option<impl Into<String>>) -> Error {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Source: fs/namespace.c, `mount_too_revealing`.
fn refused_in_user_namespace(filesystem: &str) -> Option<&'static str> {
    match filesystem {
        "proc" => Some(
            "in a user namespace the kernel does not mount a new procfs if parts of the caller's /proc are covered, for example by \
             the masked paths of an outer container; run that one with unmasked paths, for example with docker's \
             --security-opt systempaths=unconfined",
        ),
        "sysfs" => Some("it needs a network namespace that this user namespace owns; bind /sys instead"),
        _ => None,
    }
}

/// What is wrong with the image, or what to change in the config, when `tmpcopyup` fails.
fn not_copied(errno: i32) -> Option<String> {
    match errno {
        libc::ENOSPC => {
            Some("they do not fit into the tmpfs; give it a larger \"size=\" or \"nr_inodes=\"".to_string())
        }
        libc::ENAMETOOLONG => Some(format!("directories are nested more than {DEEPEST} levels deep")),
        libc::ESTALE => Some("a file of the image was moved at the same time".to_string()),
        _ => None,
    }
}

impl Mount {
    /// "mount tmpfs on /dev/shm".
    #[must_use]
    pub fn phrase(&self) -> String {
        match &self.kind {
            MountKind::Filesystem(_) => format!("mount {} on {}", self.label, text(&self.target)),
            MountKind::Bind(Bind { source, .. }) => format!("bind {} on {}", text(source), text(&self.target)),
            MountKind::Remount(_) => format!("remount {}", text(&self.target)),
        }
    }
}

fn path(fault: &Fault, list: &str, paths: &[std::ffi::CString], number: usize) -> Error {
    let step = fault.step;
    let Some(path) = paths.get(number) else { return placed(list, step.name()) };
    let hint = match fault.errno {
        libc::ELOOP => Some("its symbolic links lead in a circle, or into a process through /proc"),
        libc::EBUSY => Some("it leads to the root of the container"),
        _ => None,
    };
    hinted(placed(format!("{list}[{number}]"), format!("{} {}", step.name(), text(path))), hint)
}

fn text(string: &std::ffi::CStr) -> std::borrow::Cow<'_, str> {
    string.to_string_lossy()
}
