//! Ids, groups and capability sets of the calling thread.
//!
//! World: all. The C library's setters act on all threads of a
//! process by signals; these are the bare system calls. Sources: setresuid(2), setgroups(2), capset(2).

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The calls whose ids have 32 bits. On 32-bit x86 and arm those without a number in the name take 16 bits, and would make
/// root of the user 65536. Source: setresuid(2), "C library/kernel differences".
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod calls {
    pub use libc::{
        SYS_getresgid32 as GETRESGID, SYS_getresuid32 as GETRESUID, SYS_setgroups32 as SETGROUPS,
        SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod calls {
    pub use libc::{
        SYS_getresgid as GETRESGID, SYS_getresuid as GETRESUID, SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID,
        SYS_setresuid as SETRESUID,
    };
}

/// CAP_DAC_OVERRIDE of linux/capability.h, as a bit of a set.
pub const DAC_OVERRIDE: u64 = 1 << 1;

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
    let value = unsafe { libc::syscall(calls::SETGROUPS, groups.len(), groups.as_ptr()) };
    super::check(value).map(drop)
}

/// Sets the real, effective and saved user id (and with them the filesystem id).
///
/// # Errors
/// EPERM without CAP_SETUID; EINVAL for an id that is not mapped; EAGAIN beyond RLIMIT_NPROC.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    // SAFETY: three integers, no memory.
    let value = unsafe { libc::syscall(calls::SETRESUID, uid, uid, uid) };
    super::check(value).map(drop)
}

/// Sets the real, effective and saved group id (and with them the filesystem id).
///
/// # Errors
/// EPERM without CAP_SETGID; EINVAL for an id that is not mapped.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    // SAFETY: three integers, no memory.
    let value = unsafe { libc::syscall(calls::SETRESGID, gid, gid, gid) };
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
    let value = unsafe { libc::syscall(calls::GETRESUID, &raw mut *real, &raw mut *effective, &raw mut *saved) };
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
    let value = unsafe { libc::syscall(calls::GETRESGID, &raw mut *real, &raw mut *effective, &raw mut *saved) };
    super::check(value)?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::super::clone::status_of_fork;
    use super::*;

    #[test]
    #[allow(clippy::print_stdout, reason = "a test that is skipped says why")]
    fn ids_have_32_bits() {
        const SETGID_AND_SETUID: u64 = 1 << 6 | 1 << 7;
        if capabilities().unwrap().effective & SETGID_AND_SETUID != SETGID_AND_SETUID {
            println!("skipped: CAP_SETGID or CAP_SETUID is missing");
            return;
        }
        // 65536 is 0 in 16 bits, and the upper half of 100000 is 1.
        let change = || {
            set_groups(&[65_536, 100_000])?;
            set_gid(65_537)?;
            set_uid(65_536)?;
            let mut groups = [0; 2];
            // SAFETY: the live array has as many elements as the call may write.
            let count = unsafe { libc::getgroups(2, groups.as_mut_ptr()) };
            let are_right = [count == 2 && groups == [65_536, 100_000], gids()? == [65_537; 3], uids()? == [65_536; 3]];
            Ok::<_, Errno>(are_right)
        };
        let status = status_of_fork(|| match change() {
            Ok(are_right) => are_right.iter().map(|is_right| i32::from(!is_right)).sum(),
            Err(errno) => errno.raw_os_error(),
        });
        match status.exit_status() {
            Some(libc::EINVAL) => println!("skipped: this user namespace has no ids above 65535"),
            code => assert_eq!(code, Some(0), "how many are wrong, or an errno"),
        }
    }
}
