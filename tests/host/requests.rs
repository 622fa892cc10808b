//! The requests of ptrace(2) that the tracer makes: which call a thread is at, and how a call fails.

#![allow(unsafe_code, reason = "ptrace has no safe interface")]

pub fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) -> libc::c_long {
    // SAFETY: the callers pass requests whose data is a number, or point it at memory of the size they give.
    unsafe { libc::ptrace(request, pid, address, data) }
}

/// Whether `tid` enters a system call, which, and its first argument.
pub fn call(tid: i32) -> Option<(bool, u64, u64)> {
    // SAFETY: an all-zero ptrace_syscall_info is valid.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    if ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, (&raw mut info) as usize) <= 0 {
        return None;
    }
    // SAFETY: `op` says which member of the union holds.
    let entry = unsafe { info.u.entry };
    Some((info.op == libc::PTRACE_SYSCALL_INFO_ENTRY, entry.nr, entry.args[0]))
}

/// Whether calls can be made to fail on this machine.
pub const CAN_FAIL: bool = cfg!(target_arch = "x86_64");

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

#[cfg(not(target_arch = "x86_64"))]
pub fn skip_call(_tid: i32) {}

#[cfg(not(target_arch = "x86_64"))]
pub fn set_result(_tid: i32, _value: i64) {}
