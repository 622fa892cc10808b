//! What a caller may choose when it creates a container, runs one, or executes a process in one.
//!
//! World: parent. Every value has a default, which is the one of the `tare` program without options.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use oci_spec::runtime::Process;

/// The three descriptors that a process gets as stdin, stdout and stderr.
pub type Stdio<'fd> = [BorrowedFd<'fd>; 3];

/// How a container is created. The default: stdio of the caller, a session keyring of its own, nothing inherited.
///
/// ```
/// let options = tare::CreateOptions::default().pid_file("/run/web.pid").preserve_fds(2);
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct CreateOptions<'fd> {
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) no_pivot: bool,
    pub(crate) keep_keyring: bool,
    pub(crate) preserve_fds: u32,
    pub(crate) record_syscalls: Option<PathBuf>,
    pub(crate) stdio: Option<Stdio<'fd>>,
}

impl<'fd> CreateOptions<'fd> {
    /// A unix socket that receives the master of the container's terminal (`process.terminal`).
    pub fn console_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { console_socket: Some(path.into()), ..self }
    }

    /// A unix socket that receives the pidfd of the first process.
    pub fn pidfd_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { pidfd_socket: Some(path.into()), ..self }
    }

    /// A file that the pid of the first process is written to, as the caller sees it.
    pub fn pid_file(self, path: impl Into<PathBuf>) -> Self {
        Self { pid_file: Some(path.into()), ..self }
    }

    /// Changes the root with `MS_MOVE` and chroot(2) instead of pivot_root(2), for a rootfs in the initial ramdisk.
    pub fn no_pivot(self, no_pivot: bool) -> Self {
        Self { no_pivot, ..self }
    }

    /// Leaves the container in the caller's session keyring.
    pub fn keep_keyring(self, keep_keyring: bool) -> Self {
        Self { keep_keyring, ..self }
    }

    /// How many descriptors of the caller the container inherits besides stdio: 3, 4, and so on.
    pub fn preserve_fds(self, count: u32) -> Self {
        Self { preserve_fds: count, ..self }
    }

    /// Records the system calls of the container, and adds them to the seccomp profile in this file when the program has
    /// ended. Only for [`crate::Runtime::run`] in the foreground.
    pub fn record_syscalls(self, profile: impl Into<PathBuf>) -> Self {
        Self { record_syscalls: Some(profile.into()), ..self }
    }

    /// The container's stdin, stdout and stderr instead of the caller's.
    pub fn stdio(self, stdio: Stdio<'fd>) -> Self {
        Self { stdio: Some(stdio), ..self }
    }
}

/// What `run` does besides creating and starting. The default: it stays in the foreground as a child subreaper, and
/// deletes the container at its end.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct RunOptions {
    pub(crate) detach: bool,
    pub(crate) keep: bool,
    pub(crate) no_subreaper: bool,
}

impl RunOptions {
    /// Returns as soon as the program runs.
    pub fn detach(self, detach: bool) -> Self {
        Self { detach, ..self }
    }

    /// Keeps the container when its program has ended.
    pub fn keep(self, keep: bool) -> Self {
        Self { keep, ..self }
    }

    /// Does not become a child subreaper.
    pub fn no_subreaper(self, no_subreaper: bool) -> Self {
        Self { no_subreaper, ..self }
    }
}

/// A process to execute in a container, and how. What is not chosen is as in `process` of the container's config.json.
///
/// ```
/// let options = tare::ExecOptions::new(["sh", "-c", "echo $WHO"]).env("WHO=world").user("1000:1000");
/// # let _ = options;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ExecOptions<'fd> {
    pub(crate) source: ProcessSource,
    pub(crate) changes: Changes,
    pub(crate) detach: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pidfd_socket: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) cgroup: Option<String>,
    pub(crate) ignore_paused: bool,
    pub(crate) keep_keyring: bool,
    pub(crate) record_syscalls: Option<PathBuf>,
    pub(crate) stdio: Option<Stdio<'fd>>,
}

/// Where the process object comes from.
#[derive(Debug, Clone, Default)]
pub enum ProcessSource {
    /// The container's own, with changes.
    #[default]
    Container,
    /// A file.
    File(PathBuf),
    /// The caller's memory.
    Object(Box<Process>),
}

