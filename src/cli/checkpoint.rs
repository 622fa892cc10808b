//! The options of checkpoint and restore.
//!
//! World: parent.

use std::path::PathBuf;

use tare::{CgroupMode, CheckpointOptions, Code, Error, NetworkLock, PageServer, RestoreOptions, Result};

use super::values::Values;

/// Sets what both commands have.
macro_rules! shared {
    ($options:expr, $command:expr, $program:expr) => {{
        let (options, command) = ($options, $command);
        let path = |name: &str| command.one::<PathBuf>(name).filter(|path| !path.as_os_str().is_empty()).cloned();
        let options = options
            .tcp_established(command.flag("tcp-established"))
            .ext_unix_sk(command.flag("ext-unix-sk"))
            .shell_job(command.flag("shell-job"))
            .file_locks(command.flag("file-locks"))
            .auto_dedup(command.flag("auto-dedup"))
            .lazy_pages(command.flag("lazy-pages"));
        let options = path("image-path").into_iter().fold(options, |options, path| options.image_path(path));
        let options = path("work-path").into_iter().fold(options, |options, path| options.work_path(path));
        let options = path("parent-path").into_iter().fold(options, |options, path| options.parent_path(path));
        let options = path("criu").or($program).into_iter().fold(options, |options, path| options.program(path));
        let options = cgroup_mode(command).into_iter().fold(options, |options, mode| options.cgroup_mode(mode));
        network_lock(command).into_iter().fold(options, |options, method| options.network_lock(method))
    }};
}

/// Those of checkpoint; `program` is the global option `--criu`.
pub(super) fn checkpoint(command: Values<'_>, program: Option<PathBuf>) -> Result<CheckpointOptions> {
    check_empty_namespaces(command)?;
    let options = shared!(CheckpointOptions::default(), command, program)
        .leave_running(command.flag("leave-running"))
        .pre_dump(command.flag("pre-dump"))
        .tcp_skip_in_flight(command.flag("tcp-skip-in-flight"))
        .link_remap(command.flag("link-remap"));
    let options = match command.one::<String>("page-server") {
        Some(text) => options.page_server(page_server(text)?),
        None => options,
    };
    match command.one::<u32>("status-fd") {
        Some(number) => options.status_fd(*number),
        None => Ok(options),
    }
}

/// Those of restore.
pub(super) fn restore(command: Values<'_>, program: Option<PathBuf>) -> Result<RestoreOptions> {
    check_empty_namespaces(command)?;
    let options = shared!(RestoreOptions::default(), command, program).tcp_close(command.flag("tcp-close"));
    let text = |name: &str| command.one::<String>(name).filter(|text| !text.is_empty()).cloned();
    let options = text("lsm-profile").into_iter().fold(options, RestoreOptions::lsm_profile);
    Ok(text("lsm-mount-context").into_iter().fold(options, RestoreOptions::lsm_mount_context))
}

fn wrong(what: String) -> Error {
    Error::new(Code::OptionValueInvalid, what)
}

/// The network namespace is always restored empty; CRIU knows no other.
fn check_empty_namespaces(command: Values<'_>) -> Result<()> {
    let mut words = command.many::<String>("empty-ns");
    match words.find(|word| *word != "network") {
        None => Ok(()),
        Some(word) => Err(wrong(format!("--empty-ns: {word:?} is not supported")).hint("only network is")),
    }
}

fn cgroup_mode(command: Values<'_>) -> Option<CgroupMode> {
    Some(match command.one::<String>("manage-cgroups-mode")?.as_str() {
        "full" => CgroupMode::Full,
        "strict" => CgroupMode::Strict,
        "ignore" => CgroupMode::Ignore,
        _ => CgroupMode::Soft,
    })
}

fn network_lock(command: Values<'_>) -> Option<NetworkLock> {
    Some(match command.one::<String>("network-lock")?.as_str() {
        "nftables" => NetworkLock::Nftables,
        "skip" => NetworkLock::Skip,
        _ => NetworkLock::Iptables,
    })
}

fn page_server(text: &str) -> Result<PageServer> {
    let parts = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse::<u16>().ok()?)));
    let address = |address: &str| address.trim_start_matches('[').trim_end_matches(']').to_owned();
    match parts.filter(|(address, port)| !address.is_empty() && *port > 0) {
        Some((text, port)) => Ok(PageServer { address: address(text), port }),
        None => Err(wrong(format!("--page-server: {text:?} is not ADDRESS:PORT"))),
    }
}
