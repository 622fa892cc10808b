//! World: parent. restore: creates a container from a checkpoint, and waits for its first process unless detached.
//!
//! The creation is `create/restore.rs`; what follows is as for run.

use std::path::Path;

use super::checkpoint::RestoreOptions;
use super::create::{CreateRequest, Creating, StartMode, build_restored};
use super::options::RunOptions;
use super::run;
use super::warning::Warn;
use crate::error::Result;

/// Restores a container and returns the exit code of its first process, 128 + N if signal N killed it, or 0 if it is
/// detached.
///
/// # Errors
/// CRIU is missing, too old, or cannot restore the checkpoint. Nothing is left behind then, or the error names it.
pub fn restore(
    root: &Path,
    id: &str,
    request: &CreateRequest<'_>,
    (restore, run): (&RestoreOptions, RunOptions),
    warn: Warn<'_>,
) -> Result<i32> {
    run::become_subreaper(run)?;
    let mode = if run.detach { StartMode::Detached } else { StartMode::Foreground };
    let created = build_restored(Creating { root, id, request, mode }, restore, warn)?;
    run::follow(created, run, id, warn)
}
