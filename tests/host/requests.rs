//! The requests of ptrace(2) that the tracer makes: which call a thread is at, and how a call fails.

#![allow(unsafe_code, reason = "ptrace has no safe interface")]

/// Of the request: the C libraries differ.
#[cfg(target_env = "musl")]
pub type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
pub type Request = libc::c_uint;

const PTRACE_GET_SYSCALL_INFO: Request = 0x420e;
const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;

/// `struct ptrace_syscall_info` of linux/ptrace.h, which musl does not have, at the entry of a call.
#[repr(C)]
#[derive(Default)]
struct SyscallInfo {
    op: u8,
    reserved: u8,
    flags: u16,
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    number: u64,
    arguments: [u64; 6],
}

pub fn ptrace(request: Request, pid: i32, address: usize, data: usize) -> libc::c_long {
    // SAFETY: the callers pass requests whose data is a number, or point it at memory of the size they give.
    unsafe { libc::ptrace(request, pid, address, data) }
}

/// Whether `tid` enters a system call, which, and its first argument.
pub fn call(tid: i32) -> Option<(bool, u64, u64)> {
    let mut info = SyscallInfo::default();
    let size = size_of_val(&info);
    if ptrace(PTRACE_GET_SYSCALL_INFO, tid, size, (&raw mut info) as usize) <= 0 {
        return None;
    }
    Some((info.op == PTRACE_SYSCALL_INFO_ENTRY, info.number, info.arguments[0]))
}

/// Whether calls can be made to fail on this machine.
pub const CAN_FAIL: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

#[cfg(target_arch = "x86_64")]
fn change_registers(tid: i32, change: impl FnOnce(&mut libc::user_regs_struct)) {
    // SAFETY: an all-zero user_regs_struct is valid.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    if ptrace(libc::PTRACE_GETREGS, tid, 0, (&raw mut registers) as usize) == 0 {
        change(&mut registers);
        ptrace(libc::PTRACE_SETREGS, tid, 0, (&raw mut registers) as usize);
    }
}

#[cfg(target_arch = "x86_64")]
pub fn skip_call(tid: i32) {
    change_registers(tid, |registers| registers.orig_rax = u64::MAX);
}

#[cfg(target_arch = "x86_64")]
pub fn set_result(tid: i32, value: i64) {
    change_registers(tid, |registers| registers.rax = value.cast_unsigned());
}

/// Reads or writes a set of registers of linux/elf.h.
#[cfg(target_arch = "aarch64")]
fn register_set<T>(request: Request, tid: i32, set: usize, registers: &mut T) -> bool {
    let mut vector = libc::iovec { iov_base: (&raw mut *registers).cast(), iov_len: size_of::<T>() };
    ptrace(request, tid, set, (&raw mut vector) as usize) == 0
}

#[cfg(target_arch = "aarch64")]
pub fn skip_call(tid: i32) {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    register_set(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &mut -1_i32);
}

#[cfg(target_arch = "aarch64")]
pub fn set_result(tid: i32, value: i64) {
    const NT_PRSTATUS: usize = 1;
    let mut registers = [0_u64; 34]; // x0 to x30, sp, pc and pstate
    if register_set(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, &mut registers) {
        registers[0] = value.cast_unsigned();
        register_set(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, &mut registers);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn skip_call(_tid: i32) {}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn set_result(_tid: i32, _value: i64) {}
