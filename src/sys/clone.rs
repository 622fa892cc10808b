//! clone(2) like vfork for the intermediate process, clone3(2) like fork for init.
//!
//! World: all.
//! Kernel: CLONE_INTO_CGROUP 5.7, clone3 5.3.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::namespace::NamespaceSet;
use super::stack::Stack;

struct Call<F, R> {
    body: Option<F>,
    answer: *mut Answer<R>,
}

/// In memory that both processes see.
struct Answer<R> {
    value: Option<R>,
    /// The value is written: a child that was killed may have left half of one.
    whole: AtomicBool,
}

extern "C" fn enter<F: FnOnce() -> R, R>(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `in_intermediate` passes a live `Call<F, R>` and sleeps until this process has ended.
    let call = unsafe { &mut *argument.cast::<Call<F, R>>() };
    if let Some(body) = call.body.take() {
        let value = body();
        // SAFETY: `answer` points into memory that both processes see and nobody else uses meanwhile.
        let answer = unsafe { &mut *call.answer };
        answer.value = Some(value);
        answer.whole.store(true, Ordering::Release);
    }
    0
}

/// Runs `body` in a short-lived child process while the caller sleeps, and returns what it returned.
///
/// The child shares the caller's descriptors; it shares the memory too unless `own_memory` (a process that
/// shares memory with another cannot join a time namespace: setns(2) EUSERS). Filesystem attributes, namespaces
/// and limits are the child's own. `None`: the child died before `body` returned.
///
/// # Errors
/// As clone(2): EAGAIN, ENOMEM.
pub fn in_intermediate<R: Copy, F: FnOnce() -> R>(own_memory: bool, body: F) -> Result<Option<R>, Errno> {
    const { assert!(size_of::<Answer<R>>() <= PAGE && align_of::<Answer<R>>() <= PAGE) };
    let mut local = Answer { value: None, whole: AtomicBool::new(false) };
    let shared = if own_memory { Some(SharedPage::new()?) } else { None };
    let answer: *mut Answer<R> = match &shared {
        Some(page) => page.0.cast(),
        None => &raw mut local,
    };
    // SAFETY: it points to a variable of this type or to a page that has room for it, and nobody else knows either.
    unsafe { answer.write(Answer { value: None, whole: AtomicBool::new(false) }) };
    let mut call = Call { body: Some(body), answer };
    let memory = if own_memory { 0 } else { libc::CLONE_VM };
    let flags = memory | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    let stack = Stack::new()?;
    // SAFETY: the stack is mapped for this child alone, CLONE_VFORK keeps the caller asleep until the child ends,
    // so `stack`, `call` and `answer` outlive it.
    let pid = unsafe { libc::clone(enter::<F, R>, stack.top(), flags, (&raw mut call).cast()) };
    super::check(libc::c_long::from(pid))?;
    // It has ended already, and if it cannot be reaped now, whoever reaps us does it: what it made must not be lost.
    let _reaped = rustix::io::retry_on_intr(|| {
        // SAFETY: no status is asked for; the pid is our own child.
        super::check(libc::c_long::from(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }))
    });
    // SAFETY: the child has ended, so this is the only reference.
    let answer = unsafe { &*answer };
    Ok(if answer.whole.load(Ordering::Acquire) { answer.value } else { None })
}

/// One page that parent and child both see.
struct SharedPage(*mut libc::c_void);

const PAGE: usize = 4096;

