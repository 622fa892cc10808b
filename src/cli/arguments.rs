//! The command line as runc spells it, and what Go's flag parser accepts besides.
//!
//! World: parent.
//! Every command is deferred: only the one that is used is built. Long options with one dash and repeated options
//! (the last wins) are taken, since containerd, conmon-rs and Docker's wrappers send them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::log::{LEVELS, Log, Messages};
use super::usage;
use crate::error::Error;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// How a parse that yields no command ends.
pub enum End {
    /// Help or version: text for stdout.
    Text(String),
    /// Bad usage: one line, and where it is logged.
    Usage {
        /// The line.
        line: String,
        /// As far as the words before the mistake tell.
        log: Log,
    },
}

impl End {
    /// Prints and returns the exit code.
    pub fn show(self) -> i32 {
        match self {
            Self::Text(text) => i32::from(super::print(text.as_bytes()).is_err()),
            Self::Usage { line, log } => {
                log.error(&Error::new(crate::error::ErrorKind::InvalidConfig, line));
                1
            }
        }
    }
}

/// Parses; `args` begin with the program's name.
pub fn parse(args: Vec<OsString>) -> Result<ArgMatches, End> {
    let args = normalize(args);
    // With one command instead of all of them half of the memory and the time is enough. Whatever it does not
    // understand, the whole command line explains.
    let named = args.iter().skip(1).find_map(|arg| COMMANDS.iter().find(|(name, _)| arg == name));
    if let Some((name, build)) = named
        && let Ok(matches) = global().subcommand(build(Command::new(*name))).try_get_matches_from(&args)
    {
        return Ok(matches);
    }
    command().try_get_matches_from(&args).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            End::Text(error.to_string())
        }
        _ => End::Usage { line: usage::line(&error), log: Log::new(&Messages::from_words(&args)) },
    })
}

/// Every long option of more than one letter, for Go's `-option` spelling.
const LONG: &[&str] = &[
    "root",
    "log",
    "log-format",
    "log-level",
    "debug",
    "systemd-cgroup",
    "cgroup-manager",
    "rootless",
    "criu",
    "bundle",
    "config",
    "console-socket",
    "pidfd-socket",
    "pid-file",
    "no-pivot",
    "no-new-keyring",
    "preserve-fds",
    "no-subreaper",
    "detach",
    "keep",
    "all",
    "force",
    "format",
    "quiet",
    "process",
    "tty",
    "cwd",
    "env",
    "user",
    "additional-gids",
    "process-label",
    "apparmor",
    "no-new-privs",
    "cap",
    "cgroup",
    "ignore-paused",
    "help",
    "version",
    "regex",
    "interval",
    "stats",
    "repair",
    "json",
];

/// Options without a value; Go's parser also takes `--debug=true`.
const FLAGS: &[&str] = &[
    "debug",
    "systemd-cgroup",
    "no-pivot",
    "no-new-keyring",
    "no-subreaper",
    "detach",
    "keep",
    "all",
    "force",
    "quiet",
    "regex",
    "tty",
    "no-new-privs",
    "ignore-paused",
    "stats",
    "repair",
    "json",
];

/// `--flag=true` is `--flag`, and `--flag=false` is nothing; `None` for any other word.
fn flag_with_value(word: &str) -> Option<Option<&str>> {
    let (name, value) = word.trim_start_matches('-').split_once('=')?;
    FLAGS.iter().find(|flag| **flag == name)?;
    match value {
        "true" | "1" => word.split('=').next().map(Some),
        "false" | "0" => Some(None),
        _ => None,
    }
}

/// Gives long options their second dash. What follows `--` or the word after exec's id is not ours.
fn normalize(args: Vec<OsString>) -> Vec<OsString> {
    let mut ours = true;
    let mut exec = false;
    let mut value_expected = false;
    let mut normal = Vec::with_capacity(args.len());
    for (at, arg) in args.into_iter().enumerate() {
        let text = arg.to_string_lossy();
        let (is_value, is_option) = (std::mem::take(&mut value_expected), text.starts_with('-') && text.len() > 1);
        if at == 0 || !ours || is_value {
            normal.push(arg);
            continue;
        }
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default().to_string();
        let long = LONG.contains(&name.as_str()) || super::update::is_option(&name);
        let single = is_option && !text.starts_with("--") && name.len() > 1 && long;
        value_expected = is_option && !text.contains('=') && takes_value(&name);
        match (&*text, is_option) {
            ("--", _) => ours = false,
            ("exec", false) if !exec => exec = true,
            (_, false) if exec => ours = false,
            _ => {}
        }
        let dash = if single { "-" } else { "" };
        match flag_with_value(&text).filter(|_| is_option) {
            Some(Some(flag)) => normal.push(OsString::from(format!("{dash}{flag}"))),
            Some(None) => {}
            None => normal.push(if single { OsString::from(format!("-{text}")) } else { arg }),
        }
    }
    normal
}

