//! World: parent. checkpoint: CRIU writes a running container to images.
//!
//! Order: find the running container -> lock -> open the directories -> record that a checkpoint is under way -> CRIU ->
//! record that it is over, or delete the container. If CRIU dies, a cgroup that it has frozen is thawed; if tare dies,
//! CRIU lets the processes run on or, once it has killed them, completes the images.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Gid, Mode, OFlags, openat, stat};

use super::images::Images;
use super::mounts::{self, text};
use super::options::CheckpointOptions;
use super::yard::Yard;
use super::{NETWORK_KEY, PID_KEY, config_file, require_root};
use crate::checkpoint::criu::{self, Criu, Start};
use crate::checkpoint::messages::{self, CgroupMode, Features, Options, RequestType};
use crate::container::record::{Phase, Record};
use crate::container::status::{Status, cgroup, living_init, status};
use crate::container::store::{self, Store};
use crate::container::warning::Warn;
use crate::container::{StoredContainer, delete, find, notify, saved_config};
use crate::error::{Code, Context, Error, Result};
use crate::namespaces::NamespaceSet;

/// The name of CRIU's log, which engines copy.
const LOG: &str = "dump.log";

/// How long another command may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Seconds that CRIU may take to stop all processes: its own default.
const TIMEOUT: u32 = 10;
/// Attempts before the last, with less time. CRIU freezes the cgroup first, and a process in vfork(2) cannot stop while its
/// child is frozen: thawed, both go on, and the next attempt finds them elsewhere.
const EARLY_ATTEMPTS: u32 = 4;
const EARLY_TIMEOUT: u32 = 2;

/// Writes a checkpoint of a container.
///
/// # Errors
/// It does not run; CRIU is missing, too old, or cannot dump it. It runs on then, unless CRIU had killed it already.
pub fn checkpoint(root: &Path, id: &str, options: &CheckpointOptions, warn: Warn<'_>) -> Result<()> {
    require_root("checkpointing")?;
    let mut container = find(root, id)?;
    let store = Store::open(root)?.ok_or_else(|| store::absent(id))?;
    container.directory.lock_patiently(PATIENCE)?;
    container.read_again()?;
    let (before, _pidfd) = match status(&container.directory, &container.record)? {
        (status @ (Status::Running | Status::Paused), Some(pidfd)) => (status, pidfd),
        (other, _) => return Err(other.refuses(id, "checkpointed")),
    };
    refuse_added_mounts(&container.record)?;
    let images = Images::open(&options.criu, true)?;
    if let Some(group) = root_group(&container.record)? {
        images.admit(group)?;
    }
    set_phase(&mut container, Phase::Checkpointing)?;
    // Nothing changes in a paused container.
    let early_attempts = if before == Status::Running { EARLY_ATTEMPTS } else { 0 };
    let dumped = dump_patiently(&container, options, &images, early_attempts);
    let stays = dumped.is_err() || options.leave_running || options.pre_dump;
    if !stays {
        let remedy = format!("the checkpoint is complete; `tare delete --force {id}` removes what is left");
        return delete::destroy(&store, &container, warn).map_err(|error| error.hint(remedy));
    }
    if dumped.is_err() && before == Status::Running {
        thaw(&container.record).unwrap_or_else(&mut *warn);
    }
    // The checkpoint is over whatever the record says.
    set_phase(&mut container, Phase::Created).unwrap_or_else(&mut *warn);
    dumped.map_err(|error| {
        let stopped = matches!(status(&container.directory, &container.record), Ok((Status::Stopped, _)));
        if stopped { error.context("the container has stopped") } else { error }
    })
}

/// The images would name mounts that config.json does not have, and the restored container would lack them.
fn refuse_added_mounts(record: &Record) -> Result<()> {
    let Some(added) = record.mounts.first() else { return Ok(()) };
    let id = &record.id;
    let what = format!("container \"{id}\" cannot be checkpointed: it got a mount on {}", added.destination.display());
    Err(Error::new(Code::CheckpointUnsupported, what)
        .hint(format!("remove it first, with `tare mounts remove {id} FILE`")))
}

