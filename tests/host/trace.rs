//! Runs a command with all its descendants under ptrace(2), counts their system calls as one sequence, and disturbs one.
//!
//! A count per process, as strace has it, would be ambiguous for a tree. Tracing ends with the command itself: what it
//! leaves behind goes on untraced, because each trial has a tracing thread of its own. Source: ptrace(2).

#![allow(unsafe_code, reason = "ptrace has no safe interface")]

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::bundle::LIMIT;
use crate::requests::{call, ptrace, set_result, skip_call};

/// What happens at a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Nothing; the calls are counted.
    Count,
    /// The process that makes the call is killed before it is made.
    KillCaller,
    /// The command's first process is killed, as an engine's time limit does.
    KillMain,
    /// The call is not made and fails with this error number.
    Fail(i32),
}

/// How a traced command went.
#[derive(Debug)]
pub struct Traced {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Numbers of the calls that were counted, in order.
    pub calls: Vec<u64>,
}

/// Calls that have no effect outside of the process, and are as good as never at fault.
const PURE: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_getrandom,
    libc::SYS_prlimit64,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getegid,
    libc::SYS_getgid,
    libc::SYS_umask,
    libc::SYS_uname,
    libc::SYS_getcwd,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    // Of the C library's own start.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    libc::SYS_sched_getaffinity,
];

/// Runs `command`; at its counted call number `at` (from 0) `blow` strikes. `None` when it hangs: it is traced still.
pub fn run(mut command: Command, at: usize, blow: Blow, stderr: std::fs::File) -> Option<Traced> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Only the thread that started the tracing may go on with it, and its end sets everything free.
        let traced = Tracer::start(command, at, blow).follow();
        let _gone = sender.send(traced);
    });
    receiver.recv_timeout(LIMIT / 2).ok()
}

struct Tracer {
    main: i32,
    known: HashSet<i32>,
    /// Made, and not yet seen stopped at its beginning.
    born: HashSet<i32>,
    calls: Vec<u64>,
    at: usize,
    blow: Blow,
    /// The thread whose call fails, between its entry and its exit.
    failing: Option<i32>,
}

impl Tracer {
    fn start(mut command: Command, at: usize, blow: Blow) -> Self {
        // SAFETY: PTRACE_TRACEME is a single system call.
        unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        #[allow(clippy::zombie_processes, reason = "waitpid below")]
        let main = i32::try_from(command.spawn().unwrap().id()).unwrap();
        Self { main, known: HashSet::from([main]), born: HashSet::new(), calls: Vec::new(), at, blow, failing: None }
    }

    /// Follows the tree until the main process ends.
    fn follow(mut self) -> Traced {
        let mut begun = false;
        loop {
            let mut status = 0;
            // Of this thread only: other tests wait for processes of their own.
            // SAFETY: the pointer is to a live integer.
            let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            assert!(tid > 0, "lost track of {}: {}", self.main, std::io::Error::last_os_error());
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if tid == self.main {
                    self.set_free();
                    let exited = libc::WIFEXITED(status);
                    let code = if exited { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
                    return Traced { code, calls: self.calls };
                }
                continue;
            }
            if !begun {
                begun = true;
                let options = libc::PTRACE_O_TRACESYSGOOD
                    | libc::PTRACE_O_TRACECLONE
                    | libc::PTRACE_O_TRACEFORK
                    | libc::PTRACE_O_TRACEVFORK
                    | libc::PTRACE_O_TRACEEXEC;
                ptrace(libc::PTRACE_SETOPTIONS, tid, 0, usize::try_from(options).unwrap());
            }
            let signal = self.stopped(tid, status);
            // It may have been killed meanwhile.
            ptrace(libc::PTRACE_SYSCALL, tid, 0, usize::try_from(signal).unwrap());
        }
    }

    /// What has just been made begins with a SIGSTOP, which would stay with it when the tracing ends.
    fn set_free(&self) {
        for tid in self.born.difference(&self.known) {
            let mut status = 0;
            // SAFETY: the pointer is to a live integer.
            unsafe { libc::waitpid(*tid, &raw mut status, libc::__WALL) };
            ptrace(libc::PTRACE_DETACH, *tid, 0, 0);
        }
    }

    /// Handles a stop; the signal to go on with.
    fn stopped(&mut self, tid: i32, status: i32) -> i32 {
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            self.system_call(tid);
            return 0;
        }
        if matches!(status >> 16, libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK) {
            let mut made: libc::c_ulong = 0;
            ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut made) as usize);
            self.born.extend(i32::try_from(made));
        }
        let event = status >> 16 != 0 || signal == libc::SIGTRAP;
        let first = self.known.insert(tid) && signal == libc::SIGSTOP;
        if event || first { 0 } else { signal }
    }

    fn system_call(&mut self, tid: i32) {
        let Some((entry, number, _)) = call(tid) else { return };
        if !entry {
            if self.failing == Some(tid) {
                self.failing = None;
                if let Blow::Fail(errno) = self.blow {
                    set_result(tid, -i64::from(errno));
                }
            }
            return;
        }
        if libc::c_long::try_from(number).is_ok_and(|number| PURE.contains(&number)) {
            return;
        }
        if self.calls.len() == self.at {
            let kill = |pid: i32| {
                // SAFETY: kill takes numbers; both processes are ours and not reaped.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            };
            match self.blow {
                Blow::Count => {}
                Blow::KillCaller => kill(tid),
                Blow::KillMain => kill(self.main),
                Blow::Fail(_) => {
                    skip_call(tid);
                    self.failing = Some(tid);
                }
            }
        }
        self.calls.push(number);
    }
}