/// Whether the word behind an option is its value.
fn takes_value(name: &str) -> bool {
    const WITH_VALUE: &[&str] = &[
        "root",
        "log",
        "log-format",
        "log-level",
        "cgroup-manager",
        "rootless",
        "criu",
        "bundle",
        "b",
        "config",
        "console-socket",
        "pidfd-socket",
        "pid-file",
        "preserve-fds",
        "format",
        "process",
        "p",
        "cwd",
        "env",
        "e",
        "user",
        "u",
        "additional-gids",
        "g",
        "process-label",
        "apparmor",
        "cap",
        "c",
        "cgroup",
        "interval",
    ];
    WITH_VALUE.contains(&name) || name == "r" || super::update::is_option(name)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn regex() -> Arg {
    flag("regex", "ID is a regular expression: every container whose id it matches").short('r')
}

pub(super) fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's id")
}

fn sub(command: Command, about: &'static str, build: fn(Command) -> Command) -> Command {
    command.about(about).args_override_self(true).defer(build)
}

/// The arguments one by one: an array of them would fill pages of the stack.
pub(super) fn each<const N: usize>(arguments: [fn() -> Arg; N]) -> impl Iterator<Item = Arg> {
    arguments.into_iter().map(|make| make())
}

/// The whole command line; public for the generator of man pages and completions.
#[must_use]
pub fn command() -> Command {
    COMMANDS.iter().fold(global(), |all, (name, build)| all.subcommand(build(Command::new(*name))))
}