/// The group that is 0 in the container's user namespace; `None` without a namespace of its own, or without that group.
fn root_group(record: &Record) -> Result<Option<Gid>> {
    if !record.namespaces.contains(NamespaceSet::USER) {
        return Ok(None);
    }
    let path = format!("/proc/{}/gid_map", record.pid);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::system(format!("read {path}"), e))?;
    Ok(first_id(&text).map(Gid::from_raw))
}

/// Source: user_namespaces(7), "Defining user and group ID mappings": lines of `INSIDE OUTSIDE COUNT`.
fn first_id(map: &str) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("0")).then(|| words.next()?.parse().ok())?
    })
}

fn set_phase(container: &mut StoredContainer, phase: Phase) -> Result<()> {
    container.record.phase = phase;
    container.record.write(&container.directory)
}

/// CRIU thaws the cgroup itself unless it was killed.
fn thaw(record: &Record) -> Result<()> {
    match cgroup(record)? {
        Some(cgroup) if cgroup.frozen()? => cgroup.freeze(false),
        _ => Ok(()),
    }
}

/// Tries again while a process does not stop in time.
fn dump_patiently(
    container: &StoredContainer,
    options: &CheckpointOptions,
    images: &Images,
    early_attempts: u32,
) -> Result<()> {
    for _ in 0..early_attempts {
        match dump(container, options, images, EARLY_TIMEOUT) {
            Err(_) if criu::timed_out(images.log(LOG)) && lives(&container.record) => {}
            done => return done,
        }
    }
    dump(container, options, images, TIMEOUT)
}

fn lives(record: &Record) -> bool {
    matches!(living_init(record), Ok(Some(_)))
}

fn dump(container: &StoredContainer, options: &CheckpointOptions, images: &Images, timeout: u32) -> Result<()> {
    let record = &container.record;
    let mut spec = saved_config::spec(&container.directory)?;
    notify::admit_again(&mut spec, &container.directory)?;
    let null = null()?;
    let log = images.log(LOG);
    let mut criu = Criu::start(&Start {
        program: options.criu.program.as_deref(),
        stdio: [null.as_fd(), null.as_fd(), null.as_fd()],
        inherited: vec![images.directory.as_fd(), log.directory],
        cgroup: None,
        root: None,
    })?;
    criu.require_version()?;
    let wants = |wanted: bool| wanted.then_some(true);
    let lazy_pages = wants(options.criu.lazy_pages);
    criu.require_features(Features { memory_tracking: wants(options.pre_dump), lazy_pages })?;
    let yard = match &record.cgroup {
        Some(_) => Yard::of_dump(&container.directory, &crate::cgroup::mount()?)?,
        None => None,
    };
    let mut request = request(record, &spec, options, images)?;
    request.cgroup_yard = yard.as_ref().map(|yard| text(&yard.path));
    request.timeout = Some(timeout);
    let kind = if options.pre_dump { RequestType::PreDump } else { RequestType::Dump };
    if kind == RequestType::Dump {
        images.write_descriptors(&record.stdio.clone().map(Option::unwrap_or_default))?;
    }
    let mut status = options.status.as_ref();
    criu.work(kind, request, log, &mut |step, _, _| {
        if step == "status-ready"
            && let Some(descriptor) = status.take()
        {
            rustix::io::write(descriptor, &[0]).context(|| "write to --status-fd")?;
        }
        Ok(())
    })
    .map(drop)
}

fn null() -> Result<OwnedFd> {
    openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context(|| "open /dev/null")
}

/// What of a request the options decide.
fn asked(options: &CheckpointOptions) -> Options {
    let parent = options.criu.parent_path.as_ref();
    Options {
        leave_running: Some(options.leave_running),
        tcp_skip_in_flight: Some(options.tcp_skip_in_flight),
        link_remap: Some(options.link_remap),
        parent_images: parent.map(|path| text(path)),
        track_memory: parent.map(|_| true),
        page_server: options.page_server.as_ref().map(|server| messages::PageServer {
            address: Some(server.address.clone()),
            port: Some(server.port.into()),
        }),
        ..super::asked(&options.criu)
    }
}

