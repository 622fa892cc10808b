//! Opens everything the child will attach, in the host's mount namespace: each name of the host is resolved once.
//!
//! World: parent. Promises: after `open` no path of the host matters any more, but the place where the rootfs is
//! attached; what the child needs room for is allocated here. A caller without the right to clone mounts (rootless)
//! leaves the trees to the child, which opens them in its own mount namespace before it changes its root.

mod added;
mod idmap;
mod passwd;

pub use added::open_added;
pub use passwd::Passwd;

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::child::source;
use super::plan::{Bind, ChangeRoot, Device, DeviceFile, Mount, MountKind, NodeKind, RootfsPlan};
use crate::error::{Code, Context, Error, Result};
use crate::mountinfo;

/// Descriptors for the child. Cells, because the child takes and leaves descriptors in its copy.
pub struct OpenRootfs {
    /// The container's mount namespace, in which there is nothing but its rootfs.
    pub(super) mount_namespace: Option<OwnedFd>,
    /// The detached tree of the rootfs; its directory where nothing is attached; none if the child opens it.
    pub(super) root: Cell<Option<OwnedFd>>,
    /// By index of the mounts.
    pub(super) sources: Vec<Option<Source>>,
    /// By index of the mounts: room for the shared sources that the child opens before it leaves their peer group.
    /// Empty if there are none.
    pub(super) shared: Vec<Cell<Option<OwnedFd>>>,
    /// By index of the device nodes: those that are bound.
    pub(super) devices: Vec<Option<OwnedFd>>,
    /// /dev/null of the host, verified, detached.
    pub(super) null: Cell<Option<OwnedFd>>,
    /// By index of the mounts: those that become read-only at the end. Empty if there are none.
    pub(super) late: Vec<Cell<Option<OwnedFd>>>,
    /// The kernel has /proc/kcore.
    pub(super) kcore: bool,
    /// That of procfs mounts, where init joins it only after them.
    pub(super) pid_namespace: Option<OwnedFd>,
    /// Mounts of procfs and sysfs outside the rootfs that a chroot would leave reachable.
    pub(super) reachable: Vec<CString>,
}

/// The source of a bind mount.
#[derive(Debug)]
pub(super) enum Source {
    /// A detached tree.
    Tree(OwnedFd),
    /// `copy-symlink`: what the link says.
    Link(CString),
}

impl OpenRootfs {
    /// The container's mount namespace, if init joins one that was made for it.
    #[must_use]
    pub fn mount_namespace(&self) -> Option<BorrowedFd<'_>> {
        self.mount_namespace.as_ref().map(AsFd::as_fd)
    }

    /// The id of the mount that will be the caller's as well as the container's, which has no mount namespace: for the
    /// record, so that [`detach`] finds it.
    ///
    /// # Errors
    /// statx(2).
    pub fn callers_mount(&self, plan: &RootfsPlan) -> Result<Option<u64>> {
        if plan.mount_namespace || !plan.attached {
            return Ok(None);
        }
        let root = self.root.take();
        let id = root.as_ref().map(|root| mount_id(root.as_fd())).transpose();
        self.root.set(root);
        id.context(|| "look at the mount of the rootfs")
    }
}

/// Unique until the next boot since Linux 6.8; before, while the mount lasts.
fn mount_id(mount: BorrowedFd<'_>) -> std::result::Result<u64, Errno> {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000); // STATX_MNT_ID_UNIQUE
    let facts = rustix::fs::statx(mount, c"", rustix::fs::AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | UNIQUE)?;
    Ok(facts.stx_mnt_id)
}

/// Takes the mounts of a container without a mount namespace from the caller's: the one with this id on its rootfs, with
/// what is below. Does nothing when they are gone.
///
/// # Errors
/// umount2(2).
pub fn detach(rootfs: &Path, id: u64) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let what = || format!("detach the mounts of the rootfs {}", rootfs.display());
    let root = match rustix::fs::open(rootfs, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        root => root.context(what)?,
    };
    if mount_id(root.as_fd()).context(what)? != id {
        return Ok(());
    }
    // By the descriptor, so that the name is not looked up again.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root));
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).context(what)
}

