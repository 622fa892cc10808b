//! Each command: options in, one library call, output.
//!
//! World: parent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::ArgMatches;
use clap_complete::Shell;

use tare::{
    Bundle, CgroupManager, Code, Container, CreateOptions, Error, ErrorKind, EventOutput, ExecOptions, Force, Mounts,
    Result, RunOptions, Runtime, Signal, Target,
};

use super::log::{Log, Messages};

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
    criu: Option<PathBuf>,
}

impl Global {
    /// Reads them.
    pub fn new(matches: &ArgMatches) -> Self {
        Self {
            root: matches.get_one::<PathBuf>("root").cloned().unwrap_or_else(Runtime::default_root),
            messages: Messages {
                file: matches.get_one::<PathBuf>("log").filter(|path| !path.as_os_str().is_empty()).cloned(),
                json: matches.get_one::<String>("log-format").is_some_and(|format| format == "json"),
                level: matches.get_one::<String>("log-level").cloned(),
                debug: matches.get_flag("debug"),
            },
            systemd: matches.get_flag("systemd-cgroup"),
            manager: matches.get_one::<String>("cgroup-manager").cloned(),
            rootless: matches.get_one::<String>("rootless").and_then(|mode| mode.parse().ok()),
            criu: matches.get_one::<PathBuf>("criu").cloned(),
        }
    }

    fn cgroup_manager(&self) -> CgroupManager {
        match self.manager.as_deref() {
            Some("disabled") => CgroupManager::Disabled,
            Some("systemd") => CgroupManager::Systemd,
            _ if self.systemd => CgroupManager::Systemd,
            _ => CgroupManager::File,
        }
    }
}

/// The text behind "tare version", with the lines that engines parse.
#[must_use]
pub fn version() -> &'static str {
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: ", env!("TARE_COMMIT"), "\nspec: 1.3.0")
}

/// Runs the command; its exit code.
pub fn dispatch(matches: &ArgMatches, global: &Global, log: &Rc<Log>) -> Result<i32> {
    let Some((name, command)) = matches.subcommand() else { return Ok(1) };
    let runtime = runtime(global, log);
    let id = || command.get_one::<String>("id").map_or("", String::as_str);
    let container = || runtime.container(id());
    let json = || command.get_one::<String>("format").is_some_and(|format| format == "json");
    log.debug(&format!("tare {name}, state root {}", runtime.root().display()));
    match name {
        "create" => drop(runtime.create(id(), &bundle(command), &creation(command))?),
        "run" => return runtime.run(id(), &bundle(command), &creation(command), running(command)),
        "checkpoint" => container().checkpoint(&super::checkpoint::checkpoint(command, global.criu.clone())?)?,
        "restore" => {
            let restore = super::checkpoint::restore(command, global.criu.clone())?;
            return runtime.restore(id(), &bundle(command), &creation(command), &restore, running(command));
        }
        "start" => start(&container())?,
        "state" => super::print(&super::table::pretty(&container().state()?)?)?,
        "kill" => {
            let signal: Signal = command.get_one::<String>("signal").map_or("TERM", String::as_str).parse()?;
            let target = if command.get_flag("all") { Target::All } else { Target::Init };
            each(&runtime, command, log, |container| container.kill(signal, target))?;
        }
        "delete" => {
            let force = if command.get_flag("force") { Force::Yes } else { Force::No };
            each(&runtime, command, log, |container| container.delete(force))?;
        }
        "exec" => {
            let (id, options) = execution(command)?;
            return runtime.container(&id).exec(&options);
        }
        "list" => super::table::list(&runtime, json(), command.get_flag("quiet"))?,
        "ps" => {
            let arguments = command.get_many::<String>("arguments").into_iter().flatten().map(String::as_str).collect();
            super::table::ps(&container(), json(), arguments)?;
        }
        "pause" => container().pause()?,
        "resume" => container().resume()?,
        "events" => events(&container(), command)?,
        "update" => container().update(&super::update::resources(command, |warning| log.warning(&warning))?)?,
        "mounts" => mounts(&container(), command)?,
        "inspect" => super::inspect::print(&container().inspect()?, command.get_flag("json"))?,
        "spec" => {
            let path = |name| command.get_one::<PathBuf>(name);
            let example = super::spec::Example {
                rootless: command.get_flag("rootless"),
                docker_default: command.get_flag("docker-default"),
            };
            super::spec::write(path("bundle"), path("config"), &example)?;
        }
        "doctor" => {
            let report = runtime.doctor(command.get_flag("repair"))?;
            super::table::doctor(&report, command.get_flag("json"))?;
            return Ok(i32::from(!report.is_well()));
        }
        "check" => {
            let report = runtime.check(&bundle(command), &super::check::options(command));
            super::check::print(&report, command.get_flag("plan"), command.get_flag("json"))?;
            return Ok(i32::from(!report.would_start()));
        }
        "info" => super::table::info(&tare::info(), command.get_flag("json"))?,
        "features" => super::print(&super::table::pretty(&tare::features())?)?,
        "completion" => super::print(&completion(command))?,
        other => return Err(Error::new(Code::Internal, format!("command {other:?} has no code"))),
    }
    Ok(0)
}

