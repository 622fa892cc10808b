//! World: parent. Waits for a process in the foreground: forwards signals, reaps, relays the terminal if there is one.
//!
//! Order: `spawn` blocks all signals before the clone (`Signals::Blocked`), [`wait`] blocks them again, so that none is
//! lost, SIGCHLD least of all.
//! Promises: one poll loop without allocation; the exit status of the process is never lost to another child.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid};

use super::relay::{Ready, Relay};
use crate::error::{Code, Context, Error, Result};

/// Blocks all signals of this process; before the clone of a process that [`wait`] waits for.
///
/// # Errors
/// None in practice.
pub fn block_signals() -> Result<()> {
    SigSet::all().thread_block().context(|| "block the signals")
}

/// A descriptor that is served while the process runs.
pub struct Aside<'a> {
    /// Polled for input.
    pub descriptor: BorrowedFd<'a>,
    /// Called when there is some; true when that was all.
    pub serve: &'a mut dyn FnMut() -> bool,
}

/// Waits for the end of `pid`, a child of this process with the pidfd `process`, and returns its exit code, 128 + N
/// when signal N ended it. Every signal but SIGCHLD, SIGURG and SIGWINCH is passed on to it; with `master`, the pty
/// is relayed meanwhile. Other children are reaped too.
///
/// # Errors
/// poll(2), signalfd(2), or `pid` is no child.
pub fn wait(process: BorrowedFd<'_>, pid: Pid, master: Option<OwnedFd>, mut aside: Option<Aside<'_>>) -> Result<i32> {
    block_signals()?;
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context(|| "make a signalfd")?;
    // On the heap: its buffers would be touched without a terminal too.
    let mut relay = master.map(|master| Relay::new(master).map(Box::new)).transpose()?;
    crate::sys::allocation::release();
    let code = loop {
        if let Some(code) = reap(pid)? {
            break code;
        }
        relay_until_child_ended(&signals, process, relay.as_deref_mut(), &mut aside)?;
    };
    // What the process did last may have come in with its end, or before the first poll.
    if let Some(aside) = &mut aside {
        (aside.serve)();
    }
    if let Some(relay) = &mut relay {
        relay.drain(|output| wait_for_output(&signals, output));
    }
    Ok(code)
}

/// Reaps every child that has ended; the exit code if `pid` is among them.
fn reap(pid: Pid) -> Result<Option<i32>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => code = Some(exit_code(status)),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(code),
            Err(Errno::CHILD) if code.is_some() => return Ok(code),
            Err(errno) => return Err(Error::new(Code::Internal, "wait for the process").errno(errno)),
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    crate::sys::exit_code::exit_code(status.exit_status(), status.terminating_signal()).unwrap_or(0)
}

/// Serves signals and terminal until some child has ended.
fn relay_until_child_ended(
    signals: &SignalFd,
    process: BorrowedFd<'_>,
    mut relay: Option<&mut Relay>,
    aside: &mut Option<Aside<'_>>,
) -> Result<()> {
    loop {
        let ready = wait_until_ready(signals, relay.as_deref(), aside.as_ref().map(|aside| aside.descriptor))?;
        if ready.aside && aside.as_mut().is_some_and(|aside| (aside.serve)()) {
            *aside = None;
        }
        if let Some(relay) = relay.as_deref_mut() {
            relay.advance(ready.terminal);
        }
        if !ready.signal {
            continue;
        }
        let mut child_ended = false;
        while let Some(signal) = signals.read_signal().context(|| "read the signalfd")? {
            child_ended |= serve(&signal, process, relay.as_deref_mut());
        }
        if child_ended {
            return Ok(());
        }
    }
}

/// What poll(2) found.
struct Found {
    /// A signal.
    signal: bool,
    /// What the terminal can do.
    terminal: Ready,
    /// Input for [`Aside`].
    aside: bool,
}

/// Waits until there is something to do.
fn wait_until_ready(signals: &SignalFd, relay: Option<&Relay>, aside: Option<BorrowedFd<'_>>) -> Result<Found> {
    let first = PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN);
    // Without anything aside its place is one more look at the signals.
    let second = aside.map_or_else(|| first.clone(), |aside| PollFd::from_borrowed_fd(aside, PollFlags::IN));
    let mut list = [first.clone(), second, first.clone(), first.clone(), first];
    let mut count = 2;
    if let Some(relay) = relay {
        relay.wants(|wanted| {
            if let Some(place) = list.get_mut(count) {
                *place = wanted;
                count += 1;
            }
        });
    }
    let list = &mut list[..count];
    match poll(list, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::system("poll", errno)),
    }
    let mut terminal = Ready::default();
    let mut polled = list.iter().map(|polled| (polled, !polled.revents().is_empty()));
    let signal = polled.next().is_some_and(|(_, is_ready)| is_ready);
    let aside = polled.next().is_some_and(|(_, is_ready)| is_ready) && aside.is_some();
    if let Some(relay) = relay {
        polled.filter(|(_, is_ready)| *is_ready).for_each(|(polled, _)| relay.mark(polled, &mut terminal));
    }
    Ok(Found { signal, terminal, aside })
}

/// Acts on one signal; whether it says that a child has ended.
fn serve(signal: &siginfo, process: BorrowedFd<'_>, relay: Option<&mut Relay>) -> bool {
    let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
    match number {
        libc::SIGCHLD => return true,
        libc::SIGWINCH => {
            if let Some(relay) = relay {
                relay.resize();
            }
            return false;
        }
        libc::SIGURG => return false,
        libc::SIGCONT => {
            if let Some(relay) = relay {
                relay.resume();
            }
        }
        _ => {}
    }
    if !is_our_own(signal) {
        // It may have ended already.
        let _ = crate::sys::pidfd::send_signal(process, number);
    }
    false
}

/// SIGPIPE of our own writing and the like are not the container's business.
fn is_our_own(signal: &siginfo) -> bool {
    i32::try_from(signal.ssi_pid) == Ok(getpid().as_raw_nonzero().get())
}

/// Waits until the caller takes more output; a signal that asks us to end gives it up.
fn wait_for_output(signals: &SignalFd, output: PollFd<'_>) -> bool {
    let mut list = [output, PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut list, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];
            if !is_our_own(&signal) && ends.iter().any(|end| u32::try_from(*end) == Ok(signal.ssi_signo)) {
                return false;
            }
        }
        if !list[0].revents().is_empty() {
            return true;
        }
    }
}