/// Opens the sources; `user_namespace` is the container's, when it joins one that exists, `pid_namespace` one that init
/// joins only after the mounts.
///
/// # Errors
/// A missing or refused source, with its JSON path.
pub fn open(
    plan: &RootfsPlan,
    user_namespace: Option<BorrowedFd<'_>>,
    pid_namespace: Option<BorrowedFd<'_>>,
) -> Result<OpenRootfs> {
    let late = plan.mounts.iter().any(|mount| mount.late_readonly);
    let mount_namespace = if plan.begins_with_rootfs { source::open_namespace(plan) } else { None };
    let mut prepared = OpenRootfs {
        mount_namespace,
        root: Cell::new(None),
        sources: Vec::with_capacity(plan.mounts.len()),
        shared: if plan.mounts.iter().any(Mount::is_shared_bind) { cells(plan.mounts.len()) } else { Vec::new() },
        devices: Vec::with_capacity(plan.devices.nodes.len()),
        null: Cell::new(None),
        late: if late { cells(plan.mounts.len()) } else { Vec::new() },
        kcore: plan.devices.own && rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok(),
        pid_namespace: pid_namespace
            .map(|namespace| rustix::io::fcntl_dupfd_cloexec(namespace, 3))
            .transpose()
            .context(|| "duplicate the pid namespace's descriptor")?,
        reachable: if plan.change_root == ChangeRoot::Move { reachable(&plan.root)? } else { Vec::new() },
    };
    // The child finds nothing of the host, and the rootfs is there.
    let apart = prepared.mount_namespace.is_some();
    let root = if apart { None } else { open_root(plan)? };
    let clones = apart || root.is_some();
    prepared.root.set(root);
    let passwd = plan.passwd_mount();
    for (number, mount) in plan.mounts.iter().enumerate() {
        let field = if mount.label == "bind" { ".source" } else { "" };
        let place = |error: Error| error.at(format!("mounts[{number}]{field}")).context(mount.phrase());
        prepared.sources.push(match &mount.kind {
            MountKind::Bind(bind) if bind.inside.is_some() && bind.idmap.is_some() && !clones => {
                return Err(place(may_not_map()));
            }
            // Its turn comes when the mounts before it are there.
            MountKind::Bind(bind) if bind.inside.is_some() => None,
            MountKind::Bind(bind)
                if apart || is_opened_here(plan, bind) || (passwd == Some(number) && !mount.is_shared_bind()) =>
            {
                open_source(bind, clones, user_namespace).map_err(|error| explain(plan, bind, error)).map_err(place)?
            }
            _ => None,
        });
    }
    for node in &plan.devices.nodes {
        let bound = clones && node.file == DeviceFile::Bound;
        prepared.devices.push(if bound { Some(open_device(node)?) } else { None });
    }
    if clones && !plan.masked_paths.is_empty() {
        prepared.null.set(Some(open_null()?));
    }
    Ok(prepared)
}

/// Room for `count` descriptors, which the child must not allocate.
fn cells(count: usize) -> Vec<Cell<Option<OwnedFd>>> {
    (0..count).map(|_| Cell::new(None)).collect()
}

