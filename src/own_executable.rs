//! Makes sure that no container ever sees a writable tare: before create, run and exec, tare executes itself again from
//! an image that cannot be written (docs/security.md, class 1, CVE-2019-5736).
//!
//! World: parent, before anything else. The image is a detached read-only bind of the binary: 8 times cheaper than a
//! sealed copy in memory (measured: 46 us above a plain exec against 750), and shared with the page cache. Who could
//! undo the read-only flag has CAP_SYS_ADMIN over the host's mounts and needs no such detour. Without the right to
//! make mounts the sealed copy is taken, unless the binary is one that neither the caller nor any id that it could map
//! may write: the host's root owns it.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{Access, AtFlags, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Error, Result};
use crate::sys::exec::{Strings, execute_file};
use crate::sys::mount::{Attributes, Change, set_attributes};

const EXE: &str = "/proc/self/exe";

/// Returns when this process runs from a protected image; else executes itself from one.
///
/// # Errors
/// No protected image can be made: then no container is entered.
pub fn protect(args: &[OsString]) -> Result<()> {
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {EXE}"))?;
    if is_protected(&exe).context(|| "examine tare's own executable")? {
        crate::sys::process_attributes::set_name(c"tare").context(|| "set the process name")?;
        return Ok(());
    }
    // Whatever keeps it from being bound (no right to mounts, an old kernel, a binary that was replaced meanwhile), the
    // copy does not need it.
    let image = readonly_bind(&exe).or_else(|_| sealed_copy())?;
    let words = args.iter().map(|arg| CString::new(arg.as_bytes()));
    let words = words
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| Error::new(crate::error::ErrorKind::InvalidConfig, "an argument contains a NUL byte"))?;
    Err(Error::system("execute tare from its protected image", execute_file(image.as_fd(), &Strings::new(words))))
}

/// The same with the arguments of this process, for a command that finds out late that it enters a container. What it did
/// until then it does again.
///
/// # Errors
/// As [`protect`]; /proc is not mounted.
pub fn protect_again() -> Result<()> {
    let path = "/proc/self/cmdline";
    let text = std::fs::read(path).context(|| format!("read {path}"))?;
    let words = text.strip_suffix(&[0]).unwrap_or(&text).split(|byte| *byte == 0);
    protect(&words.map(|word| OsString::from_vec(word.to_vec())).collect::<Vec<_>>())
}

/// A read-only mount, a file that is out of reach, or a sealed file in memory.
fn is_protected(exe: &OwnedFd) -> std::result::Result<bool, Errno> {
    if rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let facts = rustix::fs::fstat(exe)?;
    if facts.st_nlink > 0 {
        return is_out_of_reach(exe, &facts);
    }
    let file = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL)))
}

/// Whether an ordinary user runs a binary of root's. A container maps the caller's id and subordinate ones, which
/// newuidmap(1) never takes from the host's root.
///
/// In a user namespace the owner must be one that does not exist there. stat(2) gives such ids as 65534, which may exist
/// as well; but with every right over files of ids that exist, root is refused only where one does not.
fn is_out_of_reach(exe: &OwnedFd, facts: &rustix::fs::Stat) -> std::result::Result<bool, Errno> {
    const OTHERS_WRITE: u32 = 0o022;
    const NOBODY: u32 = 65534;
    let owned_by_root = (facts.st_uid, facts.st_gid) == (0, 0);
    let caller_is_root = rustix::process::geteuid().is_root();
    // Root's own binary in root's hands is the usual case, and one to protect.
    if facts.st_mode & OTHERS_WRITE != 0 || (owned_by_root && caller_is_root) {
        return Ok(false);
    }
    let host = crate::host::Host::default();
    if host.in_user_namespace().map_err(|_| Errno::NOENT)? {
        if host.capabilities() & DAC_OVERRIDE == 0 || (facts.st_uid, facts.st_gid) != (NOBODY, NOBODY) {
            return Ok(false);
        }
        let flags = AtFlags::EACCESS | AtFlags::EMPTY_PATH;
        return Ok(rustix::fs::accessat(exe, c"", Access::WRITE_OK, flags) == Err(Errno::ACCESS));
    }
    Ok(!caller_is_root && host.capabilities() == 0 && owned_by_root)
}

/// CAP_DAC_OVERRIDE of linux/capability.h.
const DAC_OVERRIDE: u64 = 1 << 1;
/// A detached clone of the mount that the binary is on, of the file alone, read-only. Kernel: 5.12.
fn readonly_bind(exe: &OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let image = rustix::mount::open_tree(exe, c"", flags)?;
    let readonly = Change { set: Attributes::RDONLY, ..Change::default() };
    set_attributes(image.as_fd(), c"", false, &readonly)?;
    Ok(image)
}

/// A copy in memory that nobody can change any more.
fn sealed_copy() -> Result<OwnedFd> {
    let what = || "copy tare's own executable into sealed memory";
    let source = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(what)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC says that it is meant to be executed; kernels before 6.3 do not know it and need no such word.
    let copy = rustix::fs::memfd_create("tare", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("tare", flags))
        .context(what)?;
    while rustix::fs::sendfile(&copy, &source, None, 1 << 30).context(what)? > 0 {}
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).context(what)?;
    Ok(copy)
}