/// The program and its options, without commands.
fn global() -> Command {
    Command::new("tare")
        .about("A low-level OCI container runtime")
        .version(super::commands::version())
        .disable_version_flag(true)
        .args_override_self(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(each([
            || path("root", "DIR", "Directory for the state of containers [default: /run/tare]"),
            || path("log", "FILE", "Append messages to this file"),
            || text("log-format", "FORMAT", "text or json").value_parser(["text", "json"]),
            || {
                text("log-level", "LEVEL", "debug, info, warning or error")
                    .value_parser(PossibleValuesParser::new(LEVELS))
                    .ignore_case(true)
                    .hide_possible_values(true)
            },
            || flag("debug", "Log debug messages"),
            || flag("systemd-cgroup", "Use systemd to manage cgroups"),
            || {
                text("cgroup-manager", "MANAGER", "cgroupfs, systemd or disabled")
                    .value_parser(["cgroupfs", "systemd", "disabled"])
            },
            || text("rootless", "MODE", "true, false or auto").value_parser(["true", "false", "auto"]),
            || Arg::new("version").long("version").short('v').action(ArgAction::Version).help("Print the version"),
        ]))
}

/// Builds a command from its bare name.
type Build = fn(Command) -> Command;

/// The commands in the order of the help.
const COMMANDS: &[(&str, Build)] = &[
    ("create", |c| sub(c, "Create a container; start runs its program", |c| c.args(creation()).arg(id()))),
    ("run", |c| {
        sub(c, "Create and start a container", |c| {
            c.args(creation())
                .arg(flag("detach", "Return as soon as the program runs").short('d'))
                .arg(flag("keep", "Do not delete the container when the program ends"))
                .arg(id())
        })
    }),
    ("start", |c| sub(c, "Run the program of a created container", |c| c.arg(id()))),
    ("state", |c| sub(c, "Print the state of a container as JSON", |c| c.arg(id()))),
    ("kill", |c| {
        sub(c, "Send a signal to a container [default: TERM]", |c| {
            c.arg(flag("all", "Send it to every process of the container").short('a'))
                .arg(regex())
                .arg(id())
                .arg(Arg::new("signal").value_name("SIGNAL").default_value("TERM").help("A name or a number"))
        })
    }),
    ("delete", |c| {
        sub(c, "Delete a stopped container", |c| {
            c.arg(flag("force", "Kill it first; an unknown id is not an error").short('f')).arg(regex()).arg(id())
        })
    }),
    ("exec", |c| sub(c, "Run another process in a container", exec)),
    ("list", |c| {
        sub(c, "List containers", |c| {
            c.arg(text("format", "FORMAT", "table or json").short('f').value_parser(["table", "json"]))
                .arg(flag("quiet", "Print ids only").short('q'))
        })
        .alias("ls")
    }),
    ("ps", |c| {
        sub(c, "List the processes of a container", |c| {
            c.arg(text("format", "FORMAT", "table or json").short('f').value_parser(["table", "json"])).arg(id()).arg(
                Arg::new("arguments")
                    .value_name("PS_ARGUMENT")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Arguments for ps(1) [default: -ef]"),
            )
        })
    }),
    ("pause", |c| sub(c, "Freeze a container", |c| c.arg(id()))),
    ("resume", |c| sub(c, "Thaw a container", |c| c.arg(id()))),
    ("events", |c| {
        sub(c, "Print what a container uses and what happens in it, as JSON", |c| {
            c.arg(
                text("interval", "DURATION", "Time between statistics, such as 500ms or 1m30s [default: 5s]")
                    .allow_hyphen_values(true),
            )
            .arg(flag("stats", "Print the statistics once"))
            .arg(id())
            .after_help(EVENTS)
        })
    }),
    ("update", |c| sub(c, "Change the limits of a container", super::update::command)),
    ("spec", |c| {
        sub(c, "Write an example config.json", |c| {
            c.arg(path("bundle", "DIR", "The bundle directory [default: .]").short('b'))
                .arg(path("config", "FILE", "Its name [default: config.json]").short('f'))
                .arg(flag("rootless", "For a container without root's help"))
        })
    }),
    ("doctor", |c| {
        sub(c, "Look for what killed commands left behind", |c| {
            c.arg(flag("repair", "Remove what dead commands of tare left behind")).arg(flag("json", "Print JSON"))
        })
    }),
    ("features", |c| sub(c, "Print what tare supports as JSON", |c| c)),
];

const EVENTS: &str = "\
Each line is an object with type, id and, mostly, data:
  stats        what is used, every interval
  oom          a process was killed for lack of memory
  memory-high  memory.high was exceeded; data.count: so often
  pids-max     a fork was refused; data.count: so often
  pressure     tasks waited for data.resource (cpu, memory, io) much of the time; data.psi
  exit         the end, and the last line; data.exitCode where the kernel tells it (Linux 6.15)";

fn creation() -> impl Iterator<Item = Arg> {
    each([
        || path("bundle", "DIR", "The bundle directory [default: .]").short('b'),
        || path("config", "FILE", "The configuration's name in the bundle [default: config.json]").short('f'),
        || path("console-socket", "SOCKET", "Send the terminal's master to this AF_UNIX socket"),
        || path("pidfd-socket", "SOCKET", "Send init's pidfd to this AF_UNIX socket"),
        || path("pid-file", "FILE", "Write init's pid to this file"),
        || flag("no-pivot", "Do not use pivot_root (the rootfs is on a ramdisk)"),
        || flag("no-new-keyring", "Keep the session keyring of the caller"),
        || flag("no-subreaper", "Do not reap orphans"),
        || text("preserve-fds", "N", "Pass N descriptors behind stdio to the program").value_parser(value_parser!(u32)),
    ])
}

fn exec(command: Command) -> Command {
    command
        .args(each([
            || path("process", "FILE", "JSON file with the process object").short('p'),
            || path("console-socket", "SOCKET", "Send the terminal's master to this AF_UNIX socket"),
            || path("pidfd-socket", "SOCKET", "Send the pidfd to this AF_UNIX socket"),
            || path("pid-file", "FILE", "Write the pid to this file"),
            || flag("tty", "Give it a terminal").short('t'),
            || text("cwd", "DIR", "Working directory"),
            || text("env", "NAME=VALUE", "Environment variable, repeatable").short('e').action(ArgAction::Append),
            || text("user", "UID[:GID]", "User").short('u'),
            || {
                text("additional-gids", "GID", "Additional group, repeatable")
                    .short('g')
                    .action(ArgAction::Append)
                    .value_parser(value_parser!(u32))
            },
            || flag("detach", "Return as soon as the program runs").short('d'),
            || text("process-label", "LABEL", "SELinux label"),
            || text("apparmor", "PROFILE", "AppArmor profile"),
            || flag("no-new-privs", "Set no_new_privs"),
            || text("cap", "NAME", "Add a capability, repeatable").short('c').action(ArgAction::Append),
            || text("preserve-fds", "N", "Pass N descriptors behind stdio").value_parser(value_parser!(u32)),
            || text("cgroup", "PATH", "Sub-cgroup of the container"),
            || flag("ignore-paused", "Allow exec in a paused container"),
            || flag("no-new-keyring", "Keep the session keyring of the caller"),
        ]))
        .arg(
            Arg::new("words")
                .value_names(["ID", "COMMAND"])
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("The container's id, then the command"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn one_dash_and_repeated_options_as_engines_send_them() {
        let line = "tare --root=/a --systemd-cgroup --root /b --systemd-cgroup create -bundle /x --pid-file /p id";
        let matches = parse(words(line)).ok().unwrap();
        assert_eq!(matches.get_one::<PathBuf>("root").unwrap(), &PathBuf::from("/b"));
        let (_, create) = matches.subcommand().unwrap();
        assert_eq!(create.get_one::<PathBuf>("bundle").unwrap(), &PathBuf::from("/x"));
    }

    #[test]
    fn a_value_that_is_the_name_of_a_command_is_a_value() {
        let matches = parse(words("tare --root state delete run")).ok().unwrap();
        assert_eq!(matches.get_one::<PathBuf>("root").unwrap(), &PathBuf::from("state"));
        let (name, delete) = matches.subcommand().unwrap();
        assert_eq!((name, delete.get_one::<String>("id").unwrap().as_str()), ("delete", "run"));
    }

    #[test]
    fn the_command_of_exec_keeps_its_options() {
        let matches = parse(words("tare exec -d --pid-file=/p -e A=1 -e B=2 id ls -format --all -- x")).ok().unwrap();
        let (_, exec) = matches.subcommand().unwrap();
        let got: Vec<_> = exec.get_many::<OsString>("words").unwrap().map(|w| w.to_str().unwrap()).collect();
        assert_eq!(got, ["id", "ls", "-format", "--all", "--", "x"]);
        assert_eq!(exec.get_many::<String>("env").unwrap().count(), 2);
    }

    #[test]
    fn flags_may_have_a_value() {
        let matches = parse(words("tare -debug=true --systemd-cgroup=false kill --all=1 id")).ok().unwrap();
        assert!(matches.get_flag("debug") && !matches.get_flag("systemd-cgroup"));
        assert!(matches.subcommand().unwrap().1.get_flag("all"));
        assert!(parse(words("tare --debug=x list")).is_err());
    }

    #[test]
    fn update_takes_negative_values_and_stdin() {
        for line in [
            "tare update --resources=- id",
            "tare update --resources - id",
            "tare update -r - id",
            "tare update id -r -",
            "tare update -resources - id",
        ] {
            let matches = parse(words(line)).ok().unwrap();
            let (_, update) = matches.subcommand().unwrap();
            assert_eq!(update.get_one::<String>("resources").unwrap(), "-", "{line}");
            assert_eq!(update.get_one::<String>("id").unwrap(), "id", "{line}");
        }
        let matches = parse(words("tare update id --cpu-quota -1 --memory-swap=-1 -memory 5m")).ok().unwrap();
        let (_, update) = matches.subcommand().unwrap();
        let value = |name| update.get_one::<String>(name).unwrap().as_str();
        assert_eq!([value("cpu-quota"), value("memory-swap"), value("memory")], ["-1", "-1", "5m"]);
    }

    #[test]
    fn usage_errors_are_one_line() {
        for (line, part) in [
            ("tare create --bundle", "flag needs an argument: --bundle"),
            ("tare checkpoint x", "not supported yet"),
            ("tare update --memory", "flag needs an argument: --memory"),
            ("tare craete x", "unknown command"),
            ("tare create", "the container's ID is missing"),
            ("tare --log-format xml list", "--log-format: \"xml\" is not one of text, json"),
            ("tare --log-level loud list", "--log-level: \"loud\" is not one of trace, debug, info, warn"),
            ("tare --log-level= list", "flag needs an argument: --log-level"),
        ] {
            match parse(words(line)) {
                Err(End::Usage { line: text, .. }) => {
                    assert!(text.contains(part) && !text.contains('\n'), "{line}: {text}");
                }
                _ => panic!("{line} was accepted"),
            }
        }
    }
}
