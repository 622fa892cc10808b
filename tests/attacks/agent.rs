//! An agent of seccomp notifications: a socket that takes listeners, and answers what comes from them or never does.

#![allow(unsafe_code, reason = "notifications have no safe interface")]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What it does with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Lets the call go on.
    Continue,
    /// Nothing, for ever.
    Never,
}

/// An agent that runs until it is dropped.
pub struct Agent {
    socket: UnixListener,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub fn new(path: &Path, answer: Answer) -> Self {
        let _absent = std::fs::remove_file(path);
        let socket = UnixListener::bind(path).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let taken = socket.try_clone().unwrap();
        let thread = std::thread::spawn(move || serve(&taken, answer, &seen));
        Self { socket, over, thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Its directory may be gone; a wait for connections ends by this all the same.
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Takes one listener of each connection, and keeps it to the end.
fn serve(socket: &UnixListener, answer: Answer, over: &Arc<AtomicBool>) {
    let mut open = Vec::new();
    while let Ok((stream, _)) = socket.accept() {
        let seen = Arc::clone(over);
        open.push(std::thread::spawn(move || {
            stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            let Some(listener) = receive(&stream) else { return };
            while !seen.load(Ordering::Relaxed) && (answer == Answer::Never || lives(&listener)) {
                if answer == Answer::Never {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
        }));
    }
    open.into_iter().for_each(|thread| thread.join().unwrap());
}

fn receive(stream: &UnixStream) -> Option<OwnedFd> {
    let mut text = [0; 65_536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}

/// Lets one call go on, if there is one soon; whether anybody is left to make another.
fn lives(listener: &OwnedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    if poll(&mut fds, Some(&soon)).is_ok_and(|ready| ready == 0) {
        return true;
    }
    if fds[0].revents().contains(PollFlags::HUP) {
        return false;
    }
    // SAFETY: all-zero structures are valid, and what the kernel expects.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live structure of the size that the request says.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } == 0 {
        const CONTINUE: u32 = 1;
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error: 0, flags: CONTINUE };
        // SAFETY: as above. The caller may be gone.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
    true
}
