//! The command line as data: each command and each option once, with all that is said about it.
//!
//! clap's commands, Go's spelling, help, man pages, completions and `update` are made from these two tables. A name
//! may occur twice with two meanings (`--rootless` of tare and of `spec`), but only once in a place.
//! World: parent.

use super::log::LEVELS;

bitflags::bitflags! {
    /// Where an option may stand: before the command, or after the command that is named.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Place: u32 {
        const PROGRAM = 1;
        const CREATE = 1 << 1;
        const RUN = 1 << 2;
        const START = 1 << 3;
        const STATE = 1 << 4;
        const KILL = 1 << 5;
        const DELETE = 1 << 6;
        const EXEC = 1 << 7;
        const LIST = 1 << 8;
        const PS = 1 << 9;
        const PAUSE = 1 << 10;
        const RESUME = 1 << 11;
        const EVENTS = 1 << 12;
        const UPDATE = 1 << 13;
        const SPEC = 1 << 14;
        const DOCTOR = 1 << 15;
        const FEATURES = 1 << 16;
        const CHECKPOINT = 1 << 17;
        const RESTORE = 1 << 18;
        const MOUNTS = 1 << 19;
        const INFO = 1 << 20;
        const INSPECT = 1 << 21;
        const CHECK = 1 << 22;
        const COMPLETION = 1 << 23;
        /// The commands that create a container.
        const CREATION = Self::CREATE.bits() | Self::RUN.bits() | Self::RESTORE.bits();
        /// The commands that start a process, and enter a container for it.
        const PROCESS = Self::CREATION.bits() | Self::EXEC.bits();
        /// The commands that enter a container.
        const ENTERING = Self::PROCESS.bits() | Self::MOUNTS.bits();
        /// The commands that run CRIU.
        const CRIU = Self::CHECKPOINT.bits() | Self::RESTORE.bits();
        /// The commands whose steps are measured, and the place that all commands share.
        const TIMED = Self::PROGRAM.bits() | Self::CREATE.bits() | Self::RUN.bits() | Self::EXEC.bits()
            | Self::START.bits() | Self::DELETE.bits();
    }
}

/// A command.
pub struct CliCommand {
    pub place: Place,
    pub name: &'static str,
    pub alias: Option<&'static str>,
    pub operands: Operands,
    pub about: &'static str,
    /// What the help says after the options.
    pub more: Option<&'static str>,
}

/// The words of a command that are not options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    None,
    Id,
    /// A signal may follow the id.
    Signal,
    /// What to do comes before the id, and a file after it.
    MountList,
    /// Arguments of ps(1) may follow the id.
    PsArguments,
    /// A command of the container follows the id; options end at the id.
    ContainerCommand,
    /// The name of a shell.
    Shell,
}

/// An option.
pub struct CliOption {
    /// The long name without its dashes; also the id in `ArgMatches`.
    pub name: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub places: Place,
    /// Accepted, but neither in the help nor in completions.
    pub hidden: bool,
    pub help: &'static str,
}

