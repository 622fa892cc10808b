//! Ids, groups and capability sets of the calling thread.
//!
//! World: all. The C library's setters act on all threads of a
//! process by signals; these are the bare system calls. Sources: setresuid(2), setgroups(2), capset(2).

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The three sets of capset(2), bit number = capability number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sets {
    /// What the kernel checks.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What survives the execution of a file that has it in its own inheritable set.
    pub inheritable: u64,
}

/// Reads the sets of this thread.
///
/// # Errors
/// None in practice (capget(2) of oneself).
pub fn capabilities() -> Result<Sets, Errno> {
    let sets = rustix::thread::capabilities(None)?;
    Ok(Sets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Replaces the sets of this thread, all three at once.
///
/// # Errors
/// EPERM when a set grows beyond what the kernel allows.
pub fn set_capabilities(sets: &Sets) -> Result<(), Errno> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)
}

/// Replaces the supplementary groups.
///
/// # Errors
/// EPERM without CAP_SETGID or where /proc/PID/setgroups says deny; EINVAL for a group that is not mapped.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe a live slice of gid_t.
    let value = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    super::check(value).map(drop)
}

/// Sets the real, effective and saved user id (and with them the filesystem id).
///
/// # Errors
/// EPERM without CAP_SETUID; EINVAL for an id that is not mapped; EAGAIN beyond RLIMIT_NPROC.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: three integers, no memory.
    let value = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    super::check(value).map(drop)
}

/// Sets the real, effective and saved group id (and with them the filesystem id).
///
/// # Errors
/// EPERM without CAP_SETGID; EINVAL for an id that is not mapped.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: three integers, no memory.
    let value = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    super::check(value).map(drop)
}

/// The real, effective and saved user id.
///
/// # Errors
/// None in practice.
pub fn uids() -> Result<[u32; 3], Errno> {
    let mut ids = [0_u32; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: three pointers to live integers of the size of uid_t.
    let value = unsafe { libc::syscall(libc::SYS_getresuid, &raw mut *real, &raw mut *effective, &raw mut *saved) };
    super::check(value)?;
    Ok(ids)
}

/// The real, effective and saved group id.
///
/// # Errors
/// None in practice.
pub fn gids() -> Result<[u32; 3], Errno> {
    let mut ids = [0_u32; 3];
    let [real, effective, saved] = &mut ids;
    // SAFETY: three pointers to live integers of the size of gid_t.
    let value = unsafe { libc::syscall(libc::SYS_getresgid, &raw mut *real, &raw mut *effective, &raw mut *saved) };
    super::check(value)?;
    Ok(ids)
}
