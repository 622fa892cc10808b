//! World: parent. A CRIU process (`criu swrk`) and the conversation with it.
//!
//! tare sends one request after the other on a socket pair. While CRIU works on a dump or restore, it reports steps
//! (`Notify`) and waits for the answer to each. If tare dies, CRIU reads end-of-file in the next step and undoes what it
//! has done: the processes of a dump run on, those of a restore are killed.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use prost::Message;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::child::{self, Root, Task};
use super::log;
use super::messages::{CgroupRoot, Features, Notification, Options, Request, RequestType, Response, Version};
use crate::error::{Code, Coded, Context, Error, Result};
use crate::sys::clone::own_pidfd;
use crate::sys::environment;
use crate::sys::exec::Strings;
use crate::sys::net;
use crate::wire::Packet;

/// The oldest version that tare works with: the first one that freezes cgroups of cgroup v2 and restores external pid
/// namespaces.
const OLDEST: (i32, i32) = (3, 15);

/// Where CRIU is looked for after PATH, which engines may set to something short.
const PLACES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Seconds that CRIU has to undo its work after the end of the conversation.
const PATIENCE: i64 = 30;

/// Bytes of a message at most; CRIU's own are below 1 KB.
const MESSAGE: usize = 40 << 10;

/// Bytes of a log that are read for the cause of a failure.
const LOG: u64 = 4 << 20;

/// How CRIU is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program; `None`: the one in PATH.
    pub program: Option<&'a Path>,
    /// Its stdin, stdout and stderr.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Descriptors that keep their numbers in CRIU.
    pub inherited: Vec<BorrowedFd<'a>>,
    /// The cgroup that it is started in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// For a restore: the rootfs.
    pub root: Option<Rootfs<'a>>,
}

/// The rootfs as CRIU sees it in its own mount namespace.
#[derive(Debug)]
pub struct Rootfs<'a> {
    /// A detached tree.
    pub tree: BorrowedFd<'a>,
    /// Where it becomes a mount point.
    pub mount_point: &'a Path,
    /// The cgroup hierarchy, a detached mount, and where CRIU sees it.
    pub cgroups: Option<(BorrowedFd<'a>, PathBuf)>,
    /// Descriptors among the inherited ones that have to belong to that namespace, by their absolute paths.
    pub directories: Vec<(BorrowedFd<'a>, PathBuf)>,
}

/// Where CRIU writes its log.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// The directory.
    pub directory: BorrowedFd<'a>,
    /// Its path, for messages.
    pub path: &'a Path,
    /// The name of the log in it.
    pub name: &'static str,
}

/// What is done at a step of CRIU: its name, the pid of the container's first process, and a descriptor that came with it.
pub type OnStep<'a> = &'a mut dyn FnMut(&str, i32, Option<OwnedFd>) -> Result<()>;

/// A running CRIU. When it is dropped, its work is undone, and it is reaped.
#[derive(Debug)]
pub struct Criu {
    pid: i32,
    pidfd: OwnedFd,
    socket: Option<OwnedFd>,
    /// Whether it has begun something that only CRIU can undo.
    working: bool,
    reaped: bool,
}

