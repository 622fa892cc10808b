//! Tells for a failed step of the child which value of config.json it was about.
//!
//! World: plan. A fault carries one number: the element in its low half, one more than the mount's parameter in its
//! high half.

use super::{Bind, DEEPEST, Kind, Mount, NodeKind, Plan, Rule};
use crate::rootfs::options::suggestion;
use crate::wire::Step;

/// The number for a fault in parameter `parameter` of mount `index`.
#[must_use]
pub fn with_parameter(index: usize, parameter: usize) -> usize {
    (index & 0xffff) | (parameter.saturating_add(1).min(0xffff) << 16)
}

/// The mount and, if there is one, the parameter that a fault's number names.
#[must_use]
pub fn split_index(index: u32) -> (usize, Option<usize>) {
    let (low, high) = ((index & 0xffff) as usize, (index >> 16) as usize);
    (low, high.checked_sub(1))
}

/// Where in config.json a fault belongs, and what was being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// JSON path, when a value of the config is meant.
    pub at: Option<String>,
    /// Verb and nouns: "mount tmpfs on /dev/shm".
    pub what: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl Place {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self { at: Some(at.into()), what: what.into(), hint: None }
    }
}

impl Plan {
    /// The place of a fault in a step of this room; `None` for a step of another room.
    #[must_use]
    pub fn place(&self, step: Step, index: u32, errno: i32) -> Option<Place> {
        let number = index as usize;
        Some(match step {
            Step::Propagation => Place { at: None, what: step.name().to_string(), hint: None },
            Step::Rootfs => Place::new("root.path", format!("attach the rootfs {}", text(&self.root))),
            Step::MountTarget => self.target(number, errno),
            Step::MountSource => self.source(number, errno),
            Step::Mount | Step::MountAttributes | Step::MountPropagation | Step::CopyUp => {
                self.mount(step, index, errno)
            }
            Step::DevDirectory => {
                let hint = (errno == libc::ELOOP).then(|| "/dev must not be a symbolic link".to_string());
                Place { at: None, what: "open /dev of the container".to_string(), hint }
            }
            Step::Device => self.device(number),
            Step::DevLink => Place { at: None, what: step.name().to_string(), hint: None },
            Step::Console => Place::new("process.terminal", step.name()),
            Step::PivotRoot | Step::DetachOldRoot => Place { at: None, what: step.name().to_string(), hint: None },
            Step::ReadonlyRootfs => Place::new("root.readonly", step.name()),
            Step::RootPropagation => Place::new("linux.rootfsPropagation", step.name()),
            Step::MaskedPath => path(step, "linux.maskedPaths", &self.masked_paths, number, errno),
            Step::ReadonlyPath => path(step, "linux.readonlyPaths", &self.readonly_paths, number, errno),
            _ => return None,
        })
    }

    fn target(&self, number: usize, errno: i32) -> Place {
        let at = format!("mounts[{number}].destination");
        let Some(mount) = self.mounts.get(number) else { return Place::new(at, Step::MountTarget.name()) };
        let mut place = Place::new(at, format!("resolve the mount destination {}", text(&mount.target)));
        place.hint = match (errno, mount.rule) {
            (libc::ELOOP, Rule::NoSymlinks) => {
                Some("it must be mounted on ordinary directory: no part of the path may be a symbolic link".to_string())
            }
            (libc::EXDEV, _) => Some("a symbolic link leads into procfs".to_string()),
            _ => None,
        };
        place
    }

    fn source(&self, number: usize, errno: i32) -> Place {
        let at = format!("mounts[{number}].source");
        let Some(mount) = self.mounts.get(number) else { return Place::new(at, Step::MountSource.name()) };
        let Kind::Bind(bind) = &mount.kind else { return Place::new(at, mount.phrase()) };
        let procfs = bind.procfs && errno == libc::EXDEV;
        let what = if procfs { "only the root of a procfs can be bound on /proc" } else { Step::MountSource.name() };
        let mut place = Place::new(at, format!("{}: {what}", mount.phrase()));
        if self.user_namespace {
            place.hint = bind.refused_in_user_namespace(errno).map(str::to_string);
        }
        place
    }

    fn mount(&self, step: Step, index: u32, errno: i32) -> Place {
        let (number, parameter) = split_index(index);
        let Some(mount) = self.mounts.get(number) else {
            return Place::new(format!("mounts[{number}]"), step.name());
        };
        let verb = match step {
            Step::Mount => "",
            other => other.name(),
        };
        let separator = if verb.is_empty() { "" } else { ": " };
        let mut place = Place::new(format!("mounts[{number}]"), format!("{}{separator}{verb}", mount.phrase()));
        if matches!(mount.kind, Kind::Bind(_)) && step == Step::Mount && errno == libc::EINVAL {
            // Docker looks for "not a directory".
            place.hint = Some("a file cannot be mounted on a directory, nor a directory on a file".into());
        }
        if step == Step::CopyUp {
            place.hint = not_copied(errno);
        }
        let parameters = match &mount.kind {
            Kind::Filesystem(filesystem) => &filesystem.parameters[..],
            Kind::Remount(remount) => &remount.parameters[..],
            Kind::Bind(_) => &[],
        };
        if self.user_namespace && errno == libc::EPERM && step == Step::Mount {
            place.hint = refused_in_user_namespace(&mount.label).map(str::to_string);
        }
        if let Some(parameter) = parameter.and_then(|parameter| parameters.get(parameter)) {
            place.hint = suggestion(&parameter.key.to_string_lossy());
            match parameter.option {
                Some(option) => place.at = Some(format!("mounts[{number}].options[{option}]")),
                None if parameter.key.as_c_str() == c"source" => place.at = Some(format!("mounts[{number}].source")),
                None => {}
            }
        }
        place
    }

    fn device(&self, number: usize) -> Place {
        let Some(node) = self.devices.nodes.get(number) else {
            return Place::new("linux.devices", Step::Device.name());
        };
        let letter = match node.kind {
            NodeKind::Character => 'c',
            NodeKind::Block => 'b',
            NodeKind::Fifo => 'p',
        };
        let what = format!("create the device {} ({letter} {}:{})", text(&node.path), node.major, node.minor);
        Place { at: node.number.map(|number| format!("linux.devices[{number}]")), what, hint: None }
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
            Kind::Filesystem(_) => format!("mount {} on {}", self.label, text(&self.target)),
            Kind::Bind(Bind { source, .. }) => format!("bind {} on {}", text(source), text(&self.target)),
            Kind::Remount(_) => format!("remount {}", text(&self.target)),
        }
    }
}

fn path(step: Step, list: &str, paths: &[std::ffi::CString], number: usize, errno: i32) -> Place {
    let Some(path) = paths.get(number) else { return Place::new(list, step.name()) };
    let mut place = Place::new(format!("{list}[{number}]"), format!("{} {}", step.name(), text(path)));
    place.hint = match errno {
        libc::ELOOP => Some("its symbolic links lead in a circle, or into a process through /proc".to_string()),
        libc::EBUSY => Some("it leads to the root of the container".to_string()),
        _ => None,
    };
    place
}

fn text(string: &std::ffi::CStr) -> std::borrow::Cow<'_, str> {
    string.to_string_lossy()
}
