//! Runs other programs: each call returns its output or an error with the last thing it said.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Runs a program to its end, in `dir` when given.
///
/// # Errors
/// The program cannot be started or exits non-zero.
pub fn run(program: &str, arguments: &[&str], dir: Option<&Path>, env: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().copied());
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    capture(&mut command).map(drop)
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// The program cannot be started or exits non-zero.
pub fn output_of(program: &str, arguments: &[&str]) -> Result<String> {
    capture(Command::new(program).args(arguments))
}

fn capture(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| Error::Failed(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(Error::Failed(format!("{name}: {}: {last}", output.status)))
}
