//! Each command: options in, one library call, output.
//!
//! World: parent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::log::{Log, Messages};
use crate::cgroup::Asked;
use crate::container::create::{Options, Warn};
use crate::container::run::Stay;
use crate::container::{self, exec, exec_process, kill};
use crate::error::{Error, ErrorKind, Result};

/// The options before the command.
#[derive(Debug)]
pub struct Global {
    /// --root.
    pub root: PathBuf,
    /// Where messages go.
    pub messages: Messages,
    systemd: bool,
    manager: Option<String>,
    rootless: Option<bool>,
}

impl Global {
    /// Reads them.
    pub fn new(matches: &ArgMatches) -> Self {
        Self {
            root: matches.get_one::<PathBuf>("root").cloned().unwrap_or_else(default_root),
            messages: Messages {
                file: matches.get_one::<PathBuf>("log").filter(|path| !path.as_os_str().is_empty()).cloned(),
                json: matches.get_one::<String>("log-format").is_some_and(|format| format == "json"),
                level: matches.get_one::<String>("log-level").cloned(),
                debug: matches.get_flag("debug"),
            },
            systemd: matches.get_flag("systemd-cgroup"),
            manager: matches.get_one::<String>("cgroup-manager").cloned(),
            rootless: matches.get_one::<String>("rootless").and_then(|mode| mode.parse().ok()),
        }
    }

    /// Who makes the cgroup.
    fn cgroup(&self) -> Asked {
        match self.manager.as_deref() {
            Some("disabled") => Asked::Disabled,
            Some("systemd") => Asked::Systemd,
            _ if self.systemd => Asked::Systemd,
            _ => Asked::File,
        }
    }
}

/// As runc: XDG_RUNTIME_DIR is for users, and the host's root may have it set by a login. Root of a user namespace is a
/// user, as USER tells where it is set at all; engines set nothing.
fn default_root() -> PathBuf {
    let uid = rustix::process::geteuid();
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let is_user = || {
        let named_otherwise = variable("USER").is_none_or(|user| user != "root");
        !uid.is_root() || (named_otherwise && crate::host::Host::default().in_user_namespace().unwrap_or(false))
    };
    match variable("XDG_RUNTIME_DIR").filter(|_| is_user()) {
        Some(runtime) => PathBuf::from(runtime).join("tare"),
        // Where a login would have pointed it to.
        None if !uid.is_root() => PathBuf::from(format!("/run/user/{}/tare", uid.as_raw())),
        None => PathBuf::from("/run/tare"),
    }
}

/// The text behind "tare version", with the lines that engines parse.
#[must_use]
pub fn version() -> &'static str {
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("TARE_COMMIT"), "\nspec: 1.3.0")
}

/// Runs the command; its exit code.
pub fn dispatch(matches: &ArgMatches, global: &Global, log: &Log) -> Result<i32> {
    let Some((name, command)) = matches.subcommand() else { return Ok(1) };
    let id = || command.get_one::<String>("id").map_or("", String::as_str);
    let root = &global.root;
    let warn = &mut |error: Error| log.warning(&error);
    log.debug(&format!("tare {name}, state root {}", root.display()));
    match name {
        "create" => {
            container::create::create(root, id(), &creation(command, global)?, warn)?;
        }
        "run" => {
            let stay = Stay {
                detach: command.get_flag("detach"),
                keep: command.get_flag("keep"),
                no_subreaper: command.get_flag("no-subreaper"),
            };
            return container::run::run(root, id(), &creation(command, global)?, stay, warn);
        }
        "start" => container::start::start(root, id(), crate::own_executable::protect_again, warn)?,
        "state" => {
            let state = container::state::state(root, id())?;
            let mut text = serde_json::to_string_pretty(&state)
                .map_err(|e| Error::new(ErrorKind::Internal, "encode the state").detail(e.to_string()))?;
            text.push('\n');
            super::print(text.as_bytes())?;
        }
        "kill" => {
            let signal = kill::parse_signal(command.get_one::<String>("signal").map_or("TERM", String::as_str))?;
            let all = command.get_flag("all");
            each(root, id(), command, warn, |id, _| kill::kill(root, id, signal, all))?;
        }
        "delete" => {
            let force = command.get_flag("force");
            each(root, id(), command, warn, |id, warn| container::delete::delete(root, id, force, warn))?;
        }
        "exec" => {
            let (id, options) = execution(command)?;
            return exec::exec(root, &id, &options, warn);
        }
        "list" => {
            let json = command.get_one::<String>("format").is_some_and(|format| format == "json");
            super::table::list(root, json, command.get_flag("quiet"), warn)?;
        }
        "ps" => {
            let json = command.get_one::<String>("format").is_some_and(|format| format == "json");
            let arguments = command.get_many::<String>("arguments").into_iter().flatten().map(String::as_str).collect();
            super::table::ps(root, id(), json, arguments)?;
        }
        "pause" => container::freeze::pause(root, id())?,
        "resume" => container::freeze::resume(root, id())?,
        "events" => events(root, id(), command)?,
        "update" => super::update::run(root, id(), command, warn)?,
        "spec" => {
            let path = |name| command.get_one::<PathBuf>(name);
            super::spec::write(path("bundle"), path("config"), command.get_flag("rootless"))?;
        }
        "doctor" => {
            let report = container::doctor::examine(root, command.get_flag("repair"), warn)?;
            super::table::doctor(&report, command.get_flag("json"))?;
            return Ok(i32::from(!report.is_well()));
        }
        "features" => super::features::print()?,
        other => return Err(Error::new(ErrorKind::Internal, format!("command {other:?} has no code"))),
    }
    Ok(0)
}

