//! bpf(2) for device programs of cgroups. World: parent.
//!
//! Promise: the attribute block is zeroed and larger than any kernel's, because newer kernels
//! write to fields that older headers do not have. Source: bpf(2), linux/bpf.h; Linux 4.15.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;
/// The most programs of one type that a cgroup takes. Source: linux/bpf-cgroup.h, BPF_CGROUP_MAX_PROGS.
const MAX_PROGRAMS: usize = 64;
/// What tare's programs are called, by which it finds its own among others'. Kernel: 4.15, at most 15 bytes.
const NAME: [u8; 16] = *b"tare_devices\0\0\0\0";

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
        let bytes = (pointer.expose_provenance() as u64).to_ne_bytes();
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
    for (word, bytes) in attributes.0.iter_mut().skip(12).zip(NAME.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_ne_bytes);
    }
    attributes.0[17] = ATTACH_CGROUP_DEVICE;
    descriptor(bpf(PROG_LOAD, &mut attributes)?)
}

/// Owns the descriptor that a command returned.
fn descriptor(value: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = i32::try_from(value).map_err(|_| Errno::BADF)?;
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

/// Takes a device program off a cgroup.
///
/// # Errors
/// ENOENT when it is not attached.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = number(cgroup);
    attributes.0[1] = number(program);
    attributes.0[2] = ATTACH_CGROUP_DEVICE;
    bpf(PROG_DETACH, &mut attributes).map(drop)
}

/// The ids of programs.
pub struct Programs {
    ids: [u32; MAX_PROGRAMS],
    count: usize,
}

impl Programs {
    /// In the order of their attachment.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        self.ids.get(..self.count).unwrap_or_default()
    }
}

/// The device programs that are attached to a cgroup itself, not those of its ancestors.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or CAP_SYS_ADMIN.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> Result<Programs, Errno> {
    let mut programs = Programs { ids: [0; MAX_PROGRAMS], count: 0 };
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = number(cgroup);
    attributes.0[1] = ATTACH_CGROUP_DEVICE;
    attributes.set_pointer(4, programs.ids.as_mut_ptr());
    attributes.0[6] = u32::try_from(MAX_PROGRAMS).unwrap_or_default();
    bpf(PROG_QUERY, &mut attributes)?;
    programs.count = usize::try_from(attributes.0[6]).unwrap_or_default();
    Ok(programs)
}

/// Opens a program by its id.
///
/// # Errors
/// ENOENT when there is none, EPERM without CAP_SYS_ADMIN.
pub fn open_program(id: u32) -> Result<OwnedFd, Errno> {
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = id;
    descriptor(bpf(PROG_GET_FD_BY_ID, &mut attributes)?)
}

/// Whether the program has the name that [`load_device_program`] gives.
///
/// # Errors
/// EBADF when it is no program.
pub fn is_named_by_tare(program: BorrowedFd<'_>) -> Result<bool, Errno> {
    /// struct bpf_prog_info up to and with its name; the kernel writes what fits.
    #[repr(C, align(8))]
    struct Information {
        before: [u8; 64],
        name: [u8; 16],
    }
    const _: () = assert!(size_of::<Information>() == 80);
    let mut information = Information { before: [0; 64], name: [0; 16] };
    let mut attributes = Attributes::zeroed();
    attributes.0[0] = number(program);
    attributes.0[1] = u32::try_from(size_of::<Information>()).unwrap_or_default();
    let pointer: *mut Information = &mut information;
    attributes.set_pointer(2, pointer);
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(information.name == NAME)
}
