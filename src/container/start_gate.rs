//! World: parent. The start gate: where the init of a created container waits for `start`.
//!
//! Two FIFOs and a socket in the container's directory. `start` writes one byte to `go`, which init reads. init holds
//! `result` open, close-on-exec, and writes there why execve failed: end-of-file means that the program runs. The socket
//! `listener` exists only for a seccomp profile with an agent, to which init sends its listener, or one that may deny init
//! to write to `result`: `start` sends the memory in which init leaves the reason then.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{
    Access, AtFlags, MemfdFlags, Mode, OFlags, SealFlags, accessat, fcntl_add_seals, memfd_create, openat,
};
use rustix::io::{Errno, pread, pwrite};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::store::Directory;
use crate::error::{Code, Context, Error, Result};
use crate::init::Gate;
use crate::sys::memory::SharedPage;
use crate::sys::net;
use crate::wire::{Fault, Packet};

/// The socket's name in the container's directory.
pub(super) const LISTENER: &str = "listener";

/// Creates the gate for init; `connects`: with the socket.
///
/// # Errors
/// mkfifo(3), open(2), bind(2).
pub(super) fn create(directory: &Directory, connects: bool) -> Result<Gate> {
    let open = |name: &str| {
        directory.make_fifo(name)?;
        // For reading and writing: opening a FIFO for one of the two waits for the other side.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(directory.as_fd(), name, flags, Mode::empty()).context(|| format!("open the FIFO {name}"))
    };
    let listener = if connects { Some(listen(directory)?) } else { None };
    Ok(Gate { go: open("go")?, result: open("result")?, listener })
}

/// Opens `result`. To be called before the byte is written to `go`.
///
/// # Errors
/// open(2).
pub(super) fn open_result(directory: &Directory) -> Result<OwnedFd> {
    // Non-blocking, so that the open does not wait for a writer; `wait_for_exec` polls before each read.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory.as_fd(), "result", flags, Mode::empty()).context(|| "open the result of the start gate")
}

/// Waits until init has executed its program; the fault if it could not.
///
/// # Errors
/// poll(2), read(2).
pub(super) fn wait_for_exec(result: &OwnedFd, memory: Option<&OwnedFd>) -> Result<Option<Fault>> {
    let _span = crate::timings::span("wait until the program is executed");
    loop {
        let mut fds = [PollFd::new(result, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Error::system("wait for the program to start", e)),
        }
        match Packet::receive(result.as_fd()) {
            Ok(None) => return memory.map_or(Ok(None), left),
            Ok(Some(Packet::Failed(fault))) => return Ok(Some(fault)),
            Ok(Some(_)) => return Err(Error::new(Code::Internal, "unexpected packet at the start gate")),
            Err(Errno::AGAIN) => {}
            Err(e) => return Err(Error::system("read the result of the start gate", e)),
        }
    }
}

/// Sends init memory in which it can leave a fault. To be called before the byte is written to `go`: init does not wait
/// for it. The memory is charged to this process, and nobody can change its size.
///
/// # Errors
/// memfd_create(2), sendmsg(2).
pub(super) fn lend_memory(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || "lend init memory for its result";
    let memory = memfd_create("tare", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).context(what)?;
    pwrite(&memory, &[0; size_of::<[u64; SharedPage::LENGTH]>()], 0).context(what)?;
    fcntl_add_seals(&memory, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW).context(what)?;
    match net::send_fd(socket, &[0], memory.as_fd()) {
        // init has died, which is found out next.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(memory),
        Err(errno) => Err(Error::system(what(), errno)),
    }
}

/// What init left.
fn left(memory: &OwnedFd) -> Result<Option<Fault>> {
    let mut word = [0; 8];
    pread(memory, &mut word, 0).context(|| "read the result of the start gate from memory")?;
    Ok(Fault::left(u64::from_ne_bytes(word)))
}

fn listen(directory: &Directory) -> Result<OwnedFd> {
    let what = || "make the socket for the seccomp listener";
    let socket = stream().context(what)?;
    rustix::net::bind(&socket, &address(directory).context(what)?).context(what)?;
    rustix::net::listen(&socket, 1).context(what)?;
    Ok(socket)
}

/// Connects to the socket; `None` if the container has none.
///
/// # Errors
/// connect(2).
pub(super) fn connect(directory: &Directory) -> Result<Option<OwnedFd>> {
    let what = || "connect to init for the seccomp listener";
    // Most containers have none, and this check costs a single system call.
    match accessat(directory.as_fd(), LISTENER, Access::EXISTS, AtFlags::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        exists => exists.context(what)?,
    }
    let socket = stream().context(what)?;
    rustix::net::connect(&socket, &address(directory).context(what)?).context(what)?;
    Ok(Some(socket))
}

fn stream() -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Through the descriptor of the directory, whose path may be too long for a socket address.
fn address(directory: &Directory) -> std::result::Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{LISTENER}", directory.as_fd().as_raw_fd()))
}
