//! Makes sure that no container ever sees a writable tare: before create, run, exec, and the startContainer hooks of
//! start, tare executes itself again from an image that cannot be written (docs/security.md, class 1, CVE-2019-5736).
//!
//! World: parent, before anything else. The image is a detached read-only bind of the binary: 8 times cheaper than a
//! sealed copy in memory (measured: 46 us above a plain exec against 750), and shared with the page cache. Who could
//! undo the read-only flag has CAP_SYS_ADMIN over the host's mounts and needs no such detour. Without the right to
//! make mounts the sealed copy is taken, unless the binary is one that neither the caller nor any id that it could map
//! may write: the host's root owns it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Access, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Code, Coded, Context, Error, Result};
use crate::host::calls;
use crate::sys::access::accessible;
use crate::sys::credentials::DAC_OVERRIDE;
use crate::sys::exec::{Strings, execute_file};
use crate::sys::mount::{Attributes, Change, set_attributes};
use crate::timings;

const EXE: &str = "/proc/self/exe";

static PROTECTED: AtomicBool = AtomicBool::new(false);

/// Protects this process from the containers that it enters; to be called first in `main`, while there is one thread.
///
/// A process that enters a container can be looked at from within it. So the file that this process executes must be one
/// that nobody in the container can write (CVE-2019-5736), and its environment must not be readable. If the file can be
/// written, the program is executed again with the same arguments, from a read-only image of itself. `name` is the name
/// of the process afterwards (`comm`), which such an execution would change. The environment is moved out of reach.
///
/// Without this call every function that enters a container returns an error of kind [`ErrorKind::Unprotected`].
///
/// # Errors
/// No protected image can be made; /proc is not mounted.
pub fn protect(name: &CStr) -> Result<()> {
    execute_protected(name).coded(Code::ProtectFailed)?;
    crate::sys::environment::withdraw().context(|| "move the environment out of reach").coded(Code::ProtectFailed)?;
    PROTECTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Refuses to enter a container from a process that has not called [`protect`].
///
/// # Errors
/// It has not.
pub fn require_protected() -> Result<()> {
    if PROTECTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let what = "a container could overwrite the executable of this process, and read its environment";
    Err(Error::new(Code::Unprotected, what).hint("call tare::protect at the start of main"))
}

/// Returns when this process runs from a protected image, as after the exchange in sys/exe_file.rs; else executes itself
/// from one.
fn execute_protected(name: &CStr) -> Result<()> {
    let exe = rustix::fs::open(EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).context(|| format!("open {EXE}"))?;
    if is_protected(&exe).context(|| "examine tare's own executable")? {
        return crate::sys::process_attributes::set_name(name).context(|| "set the process name");
    }
    // Whatever keeps it from being bound (no right to mounts, a binary that was replaced meanwhile), the copy does not need
    // it. A kernel that lacks these calls is too old for the rest as well.
    let image = readonly_bind(&exe).or_else(|errno| {
        if errno == Errno::NOSYS {
            calls::require_all()?;
        }
        sealed_copy()
    })?;
    let path = "/proc/self/cmdline";
    let text = std::fs::read(path).context(|| format!("read {path}"))?;
    let words = text.strip_suffix(&[0]).unwrap_or(&text).split(|byte| *byte == 0);
    // The words end at the NUL bytes, so that none is inside.
    let words = words.filter_map(|word| CString::new(word).ok()).collect();
    // A number has no NUL in it.
    let link = CString::new(format!("/proc/self/fd/{}", image.as_raw_fd())).unwrap_or_default();
    let errno = execute_file(image.as_fd(), &link, &Strings::new(words), timings::environment().as_ref());
    Err(Error::system("execute tare from its protected image", errno))
}

/// A read-only mount, a file that is out of reach, or a sealed file in memory.
fn is_protected(exe: &OwnedFd) -> std::result::Result<bool, Errno> {
    if rustix::fs::fstatvfs(exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let facts = rustix::fs::fstat(exe)?;
    if facts.st_nlink > 0 {
        return is_out_of_reach(&facts);
    }
    let file = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL)))
}

/// Whether an ordinary user runs a binary of root's. A container maps the caller's id and subordinate ones, which
/// newuidmap(1) never takes from the host's root.
///
/// In a user namespace the owner must be one that does not exist there. stat(2) gives such ids as 65534, which may exist
/// as well; but with every right over files of ids that exist, root is refused only where one does not.
fn is_out_of_reach(facts: &rustix::fs::Stat) -> std::result::Result<bool, Errno> {
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
        return Ok(accessible(CWD, EXE, Access::WRITE_OK) == Err(Errno::ACCESS));
    }
    Ok(!caller_is_root && host.capabilities() == 0 && owned_by_root)
}

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