/// The container that is named, or all whose ids a regular expression matches: one that fails does not spare the others.
fn each(
    root: &Path,
    id: &str,
    command: &ArgMatches,
    warn: Warn<'_>,
    mut act: impl FnMut(&str, Warn<'_>) -> Result<()>,
) -> Result<()> {
    if !command.get_flag("regex") {
        return act(id, warn);
    }
    let mut result = Ok(());
    for id in container::matching(root, id)? {
        if let Err(error) = std::mem::replace(&mut result, act(&id, warn)) {
            warn(error);
        }
    }
    result
}

fn creation(command: &ArgMatches, global: &Global) -> Result<Options> {
    let path = |name: &str| command.get_one::<PathBuf>(name).cloned();
    Ok(Options {
        bundle: path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        config: path("config").unwrap_or_else(|| PathBuf::from("config.json")),
        console_socket: path("console-socket").filter(|path| !path.as_os_str().is_empty()),
        pidfd_socket: path("pidfd-socket"),
        pid_file: path("pid-file").filter(|path| !path.as_os_str().is_empty()),
        no_pivot: command.get_flag("no-pivot"),
        new_keyring: !command.get_flag("no-new-keyring"),
        preserve_fds: command.get_one::<u32>("preserve-fds").copied().unwrap_or(0),
        cgroup: global.cgroup(),
        rootless: global.rootless,
    })
}

fn execution(command: &ArgMatches) -> Result<(String, exec::Options)> {
    let path = |name: &str| command.get_one::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned();
    let text = |name: &str| command.get_one::<String>(name).cloned();
    let texts = |name: &str| command.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let mut words = command.get_many::<OsString>("words").into_iter().flatten().map(word);
    let id = words.next().unwrap_or_else(|| Ok(String::new()))?;
    let changes = exec_process::Changes {
        args: words.collect::<Result<_>>()?,
        cwd: text("cwd"),
        env: texts("env"),
        tty: command.get_flag("tty"),
        user: text("user"),
        additional_gids: command.get_many::<u32>("additional-gids").into_iter().flatten().copied().collect(),
        process_label: text("process-label"),
        apparmor: text("apparmor"),
        no_new_privs: command.get_flag("no-new-privs"),
        capabilities: texts("cap"),
    };
    let options = exec::Options {
        process: path("process"),
        changes,
        detach: command.get_flag("detach"),
        pid_file: path("pid-file"),
        console_socket: path("console-socket"),
        pidfd_socket: path("pidfd-socket"),
        preserve_fds: command.get_one::<u32>("preserve-fds").copied().unwrap_or(0),
        cgroup: text("cgroup"),
        ignore_paused: command.get_flag("ignore-paused"),
        new_keyring: !command.get_flag("no-new-keyring"),
    };
    Ok((id, options))
}

fn events(root: &Path, id: &str, command: &ArgMatches) -> Result<()> {
    let text = command.get_one::<String>("interval").map_or("5s", String::as_str);
    let wrong = |what: &str| Error::new(ErrorKind::InvalidConfig, format!("--interval: {what}"));
    let interval = super::duration::parse(text)
        .ok_or_else(|| wrong(&format!("{text:?} is not a duration")).hint("write it like 5s, 500ms or 1m30s"))?;
    if interval.is_zero() {
        return Err(wrong("must be greater than 0"));
    }
    let mut output = container::events::Output { print: &mut super::print, reader: rustix::stdio::stdout() };
    if command.get_flag("stats") {
        return container::events::stats(root, id, &mut output);
    }
    container::events::stream(root, id, interval, &mut output)
}

/// The model of a process holds text.
fn word(word: &OsString) -> Result<String> {
    let text = word.to_str().map(str::to_string);
    text.ok_or_else(|| Error::new(ErrorKind::InvalidConfig, format!("argument {word:?} is not UTF-8")))
}