fn completion(command: &ArgMatches) -> Vec<u8> {
    let mut script = Vec::new();
    if let Some(shell) = command.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut super::arguments::command(), "tare", &mut script);
    }
    script
}

fn runtime(global: &Global, log: &Rc<Log>) -> Runtime {
    let log = Rc::clone(log);
    let runtime = Runtime::new(&global.root)
        .cgroup_manager(global.cgroup_manager())
        .on_warning(move |warning| log.warning(warning));
    match global.rootless {
        Some(rootless) => runtime.rootless(rootless),
        None => runtime,
    }
}

fn mounts(container: &Container<'_>, command: &ArgMatches) -> Result<()> {
    let file = command.get_one::<PathBuf>("file").map_or(Path::new("-"), PathBuf::as_path);
    let list = if file == Path::new("-") { Mounts::from_stdin()? } else { Mounts::from_file(file)? };
    match command.get_one::<String>("action").map(String::as_str) {
        Some("remove") => container.unmount(&list),
        _ => container.mount(&list),
    }
}

/// Whether hooks enter the container is found out late.
fn start(container: &Container<'_>) -> Result<()> {
    match container.start() {
        Err(error) if error.kind() == ErrorKind::Unprotected => super::protect().and_then(|()| container.start()),
        started => started,
    }
}

/// The container that is named, or all whose ids a regular expression matches: one that fails does not spare the others.
fn each(
    runtime: &Runtime,
    command: &ArgMatches,
    log: &Log,
    mut act: impl FnMut(&Container<'_>) -> Result<()>,
) -> Result<()> {
    let id = command.get_one::<String>("id").map_or("", String::as_str);
    if !command.get_flag("regex") {
        return act(&runtime.container(id));
    }
    let mut result = Ok(());
    for container in runtime.matching(id)? {
        if let Err(error) = std::mem::replace(&mut result, act(&container)) {
            log.warning(&error);
        }
    }
    result
}

fn bundle(command: &ArgMatches) -> Bundle {
    let path = |name: &str| command.get_one::<PathBuf>(name).cloned();
    let bundle = Bundle::new(path("bundle").unwrap_or_else(|| PathBuf::from(".")));
    match path("config") {
        Some(name) => bundle.config(name),
        None => bundle,
    }
}

/// Sets an option to a value, if there is one.
fn set<O, V>(options: O, value: Option<V>, setter: impl FnOnce(O, V) -> O) -> O {
    match value {
        Some(value) => setter(options, value),
        None => options,
    }
}

fn creation(command: &ArgMatches) -> CreateOptions<'static> {
    let path = |name: &str| command.get_one::<PathBuf>(name).cloned();
    let not_empty = |name: &str| path(name).filter(|path| !path.as_os_str().is_empty());
    let options = CreateOptions::default()
        .no_pivot(command.get_flag("no-pivot"))
        .keep_keyring(command.get_flag("no-new-keyring"))
        .preserve_fds(command.get_one::<u32>("preserve-fds").copied().unwrap_or(0));
    let options = set(options, not_empty("console-socket"), CreateOptions::console_socket);
    let options = set(options, path("pidfd-socket"), CreateOptions::pidfd_socket);
    let options = set(options, recorded(command), CreateOptions::record_syscalls);
    set(options, not_empty("pid-file"), CreateOptions::pid_file)
}

