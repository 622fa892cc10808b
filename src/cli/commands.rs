//! Each command: options in, one library call, output.
//!
//! World: parent.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap_complete::Shell;

use tare::{
    Bundle, CgroupManager, Code, Container, CreateOptions, Error, ErrorKind, EventOutput, ExecOptions, Force, Mounts,
    Result, RunOptions, Runtime, Signal, Target,
};

use super::log::{Log, Messages};
use super::values::Values;

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
    pub fn new(matches: Values<'_>) -> Self {
        Self {
            root: matches.one::<PathBuf>("root").cloned().unwrap_or_else(Runtime::default_root),
            messages: Messages {
                file: matches.one::<PathBuf>("log").filter(|path| !path.as_os_str().is_empty()).cloned(),
                json: matches.one::<String>("log-format").is_some_and(|format| format == "json"),
                level: matches.one::<String>("log-level").cloned(),
                debug: matches.flag("debug"),
            },
            systemd: matches.flag("systemd-cgroup"),
            manager: matches.one::<String>("cgroup-manager").cloned(),
            rootless: matches.one::<String>("rootless").and_then(|mode| mode.parse().ok()),
            criu: matches.one::<PathBuf>("criu").cloned(),
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
pub fn dispatch(matches: Values<'_>, global: &Global, log: &Rc<Log>) -> Result<i32> {
    let Some((name, command)) = matches.command() else { return Ok(1) };
    let runtime = runtime(global, log);
    let id = || command.one::<String>("id").map_or("", String::as_str);
    let container = || runtime.container(id());
    let json = || command.one::<String>("format").is_some_and(|format| format == "json");
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
            let signal: Signal = command.one::<String>("signal").map_or("TERM", String::as_str).parse()?;
            let target = if command.flag("all") { Target::All } else { Target::Init };
            each(&runtime, command, log, |container| container.kill(signal, target))?;
        }
        "delete" => {
            let force = if command.flag("force") { Force::Yes } else { Force::No };
            each(&runtime, command, log, |container| container.delete(force))?;
        }
        "exec" => {
            let (id, options) = execution(command)?;
            return runtime.container(&id).exec(&options);
        }
        "list" => super::table::list(&runtime, json(), command.flag("quiet"))?,
        "ps" => {
            let arguments = command.many::<String>("arguments").map(String::as_str).collect();
            super::table::ps(&container(), json(), arguments)?;
        }
        "pause" => container().pause()?,
        "resume" => container().resume()?,
        "events" => events(&container(), command)?,
        "update" => container().update(&super::update::resources(command, |warning| log.warning(&warning))?)?,
        "mounts" => mounts(&container(), command)?,
        "inspect" => super::inspect::print(&container().inspect()?, command.flag("json"))?,
        "spec" => {
            let path = |name| command.one::<PathBuf>(name);
            let example = super::spec::Example {
                rootless: command.flag("rootless"),
                docker_default: command.flag("docker-default"),
            };
            super::spec::write(path("bundle"), path("config"), &example)?;
        }
        "doctor" => {
            let report = runtime.doctor(command.flag("repair"))?;
            super::table::doctor(&report, command.flag("json"))?;
            return Ok(i32::from(!report.is_well()));
        }
        "check" if command.flag("all-users") => return super::all_users::check(command.flag("json")),
        "check" => {
            let report = runtime.check(&bundle(command), &super::check::options(command));
            super::check::print(&report, command.flag("plan"), command.flag("json"))?;
            return Ok(i32::from(!report.would_start()));
        }
        "info" => super::table::info(&tare::info(), command.flag("json"))?,
        "features" => super::print(&super::table::pretty(&tare::features())?)?,
        "completion" => super::print(&completion(command))?,
        other => return Err(Error::new(Code::Internal, format!("command {other:?} has no code"))),
    }
    Ok(0)
}

