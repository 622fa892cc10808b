//! The binary's entry point. Before the C library relocates the program, a command that enters containers exchanges the
//! file that this process executes for a read-only mount of it. Part of the binary alone, on x86-64 with musl.
//!
//! World: parent. Nothing here may need a relocation or thread-local storage: it makes system calls and no more. Where
//! one fails, the process goes on with the file that it has, and `tare::protect` executes the program a second time.
#![allow(unsafe_code, reason = "part of the binary, in which sys is not exempt")]

use core::arch::{asm, naked_asm};
use core::ffi::{CStr, c_int, c_long};
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use libc::{
    AT_EMPTY_PATH, AT_EXECFN, AT_PHDR, AT_PHNUM, Elf64_Ehdr, Elf64_Phdr, MADV_POPULATE_WRITE, MAP_FIXED, MAP_PRIVATE,
    O_CLOEXEC, O_PATH, O_RDONLY, PF_R, PF_W, PF_X, PR_SET_MM, PROT_EXEC, PROT_READ, PROT_WRITE, PT_LOAD, SYS_brk,
    SYS_close, SYS_madvise, SYS_mmap, SYS_mount_setattr, SYS_open, SYS_open_tree, SYS_prctl,
};

const PAGE: usize = 4096;

/// What the kernel jumps to. The C library's entry point finds the stack as the kernel left it.
#[unsafe(naked)]
#[allow(unsafe_code, reason = "the linker looks for this symbol")]
// SAFETY: there is no other `tare_entry` in the binary.
#[unsafe(no_mangle)]
extern "C" fn tare_entry() -> ! {
    naked_asm!(
        "mov rdi, rsp",
        "mov rbx, rsp",
        "and rsp, -16",
        "call {begin}",
        "mov rsp, rbx",
        "xor edx, edx",
        "jmp _start",
        begin = sym begin
    )
}

/// `stack` is the initial stack of a process.
extern "C" fn begin(stack: *const usize) {
    // SAFETY: the kernel wrote it.
    let start = unsafe { Start::read(stack) };
    if start.enters_a_container {
        let _not_exchanged = exchange(&start);
    }
    let _faults_later = populate(&start);
}

/// What the kernel tells a new process.
struct Start {
    enters_a_container: bool,
    stack: usize,
    /// From the first byte of the command line to behind its last, and so for the environment.
    words: [usize; 2],
    environment: [usize; 2],
    headers: usize,
    number_of_headers: usize,
}

impl Start {
    /// # Safety
    /// `stack` is an initial stack (elf(5), getauxval(3)): the number of words, pointers to them, a null pointer, pointers
    /// to the environment, a null pointer, and the pairs of the auxiliary vector, up to one that begins with 0. The strings
    /// lie one after the other: words, environment, AT_EXECFN.
    unsafe fn read(stack: *const usize) -> Self {
        let mut start = Self {
            enters_a_container: false,
            stack: stack.addr(),
            words: [0; 2],
            environment: [0; 2],
            headers: 0,
            number_of_headers: 0,
        };
        let mut place = stack.wrapping_add(1);
        // SAFETY: `place` stays within the two lists, and then within the pairs; each has an end. Every pointer in the
        // first is a string.
        unsafe {
            start.words[0] = *place;
            while *place != 0 {
                start.enters_a_container |= enters_a_container(with_exposed_provenance(*place));
                place = place.wrapping_add(1);
            }
            start.environment[0] = *place.wrapping_add(1);
            place = place.wrapping_add(1);
            while *place != 0 {
                place = place.wrapping_add(1);
            }
            place = place.wrapping_add(1);
            while *place != 0 {
                let value = *place.wrapping_add(1);
                match *place as u64 {
                    AT_PHDR => start.headers = value,
                    AT_PHNUM => start.number_of_headers = value,
                    AT_EXECFN => start.environment[1] = value,
                    _ => (),
                }
                place = place.wrapping_add(2);
            }
        }
        if start.environment[0] == 0 {
            start.environment[0] = start.environment[1];
        }
        start.words[1] = start.environment[0];
        start
    }