/// Whether the parent opens a source; the others the child opens in its own copy of the host's tree, one after the
/// other, so that mountinfo lists the mounts in the order of the config (it sorts by age since Linux 6.8).
fn is_opened_here(plan: &RootfsPlan, bind: &Bind) -> bool {
    // What lies in the rootfs is covered by a mount on "/" when its turn comes.
    let inside = bind.source.to_bytes().strip_prefix(plan.root.to_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    plan.user_namespace || inside || bind.idmap.is_some() || bind.copy_symlink
}

/// `None`: this caller may not clone mounts.
fn open_root(plan: &RootfsPlan) -> Result<Option<OwnedFd>> {
    if !plan.attached {
        return open_directory(plan).map(Some);
    }
    match source::open_root(plan) {
        Err(Errno::PERM) => Ok(None),
        root => root.map(Some).map_err(|errno| no_root(plan, errno)),
    }
}

fn no_root(plan: &RootfsPlan, errno: Errno) -> Error {
    Error::system(format!("open the rootfs {}", plan.root.to_string_lossy()), errno)
        .coded(Code::RootfsFailed)
        .at("root.path")
}

/// The directory of the rootfs (O_PATH).
///
/// # Errors
/// It does not exist or is not a directory, with its JSON path.
pub(super) fn open_directory(plan: &RootfsPlan) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&*plan.root, flags, Mode::empty()).map_err(|errno| no_root(plan, errno))
}

fn explain(plan: &RootfsPlan, bind: &Bind, error: Error) -> Error {
    let errno = error.raw_os_error().filter(|_| plan.user_namespace);
    match errno.and_then(|errno| bind.refused_in_user_namespace(errno)) {
        Some(hint) if bind.idmap.is_none() => error.hint(hint),
        _ => error,
    }
}

fn open_source(bind: &Bind, clones: bool, user_namespace: Option<BorrowedFd<'_>>) -> Result<Option<Source>> {
    if bind.copy_symlink {
        match rustix::fs::readlink(&*bind.source, Vec::new()) {
            Ok(link) => return Ok(Some(Source::Link(link))),
            Err(Errno::INVAL) => {}
            Err(errno) => return Err(Error::system("read the link", errno).coded(Code::MountSourceFailed)),
        }
    }
    if !clones {
        return if bind.idmap.is_some() { Err(may_not_map()) } else { Ok(None) };
    }
    let namespace = mapping(bind, user_namespace)?;
    let namespace = namespace.as_ref().map(AsFd::as_fd);
    source::open(bind, namespace).map(|tree| Some(Source::Tree(tree))).map_err(|errno| match errno {
        source::NO_PROCFS => Error::new(Code::MountSourceInvalid, "only the root of a procfs can be bound on /proc"),
        Errno::INVAL if bind.idmap.is_some() => not_mapped(errno),
        Errno::MFILE => Error::system("open the source", Errno::MFILE).coded(Code::MountSourceFailed).hint(
            "each mount takes a descriptor until it is attached; raise the hard limit of open files (RLIMIT_NOFILE)",
        ),
        errno => Error::system("open the source", errno).coded(Code::MountSourceFailed),
    })
}

fn may_not_map() -> Error {
    Error::new(Code::MountIdmapDenied, "an id-mapped mount needs CAP_SYS_ADMIN")
}

fn not_mapped(errno: Errno) -> Error {
    let error = Error::system("map the ids of the mount", errno).coded(Code::MountIdmapFailed);
    match errno {
        Errno::INVAL => error.hint("this filesystem may not support id-mapped mounts on this kernel"),
        Errno::PERM => {
            error.hint("the ids of this mount are mapped already, or tare has no rights over its filesystem")
        }
        _ => error,
    }
}

