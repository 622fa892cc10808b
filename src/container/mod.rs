//! Containers: one file or folder for each command, and what the commands share.
//!
//! World: parent. `store` and `record` are what is on disk, `status` asks the kernel. `create`, `run`, `start`, `exec`,
//! `kill`, `delete`, `state` and others are the operations of runtime-spec (runtime.md, "Operations") and those that
//! engines add. Commands do not import each other, with three exceptions: run is create without a gate, check decides with create's
//! functions, and create, run, start and doctor remove containers with the functions of delete.

pub mod check;
pub mod checkpoint;
pub mod create;
mod death;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod freeze;
mod handover;
mod holders;
pub mod inspect;
mod join;
pub mod kill;
mod listen_fds;
pub mod mounts;
mod notify;
mod open_files;
pub mod options;
mod path_text;
mod pid_file;
mod pidfd_socket;
pub mod processes;
mod procfs;
pub mod record;
mod recording;
pub mod restore;
pub mod run;
mod saved_config;
pub mod start;
mod start_gate;
mod start_hooks;
pub mod state;
pub mod status;
pub mod store;
pub mod time;
pub mod update;
pub mod warning;

use crate::error::{Code, Error, Result};
use record::Record;
use store::{Directory, Store};

/// An existing container: its directory and its record.
#[derive(Debug)]
pub struct StoredContainer {
    /// The state directory.
    pub directory: Directory,
    /// The record.
    pub record: Record,
}

impl StoredContainer {
    /// Reads the record again, to be called when the lock is held: another command may have changed it meanwhile.
    ///
    /// # Errors
    /// The container was deleted meanwhile; a damaged record.
    fn read_again(&mut self) -> Result<()> {
        self.record = Record::read(&self.directory)?.ok_or_else(|| store::absent(&self.directory.id))?;
        Ok(())
    }
}

/// Finds a container.
///
/// # Errors
/// "does not exist"; a damaged record; one that is still being made.
pub fn find(root: &std::path::Path, id: &str) -> Result<StoredContainer> {
    let _span = crate::timings::span("find the container");
    store::check_id(id)?;
    let store = Store::open(root)?.ok_or_else(|| store::absent(id))?;
    find_in(&store, id)
}

/// Finds a container in a state root that is open already.
///
/// # Errors
/// As [`find`].
pub fn find_in(store: &Store, id: &str) -> Result<StoredContainer> {
    let directory = store.find(id)?.ok_or_else(|| store::absent(id))?;
    let record = Record::read(&directory)?.ok_or_else(|| {
        Error::new(Code::ContainerCreating, format!("container \"{id}\" has no record yet"))
            .hint(format!("its creation is under way or was interrupted; `tare delete --force {id}` removes it"))
    })?;
    Ok(StoredContainer { directory, record })
}

/// The ids that a regular expression matches anywhere, sorted.
///
/// # Errors
/// It is none; the state root cannot be read.
pub fn matching(root: &std::path::Path, expression: &str) -> Result<Vec<String>> {
    let expression = regex_lite::Regex::new(expression).map_err(|e| {
        let what = format!("{expression:?} is not a regular expression");
        Error::new(Code::OptionValueInvalid, what).detail(e.to_string().lines().last().unwrap_or_default())
    })?;
    let ids = Store::open(root)?.map_or(Ok(Vec::new()), |store| store.ids())?;
    Ok(ids.into_iter().filter(|id| expression.is_match(id)).collect())
}

/// Whether the caller opened what the container is to inherit. Looked at before tare opens anything: a number that is
/// free now would be a directory of the host by the time the container inherits it.
fn check_preserved(count: u32) -> Result<()> {
    let missing =
        (0..count).map(|offset| 3_i32.saturating_add_unsigned(offset)).find(|n| !crate::sys::descriptors::is_open(*n));
    match missing {
        None => Ok(()),
        Some(number) => {
            let what = format!("--preserve-fds {count}: descriptor {number} is not open");
            Err(Error::new(Code::DescriptorInvalid, what)
                .hint("the container inherits the caller's descriptors 3, 4, ..."))
        }
    }
}