    /// What of the file is mapped.
    fn segments(&self) -> impl Iterator<Item = &Elf64_Phdr> {
        let header = |number| with_exposed_provenance::<Elf64_Phdr>(self.headers).wrapping_add(number);
        // SAFETY: the kernel says that so many headers are there; nobody changes them.
        let headers = (0..self.number_of_headers).map(move |number| unsafe { &*header(number) });
        headers.filter(|header| header.p_type == PT_LOAD)
    }

    /// Where the file begins in memory: the first segment maps its headers.
    fn begin_of_file(&self) -> usize {
        self.headers.wrapping_sub(size_of::<Elf64_Ehdr>())
    }
}

/// Whether the word is the name of a command that does so. A test compares the names with `Place::ENTERING`, whose table
/// needs relocations.
///
/// # Safety
/// `word` is a string that ends with NUL.
unsafe fn enters_a_container(word: *const u8) -> bool {
    // SAFETY: of the string no more is read than its NUL, which no name has.
    let is = |name: &[u8]| unsafe {
        let mut place = word;
        for byte in name {
            if *place != *byte {
                return false;
            }
            place = place.wrapping_add(1);
        }
        *place == 0
    };
    is(b"create") || is(b"run") || is(b"exec") || is(b"restore") || is(b"mounts")
}

/// struct prctl_mm_map of linux/prctl.h.
#[repr(C)]
struct MemoryMap {
    code: [usize; 2],
    data: [usize; 2],
    heap: [usize; 2],
    stack: usize,
    words: [usize; 2],
    environment: [usize; 2],
    auxiliary_vector: usize,
    auxiliary_size: u32,
    exe_file: c_int,
}

/// Maps every segment from a read-only mount of the file, and makes that mount's file the one of /proc/PID/exe. The kernel
/// refuses the latter as long as anything is mapped from the old one. `None`: it could not be done.
/// Kernel: 5.12 (mount_setattr), 5.9 for a caller without CAP_SYS_RESOURCE (PR_SET_MM_MAP).
fn exchange(start: &Start) -> Option<()> {
    const PR_SET_MM_MAP: usize = 14;
    let executed = Descriptor::open(c"/proc/self/exe", O_PATH)?;
    let mount = executed.read_only_mount()?;
    let file = mount.reopen()?;
    let heap = call(SYS_brk, [0; 6])?;
    let mut map = MemoryMap {
        code: [0; 2],
        data: [0; 2],
        heap: [heap; 2],
        stack: start.stack,
        words: start.words,
        environment: start.environment,
        auxiliary_vector: 0,
        auxiliary_size: 0,
        exe_file: file.0,
    };
    for header in start.segments() {
        let place = map_segment(header, start.begin_of_file(), &file)?;
        match header.p_flags & (PF_W | PF_X) {
            PF_X => map.code = place,
            PF_W => map.data = place,
            _ => (),
        }
    }
    call(SYS_prctl, [PR_SET_MM as usize, PR_SET_MM_MAP, (&raw const map).addr(), size_of::<MemoryMap>(), 0, 0])?;
    Some(())
}

/// Makes the pages that the command will write to, in two calls: those with relocations, and the first ones of the arena
/// (allocation.rs), which lies behind them; then those of the stack. Kernel: 5.14 (MADV_POPULATE_WRITE).
fn populate(start: &Start) -> Option<()> {
    // Measured: what state and kill use, and what create, run and exec do.
    let (arena, stack) = if start.enters_a_container { (20, 10) } else { (8, 4) };
    for header in start.segments().filter(|header| header.p_flags & PF_W != 0) {
        let begin = start.begin_of_file().wrapping_add(header.p_vaddr as usize);
        let end = begin + (header.p_filesz as usize + arena * PAGE).min(header.p_memsz as usize);
        populate_range(begin, end)?;
    }
    populate_range(start.stack - stack * PAGE, start.stack)
}

