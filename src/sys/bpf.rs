//! bpf(2) for device programs of cgroups. World: parent.
//!
//! Promise: the attribute block is zeroed and larger than any kernel's, because newer kernels
//! write to fields that older headers do not have. Source: bpf(2), linux/bpf.h; Linux 4.15.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// One eBPF instruction as the kernel reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Instruction {
    /// Operation: class, source, code.
    pub code: u8,
    /// Destination register in the low four bits, source in the high four (little endian hosts).
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);

#[repr(C, align(8))]
struct Attributes([u32; 64]);
const _: () = assert!(size_of::<Attributes>() == 256);

impl Attributes {
    fn zeroed() -> Self {
        Self([0; 64])
    }

    /// Sets the 64-bit field whose first 32-bit word is `word`.
    fn set_pointer<T>(&mut self, word: usize, pointer: *const T) {
        let bytes = (pointer.addr() as u64).to_ne_bytes();
        let (first, second) = bytes.split_at(4);
        for (slot, half) in self.0.iter_mut().skip(word).zip([first, second]) {
            *slot = half.try_into().map_or(0, u32::from_ne_bytes);
        }
    }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn bpf(command: libc::c_int, attributes: &mut Attributes) -> Result<libc::c_long, Errno> {
    let pointer: *mut Attributes = attributes;
    // SAFETY: `pointer` is a live block of the size given; pointers in it outlive the call (the callers' borrows).
    let value = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<Attributes>()) };
    super::check(value)
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE.
///
/// # Errors
/// EPERM without CAP_BPF and CAP_NET_ADMIN in the initial user namespace, EINVAL or EACCES when the
/// verifier refuses it.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    const LICENSE: &std::ffi::CStr = c"Apache-2.0";
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = TYPE_CGROUP_DEVICE;
    attributes.0[1] = u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    attributes.set_pointer(2, program.as_ptr());
    attributes.set_pointer(4, LICENSE.as_ptr());
    attributes.0[17] = ATTACH_CGROUP_DEVICE;
    let fd = i32::try_from(bpf(PROG_LOAD, &mut attributes)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a cgroup, beside those of its ancestors; all of them must agree.
/// With `replaced` it takes the place of that program without a moment in between (Linux 5.5).
///
/// # Errors
/// EPERM when an ancestor's program forbids further ones, ENOENT when `replaced` is not attached.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = number(cgroup);
    attributes.0[1] = number(program);
    attributes.0[2] = ATTACH_CGROUP_DEVICE;
    attributes.0[3] = ALLOW_MULTI;
    if let Some(old) = replaced {
        attributes.0[3] |= REPLACE;
        attributes.0[4] = number(old);
    }
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}
