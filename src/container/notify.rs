//! World: parent. sd_notify(3): a container tells whoever started tare that it is ready.
//!
//! Where NOTIFY_SOCKET is set, the container gets a socket of its own at /run/notify, and READY=1 alone is passed on:
//! nothing else that a container says is for the service manager. As runc does: who stays in the foreground goes on,
//! run --detach and start wait until the container is ready or has ended. A config that brings its own socket
//! (Podman's) is left as it is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, chmodat, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use rustix::pipe::{PipeFlags, pipe_with};

use super::store::Directory;
use crate::error::{Code, Context, Error, Result};
use crate::sys::net;

/// The directory of the socket, in the state directory and in the container, and the socket.
pub(super) const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";
pub(super) const INSIDE: &str = "/run/notify";
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Longer messages are cut; sd_notify(3) knows no limit, ours is a page.
const LONGEST: usize = 4096;
/// How long the service manager may take to read what was sent, as systemd-notify(1) waits.
const BARRIER: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The service manager's socket.
#[derive(Debug, Clone)]
pub(super) struct Caller(SocketAddrUnix);

impl Caller {
    /// From the value of NOTIFY_SOCKET; `None` when there is none.
    ///
    /// # Errors
    /// It is no address of a unix socket.
    pub(super) fn new(value: Option<std::ffi::OsString>) -> Result<Option<Self>> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let address = match value.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            [b'/', ..] => SocketAddrUnix::new(Path::new(&value)),
            _ => Err(Errno::INVAL),
        };
        address.map(|address| Some(Self(address))).map_err(|errno| {
            Error::new(Code::NotifySocketInvalid, format!("{VARIABLE}={} in the environment", value.display()))
                .errno(errno.raw_os_error())
                .hint("it must be the absolute path of a unix socket, or an abstract name after an @")
        })
    }

    /// From the environment.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn of_environment() -> Result<Option<Self>> {
        Self::new(std::env::var_os(VARIABLE))
    }

    /// Says that a restored container is ready, which its program does not say a second time. `pid` as for a container that
    /// [`Listener::wait`] waits for; `None` while tare stays.
    ///
    /// # Errors
    /// The service manager does not take it.
    pub(super) fn announce(&self, pid: Option<i32>) -> Result<()> {
        self.tell(pid)?;
        pid.map_or(Ok(()), |_| self.barrier())
    }

    /// Says that the container is ready; `pid` is what the service manager is to watch instead of tare.
    fn tell(&self, pid: Option<i32>) -> Result<()> {
        let pid = pid.map_or_else(String::new, |pid| format!("MAINPID={pid}\n"));
        self.send(&format!("READY=1\n{pid}"), None)
    }

    /// Waits until everything sent so far has been read: whose process has gone is nobody to the service manager.
    fn barrier(&self) -> Result<()> {
        let (end, others) = pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        self.send("BARRIER=1", Some(others.as_fd()))?;
        drop(others);
        let mut fds = [PollFd::new(&end, PollFlags::empty())];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&BARRIER))).context(|| "wait for the service manager")?;
        Ok(())
    }

    fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let what = || format!("send {} to {VARIABLE}", text.trim_end());
        let socket = datagram().context(what)?;
        connect(&socket, &self.0).context(what)?;
        match descriptor {
            Some(descriptor) => net::send_fd(socket.as_fd(), text.as_bytes(), descriptor),
            None => rustix::io::retry_on_intr(|| send(&socket, text.as_bytes(), SendFlags::NOSIGNAL)),
        }
        .context(what)
        .map(drop)
    }
}

fn datagram() -> std::result::Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
}

/// Gives the container the directory `source` at /run/notify and the name of the socket in it; whether it did: not
/// when the config has either already, or no process.
pub(super) fn admit(spec: &mut Spec, source: &Path) -> Result<bool> {
    let prefix = format!("{VARIABLE}=");
    let named =
        |process: &oci_spec::runtime::Process| process.env().iter().flatten().any(|entry| entry.starts_with(&prefix));
    let mounted = spec.mounts().iter().flatten().any(|mount| mount.destination().starts_with(INSIDE));
    let Some(process) = spec.process_mut().as_mut().filter(|process| !mounted && !named(process)) else {
        return Ok(false);
    };
    process.env_mut().get_or_insert_default().push(format!("{prefix}{INSIDE}/{SOCKET}"));
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_string);
    let mount = MountBuilder::default().destination(INSIDE).typ("bind").source(source).options(options).build();
    let mount = mount.map_err(|e| Error::new(Code::Internal, "the mount for notify").detail(e.to_string()))?;
    spec.mounts_mut().get_or_insert_default().push(mount);
    Ok(true)
}

/// As [`admit`], for the saved config of a container that has been created: does nothing if that was not [`admit`]ted.
///
/// # Errors
/// As [`admit`].
pub(super) fn admit_again(spec: &mut Spec, directory: &Directory) -> Result<()> {
    match accessat(directory.as_fd(), DIRECTORY, Access::EXISTS, AtFlags::empty()) {
        Ok(()) => admit(spec, &directory.path.join(DIRECTORY)).map(drop),
        Err(_) => Ok(()),
    }
}

