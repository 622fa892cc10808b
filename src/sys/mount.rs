//! mount_setattr(2), Linux 5.12, and mount(2); the rest of the mount API is in rustix.
//!
//! World: all.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

bitflags::bitflags! {
    /// Mount attributes as `struct mount_attr` has them. Source: mount_setattr(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Attributes: u64 {
        /// Read-only.
        const RDONLY = 0x1;
        /// Ignore set-user-ID.
        const NOSUID = 0x2;
        /// No device nodes.
        const NODEV = 0x4;
        /// No execution.
        const NOEXEC = 0x8;
        /// Mask of the three access time modes; must be in `clear` to change the mode.
        const ATIME = 0x70;
        /// No access times (a value below [`Self::ATIME`], relatime being 0).
        const NOATIME = 0x10;
        /// Strict access times (a value below [`Self::ATIME`]).
        const STRICTATIME = 0x20;
        /// No directory access times.
        const NODIRATIME = 0x80;
        /// Id-mapped; needs `user_namespace`.
        const IDMAP = 0x0010_0000;
        /// Follow no symlinks. Linux 5.14.
        const NOSYMFOLLOW = 0x0020_0000;
    }
}

/// OPEN_TREE_NAMESPACE of open_tree(2): a mount namespace whose root is the copied tree. Kernel: 7.0.
pub const OPEN_TREE_NAMESPACE: OpenTreeFlags = OpenTreeFlags::from_bits_retain(2);

/// MS_* flags, for mount(2) and for the propagation of mount_setattr(2).
pub type MountFlags = libc::c_ulong;

/// What mount_setattr shall do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'fd> {
    /// Attributes to set.
    pub set: Attributes,
    /// Attributes to clear, done first.
    pub clear: Attributes,
    /// Propagation type: 0 for unchanged, or one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE.
    pub propagation: MountFlags,
    /// The user namespace whose mappings an id-mapped mount takes.
    pub user_namespace: Option<BorrowedFd<'fd>>,
}

/// The number of the mount that a descriptor is on, as mountinfo has it: free again when the mount is gone. Kernel: 5.8.
///
/// # Errors
/// As statx(2).
pub fn number(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    // The filesystem need not be asked.
    let flags = rustix::fs::AtFlags::EMPTY_PATH | rustix::fs::AtFlags::STATX_DONT_SYNC;
    let facts = rustix::fs::statx(file, c"", flags, rustix::fs::StatxFlags::MNT_ID)?;
    Ok(facts.stx_mnt_id)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}
const _: () = assert!(size_of::<MountAttr>() == 32);

/// Changes the mount at `path` below `directory` (an empty path: the mount of `directory` itself).
///
/// # Errors
/// As mount_setattr(2): EINVAL for a combination that the filesystem cannot do, EPERM for a locked flag.
pub fn set_attributes(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    change: &Change<'_>,
) -> Result<(), Errno> {
    let namespace = change.user_namespace.map_or(0, |fd| u64::try_from(fd.as_raw_fd()).unwrap_or(u64::MAX));
    let attr = MountAttr {
        set: change.set.bits(),
        clear: change.clear.bits(),
        #[allow(clippy::useless_conversion, reason = "it is one on 32-bit processors")]
        propagation: change.propagation.into(),
        user_namespace: namespace,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `path` ends in NUL and `attr` is a live struct of the size given.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    super::check(value).map(drop)
}

/// mount(2) of a new filesystem on the working directory.
///
/// # Errors
/// As mount(2).
pub fn mount_here(source: &CStr, kind: &CStr, flags: MountFlags, data: &CStr) -> Result<(), Errno> {
    // SAFETY: all four strings end in NUL and live through the call.
    let value =
        unsafe { libc::syscall(libc::SYS_mount, source.as_ptr(), c".".as_ptr(), kind.as_ptr(), flags, data.as_ptr()) };
    super::check(value).map(drop)
}