/// The user namespace with the id mapping of the mount, if it has one; `joined` is the one that the container joins.
fn mapping(bind: &Bind, joined: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> {
    let Some(idmap) = &bind.idmap else { return Ok(None) };
    match (&idmap.own, joined) {
        (Some((uids, gids)), _) => idmap::user_namespace(uids, gids).map(Some),
        (None, Some(joined)) => {
            rustix::io::fcntl_dupfd_cloexec(joined, 3).map(Some).context(|| "duplicate the user namespace's descriptor")
        }
        (None, None) => Err(Error::new(Code::Internal, "no user namespace for an id-mapped mount")),
    }
}

/// Maps the ids of mount `number`, whose source is in the rootfs: the child has opened it after the mounts before it,
/// and sends the detached tree. `joined` is the user namespace that the container joins.
///
/// # Errors
/// mount_setattr(2), with the JSON path.
pub fn map_ids(plan: &RootfsPlan, number: usize, tree: BorrowedFd<'_>, joined: Option<BorrowedFd<'_>>) -> Result<()> {
    let Some((mount, MountKind::Bind(bind))) = plan.mounts.get(number).map(|mount| (mount, &mount.kind)) else {
        return Err(Error::new(Code::Internal, "no bind mount of this number"));
    };
    let _span = crate::timings::span("map the ids of a mount");
    let mapped = mapping(bind, joined).and_then(|namespace| match &namespace {
        Some(namespace) => source::map_ids(tree, bind, namespace.as_fd()).map_err(not_mapped),
        None => Err(Error::new(Code::Internal, "a mount without an id mapping")),
    });
    mapped.map_err(|error| error.at(format!("mounts[{number}].source")).context(mount.phrase()))
}

/// The host's node of the same path, or what udev or the kernel calls its numbers: verified by type and numbers.
fn open_device(node: &Device) -> Result<OwnedFd> {
    find_device(node, |path| clone_device(path, node))
}

/// Whether [`open`] would find the node.
pub(super) fn look_for_device(node: &Device) -> Result<()> {
    find_device(node, |path| verified_device(path, node)).map(drop)
}

fn find_device(node: &Device, open: impl Fn(&CStr) -> std::result::Result<OwnedFd, Errno>) -> Result<OwnedFd> {
    // What the path of the config says is the better message.
    let failure = match open(&node.path) {
        Ok(tree) => return Ok(tree),
        Err(errno) => errno,
    };
    let kind = if node.kind == NodeKind::Block { "block" } else { "char" };
    let numbers = format!("{kind}/{}:{}", node.major, node.minor);
    let by_udev = CString::new(format!("/dev/{numbers}")).ok();
    let again = |path: CString| open(&path).ok();
    if let Some(tree) = by_udev.and_then(again).or_else(|| kernel_name(&numbers).and_then(again)) {
        return Ok(tree);
    }
    let error = Error::system(format!("bind the host's device {}", node.path.to_string_lossy()), failure)
        .coded(Code::DeviceFailed);
    Err(match node.number {
        Some(number) => error.at(format!("linux.devices[{number}]")),
        None => error,
    })
}

/// The node that devtmpfs has of `char/MAJOR:MINOR`; not every device manager makes udev's links.
fn kernel_name(numbers: &str) -> Option<CString> {
    let event = std::fs::read_to_string(format!("/sys/dev/{numbers}/uevent")).ok()?;
    let name = event.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
    CString::new(format!("/dev/{name}")).ok()
}

fn clone_device(path: &CStr, node: &Device) -> std::result::Result<OwnedFd, Errno> {
    source::own_copy(verified_device(path, node)?.as_fd())
}

fn verified_device(path: &CStr, node: &Device) -> std::result::Result<OwnedFd, Errno> {
    let kind = if node.kind == NodeKind::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    source::check_device(file.as_fd(), kind, node.major, node.minor)?;
    Ok(file)
}

/// An image cannot plant this one: it is the host's, and its numbers are checked.
fn open_null() -> Result<OwnedFd> {
    source::open_null().context(|| "open /dev/null")
}

/// Mount points of procfs and sysfs outside the rootfs, deepest first. Source: proc_pid_mountinfo(5).
fn reachable(root: &CStr) -> Result<Vec<CString>> {
    let table = std::fs::read("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
    let root = Path::new(std::ffi::OsStr::from_bytes(root.to_bytes()));
    let mut found = Vec::new();
    for line in mountinfo::lines(&table).filter(|line| matches!(line.kind, b"proc" | b"sysfs")) {
        let point = mountinfo::unescape(line.point);
        if !Path::new(std::ffi::OsStr::from_bytes(&point)).starts_with(root) {
            found.extend(CString::new(point));
        }
    }
    found.reverse();
    Ok(found)
}