/// The value of an option: its name in the help, and how it is parsed.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// No value: a flag.
    Nothing,
    /// No value: clap prints the help.
    Help,
    /// No value: clap prints the version.
    Version,
    Path(&'static str),
    Text(&'static str),
    /// Text; each use adds one.
    Texts(&'static str),
    /// Text that may begin with a dash.
    DashedText(&'static str),
    /// A `u32`.
    Number(&'static str),
    /// A `u32`; each use adds one.
    Numbers(&'static str),
    OneOf(&'static str, &'static [&'static str]),
    /// One of these words in upper or lower case; the help does not list them.
    AnyCase(&'static str, &'static [&'static str]),
    /// A member of the resources object. It may begin with a dash, for -1.
    Setting(Setting),
}

/// What an option of `update` changes.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The members of the resources object.
    pub members: [&'static str; 2],
    pub kind: SettingKind,
}

/// What the value of a setting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A whole number.
    Number,
    /// A whole number that is not negative.
    Count,
    /// Bytes, with a unit such as 512m or 1.5GiB; -1 for no limit.
    Bytes,
    /// A list of processors or nodes.
    List,
    /// Nothing in cgroup v2; runc ignores it too.
    Ignored,
    /// A line for the schemata of the resctrl group; it is not part of `linux.resources`.
    CacheSchema,
}

impl Takes {
    /// How the help names the value; `None` for a flag.
    pub const fn value_name(self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::Help | Self::Version => None,
            Self::Setting(_) => Some("VALUE"),
            Self::Path(name)
            | Self::Text(name)
            | Self::Texts(name)
            | Self::DashedText(name)
            | Self::Number(name)
            | Self::Numbers(name)
            | Self::OneOf(name, _)
            | Self::AnyCase(name, _) => Some(name),
        }
    }
}

impl CliOption {
    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.short.is_some_and(|letter| name.chars().eq([letter]))
    }
}

/// The command of this name or alias.
pub fn command(name: &str) -> Option<&'static CliCommand> {
    COMMANDS.iter().find(|command| command.name == name || command.alias == Some(name))
}

/// The options that may stand in a place, in the order of the help.
pub fn in_place(place: Place) -> impl Iterator<Item = &'static CliOption> {
    OPTIONS.iter().filter(move |option| option.places.contains(place))
}

/// The option that a word without its dashes names in a place. A long name that only other places know is found too: a
/// message about it has to name it in full.
pub fn find(place: Place, name: &str) -> Option<&'static CliOption> {
    in_place(place).find(|option| option.is_called(name)).or_else(|| OPTIONS.iter().find(|option| option.name == name))
}

/// The settings of `update` with the names of their options.
pub fn settings() -> impl Iterator<Item = (&'static str, Setting)> {
    OPTIONS.iter().filter_map(|option| match option.takes {
        Takes::Setting(setting) => Some((option.name, setting)),
        _ => None,
    })
}

const fn command_row(place: Place, name: &'static str, operands: Operands, about: &'static str) -> CliCommand {
    CliCommand { place, name, alias: None, operands, about, more: None }
}

/// The commands in the order of the help.
pub static COMMANDS: [CliCommand; 23] = {
    use Operands::{ContainerCommand, Id, MountList, None, PsArguments, Shell, Signal};
    [
        command_row(Place::CREATE, "create", Id, "Create a container without starting its process"),
        command_row(Place::RUN, "run", Id, "Create and start a container"),
        command_row(Place::START, "start", Id, "Start the process of a created container"),
        command_row(Place::STATE, "state", Id, "Print the state of a container as JSON"),
        command_row(Place::KILL, "kill", Signal, "Send a signal to a container"),
        command_row(Place::DELETE, "delete", Id, "Delete a stopped container"),
        command_row(Place::EXEC, "exec", ContainerCommand, "Run another process in a container"),
        CliCommand { alias: Some("ls"), ..command_row(Place::LIST, "list", None, "List containers") },
        command_row(Place::PS, "ps", PsArguments, "List the processes of a container"),
        CliCommand {
            more: Some(INSPECT),
            ..command_row(Place::INSPECT, "inspect", Id, "Compare a container with its configuration")
        },
        command_row(Place::PAUSE, "pause", Id, "Suspend all processes of a container"),
        command_row(Place::RESUME, "resume", Id, "Resume a paused container"),
        CliCommand {
            more: Some(EVENTS),
            ..command_row(Place::EVENTS, "events", Id, "Print resource usage and events as JSON")
        },
        CliCommand {
            more: Some("Limits that are not given keep their values. If one change fails, none is made."),
            ..command_row(Place::UPDATE, "update", Id, "Change the resource limits of a container")
        },
        CliCommand {
            more: Some(MOUNTS),
            ..command_row(Place::MOUNTS, "mounts", MountList, "Add mounts to a container, or remove added ones")
        },
        CliCommand {
            more: Some("The network of the container is not part of a checkpoint. CRIU's log is dump.log in DIR."),
            ..command_row(Place::CHECKPOINT, "checkpoint", Id, "Write a running container to images with CRIU")
        },
        CliCommand {
            more: Some("CRIU's log is restore.log in DIR."),
            ..command_row(Place::RESTORE, "restore", Id, "Create a container from a checkpoint")
        },
        command_row(Place::SPEC, "spec", None, "Write an example config.json"),
        CliCommand {
            more: Some(CHECK),
            ..command_row(Place::CHECK, "check", None, "Find all that create would refuse")
        },
        command_row(Place::DOCTOR, "doctor", None, "Find leftovers of killed commands"),
        command_row(Place::INFO, "info", None, "Print what this host offers to containers"),
        command_row(Place::FEATURES, "features", None, "Print the supported features as JSON"),
        command_row(Place::COMPLETION, "completion", Shell, "Print a script that completes tare's commands in a shell"),
    ]
};

const MOUNTS: &str = "\
FILE holds a list in the form of `mounts` in config.json; of those to remove only destination is read. If one mount
fails, none is added. Only mounts that were added by this command can be removed.";

const INSPECT: &str = "\
Each row has a value of config.json, as `update` has changed it, and what the kernel has. Rows that differ are marked
with !, and a sentence for each is at the end. Of a stopped container only the configuration is shown.";

const CHECK: &str = "\
Nothing is created, mounted or written, and no hook is run. The exit code is 0 if a container would be created. What the
kernel decides only when it is asked to do it is not found.";

const EVENTS: &str = "\
Each line is an object with type, id and usually data:
  stats        resource usage, once per interval
  oom          the kernel killed a process because memory ran out
  memory-high  usage exceeded memory.high; data.count: how many times
  pids-max     a fork was refused; data.count: how many times
  pressure     tasks were stalled on data.resource (cpu, memory or io); data.psi: for how long
  exit         the container stopped; always the last line; data.exitCode requires Linux 6.15";

const fn option(places: Place, name: &'static str, takes: Takes, help: &'static str) -> CliOption {
    CliOption { name, short: None, takes, places, hidden: false, help }
}

const fn setting(name: &'static str, members: [&'static str; 2], kind: SettingKind, help: &'static str) -> CliOption {
    option(Place::UPDATE, name, Takes::Setting(Setting { members, kind }), help)
}

/// The options in the order of the help.
pub static OPTIONS: &[CliOption] = {
    use SettingKind::{Bytes, CacheSchema, Count, Ignored, List};
    use Takes::{AnyCase, DashedText, Help, Nothing, Number, Numbers, OneOf, Path, Text, Texts, Version};
    const FORMATS: &[&str] = &["table", "json"];
    &[
        // Before the command.
        option(
            Place::PROGRAM,
            "root",
            Path("DIR"),
            "State directory [default: /run/tare, or $XDG_RUNTIME_DIR/tare if not root]",
        ),
        option(Place::PROGRAM, "log", Path("FILE"), "Append log messages to FILE"),
        option(
            Place::PROGRAM,
            "log-format",
            OneOf("FORMAT", &["text", "json"]),
            "Format of the log messages [default: text]",
        ),
        option(
            Place::PROGRAM,
            "log-level",
            AnyCase("LEVEL", &LEVELS),
            "Least severe level to log: debug, info, warning or error [default: warning]",
        ),
        option(Place::PROGRAM, "debug", Nothing, "Log debug messages"),
        option(Place::PROGRAM, "systemd-cgroup", Nothing, "Use systemd to manage cgroups"),
        option(
            Place::PROGRAM,
            "cgroup-manager",
            OneOf("MANAGER", &["cgroupfs", "systemd", "disabled"]),
            "How to manage cgroups [default: cgroupfs]",
        ),
        option(
            Place::PROGRAM,
            "rootless",
            OneOf("MODE", &["true", "false", "auto"]),
            "Run without a cgroup if none can be created [default: auto]",
        ),
        option(
            Place::TIMED,
            "timings",
            Path("FILE"),
            "Write how long each step of create, run, exec, start or delete takes to FILE.json or FILE.svg, or to stderr (-)",
        ),
        option(Place::PROGRAM, "version", Version, "Print the version").short('v'),
        // create, run, exec.
        option(
            Place::CREATION.union(Place::SPEC).union(Place::CHECK),
            "bundle",
            Path("DIR"),
            "Bundle directory [default: .]",
        )
        .short('b'),
        option(
            Place::CREATION.union(Place::CHECK),
            "config",
            Path("FILE"),
            "Configuration file in the bundle directory [default: config.json]",
        )
        .short('f'),
        option(Place::EXEC, "process", Path("FILE"), "JSON file in the format of `process` in config.json").short('p'),
        option(
            Place::PROCESS.union(Place::CHECK),
            "console-socket",
            Path("SOCKET"),
            "Send the terminal's master to this Unix socket",
        ),
        option(Place::PROCESS, "pidfd-socket", Path("SOCKET"), "Send a pidfd of the process to this Unix socket"),
        option(Place::PROCESS, "pid-file", Path("FILE"), "Write the PID of the process to FILE"),
        option(
            Place::CREATION.union(Place::CHECK),
            "no-pivot",
            Nothing,
            "Use MS_MOVE and chroot instead of pivot_root, for a rootfs on a ramdisk",
        ),
        option(Place::EXEC, "tty", Nothing, "Allocate a terminal").short('t'),
        option(Place::EXEC, "cwd", Text("DIR"), "Working directory of the process"),
        option(Place::EXEC, "env", Texts("NAME=VALUE"), "Set an environment variable (repeatable)").short('e'),
        option(Place::EXEC, "user", Text("UID[:GID]"), "User and group of the process").short('u'),
        option(Place::EXEC, "additional-gids", Numbers("GID"), "Add a supplementary group (repeatable)").short('g'),
        option(Place::EXEC, "process-label", Text("LABEL"), "SELinux label of the process"),
        option(Place::EXEC, "apparmor", Text("PROFILE"), "AppArmor profile of the process"),
        option(Place::EXEC, "no-new-privs", Nothing, "Set the no_new_privs attribute"),
        option(Place::EXEC, "cap", Texts("NAME"), "Add a capability (repeatable)").short('c'),
        option(Place::PROCESS.union(Place::CHECK), "no-new-keyring", Nothing, "Keep the caller's session keyring"),
        option(Place::CREATION, "no-subreaper", Nothing, "Do not become the reaper of orphaned processes"),
        option(
            Place::PROCESS.union(Place::CHECK),
            "preserve-fds",
            Number("N"),
            "Pass N extra descriptors, starting at 3, to the process",
        ),
        option(Place::EXEC, "cgroup", Text("PATH"), "Run the process in this sub-cgroup of the container"),
        option(Place::EXEC, "ignore-paused", Nothing, "Allow exec in a paused container"),
        option(
            Place::RUN.union(Place::EXEC).union(Place::RESTORE),
            "detach",
            Nothing,
            "Do not wait for the process to exit",
        )
        .short('d'),
        option(
            Place::RUN.union(Place::EXEC),
            "record-syscalls",
            Path("PROFILE"),
            "Add the system calls of the process to a seccomp profile",
        ),
        option(Place::RUN.union(Place::RESTORE), "keep", Nothing, "Do not delete the container when its process exits"),
        // The other commands.
        option(Place::KILL, "all", Nothing, "Send the signal to all processes of the container").short('a'),
        option(Place::DELETE, "force", Nothing, "Kill the container first; ignore an unknown ID").short('f'),
        option(
            Place::KILL.union(Place::DELETE),
            "regex",
            Nothing,
            "Treat ID as a regular expression that selects containers",
        )
        .short('r'),
        option(Place::LIST.union(Place::PS), "format", OneOf("FORMAT", FORMATS), "Output format [default: table]")
            .short('f'),
        option(Place::LIST, "quiet", Nothing, "Print only IDs").short('q'),
        option(
            Place::EVENTS,
            "interval",
            DashedText("DURATION"),
            "Time between statistics, such as 500ms or 1m30s [default: 5s]",
        ),
        option(Place::EVENTS, "stats", Nothing, "Print the statistics once and exit"),
        option(Place::SPEC, "config", Path("FILE"), "Name of the file [default: config.json]").short('f'),
        option(Place::SPEC, "rootless", Nothing, "Write an example for a rootless container"),
        option(
            Place::SPEC,
            "docker-default",
            Nothing,
            "Give it the capabilities, masks, mounts and seccomp profile of Docker",
        ),
        option(Place::DOCTOR, "repair", Nothing, "Remove the leftovers that belong to tare"),
        option(Place::CHECK, "plan", Nothing, "Print what create would do"),
        option(Place::CHECK, "all-users", Nothing, "Check as root, then as each user that has subordinate ids"),
        option(Place::CHECK, super::all_users::AS_USER, Text("NAME"), "Check as this user, for --all-users").hidden(),
        option(
            Place::DOCTOR.union(Place::INFO).union(Place::INSPECT).union(Place::CHECK),
            "json",
            Nothing,
            "Print JSON",
        ),
        // checkpoint, restore.
        option(Place::CRIU, "image-path", Path("DIR"), "Directory of the images [default: checkpoint]"),
        option(Place::CRIU, "work-path", Path("DIR"), "Directory of CRIU's log [default: that of the images]"),
        option(Place::CRIU, "parent-path", Path("DIR"), "Images of the previous pre-dump, relative to --image-path"),
        option(Place::CHECKPOINT, "leave-running", Nothing, "Do not stop and delete the container"),
        option(Place::CHECKPOINT, "pre-dump", Nothing, "Write memory only, and leave the container running"),
        option(Place::CRIU, "tcp-established", Nothing, "Keep established TCP connections"),
        option(Place::CHECKPOINT, "tcp-skip-in-flight", Nothing, "Drop TCP connections that are not established yet"),
        option(Place::RESTORE, "tcp-close", Nothing, "Restore TCP connections as closed"),
        option(Place::CRIU, "ext-unix-sk", Nothing, "Allow Unix sockets that are connected to the outside"),
        option(Place::CRIU, "shell-job", Nothing, "Allow processes whose session began outside of the container"),
        option(Place::CRIU, "file-locks", Nothing, "Keep file locks"),
        option(Place::CHECKPOINT, "link-remap", Nothing, "Link unlinked files back into the filesystem"),
        option(
            Place::CRIU,
            "manage-cgroups-mode",
            OneOf("MODE", &["soft", "full", "strict", "ignore"]),
            "How CRIU treats cgroups [default: soft]",
        ),
        option(
            Place::CRIU,
            "network-lock",
            OneOf("METHOD", &["iptables", "nftables", "skip"]),
            "How CRIU blocks the network meanwhile [default: CRIU's own]",
        ),
        option(Place::CRIU, "empty-ns", Texts("NAMESPACE"), "Restore this namespace without its content: network"),
        option(Place::CRIU, "auto-dedup", Nothing, "Remove pages from older images that newer ones contain"),
        option(Place::CRIU, "lazy-pages", Nothing, "Transfer memory pages on demand"),
        option(Place::CHECKPOINT, "status-fd", Number("FD"), "Write a NUL byte to FD when lazy pages can be requested"),
        option(Place::CHECKPOINT, "page-server", Text("ADDRESS:PORT"), "Send memory pages to CRIU's page server"),
        option(Place::RESTORE, "lsm-profile", Text("TYPE:NAME"), "Use this AppArmor profile or SELinux label"),
        option(Place::RESTORE, "lsm-mount-context", Text("CONTEXT"), "Use this SELinux context for mounts"),
        option(Place::CRIU.union(Place::PROGRAM), "criu", Path("FILE"), "CRIU program [default: criu in $PATH]"),
        // update: runc's and crun's options, in alphabetical order.
        option(
            Place::UPDATE,
            "resources",
            DashedText("FILE"),
            "JSON file in the format of linux.resources in config.json; - for stdin",
        )
        .short('r'),
        setting("blkio-weight", ["blockIO", "weight"], Count, "Block I/O weight, 10 to 1000"),
        setting(
            "cpu-burst",
            ["cpu", "burst"],
            Count,
            "Unused CPU time that may accumulate for bursts, in microseconds",
        ),
        setting("cpu-idle", ["cpu", "idle"], SettingKind::Number, "1: run only on otherwise idle CPUs; 0: normal"),
        setting("cpu-period", ["cpu", "period"], Count, "CPU period, in microseconds; the quota does not change"),
        setting(
            "cpu-quota",
            ["cpu", "quota"],
            SettingKind::Number,
            "CPU time per period, in microseconds; -1: no limit",
        ),
        setting(
            "cpu-rt-period",
            ["cpu", "realtimePeriod"],
            Count,
            "Realtime period, in microseconds (not in cgroup v2)",
        ),
        setting(
            "cpu-rt-runtime",
            ["cpu", "realtimeRuntime"],
            SettingKind::Number,
            "Realtime CPU time per period, in microseconds (not in cgroup v2)",
        ),
        setting("cpu-share", ["cpu", "shares"], Count, "Relative share of CPU time, 2 to 262144 (normal: 1024)"),
        setting("cpuset-cpus", ["cpu", "cpus"], List, "CPUs to run on, such as 0-2,5"),
        setting("cpuset-mems", ["cpu", "mems"], List, "Memory nodes to use, such as 0,1"),
        setting("kernel-memory", ["memory", "kernel"], Ignored, "Obsolete, has no effect").hidden(),
        setting("kernel-memory-tcp", ["memory", "kernelTCP"], Ignored, "Obsolete, has no effect").hidden(),
        setting(
            "l3-cache-schema",
            ["intelRdt", "l3CacheSchema"],
            CacheSchema,
            "L3 cache schema of the resctrl group, such as L3:0=f (Intel RDT)",
        ),
        setting(
            "mem-bw-schema",
            ["intelRdt", "memBwSchema"],
            CacheSchema,
            "Memory bandwidth schema of the resctrl group, such as MB:0=50 (Intel RDT)",
        ),
        setting(
            "memory",
            ["memory", "limit"],
            Bytes,
            "Memory limit, in bytes or with a unit (512m, 1.5g); -1: no limit",
        ),
        setting(
            "memory-reservation",
            ["memory", "reservation"],
            Bytes,
            "Memory protected from reclaim, in bytes or with a unit",
        ),
        setting(
            "memory-swap",
            ["memory", "swap"],
            Bytes,
            "Limit of memory plus swap, in bytes or with a unit; -1: no swap limit",
        ),
        setting(
            "pids-limit",
            ["pids", "limit"],
            SettingKind::Number,
            "Maximum number of processes and threads; -1: no limit",
        ),
        // clap adds it to the program and to each command.
        option(Place::all(), "help", Help, "Print help").short('h'),
    ]
};