fn populate_range(begin: usize, end: usize) -> Option<()> {
    let first = begin & !(PAGE - 1);
    call(SYS_madvise, [first, end - first, MADV_POPULATE_WRITE as usize, 0, 0, 0]).map(drop)
}

/// Maps a segment as execve(2) has done, from `file`; returns where the file's part of it begins and ends.
fn map_segment(header: &Elf64_Phdr, base: usize, file: &Descriptor) -> Option<[usize; 2]> {
    let protection = [(PF_R, PROT_READ), (PF_W, PROT_WRITE), (PF_X, PROT_EXEC)];
    let mut bits = 0;
    for (flag, bit) in protection {
        if header.p_flags & flag != 0 {
            bits |= bit;
        }
    }
    let begin = base.wrapping_add(header.p_vaddr as usize);
    let end = begin + header.p_filesz as usize;
    let (first, before) = (begin & !(PAGE - 1), begin & (PAGE - 1));
    let offset = header.p_offset as usize - before;
    let flags = (MAP_PRIVATE | MAP_FIXED) as usize;
    call(SYS_mmap, [first, end - first, bits as usize, flags, file.0 as usize, offset])?;
    if header.p_memsz > header.p_filesz {
        let mut place = end;
        // One by one and volatile: memset would be called through a relocation.
        while place % PAGE != 0 {
            // SAFETY: it is in the last page that was mapped, which is writable; the segment has zeros there.
            unsafe { with_exposed_provenance_mut::<u8>(place).write_volatile(0) };
            place += 1;
        }
    }
    Some([begin, end])
}

/// Closed when it is dropped.
struct Descriptor(c_int);

impl Descriptor {
    fn new(number: c_long, arguments: [usize; 3]) -> Option<Self> {
        let [a, b, c] = arguments;
        Some(Self(call(number, [a, b, c, 0, 0, 0])? as c_int))
    }

    fn open(path: &CStr, flags: c_int) -> Option<Self> {
        Self::new(SYS_open, [path.as_ptr().addr(), (flags | O_CLOEXEC) as usize, 0])
    }

    /// A detached mount of this file alone.
    fn read_only_mount(&self) -> Option<Self> {
        const OPEN_TREE_CLONE: usize = 1;
        const MOUNT_ATTR_RDONLY: u64 = 1;
        let (here, empty) = (c"".as_ptr().addr(), AT_EMPTY_PATH as usize);
        let clone = Self::new(SYS_open_tree, [self.0 as usize, here, OPEN_TREE_CLONE | O_CLOEXEC as usize | empty])?;
        let set = [MOUNT_ATTR_RDONLY, 0, 0, 0];
        call(SYS_mount_setattr, [clone.0 as usize, here, empty, (&raw const set).addr(), size_of_val(&set), 0])?;
        Some(clone)
    }

    /// The same file, for reading.
    fn reopen(&self) -> Option<Self> {
        let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0";
        let (mut rest, mut digits) = (self.0, 1);
        while rest >= 10 {
            (rest, digits) = (rest / 10, digits + 1);
        }
        rest = self.0;
        for place in path[14..14 + digits].iter_mut().rev() {
            (*place, rest) = (b'0' + (rest % 10) as u8, rest / 10);
        }
        Self::open(CStr::from_bytes_until_nul(&path).ok()?, O_RDONLY)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let _lost = call(SYS_close, [self.0 as usize, 0, 0, 0, 0, 0]);
    }
}

/// Makes a system call; `None` when the kernel refuses it.
fn call(number: c_long, arguments: [usize; 6]) -> Option<usize> {
    const ERRORS: usize = 4095;
    let [a, b, c, d, e, f] = arguments;
    let result: usize;
    // SAFETY: the kernel changes these registers alone, and what the callers pass is memory of theirs.
    unsafe {
        asm!("syscall", inlateout("rax") number as usize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    (result <= usize::MAX - ERRORS).then_some(result)
}
