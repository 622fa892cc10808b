//! World: parent. run: create without a gate, then either leave (detached) or stay with the program.

use std::os::fd::AsFd;
use std::path::Path;

use super::Container;
use super::create::{Begin, Making, Options, Warn, make};
use super::delete;
use super::state::State;
use super::status::Status;
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{self, Place};
use crate::terminal::foreground;

/// What run has besides create's options.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stay {
    /// --detach.
    pub detach: bool,
    /// --keep: do not delete the container when the program ends.
    pub keep: bool,
    /// --no-subreaper.
    pub no_subreaper: bool,
}

/// Runs a container; the program's exit code, or 128 + signal; 0 when detached.
///
/// # Errors
/// Nothing is left behind then.
pub fn run(root: &Path, id: &str, options: &Options, stay: Stay, warn: Warn<'_>) -> Result<i32> {
    if !stay.detach && !stay.no_subreaper {
        crate::sys::process_attributes::set_child_subreaper(true)
            .map_err(|e| Error::system("become the reaper of orphans", e))?;
    }
    let begin = if stay.detach { Begin::Detached } else { Begin::Foreground };
    let making = make(root, id, options, begin, warn)?;
    poststart(&making, warn)?;
    if stay.detach {
        return Ok(0);
    }
    let Making { store, directory, record, child, cgroup, master, .. } = making;
    drop(cgroup);
    let Some(child) = child else { return Err(Error::new(ErrorKind::Internal, "run made no process")) };
    let code = foreground::wait(child.pidfd.as_fd(), child.id()?, master)?;
    if !stay.keep {
        delete::destroy(&store, &Container { directory, record }, warn)?;
    }
    Ok(code)
}

fn poststart(making: &Making, warn: Warn<'_>) -> Result<()> {
    if making.plan.hooks.poststart.is_empty() {
        return Ok(());
    }
    let state = State::new(&making.record, Status::Running).json()?;
    if let Err(error) = hooks::run(&making.plan.hooks.poststart, &state, Place::Runtime) {
        warn(error);
    }
    Ok(())
}