impl Criu {
    /// Starts CRIU.
    ///
    /// # Errors
    /// It is not installed; it cannot be executed.
    pub fn start(start: &Start<'_>) -> Result<Self> {
        let program = match start.program {
            Some(path) => path.to_path_buf(),
            None => find().ok_or_else(not_installed)?,
        };
        let (report, report_end) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context(|| "make the socket pair for CRIU")
            .coded(Code::CriuFailed)?;
        let place = rustix::io::fcntl_dupfd_cloexec(&report_end, 3)
            .context(|| "make the socket pair for CRIU")
            .coded(Code::CriuFailed)?;
        let mut inherited = start.inherited.clone();
        inherited.push(place.as_fd());
        let text = |bytes: &[u8]| crate::error::c_string(bytes, || "--criu".to_owned());
        let path = |path: &Path| crate::error::c_string(path.as_os_str().as_bytes(), || "--root".to_owned());
        let root = start.root.as_ref();
        let mount_point = root.map_or(Ok(CString::default()), |root| path(root.mount_point))?;
        let cgroups = root.and_then(|root| root.cgroups.as_ref());
        let cgroups = cgroups.map(|(tree, place)| Ok((*tree, path(place)?))).transpose()?;
        let directories = root.map_or(&[][..], |root| &root.directories);
        let directories: Result<Vec<_>> = directories.iter().map(|(fd, name)| Ok((*fd, path(name)?))).collect();
        let reopened = directories?;
        let number = place.as_raw_fd().to_string();
        let task = Task {
            program: &text(program.as_os_str().as_bytes())?,
            args: &Strings::new(vec![c"criu".into(), c"swrk".into(), text(number.as_bytes())?]),
            env: &environment::inherited(),
            stdio: start.stdio,
            inherited: &inherited,
            cgroup: start.cgroup,
            root: root.map(|root| Root {
                tree: root.tree,
                mount_point: &mount_point,
                cgroups: cgroups.as_ref().map(|(tree, place)| (*tree, place.as_c_str())),
                reopened: &reopened,
            }),
            place: place.as_fd(),
            report: report_end.as_fd(),
        };
        let explain = |fault: crate::wire::Fault| {
            Error::system(format!("start {}", program.display()), fault.errno)
                .coded(Code::CriuFailed)
                .detail(fault.step.name())
        };
        let (pid, pidfd) = child::start(&task).map_err(explain)?;
        let mut criu = Self { pid, pidfd: own_pidfd(pidfd), socket: None, working: false, reaped: false };
        drop((place, report_end));
        loop {
            match Packet::receive_with(report.as_fd()) {
                Ok(Some((Packet::Failed(fault), _))) => return Err(explain(fault)),
                Ok(Some((Packet::Ready, socket))) => criu.socket = socket,
                _ => return Ok(criu),
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The cgroups that CRIU is in, one for each hierarchy: restored processes belong there, not where they were.
    ///
    /// # Errors
    /// It has ended; /proc is not mounted.
    pub fn cgroups(&self) -> Result<Vec<CgroupRoot>> {
        let path = format!("/proc/{}/cgroup", self.pid);
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::system(format!("read {path}"), e).coded(Code::CriuFailed))?;
        Ok(cgroup_roots(&text))
    }

    fn version(&self) -> Result<Version> {
        let request = Request { keep_open: Some(true), ..request(RequestType::Version) };
        Ok(self.ask(&request)?.version.unwrap_or_default())
    }

    /// Checks that its version is one that tare works with.
    ///
    /// # Errors
    /// It is too old; CRIU does not answer.
    pub fn require_version(&self) -> Result<()> {
        let version = self.version()?;
        if (version.major, version.minor) >= OLDEST {
            return Ok(());
        }
        let what = format!("CRIU {}.{} is too old", version.major, version.minor);
        Err(Error::new(Code::CriuUnsupported, what).hint(format!("tare needs CRIU {}.{}", OLDEST.0, OLDEST.1)))
    }

    /// Checks that CRIU and the kernel have what the options need.
    ///
    /// # Errors
    /// They have not, and which option needs it.
    pub fn require_features(&mut self, wanted: Features) -> Result<()> {
        if wanted == Features::default() {
            return Ok(());
        }
        // It makes mounts and files for a moment to see what the kernel has.
        self.working = true;
        let request = Request { keep_open: Some(true), features: Some(wanted), ..request(RequestType::FeatureCheck) };
        let found = self.ask(&request)?.features.unwrap_or_default();
        self.working = false;
        let lacks = |wanted: Option<bool>, found: Option<bool>| wanted == Some(true) && found != Some(true);
        let missing = if lacks(wanted.memory_tracking, found.memory_tracking) {
            Some(("--pre-dump", "tracking of memory changes (CONFIG_MEM_SOFT_DIRTY)"))
        } else if lacks(wanted.lazy_pages, found.lazy_pages) {
            Some(("--lazy-pages", "userfaultfd(2)"))
        } else {
            None
        };
        match missing {
            None => Ok(()),
            Some((option, what)) => {
                let what = format!("{option} needs {what}, which this kernel or CRIU does not have");
                Err(Error::new(Code::CriuUnsupported, what))
            }
        }
    }

    /// Has CRIU do a dump, a pre-dump or a restore, and waits for its end. `on_step` is called at each step.
    ///
    /// # Errors
    /// CRIU failed, with the cause from its log; `on_step` failed: CRIU undoes its work then.
    pub fn work(mut self, kind: RequestType, options: Options, log: Log<'_>, on_step: OnStep<'_>) -> Result<Response> {
        self.send(&Request { options: Some(options), ..request(kind) })?;
        self.working = true;
        let mut first_error = None;
        let response = loop {
            // CRIU that dies without a word is a failure too.
            let Some((response, descriptor)) = self.receive()? else { break None };
            let Some(notification) = notification(&response) else { break Some(response) };
            let done = on_step(notification.script(), notification.pid(), descriptor);
            let answer = Request { notify_success: Some(done.is_ok()), ..request(RequestType::Notify) };
            if let Err(error) = done {
                first_error.get_or_insert(error);
            }
            self.send(&answer)?;
        };
        self.socket = None;
        self.reap()?;
        match (first_error, response) {
            (Some(error), _) => Err(error),
            (None, Some(response)) if response.success => Ok(response),
            (None, response) => Err(explain(kind, response.as_ref(), log)),
        }
    }

    fn ask(&self, request: &Request) -> Result<Response> {
        self.send(request)?;
        match self.receive()? {
            Some((response, _)) if response.success => Ok(response),
            _ => Err(Error::new(Code::CriuFailed, "CRIU does not answer").hint("`criu check` may say why")),
        }
    }

    fn send(&self, request: &Request) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let bytes = request.encode_to_vec();
        match rustix::io::retry_on_intr(|| send(socket, &bytes, SendFlags::NOSIGNAL)) {
            // If it has died, the next read shows that.
            Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::system("write to CRIU", errno).coded(Code::CriuFailed)),
        }
    }

