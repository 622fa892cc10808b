//! What can be told of a container's tree before it is built. Nothing is made, mounted or opened but with O_PATH.
//!
//! World: parent. The words are those of the child's faults and of [`super::parent`], so that `check` and `create` say the
//! same. What the kernel decides only when it mounts is not seen here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::child::filesystem;
use super::parent::{look_for_device, open_directory};
use super::plan::{Bind, DeviceFile, Filesystem, Mount, MountKind, RootfsPlan, Rule, TreeChange};
use super::view::{Content, Found, Links, View};
use crate::error::{Error, Result};
use crate::sys::mount::Attributes;
use crate::sys::procfs;
use crate::wire::{ChildResult, Fault, Step};

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// What create would refuse, in its order.
    pub errors: Vec<Error>,
    /// The tree with all its mounts.
    pub view: View,
}

/// Looks for the rootfs, the sources and places of the mounts, and the devices to bind. `made` are directories that
/// create will have made by then.
///
/// # Errors
/// There is no rootfs.
pub fn check(plan: &RootfsPlan, made: &[PathBuf]) -> Result<Checked> {
    let mut checking = Checking { plan, view: View::new(open_directory(plan)?), makes: false };
    let sources: Vec<_> = plan.mounts.iter().enumerate().map(|(number, mount)| source(mount, number, made)).collect();
    let bound = plan.devices.nodes.iter().filter(|node| node.file == DeviceFile::Bound);
    let mut errors: Vec<Error> = Vec::new();
    errors.extend(bound.filter_map(|node| look_for_device(node).err()));
    for (number, source) in sources.into_iter().enumerate() {
        let placed = source.and_then(|source| checking.mount(number, source));
        errors.extend(placed.err().and_then(|fault| plan.explain(&fault)));
    }
    Ok(Checked { errors, view: checking.view })
}

struct Checking<'p> {
    plan: &'p RootfsPlan,
    view: View,
    /// A directory will be made, in which later mounts may find what is not there yet.
    makes: bool,
}

impl Checking<'_> {
    /// Finds the place of a mount and covers it with its source.
    fn mount(&mut self, number: usize, source: Option<OwnedFd>) -> ChildResult {
        let Some(mount) = self.plan.mounts.get(number) else { return Ok(()) };
        let refused = |errno| Fault::new(Step::MountTarget, number, errno);
        let Found { path, content: target, readonly } = self.view.find(mount.target.to_bytes(), links(mount));
        let content = match &mount.kind {
            // It has to be there, and changes nothing that is looked at here.
            MountKind::Remount(_) => return target.map(drop).map_err(refused),
            MountKind::Filesystem(new) => {
                parameters(new, number)?;
                Content::Unknown
            }
            MountKind::Bind(Bind { inside: Some(path), .. }) => self.inside(path.to_bytes(), number)?,
            MountKind::Bind(_) => source.map_or(Content::Unknown, |file| Content::File(Rc::new(file))),
        };
        match target {
            Ok(Content::File(file)) => {
                let is_directory =
                    |file: &OwnedFd| fstat(file).is_ok_and(|status| kind(&status) == FileType::Directory);
                let mounts_directory = match &content {
                    Content::File(source) => is_directory(source),
                    Content::Unknown if matches!(mount.kind, MountKind::Bind(_)) => is_directory(&file),
                    Content::Unknown => true,
                };
                if is_directory(&file) != mounts_directory {
                    return Err(Fault::new(Step::Mount, number, Errno::INVAL));
                }
            }
            Ok(Content::Unknown) => {}
            Err(Errno::NOENT) if readonly => return Err(refused(Errno::ROFS)),
            Err(Errno::NOENT) => self.makes = true,
            Err(errno) => return Err(refused(errno)),
        }
        self.view.cover(path, content, readonly_by_config(mount));
        Ok(())
    }

    /// A source that lies in the rootfs: earlier mounts may cover it.
    fn inside(&self, path: &[u8], number: usize) -> ChildResult<Content> {
        match self.view.find(path, Links::Follow).content {
            Ok(content) => Ok(content),
            Err(_) if self.makes => Ok(Content::Unknown),
            Err(errno) => Err(Fault::new(Step::MountSource, number, errno)),
        }
    }
}

/// Whether nothing can be made in it, if the config says so. A filesystem becomes read-only when it is complete.
fn readonly_by_config(mount: &Mount) -> Option<bool> {
    let MountKind::Bind(bind) = &mount.kind else { return Some(false) };
    let of_change = |change: &TreeChange| {
        let has = |bits: Attributes| bits.contains(Attributes::RDONLY);
        if has(change.wanted.set) { Some(true) } else { has(change.wanted.clear - change.implied).then_some(false) }
    };
    bind.changes.iter().filter_map(of_change).next_back()
}

fn kind(status: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

fn links(mount: &Mount) -> Links {
    match mount.rule {
        Rule::Follow => Links::Follow,
        Rule::NoFollowLast => Links::NotTheLast,
        Rule::NoSymlinks => Links::Refuse,
    }
}

/// The source of a bind mount; `None` for other mounts, and for one that is found in the container.
fn source(mount: &Mount, number: usize, made: &[PathBuf]) -> ChildResult<Option<OwnedFd>> {
    let MountKind::Bind(bind) = &mount.kind else { return Ok(None) };
    let path = Path::new(OsStr::from_bytes(bind.source.to_bytes()));
    if bind.inside.is_some() || made.iter().any(|made| path.starts_with(made)) {
        return Ok(None);
    }
    let refused = |errno| Fault::new(Step::MountSource, number, errno);
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, bind.nofollow || bind.copy_symlink);
    let file = openat(CWD, &*bind.source, flags, Mode::empty()).map_err(refused)?;
    if bind.procfs && !procfs::is_root(file.as_fd()).map_err(refused)? {
        return Err(refused(super::child::source::NO_PROCFS));
    }
    let is_link = kind(&fstat(&file).map_err(refused)?) == FileType::Symlink;
    Ok(if bind.copy_symlink && is_link { None } else { Some(file) })
}

/// Whether the kernel has the filesystem and takes its parameters. One whose module is not loaded stays unloaded.
fn parameters(new: &Filesystem, number: usize) -> ChildResult {
    match filesystem_state(&new.name.to_string_lossy()) {
        State::Loaded if new.old_call.is_none() => filesystem::try_parameters(new, number),
        State::Absent => Err(filesystem::unknown(number)),
        State::Loaded | State::Loadable => Ok(()),
    }
}

enum State {
    Loaded,
    Loadable,
    Absent,
}

/// Source: filesystems(5); `get_fs_type` of fs/filesystems.c, which asks modprobe for `fs-NAME`.
fn filesystem_state(name: &str) -> State {
    // `fuse.sshfs` is fuse.
    let name = name.split('.').next().unwrap_or_default();
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let list = read("/proc/filesystems");
    if list.is_empty() || list.lines().any(|line| line.split_whitespace().next_back() == Some(name)) {
        return State::Loaded;
    }
    if read("/proc/sys/kernel/modprobe").trim().is_empty() {
        return State::Absent;
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let aliases = read(&format!("/lib/modules/{release}/modules.alias"));
    let alias = format!("alias fs-{name} ");
    if aliases.is_empty() || aliases.lines().any(|line| line.starts_with(&alias)) {
        State::Loadable
    } else {
        State::Absent
    }
}
