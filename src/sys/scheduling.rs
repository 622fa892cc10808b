//! Scheduler attributes, io priority, memory policy, cpu affinity, personality of the calling thread.
//!
//! World: all.

use rustix::io::Errno;

/// `struct sched_attr` as of Linux 5.3 (SCHED_ATTR_SIZE_VER1). Source: sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Bytes of this struct.
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH, -20 to 19.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR, 1 to 99.
    pub priority: u32,
    /// For SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub period: u64,
    /// Lowest utilisation hint, 0 to 1024.
    pub util_min: u32,
    /// Highest utilisation hint, 0 to 1024.
    pub util_max: u32,
}

/// What `Attributes::size` must say.
pub const ATTRIBUTES_SIZE: u32 = 56;
const _: () = assert!(size_of::<Attributes>() == ATTRIBUTES_SIZE as usize);

/// IOPRIO_WHO_PROCESS.
const WHO_PROCESS: libc::c_int = 1;

/// Sets the scheduling policy of this thread.
///
/// # Errors
/// EPERM without CAP_SYS_NICE, EINVAL for a combination, EBUSY when a deadline cannot be admitted.
pub fn set_attributes(attributes: &Attributes) -> Result<(), Errno> {
    // SAFETY: `attributes` is a live struct whose size is in its first field.
    let value = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) };
    super::check(value).map(drop)
}

/// Sets the io priority of this thread: class in the bits from 13 on, priority below. Source: ioprio_set(2).
///
/// # Errors
/// EPERM for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE.
pub fn set_io_priority(value: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    super::check(value).map(drop)
}

/// The cpus that this thread may run on, as a bit mask of all that the kernel can know.
///
/// # Errors
/// None in practice.
pub fn affinity() -> Result<[u64; 128], Errno> {
    let mut mask = [0; 128];
    // SAFETY: the kernel writes no more than the given size into the live array.
    let value = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&mask), mask.as_mut_ptr()) };
    super::check(value).map(|_| mask)
}

/// Sets the NUMA memory policy of this thread; `mode` with its flags, `nodes` a bit mask.
///
/// # Errors
/// EINVAL for a combination or a node that is absent, ENOSYS on a kernel without NUMA.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel takes one bit less than the count says (get_nodes() in mm/mempolicy.c).
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: null with 0 bits, or a live slice; the kernel reads whole words up to `bits - 1`.
    let value = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    super::check(value).map(drop)
}

/// Sets the cpus on which this thread may run; cpus outside its cpuset are ignored.
///
/// # Errors
/// EINVAL when none of the cpus can be used.
pub fn set_affinity(cpus: &[u64]) -> Result<(), Errno> {
    // SAFETY: a live slice and its length in bytes.
    let value = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) };
    super::check(value).map(drop)
}

/// Sets the execution domain of this thread. Source: personality(2).
///
/// # Errors
/// None in practice.
pub fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: an integer only.
    let value = unsafe { libc::syscall(libc::SYS_personality, persona) };
    super::check(value).map(drop)
}