    /// The next message with its descriptor; `None` at end-of-file.
    fn receive(&self) -> Result<Option<(Response, Option<OwnedFd>)>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut buffer = vec![0; MESSAGE];
        let (count, descriptor) = match net::receive_fd(socket.as_fd(), &mut buffer) {
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => received.context(|| "read from CRIU").coded(Code::CriuFailed)?,
        };
        if count == 0 {
            return Ok(None);
        }
        let response = Response::decode(buffer.get(..count).unwrap_or_default());
        let response = response.map_err(|e| Error::new(Code::CriuFailed, "read from CRIU").detail(e.to_string()))?;
        Ok(Some((response, descriptor)))
    }

    fn reap(&mut self) -> Result<()> {
        let wait = || waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        rustix::io::retry_on_intr(wait).context(|| "wait for CRIU").coded(Code::CriuFailed)?;
        self.reaped = true;
        Ok(())
    }
}

impl Drop for Criu {
    /// CRIU that is killed in the middle of its work leaves processes stopped, so it is given the time to undo it. Without
    /// work it is killed before the socket is closed, about which it would complain on stderr.
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        if !self.working {
            let _ended = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        self.socket = None;
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        if !matches!(rustix::io::retry_on_intr(|| poll(&mut ended, Some(&patience))), Ok(1..)) {
            let _ended = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _reaped = self.reap();
    }
}

/// The CRIU of this host for a report: its program, and its version or why tare does not work with it.
///
/// # Errors
/// It is not installed.
pub fn installed() -> Result<(PathBuf, Result<String>)> {
    let program = find().ok_or_else(not_installed)?;
    let version = || {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null").context(|| "open /dev/null")?;
        let stdio = [null.as_fd(); 3];
        let start = Start { program: Some(&program), stdio, inherited: Vec::new(), cgroup: None, root: None };
        let criu = Criu::start(&start)?;
        let Version { major, minor, .. } = criu.version()?;
        criu.require_version().map(|()| format!("{major}.{minor}"))
    };
    let version = version();
    Ok((program, version))
}

fn not_installed() -> Error {
    let what = "executable file `criu` not found in $PATH";
    Error::new(Code::CriuMissing, what).hint("install CRIU, or name the program with --criu")
}

/// Source: cgroups(7), "/proc/pid/cgroup": `ID:CONTROLLERS:PATH`.
fn cgroup_roots(text: &str) -> Vec<CgroupRoot> {
    let root = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let controllers = controllers.trim_start_matches("name=").to_owned();
        Some(CgroupRoot { controllers: Some(controllers), path: path.to_owned() })
    };
    text.lines().filter_map(root).collect()
}

fn request(kind: RequestType) -> Request {
    Request { kind: kind.into(), ..Request::default() }
}

fn notification(response: &Response) -> Option<&Notification> {
    response.notification.as_ref().filter(|_| response.kind() == RequestType::Notify)
}

/// What CRIU says of its failure: its log, else the message in the response.
fn explain(kind: RequestType, response: Option<&Response>, log: Log<'_>) -> Error {
    let what = match kind {
        RequestType::Restore => "CRIU cannot restore the container",
        RequestType::PreDump => "CRIU cannot pre-dump the container",
        _ => "CRIU cannot dump the container",
    };
    let error = Error::new(Code::CriuFailed, what);
    let error = match response {
        None => error.context("CRIU ended without an answer").coded(Code::CriuFailed),
        Some(response) => match response.errno.filter(|errno| *errno > 0) {
            Some(errno) => error.errno(errno),
            None => error,
        },
    };
    let text = read(log).unwrap_or_default();
    let said = log::cause(&text).or(response.and_then(|response| response.message.as_deref()));
    error.detail(said.unwrap_or_default().trim()).hint(format!("see {}", log.path.join(log.name).display()))
}

/// Whether CRIU failed because a process did not stop in time, by its log.
#[must_use]
pub fn timed_out(log: Log<'_>) -> bool {
    read(log).as_deref().and_then(log::cause).is_some_and(log::is_timeout)
}

fn read(log: Log<'_>) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(log.directory, log.name, flags, Mode::empty()).ok()?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(LOG).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The program in PATH, or where administrators' programs are.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    let mut candidates = directories.filter(|directory| directory.is_absolute()).map(|place| place.join("criu"));
    candidates.find(|file| file.is_file() && rustix::fs::access(file.as_path(), Access::EXEC_OK).is_ok())
}