/// What differs from the container's own process.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Environment variables, `NAME=VALUE`, added.
    pub env: Vec<String>,
    /// The process gets a terminal.
    pub tty: bool,
    /// `UID` or `UID:GID`.
    pub user: Option<String>,
    /// Supplementary groups, added.
    pub additional_gids: Vec<u32>,
    /// The SELinux label.
    pub process_label: Option<String>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// no_new_privs is set.
    pub no_new_privs: bool,
    /// Capabilities, added to all sets but the inheritable one.
    pub capabilities: Vec<String>,
}

impl<'fd> ExecOptions<'fd> {
    /// The program and its arguments; the rest as in the container's own process.
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        let changes = Changes { args: args.into_iter().map(Into::into).collect(), ..Changes::default() };
        Self { changes, ..Self::default() }
    }

    /// A whole process object. Of the container's own process only capabilities, labels, priorities and the umask are
    /// taken where the object has none.
    pub fn process(process: Process) -> Self {
        Self { source: ProcessSource::Object(Box::new(process)), ..Self::default() }
    }

    /// The same from a JSON file.
    pub fn process_file(path: impl Into<PathBuf>) -> Self {
        Self { source: ProcessSource::File(path.into()), ..Self::default() }
    }

    /// The working directory.
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.changes.cwd = Some(cwd.into());
        self
    }

    /// Adds or replaces an environment variable, `NAME=VALUE`.
    pub fn env(mut self, variable: impl Into<String>) -> Self {
        self.changes.env.push(variable.into());
        self
    }

    /// Gives the process a terminal: the caller's own in the foreground, else [`Self::console_socket`] receives it.
    pub fn terminal(mut self, terminal: bool) -> Self {
        self.changes.tty = terminal;
        self
    }

    /// `UID` or `UID:GID`, numbers as the container has them.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.changes.user = Some(user.into());
        self
    }

    /// Adds a supplementary group.
    pub fn additional_gid(mut self, gid: u32) -> Self {
        self.changes.additional_gids.push(gid);
        self
    }

    /// The SELinux label of the process.
    pub fn process_label(mut self, label: impl Into<String>) -> Self {
        self.changes.process_label = Some(label.into());
        self
    }

    /// The AppArmor profile of the process.
    pub fn apparmor(mut self, profile: impl Into<String>) -> Self {
        self.changes.apparmor = Some(profile.into());
        self
    }

    /// Sets no_new_privs.
    pub fn no_new_privs(mut self, no_new_privs: bool) -> Self {
        self.changes.no_new_privs = no_new_privs;
        self
    }

    /// Adds a capability, `CAP_KILL`, to all sets but the inheritable one.
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.changes.capabilities.push(name.into());
        self
    }

    /// Returns as soon as the program runs; the process is a child of the nearest child subreaper.
    pub fn detach(self, detach: bool) -> Self {
        Self { detach, ..self }
    }

    /// A file that the pid of the process is written to, as the caller sees it.
    pub fn pid_file(self, path: impl Into<PathBuf>) -> Self {
        Self { pid_file: Some(path.into()), ..self }
    }

    /// A unix socket that receives the master of the process's terminal.
    pub fn console_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { console_socket: Some(path.into()), ..self }
    }

    /// A unix socket that receives the pidfd of the process.
    pub fn pidfd_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { pidfd_socket: Some(path.into()), ..self }
    }

    /// How many descriptors of the caller the process inherits besides stdio: 3, 4, and so on.
    pub fn preserve_fds(self, count: u32) -> Self {
        Self { preserve_fds: count, ..self }
    }

    /// A cgroup below the container's, by its relative path.
    pub fn cgroup(self, path: impl Into<String>) -> Self {
        Self { cgroup: Some(path.into()), ..self }
    }

    /// Executes in a paused container too; the process runs when the container is resumed.
    pub fn ignore_paused(self, ignore_paused: bool) -> Self {
        Self { ignore_paused, ..self }
    }

    /// Leaves the process in the caller's session keyring instead of the container's.
    pub fn keep_keyring(self, keep_keyring: bool) -> Self {
        Self { keep_keyring, ..self }
    }

    /// Records the system calls of the process and its descendants, and adds them to the seccomp profile in this file when
    /// the process has ended. Only in the foreground.
    pub fn record_syscalls(self, profile: impl Into<PathBuf>) -> Self {
        Self { record_syscalls: Some(profile.into()), ..self }
    }

    /// The process's stdin, stdout and stderr instead of the caller's.
    pub fn stdio(self, stdio: Stdio<'fd>) -> Self {
        Self { stdio: Some(stdio), ..self }
    }
}