fn request(record: &Record, spec: &Spec, options: &CheckpointOptions, images: &Images) -> Result<Options> {
    let mut request = Options {
        pid: Some(record.pid),
        root: Some(text(&record.rootfs)),
        freeze_cgroup: freezer(record)?,
        external: external_namespaces(record)?,
        images_directory: images.directory.as_raw_fd(),
        work_directory: Some(images.log(LOG).directory.as_raw_fd()),
        log_file: Some(LOG.to_owned()),
        config_file: config_file(&record.annotations),
        ..asked(options)
    };
    if record.cgroup.is_none() {
        request.cgroup_mode = Some(CgroupMode::Ignore.into());
    }
    if !options.pre_dump {
        request.external_mounts = mounts::dumped(spec, record.pid)?;
    }
    Ok(request)
}

/// The directory of the container's cgroup, which CRIU freezes to stop all processes at once.
fn freezer(record: &Record) -> Result<Option<String>> {
    let Some(cgroup) = cgroup(record)? else { return Ok(None) };
    let root = crate::cgroup::mount()?.root;
    Ok(Some(format!("{}{}", root.display(), cgroup.path())))
}

/// The network and pid namespaces that the container joined: they are not its own, and have to exist when it is restored.
fn external_namespaces(record: &Record) -> Result<Vec<String>> {
    let kinds = [(NamespaceSet::NETWORK, "net", NETWORK_KEY), (NamespaceSet::PID, "pid", PID_KEY)];
    let joined = kinds.into_iter().filter(|(kind, ..)| record.joined.contains(*kind));
    joined
        .map(|(_, word, key)| {
            let path = format!("/proc/{}/ns/{word}", record.pid);
            let inode = stat(&*path).context(|| format!("stat {path}"))?.st_ino;
            Ok(format!("{word}[{inode}]:{key}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::options::{NetworkLock, PageServer};
    use super::*;

    #[test]
    fn each_option_reaches_criu() {
        let without = asked(&CheckpointOptions::default());
        type Change = fn(CheckpointOptions) -> CheckpointOptions;
        type Reached = fn(&Options) -> bool;
        let cases: [(Change, Reached); 14] = [
            (|o| o.leave_running(true), |r| r.leave_running()),
            (|o| o.tcp_established(true), |r| r.tcp_established()),
            (|o| o.tcp_skip_in_flight(true), |r| r.tcp_skip_in_flight()),
            (|o| o.ext_unix_sk(true), |r| r.external_unix_sockets()),
            (|o| o.shell_job(true), |r| r.shell_job()),
            (|o| o.file_locks(true), |r| r.file_locks()),
            (|o| o.link_remap(true), |r| r.link_remap()),
            (|o| o.auto_dedup(true), |r| r.auto_dedup()),
            (|o| o.lazy_pages(true), |r| r.lazy_pages()),
            (|o| o.parent_path("../pre"), |r| r.parent_images() == "../pre"),
            (|o| o.parent_path("../pre"), |r| r.track_memory()),
            (|o| o.cgroup_mode(CgroupMode::Strict), |r| r.cgroup_mode() == CgroupMode::Strict),
            (|o| o.network_lock(NetworkLock::Skip), |r| r.network_lock == Some(NetworkLock::Skip.into())),
            (
                |o| o.page_server(PageServer { address: "::1".into(), port: 7 }),
                |r| r.page_server.as_ref().is_some_and(|server| (server.address(), server.port()) == ("::1", 7)),
            ),
        ];
        for (number, (change, reached)) in cases.into_iter().enumerate() {
            assert!(!reached(&without), "case {number} without the option");
            assert!(reached(&asked(&change(CheckpointOptions::default()))), "case {number}");
        }
        assert!(without.notify() && without.orphan_pts_master());
        assert_eq!(without.empty_namespaces(), u32::try_from(NamespaceSet::NETWORK.bits()).unwrap());
    }

    #[test]
    fn the_group_outside_of_root_inside() {
        assert_eq!(first_id("         1     100000      65535\n         0       1000          1\n"), Some(1000));
        assert_eq!(first_id("         1     100000      65535\n"), None);
        assert_eq!(first_id(""), None);
    }
}