impl SharedPage {
    fn new() -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
        }
        Ok(Self(page))
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` and nobody holds a pointer into it any more.
        unsafe { libc::munmap(self.0, PAGE) };
    }
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
const _: () = assert!(size_of::<CloneArgs>() == 88);

/// Which side of [`clone3`] this is.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// The new process, with a copy of the memory.
    Child,
    /// The caller: pid of the child in the caller's pid namespace, and its pidfd.
    Parent {
        /// Process id.
        pid: i32,
        /// Descriptor number of the pidfd, close-on-exec.
        pidfd: RawFd,
    },
}

/// Whose child a new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller's, which gets SIGCHLD at its end.
    Caller,
    /// The caller's, which gets no signal at its end: only a wait with `__WALL` finds it.
    UnsignalledCaller,
    /// That of the caller's parent (CLONE_PARENT), whose death signal SIGCHLD the caller shares.
    OfCaller,
}

/// CLONE_INTO_CGROUP, which libc has as an int that it does not fit into.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Creates a process: a copy of the caller, in new `namespaces` and, if given, in `cgroup`.
///
/// # Errors
/// As clone3(2): EAGAIN (limits), EBUSY/EOPNOTSUPP (the cgroup cannot take processes), EPERM, ENOSPC (nesting).
pub fn clone3(parent: Parent, namespaces: NamespaceSet, cgroup: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    let mut pidfd: libc::c_int = -1;
    let flag = |value: libc::c_int| u64::from(value.cast_unsigned());
    let (parent_flag, exit_signal) = match parent {
        Parent::Caller => (0, flag(libc::SIGCHLD)),
        Parent::UnsignalledCaller => (0, 0),
        // The kernel takes the signal from the caller's own end and wants none here.
        Parent::OfCaller => (flag(libc::CLONE_PARENT), 0),
    };
    let mut args = CloneArgs {
        flags: namespaces.bits() | flag(libc::CLONE_PIDFD) | parent_flag,
        exit_signal,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::try_from(directory.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    // SAFETY: without CLONE_VM the child has a copy of all memory, as after fork; `args` and `pidfd` are live.
    let pid = super::check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    Ok(Side::Parent { pid: i32::try_from(pid).map_err(|_| Errno::OVERFLOW)?, pidfd })
}

/// Creates a process like [`Parent::OfCaller`] that shares the caller's memory instead of a copy, on a stack of its
/// own: for a caller that ends at once, so that the memory is copied once less. Its pid and its pidfd. The memory of the
/// stack is the new process's until it executes a program.
///
/// The caller may only make system calls on its own stack until it ends: both run on the same memory.
///
/// # Errors
/// As clone(2).
pub fn clone_with_memory<F: FnOnce()>(body: F) -> Result<(i32, OwnedFd), Errno> {
    extern "C" fn enter<F: FnOnce()>(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `clone_with_memory` wrote an `F` there for this process alone.
        let body = unsafe { argument.cast::<F>().read() };
        body();
        0
    }
    const { assert!(align_of::<F>() <= 16 && size_of::<F>() <= 1024) };
    let stack = ManuallyDrop::new(Stack::new()?);
    // On the new stack: the frame of this function ends while the process runs.
    let place = stack.top().wrapping_byte_sub(size_of::<F>().next_multiple_of(16));
    // SAFETY: the place is within the new stack, aligned, and large enough.
    unsafe { place.cast::<F>().write(body) };
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD;
    // SAFETY: the stack is mapped for this process and never unmapped; `body` lies above where it begins. Without
    // CLONE_VFORK both run at once: `enter` touches the stack and what `body` refers to, which outlives the caller, since
    // memory goes with the last process that has it.
    let pid = unsafe { libc::clone(enter::<F>, place, flags, place, &raw mut pidfd) };
    super::check(libc::c_long::from(pid))?;
    Ok((pid, own_pidfd(pidfd)))
}

/// Takes the descriptor number of [`Side::Parent`] into ownership, once, in the process that shares the table.
#[must_use]
pub fn own_pidfd(pidfd: RawFd) -> OwnedFd {
    // SAFETY: the number comes from the kernel's CLONE_PIDFD and is owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(pidfd) }
}

/// Ends the calling process without running anything.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and runs no handlers.
    unsafe { libc::_exit(code) }
}

/// Ends the calling process by an instruction that traps, because a seccomp filter may deny exit_group(2). The kernel
/// makes the signal deadly even for pid 1 of a pid namespace.
pub fn trap() -> ! {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    // SAFETY: the instruction raises SIGILL and nothing is executed after it.
    unsafe {
        std::arch::asm!("ud2", options(noreturn, nomem, nostack));
    }
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("udf #0", options(noreturn, nomem, nostack));
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("unimp", options(noreturn, nomem, nostack));
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )))]
    exit_now(1)
}

/// How a copy of the test program ends that runs `body`, which returns the exit code and must not allocate. By fork(2),
/// which emulators of programs have, unlike the calls above.
#[cfg(test)]
pub fn status_of_fork(body: impl FnOnce() -> i32) -> rustix::process::WaitStatus {
    // SAFETY: the child has no other thread, and `body` makes system calls alone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        exit_now(body());
    }
    let child = rustix::process::Pid::from_raw(child);
    rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).unwrap().unwrap().1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_child_has_no_result() {
        let kill = || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        for own_memory in [true, false] {
            assert_eq!(in_intermediate(own_memory, || 7_u64).unwrap(), Some(7));
            // Zero bytes would be a result of this type: Some(Ok(())).
            assert_eq!(in_intermediate(own_memory, kill).unwrap(), None);
        }
    }

    #[test]
    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    ))]
    fn a_trap_ends_the_process_without_a_call() {
        let status = status_of_fork(|| trap());
        assert_eq!(status.terminating_signal(), Some(libc::SIGILL));
    }
}
