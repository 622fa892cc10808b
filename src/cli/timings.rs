//! `--timings`: where the steps of a command are written to, and in which form.
//!
//! World: parent. FILE may contain %i, %c and %p, so that an engine that gives every command the same options gets a file
//! for each. A file is written under another name and renamed: a reader never finds half of one. By then the command has
//! done its work, so that a file that cannot be written is a warning.

mod picture;
mod table;
mod trace;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tare::error::{Code, Error, Result};
use tare::timings::{Recording, Timings, write_file};

use super::log::Log;
use super::options::{self, Place};
use super::values::Values;

/// The name of the option.
const OPTION: &str = "timings";

/// What a measured command line says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Command {
    name: String,
    id: String,
}

/// Where the timings go.
#[derive(Debug, PartialEq, Eq)]
enum Output {
    Stderr,
    Json(PathBuf),
    Svg(PathBuf),
}

/// Notes when the process began, if a word of the command line looks like the option.
pub fn note_start(args: &[OsString]) {
    let names = |arg: &OsString| {
        let word = arg.as_bytes();
        let name = word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-")).unwrap_or_default();
        name.strip_prefix(OPTION.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
    };
    if args.iter().any(names) {
        tare::timings::enter();
    }
}

/// Starts to record, if the command line asks for it.
///
/// # Errors
/// FILE has neither of the two endings, or a `%` that means nothing.
pub fn record(matches: Values<'_>, log: &Rc<Log>) -> Result<Option<Recording>> {
    let Some((name, command_line)) = matches.command() else { return Ok(None) };
    let given = |matches: Values<'_>| matches.one::<PathBuf>(OPTION).cloned();
    let Some(file) = given(command_line).or_else(|| given(matches)) else { return Ok(None) };
    let command = Command { name: name.to_owned(), id: id(name, command_line) };
    let output = output(&file, &command, std::process::id())?;
    // The others accept the option before their name.
    if !options::command(name).is_some_and(|command| Place::TIMED.contains(command.place)) {
        return Ok(None);
    }
    let log = Rc::clone(log);
    Ok(Some(Recording::start(move |timings| {
        if let Err(error) = write(&output, &command, &timings) {
            log.warning(&error.context("--timings"));
        }
    })))
}

fn id(name: &str, options: Values<'_>) -> String {
    match name {
        "exec" => options.many::<OsString>("words").next(),
        _ => None,
    }
    .map(|word| word.to_string_lossy().into_owned())
    .or_else(|| options.one::<String>("id").cloned())
    .unwrap_or_default()
}

fn output(file: &Path, command: &Command, pid: u32) -> Result<Output> {
    if file == Path::new("-") {
        return Ok(Output::Stderr);
    }
    let path = PathBuf::from(OsString::from_vec(expanded(file.as_os_str(), command, pid)?));
    match file.extension().map(OsStr::as_bytes) {
        Some(b"json") => Ok(Output::Json(path)),
        Some(b"svg") => Ok(Output::Svg(path)),
        _ => Err(wrong(format!("{file:?} ends neither in .json nor in .svg"))
            .hint(".json is a trace for Perfetto, .svg a picture, and - a table on stderr")),
    }
}

fn wrong(what: String) -> Error {
    Error::new(Code::OptionValueInvalid, format!("--timings: {what}"))
}

/// FILE with the id, the command and the pid of tare in the place of %i, %c and %p.
fn expanded(file: &OsStr, command: &Command, pid: u32) -> Result<Vec<u8>> {
    let mut path = Vec::new();
    let mut rest = file.as_bytes().iter();
    while let Some(byte) = rest.next() {
        match (byte, (*byte == b'%').then(|| rest.next()).flatten()) {
            (b'%', Some(b'%')) => path.push(b'%'),
            (b'%', Some(b'i')) => path.extend(file_name(&command.id).bytes()),
            (b'%', Some(b'c')) => path.extend(command.name.bytes()),
            (b'%', Some(b'p')) => path.extend(pid.to_string().bytes()),
            (b'%', _) => {
                let what = format!("a % of {file:?} is not followed by i, c, p or %");
                return Err(wrong(what).hint("%i is the ID, %c the command, %p the PID of tare, %% a %"));
            }
            (byte, _) => path.push(*byte),
        }
    }
    Ok(path)
}

/// The id is written before it is checked, and one that is refused must not lead to another directory.
fn file_name(id: &str) -> String {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    let name: String = id.chars().map(|c| if is_usual(c) { c } else { '_' }).take(255).collect();
    if name.starts_with('.') { name.replacen('.', "_", 1) } else { name }
}

fn write(output: &Output, command: &Command, timings: &Timings) -> Result<()> {
    match output {
        Output::Stderr => {
            super::print_error(&table::table(command, timings));
            Ok(())
        }
        Output::Json(path) => write_file(path, trace::json(command, timings).as_bytes()),
        Output::Svg(path) => write_file(path, picture::svg(command, timings).as_bytes()),
    }
}

/// Milliseconds with microseconds: `1.234`.
fn milliseconds(time: std::time::Duration) -> String {
    let micros = (time + std::time::Duration::from_nanos(500)).as_micros();
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests;