fn completion(command: Values<'_>) -> Vec<u8> {
    let mut script = Vec::new();
    if let Some(shell) = command.one::<Shell>("shell") {
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

fn mounts(container: &Container<'_>, command: Values<'_>) -> Result<()> {
    let file = command.one::<PathBuf>("file").map_or(Path::new("-"), PathBuf::as_path);
    let list = if file == Path::new("-") { Mounts::from_stdin()? } else { Mounts::from_file(file)? };
    match command.one::<String>("action").map(String::as_str) {
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
    command: Values<'_>,
    log: &Log,
    mut act: impl FnMut(&Container<'_>) -> Result<()>,
) -> Result<()> {
    let id = command.one::<String>("id").map_or("", String::as_str);
    if !command.flag("regex") {
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

fn bundle(command: Values<'_>) -> Bundle {
    let path = |name: &str| command.one::<PathBuf>(name).cloned();
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

fn creation(command: Values<'_>) -> CreateOptions<'static> {
    let path = |name: &str| command.one::<PathBuf>(name).cloned();
    let not_empty = |name: &str| path(name).filter(|path| !path.as_os_str().is_empty());
    let options = CreateOptions::default()
        .no_pivot(command.flag("no-pivot"))
        .keep_keyring(command.flag("no-new-keyring"))
        .preserve_fds(command.one::<u32>("preserve-fds").copied().unwrap_or(0));
    let options = set(options, not_empty("console-socket"), CreateOptions::console_socket);
    let options = set(options, path("pidfd-socket"), CreateOptions::pidfd_socket);
    let options = set(options, recorded(command), CreateOptions::record_syscalls);
    set(options, not_empty("pid-file"), CreateOptions::pid_file)
}

/// Not every command that starts a process has the option.
fn recorded(command: Values<'_>) -> Option<PathBuf> {
    command.one::<PathBuf>("record-syscalls").cloned()
}

fn running(command: Values<'_>) -> RunOptions {
    RunOptions::default()
        .detach(command.flag("detach"))
        .keep(command.flag("keep"))
        .no_subreaper(command.flag("no-subreaper"))
}

fn execution(command: Values<'_>) -> Result<(String, ExecOptions<'static>)> {
    let path = |name: &str| command.one::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned();
    let text = |name: &str| command.one::<String>(name).cloned();
    let texts = |name: &str| command.many::<String>(name).cloned();
    let mut words = command.many::<OsString>("words").map(word);
    let id = words.next().unwrap_or_else(|| Ok(String::new()))?;
    let words = words.collect::<Result<Vec<_>>>()?;
    let options = match path("process") {
        Some(file) => ExecOptions::process_file(file),
        None => ExecOptions::new(words),
    };
    let options = options
        .terminal(command.flag("tty"))
        .no_new_privs(command.flag("no-new-privs"))
        .detach(command.flag("detach"))
        .ignore_paused(command.flag("ignore-paused"))
        .keep_keyring(command.flag("no-new-keyring"))
        .preserve_fds(command.one::<u32>("preserve-fds").copied().unwrap_or(0));
    let gids = command.many::<u32>("additional-gids").copied();
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

fn events(container: &Container<'_>, command: Values<'_>) -> Result<()> {
    let text = command.one::<String>("interval").map_or("5s", String::as_str);
    let wrong = |what: &str| Error::new(Code::OptionValueInvalid, format!("--interval: {what}"));
    let interval = super::duration::parse(text)
        .ok_or_else(|| wrong(&format!("{text:?} is not a duration")).hint("write it like 5s, 500ms or 1m30s"))?;
    if interval.is_zero() {
        return Err(wrong("must be greater than 0"));
    }
    if command.flag("stats") {
        return super::print(&super::table::escaped_json(container.stats()?.line(container.id())?));
    }
    let mut print = |line: &[u8]| super::print(&super::table::escaped_json(line.to_vec()));
    container.events(interval, &mut EventOutput { print: &mut print, reader: rustix::stdio::stdout() })
}

/// The model of a process holds text.
fn word(word: &OsString) -> Result<String> {
    let text = word.to_str().map(str::to_string);
    text.ok_or_else(|| Error::new(Code::OptionValueInvalid, format!("argument {word:?} is not UTF-8")))
}