/// Not every command that starts a process has the option.
fn recorded(command: &ArgMatches) -> Option<PathBuf> {
    command.try_get_one::<PathBuf>("record-syscalls").ok().flatten().cloned()
}

fn running(command: &ArgMatches) -> RunOptions {
    RunOptions::default()
        .detach(command.get_flag("detach"))
        .keep(command.get_flag("keep"))
        .no_subreaper(command.get_flag("no-subreaper"))
}

fn execution(command: &ArgMatches) -> Result<(String, ExecOptions<'static>)> {
    let path = |name: &str| command.get_one::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned();
    let text = |name: &str| command.get_one::<String>(name).cloned();
    let texts = |name: &str| command.get_many::<String>(name).into_iter().flatten().cloned();
    let mut words = command.get_many::<OsString>("words").into_iter().flatten().map(word);
    let id = words.next().unwrap_or_else(|| Ok(String::new()))?;
    let words = words.collect::<Result<Vec<_>>>()?;
    let options = match path("process") {
        Some(file) => ExecOptions::process_file(file),
        None => ExecOptions::new(words),
    };
    let options = options
        .terminal(command.get_flag("tty"))
        .no_new_privs(command.get_flag("no-new-privs"))
        .detach(command.get_flag("detach"))
        .ignore_paused(command.get_flag("ignore-paused"))
        .keep_keyring(command.get_flag("no-new-keyring"))
        .preserve_fds(command.get_one::<u32>("preserve-fds").copied().unwrap_or(0));
    let gids = command.get_many::<u32>("additional-gids").into_iter().flatten().copied();
    let options = gids.fold(options, ExecOptions::additional_gid);
    let options = texts("env").fold(options, ExecOptions::env);
    let options = texts("cap").fold(options, ExecOptions::capability);
    let options = set(options, text("cwd"), ExecOptions::cwd);
    let options = set(options, text("user"), ExecOptions::user);
    let options = set(options, text("process-label"), ExecOptions::process_label);
    let options = set(options, text("apparmor"), ExecOptions::apparmor);
    let options = set(options, text("cgroup"), ExecOptions::cgroup);
    let options = set(options, path("pid-file"), ExecOptions::pid_file);
    let options = set(options, recorded(command), ExecOptions::record_syscalls);
    let options = set(options, path("console-socket"), ExecOptions::console_socket);
    Ok((id, set(options, path("pidfd-socket"), ExecOptions::pidfd_socket)))
}

fn events(container: &Container<'_>, command: &ArgMatches) -> Result<()> {
    let text = command.get_one::<String>("interval").map_or("5s", String::as_str);
    let wrong = |what: &str| Error::new(Code::OptionValueInvalid, format!("--interval: {what}"));
    let interval = super::duration::parse(text)
        .ok_or_else(|| wrong(&format!("{text:?} is not a duration")).hint("write it like 5s, 500ms or 1m30s"))?;
    if interval.is_zero() {
        return Err(wrong("must be greater than 0"));
    }
    if command.get_flag("stats") {
        return super::print(&container.stats()?.line(container.id())?);
    }
    container.events(interval, &mut EventOutput { print: &mut super::print, reader: rustix::stdio::stdout() })
}

/// The model of a process holds text.
fn word(word: &OsString) -> Result<String> {
    let text = word.to_str().map(str::to_string);
    text.ok_or_else(|| Error::new(Code::OptionValueInvalid, format!("argument {word:?} is not UTF-8")))
}