/// Makes the directory that is mounted.
///
/// # Errors
/// As mkdir(2).
pub(super) fn make(directory: &Directory) -> Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    mkdirat(directory.as_fd(), DIRECTORY, mode)
        .and_then(|()| chmodat(directory.as_fd(), DIRECTORY, mode, AtFlags::empty()))
        .context(|| format!("make {}/{DIRECTORY}", directory.path.display()))
}

/// The socket that the container sends to.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    caller: Caller,
}

impl Listener {
    /// Listens, when the container was [`admit`]ted.
    ///
    /// # Errors
    /// bind(2).
    pub(super) fn open(directory: &Directory, caller: Caller) -> Result<Option<Self>> {
        let what = || format!("listen on {}/{DIRECTORY}/{SOCKET}", directory.path.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = match openat(directory.as_fd(), DIRECTORY, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            result => result.context(what)?,
        };
        let listen = || {
            match unlinkat(&parent, SOCKET, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            let socket = datagram()?;
            // Through the descriptor: the path may be longer than a socket's address.
            let path = format!("/proc/self/fd/{}/{SOCKET}", parent.as_raw_fd());
            let address = SocketAddrUnix::new(path.as_str())?;
            // For every user of the container. Not by chmod afterwards: a container that may remount its directory could
            // have put a link in the socket's place by then.
            let umask = rustix::process::umask(Mode::empty());
            let bound = rustix::net::bind(&socket, &address);
            rustix::process::umask(umask);
            bound.map(|()| socket)
        };
        Ok(Some(Self { socket: listen().context(what)?, caller }))
    }

    /// What to wait on until [`Self::serve`] has something to do.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what was sent, and passes on that the container is ready; whether it is.
    ///
    /// # Errors
    /// The service manager does not take it.
    pub(super) fn serve(&self, pid: Option<i32>) -> Result<bool> {
        let mut message = [0; LONGEST];
        loop {
            match recv(&self.socket, &mut message[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) if is_ready(&message[..length.min(LONGEST)]) => {
                    return self.caller.tell(pid).map(|()| true);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(Error::system("receive from the container", errno)),
            }
        }
    }

    /// Waits until the container is ready or its init, `pid`, has ended, for a tare that goes away afterwards.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub(super) fn wait(&self, pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
        let _span = crate::timings::span("wait for READY=1");
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).context(|| "wait for the container to be ready")?;
            let ended = !fds[1].revents().is_empty();
            // Its last word may be that it was ready.
            if self.serve(Some(pid))? {
                return self.caller.barrier();
            }
            if ended {
                return Ok(());
            }
        }
    }
}

fn is_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses() {
        assert!(Caller::new(None).unwrap().is_none());
        assert!(Caller::new(Some("".into())).unwrap().is_none());
        assert_eq!(Caller::new(Some("/run/x".into())).unwrap().unwrap().0.path_bytes(), Some(&b"/run/x"[..]));
        assert_eq!(Caller::new(Some("@x".into())).unwrap().unwrap().0.abstract_name(), Some(&b"x"[..]));
        for bad in ["vsock:2:1".to_string(), "run/x".into(), format!("/{}", "x".repeat(200))] {
            let error = Caller::new(Some(bad.clone().into())).unwrap_err().to_string();
            assert!(error.starts_with(&format!("NOTIFY_SOCKET={bad} in the environment: ")), "{error}");
        }
    }

    #[test]
    fn only_whole_lines_count() {
        assert!(is_ready(b"STATUS=x\nREADY=1"));
        for text in [&b"READY=0"[..], b"XREADY=1", b"READY=11", b"STATUS=READY=1", b""] {
            assert!(!is_ready(text), "{text:?}");
        }
    }

    fn admitted(config: serde_json::Value) -> (bool, Spec) {
        let mut spec: Spec = serde_json::from_value(config).unwrap();
        (admit(&mut spec, Path::new("/state/notify")).unwrap(), spec)
    }

    #[test]
    fn a_config_with_a_socket_of_its_own_stays_as_it_is() {
        let process = |env: &str| json!({"cwd": "/", "args": ["a"], "env": [env], "user": {"uid": 0, "gid": 0}});
        let (done, spec) = admitted(json!({"ociVersion": "1.0.0", "process": process("A=b")}));
        assert!(done);
        let env = spec.process().as_ref().unwrap().env().clone().unwrap();
        assert_eq!(env, ["A=b", "NOTIFY_SOCKET=/run/notify/notify.sock"]);
        assert_eq!(spec.mounts().as_ref().unwrap()[0].destination(), Path::new("/run/notify"));
        for (env, mount) in [("NOTIFY_SOCKET=/x", "/tmp"), ("A=b", "/run/notify"), ("A=b", "/run/notify/notify.sock")] {
            let config = json!({"ociVersion": "1.0.0", "process": process(env), "mounts": [{"destination": mount}]});
            let before: Spec = serde_json::from_value(config.clone()).unwrap();
            assert_eq!(admitted(config), (false, before));
        }
        assert!(!admitted(json!({"ociVersion": "1.0.0"})).0);
    }
}
