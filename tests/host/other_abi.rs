//! A filter and the second ABI of this processor: a container's program makes 32-bit calls, of i386 or of arm.
//!
//! No compiler for it is needed: each program is a few instructions with an ELF header. It makes one call and exits
//! with the error number.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::bundle::{Bundle, is_tare};

/// Where a program lies in memory, above the lowest address that the kernel lets a program map.
const BASE: u32 = 0x10000;

/// Bytes of the file header and of the one program header of ELF32.
const HEADERS: u32 = 52 + 32;

/// A call, its number for i386 and for arm, its arguments, and the error that Docker's profile and the kernel give.
struct Call {
    name: &'static str,
    i386: Option<u32>,
    arm: Option<u32>,
    arguments: [u32; 3],
    error: i32,
}

const fn call(name: &'static str, i386: u32, arm: u32, arguments: [u32; 3], error: i32) -> Call {
    Call { name, i386: Some(i386), arm: Some(arm), arguments, error }
}

/// One that arm alone has, the last of them private to it.
const fn of_arm(name: &'static str, arm: u32, arguments: [u32; 3], error: i32) -> Call {
    Call { name, i386: None, arm: Some(arm), arguments, error }
}

/// Numbers: arch/x86/entry/syscalls/syscall_32.tbl, arch/arm/tools/syscall.tbl, arch/arm/include/uapi/asm/unistd.h.
const CALLS: &[Call] = &[
    call("getppid", 64, 64, [0; 3], 0),
    call("close", 6, 6, [99, 0, 0], libc::EBADF),
    call("unshare", 310, 337, [0; 3], libc::EPERM),
    call("mount", 21, 21, [0; 3], libc::EPERM),
    call("setns", 346, 375, [99, 0, 0], libc::EPERM),
    call("bpf", 357, 386, [99, 0, 0], libc::EPERM),
    call("open_by_handle_at", 342, 371, [99, 0, 0], libc::EPERM),
    call("personality", 136, 136, [0x0004_0000, 0, 0], libc::EPERM),
    call("clone3", 435, 435, [0; 3], libc::ENOSYS),
    call("unknown", 1000, 1000, [0; 3], libc::ENOSYS),
    of_arm("sync_file_range2", 341, [99, 0, 0], libc::EBADF),
    of_arm("cacheflush", 0xf0002, [BASE, BASE + 4, 0], 0),
    of_arm("set_tls", 0xf0005, [0; 3], 0),
];

impl Call {
    fn number(&self) -> Option<u32> {
        if cfg!(target_arch = "x86_64") { self.i386 } else { self.arm }
    }

    /// The program, `None` where this ABI has no such call.
    fn program(&self) -> Option<Vec<u8>> {
        let number = self.number()?;
        let (machine, flags, code) = if cfg!(target_arch = "x86_64") {
            (3_u16, 0_u32, i386(number, self.arguments))
        } else {
            (40, 0x0500_0000, arm(number, self.arguments)) // EM_ARM, EF_ARM_EABI_VER5
        };
        let size = HEADERS + u32::try_from(code.len()).unwrap();
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        let halves = |file: &mut Vec<u8>, all: &[u16]| file.extend(all.iter().flat_map(|each| each.to_le_bytes()));
        let words = |file: &mut Vec<u8>, all: &[u32]| file.extend(all.iter().flat_map(|each| each.to_le_bytes()));
        halves(&mut file, &[2, machine]); // ET_EXEC
        words(&mut file, &[1, BASE + HEADERS, 52, 0, flags]);
        halves(&mut file, &[52, 32, 1, 0, 0, 0]);
        words(&mut file, &[1, 0, BASE, BASE, size, size, 5, 4096]); // PT_LOAD, readable and executable
        file.extend(code);
        Some(file)
    }
}

/// mov eax, number; mov ebx, ...; int 0x80; neg eax; mov ebx, eax; mov eax, 1; int 0x80.
fn i386(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    for (register, value) in [0xb8, 0xbb, 0xb9, 0xba].iter().zip([number].into_iter().chain(arguments)) {
        code.push(*register);
        code.extend(value.to_le_bytes());
    }
    code.extend(b"\xcd\x80\xf7\xd8\x89\xc3\xb8\x01\x00\x00\x00\xcd\x80");
    code
}

/// movw and movt into r7, r0, r1 and r2; svc 0; rsb r0, r0, #0; mov r7, #1; svc 0.
fn arm(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    for (register, value) in [7_u32, 0, 1, 2].into_iter().zip([number].into_iter().chain(arguments)) {
        for (operation, half) in [(0xe300_0000_u32, value & 0xffff), (0xe340_0000, value >> 16)] {
            code.push(operation | (half & 0xf000) << 4 | register << 12 | half & 0xfff);
        }
    }
    code.extend([0xef00_0000, 0xe260_0000, 0xe3a0_7001, 0xef00_0000]);
    code.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Runs the call under a profile; the exit code of the container. `None`: this ABI has no such call.
fn answer(call: &Call, seccomp: &Value) -> Option<i32> {
    let mut bundle = Bundle::new();
    fs::write(bundle.file("rootfs/program"), call.program()?).unwrap();
    fs::set_permissions(bundle.file("rootfs/program"), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.set("/process/args", json!(["/program"])).set("/linux/seccomp", seccomp.clone());
    Some(bundle.run().code)
}

/// Why no 32-bit program runs here, if none does.
fn missing() -> Option<&'static str> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Some("this processor has no second ABI");
    }
    let unfiltered = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ARCHITECTURES });
    (answer(&CALLS[0], &unfiltered) != Some(0)).then_some("this kernel or processor runs no 32-bit programs")
}

/// The native one and that of the programs.
const ARCHITECTURES: [&str; 2] = if cfg!(target_arch = "x86_64") {
    ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
} else {
    ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
};

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn dockers_profile_decides_about_32_bit_calls() {
    if !is_tare() {
        return eprintln!("skipped: the profile is that of tare spec");
    }
    if let Some(reason) = missing() {
        return eprintln!("skipped: {reason}");
    }
    let bundle = Bundle::new();
    bundle.tare(&["spec", "--docker-default"]).silent();
    let config: Value = serde_json::from_slice(&fs::read(bundle.file("config.json")).unwrap()).unwrap();
    for call in CALLS {
        let code = answer(call, &config["linux"]["seccomp"]);
        assert!(
            code.is_none_or(|code| code == call.error),
            "{}: exit code {code:?}, expected {}",
            call.name,
            call.error
        );
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn an_architecture_that_the_profile_does_not_list_is_killed() {
    if let Some(reason) = missing() {
        return eprintln!("skipped: {reason}");
    }
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [ARCHITECTURES[0]] });
    assert_eq!(answer(&CALLS[0], &profile), Some(128 + libc::SIGSYS));
}
