//! World: parent. Connects to the console socket or makes a stand-in for it, and takes the master over.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::caller;
use super::plan::{Destination, TerminalPlan};
use crate::error::{Code, Coded, Context, Error, Result};
use crate::sys::net;

/// Bytes of `sun_path` without its NUL: unix(7).
const LONGEST_PATH: usize = 107;

/// What [`super::child::send_master`] sends to, and in the foreground the other end of it.
#[derive(Debug)]
pub struct Console {
    /// For the child; close-on-exec.
    pub socket: OwnedFd,
    receiver: Option<OwnedFd>,
}

/// Opens the way for the master, and in the foreground gives the plan the size of the caller's terminal.
///
/// # Errors
/// As [`connect`].
pub fn open(plan: &mut TerminalPlan) -> Result<Console> {
    if let Destination::ConsoleSocket(path) = &plan.destination {
        let socket = connect(path).context(|| "console socket").coded(Code::ConsoleSocketFailed)?;
        return Ok(Console { socket, receiver: None });
    }
    if let Some(size) = caller::size() {
        plan.size = Some(size);
    }
    let (receiver, socket) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context(|| "make a socket pair for the terminal")?;
    // What has not been sent by then never will be.
    rustix::io::ioctl_fionbio(&receiver, true).context(|| "make a socket pair for the terminal")?;
    Ok(Console { socket, receiver: Some(receiver) })
}

impl Console {
    /// The master, after the child has sent it; `None` when it went to a console socket. Never waits.
    ///
    /// # Errors
    /// Nothing was sent.
    pub fn master(self) -> Result<Option<OwnedFd>> {
        let Some(receiver) = self.receiver else { return Ok(None) };
        let (_, master) = net::receive_fd(receiver.as_fd(), &mut [0; 64]).context(|| "receive the terminal")?;
        master.map(Some).ok_or_else(|| Error::new(Code::Internal, "the container sent no terminal"))
    }
}

/// Looks whether somebody listens on the console socket. As with a seccomp agent, who listens sees nothing of this: the
/// kernel refuses to connect a datagram socket to it (EPROTOTYPE).
///
/// # Errors
/// As [`connect`].
pub fn look(plan: &TerminalPlan) -> Result<()> {
    let Destination::ConsoleSocket(path) = &plan.destination else { return Ok(()) };
    let socket = |kind| rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    match socket(SocketType::DGRAM).and_then(|socket| connect_by(&socket, path)) {
        Ok(()) | Err(Errno::PROTOTYPE) => Ok(()),
        Err(errno) => Err(not_connected(path, errno).context("console socket")),
    }
}

/// Connects to the socket at `path`, console socket or pidfd socket, however long the path is.
///
/// # Errors
/// ENOENT, ECONNREFUSED without a listener, EACCES, ENOTSOCK.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let connected = socket.and_then(|socket| connect_by(&socket, path).map(|()| socket));
    connected.map_err(|errno| not_connected(path, errno))
}

fn not_connected(path: &Path, errno: Errno) -> Error {
    let error = Error::system(format!("connect to {}", path.display()), errno);
    match errno {
        Errno::CONNREFUSED | Errno::NOENT => error.hint("a process must listen on the socket before tare is started"),
        _ => error,
    }
}

/// Connects a socket; a path that does not fit into a socket address is opened and named by its descriptor.
///
/// # Errors
/// open(2), connect(2).
fn connect_by(socket: &OwnedFd, path: &Path) -> std::result::Result<(), Errno> {
    // An empty path would be an address of the abstract namespace.
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT);
    }
    if path.as_os_str().len() <= LONGEST_PATH {
        return rustix::net::connect(socket, &SocketAddrUnix::new(path)?);
    }
    let file = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    rustix::net::connect(socket, &SocketAddrUnix::new(OsStr::from_bytes(link.as_bytes()))?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn connects_to_short_and_long_paths() {
        let root = tempfile::tempdir().unwrap();
        let long = root.path().join("d".repeat(200));
        std::fs::create_dir(&long).unwrap();
        std::os::unix::fs::symlink(&long, root.path().join("s")).unwrap();
        let _listener = UnixListener::bind(root.path().join("s/socket")).unwrap();
        connect(&root.path().join("s/socket")).unwrap();
        assert!(long.join("socket").as_os_str().len() > LONGEST_PATH);
        connect(&long.join("socket")).unwrap();
    }

    #[test]
    fn says_what_is_wrong_with_a_console_socket() {
        let root = tempfile::tempdir().unwrap();
        let destination = Destination::ConsoleSocket(root.path().join("none"));
        let error = open(&mut TerminalPlan { destination, size: None }).unwrap_err().to_string();
        assert!(error.starts_with("console socket: connect to /"), "{error}");
        assert!(error.contains("/none: no such file or directory; a process must listen"), "{error}");
        std::fs::write(root.path().join("file"), "").unwrap();
        let error = connect(&root.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("connection refused"), "{error}");
        assert!(connect(Path::new("")).unwrap_err().to_string().contains("no such file"));
    }

    #[test]
    fn a_terminal_that_was_not_sent_is_no_hang() {
        let mut plan = TerminalPlan { destination: Destination::Foreground, size: None };
        let console = open(&mut plan).unwrap();
        assert!(console.master().unwrap_err().to_string().starts_with("receive the terminal"));
    }
}
