//! Runs a command with all its descendants under ptrace(2), counts their system calls as one sequence, and disturbs one.
//!
//! A count per process, as strace has it, would be ambiguous for a tree. Tracing ends with the command itself: what it
//! leaves behind goes on untraced, because each trial has a tracing thread of its own. Source: ptrace(2).

#![allow(unsafe_code, reason = "ptrace has no safe interface")]

use std::collections::HashSet;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::bundle::LIMIT;
use crate::errors;
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
    /// The call is not made and fails.
    FailOnce,
    /// So do all later calls of the same sort, in whichever process.
    FailOn,
    /// The call is not made and fails with this error number.
    FailWith(i32),
}

/// Which call is hit, and how.
#[derive(Debug, Clone, Copy)]
pub struct Aim {
    /// The number of the call in the sequence of those that count, from 0.
    pub at: usize,
    /// What happens there.
    pub blow: Blow,
    /// Whether reads and calls on the process's own memory count.
    pub pure: bool,
}

/// How a traced command went.
#[derive(Debug)]
pub struct Traced {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Numbers of the calls that counted, in order.
    pub calls: Vec<u64>,
    /// The call that was hit, and the error number that it got (0: none).
    pub hit: Option<(u64, i32)>,
}

/// Runs `command` and hits it as `aim` says. `None` when it hangs: it is traced still.
pub fn run(mut command: Command, aim: Aim, stderr: std::fs::File) -> Option<Traced> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Only the thread that started the tracing may go on with it, and its end sets everything free.
        let traced = Tracer::start(command, aim).follow();
        let _gone = sender.send(traced);
    });
    receiver.recv_timeout(LIMIT).ok()
}

struct Tracer {
    main: i32,
    /// Held until the end of the tracing.
    _end: mpsc::Sender<()>,
    /// The program is executed.
    begun: bool,
    calls: Vec<u64>,
    aim: Aim,
    hit: Option<(u64, i32)>,
    /// The threads whose call fails, between its entry and its exit.
    failing: HashSet<i32>,
}

impl Tracer {
    /// Seizes the command before it executes its program. Unlike one that asked to be traced, its children are not
    /// stopped by a signal, which would hold them for ever if the tracing ended before it came.
    fn start(mut command: Command, aim: Aim) -> Self {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = writer.as_raw_fd();
        // SAFETY: getpid, write, kill are safe between fork and exec.
        unsafe {
            command.pre_exec(move || {
                let pid = libc::getpid();
                libc::write(number, (&raw const pid).cast(), size_of::<i32>());
                libc::kill(pid, libc::SIGSTOP);
                Ok(())
            })
        };
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            // It returns when the program is executed.
            #[allow(clippy::zombie_processes, reason = "waitpid below")]
            command.spawn().unwrap();
            drop(writer);
            // With this thread its child would go to the first one, which reaps all that it gets.
            let _ended = ended.recv();
        });
        let mut pid = [0; size_of::<i32>()];
        reader.read_exact(&mut pid).unwrap();
        let main = i32::from_ne_bytes(pid);
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACEEXEC;
        assert_eq!(ptrace(libc::PTRACE_SEIZE, main, 0, usize::try_from(options).unwrap()), 0);
        while std::fs::read_to_string(format!("/proc/{main}/stat")).is_ok_and(|stat| !stat.contains(") t ")) {
            // SAFETY: ptrace and kill take numbers.
            unsafe { libc::kill(main, libc::SIGCONT) };
            ptrace(libc::PTRACE_INTERRUPT, main, 0, 0);
            std::thread::yield_now();
        }
        Self { main, _end: end, begun: false, calls: Vec::new(), aim, hit: None, failing: HashSet::new() }
    }

    /// Follows the tree until the main process ends.
    fn follow(mut self) -> Traced {
        loop {
            let mut status = 0;
            // Of this thread only: other tests wait for processes of their own.
            // SAFETY: the pointer is to a live integer.
            let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
            assert!(tid > 0, "lost track of {}: {}", self.main, std::io::Error::last_os_error());
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if tid == self.main {
                    let exited = libc::WIFEXITED(status);
                    let code = if exited { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
                    return Traced { code, calls: self.calls, hit: self.hit };
                }
                continue;
            }
            if status >> 16 == libc::PTRACE_EVENT_EXEC {
                if tid != self.main {
                    // A hook, or the container's program: no longer a process of the runtime's.
                    ptrace(libc::PTRACE_DETACH, tid, 0, 0);
                    continue;
                }
                self.begun = true;
            }
            let signal = self.stopped(tid, status);
            // It may have been killed meanwhile.
            ptrace(libc::PTRACE_SYSCALL, tid, 0, usize::try_from(signal).unwrap());
        }
    }

    /// Handles a stop; the signal to go on with.
    fn stopped(&mut self, tid: i32, status: i32) -> i32 {
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            if self.begun {
                self.system_call(tid);
            }
            return 0;
        }
        if status >> 16 != 0 { 0 } else { signal }
    }

    fn system_call(&mut self, tid: i32) {
        let Some((entry, number, first)) = call(tid) else { return };
        if !entry {
            if self.failing.remove(&tid)
                && let Some((_, errno)) = self.hit
            {
                set_result(tid, -i64::from(errno));
            }
            return;
        }
        // What is wrong must be sayable. And init's wait at its start gate may come before the end of `create` or after it.
        let can_fail = errors::can_fail(number)
            && !(is_write(number) && first == 2)
            && !(is(libc::SYS_read, number) && is_start_gate(tid, first));
        if let (Blow::FailOn, Some((hit, _))) = (self.aim.blow, self.hit)
            && hit == number
            && can_fail
        {
            self.fail(tid);
        }
        if !self.aim.pure && errors::is_pure(number) {
            return;
        }
        if self.calls.len() == self.aim.at {
            let kill = |pid: i32| {
                // SAFETY: kill takes numbers; both processes are ours and not reaped.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            };
            match self.aim.blow {
                Blow::Count => {}
                Blow::KillCaller => kill(tid),
                Blow::KillMain => kill(self.main),
                Blow::FailOnce | Blow::FailOn | Blow::FailWith(_) if can_fail => {
                    let errno = match self.aim.blow {
                        Blow::FailWith(errno) => errno,
                        blow => errors::plausible(number, self.aim.at, blow == Blow::FailOn),
                    };
                    self.hit = Some((number, errno));
                    self.fail(tid);
                }
                Blow::FailOnce | Blow::FailOn | Blow::FailWith(_) => {}
            }
            if matches!(self.aim.blow, Blow::KillCaller | Blow::KillMain) {
                self.hit = Some((number, 0));
            }
        }
        self.calls.push(number);
    }

    fn fail(&mut self, tid: i32) {
        skip_call(tid);
        self.failing.insert(tid);
    }
}

fn is_write(number: u64) -> bool {
    is(libc::SYS_write, number) || is(libc::SYS_writev, number)
}

fn is(call: libc::c_long, number: u64) -> bool {
    u64::try_from(call) == Ok(number)
}

/// Whether the descriptor is the FIFO on which init waits for `start`.
fn is_start_gate(tid: i32, descriptor: u64) -> bool {
    let link = format!("/proc/{tid}/fd/{descriptor}");
    std::fs::metadata(&link).is_ok_and(|meta| meta.file_type().is_fifo())
        && std::fs::read_link(&link).is_ok_and(|name| name.ends_with("go"))
}
