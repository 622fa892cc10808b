//! The command line: one file per concern, each command is one call into the library.
//!
//! World: parent.
//! Promises: nothing on stdout or stderr on success but what was asked for; one line on stderr on failure, in the log
//! too when there is one; exit codes as runc's (1, exec 255, run and exec in the foreground the program's).

mod all_users;
pub(crate) mod arguments;
mod check;
mod checkpoint;
mod commands;
pub(crate) mod duration;
pub(crate) mod examples;
mod go_flags;
mod inspect;
mod log;
pub(crate) mod options;
mod spec;
mod table;
mod timings;
mod update;
mod usage;
mod values;
mod welcome;

use std::ffi::OsString;
use std::rc::Rc;

use tare::error::{Code, Error, Result};

/// Runs the command line and returns the exit code; `args` begin with the program's name.
#[must_use]
pub fn run(args: Vec<OsString>) -> i32 {
    if let Err(error) = prepare(&args) {
        print_error(&format!("tare: {error}\n"));
        return 1;
    }
    execute(args)
}

/// Before anything is done twice. A word that only looks like a command costs an exec and nothing else.
fn prepare(args: &[OsString]) -> Result<()> {
    timings::note_start(args);
    tare::startup::open_stdio()?;
    // What enters a container forwards signals and passes its own on; the others wait for hooks at most.
    let enters = |arg: &OsString| {
        options::COMMANDS.iter().any(|command| options::Place::ENTERING.contains(command.place) && arg == command.name)
    };
    if args.iter().any(enters) {
        protect()?;
        return tare::startup::reset_signals();
    }
    tare::startup::reset_child_signal()
}

/// `start` does so late, if hooks are to enter the container: what it did until then it does again.
fn protect() -> Result<()> {
    tare::protect(c"tare")
}

/// Apart from [`run`], which executes tare anew: its stack frame of many pages would be touched twice.
#[inline(never)]
fn execute(args: Vec<OsString>) -> i32 {
    let matches = match arguments::parse(args) {
        Ok(matches) => matches,
        Err(end) => return end.show(),
    };
    let values = values::Values::new(&matches);
    if let Err(error) = all_users::become_user(values) {
        print_error(&format!("tare: {error}\n"));
        return 1;
    }
    let global = commands::Global::new(values);
    let log = Rc::new(log::Log::new(&global.messages));
    if let Err(error) = log.check() {
        print_error(&format!("tare: {error}\n"));
        return failure_code(matches.subcommand_name());
    }
    let dispatched = timings::record(values, &log).and_then(|recording| {
        let dispatched = commands::dispatch(values, &global, &log);
        // Before the error, whose line is to be the last.
        drop(recording);
        dispatched
    });
    match dispatched {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            failure_code(matches.subcommand_name())
        }
    }
}

/// Scripts of runc tell a failed exec (255) from a failed program.
fn failure_code(command: Option<&str>) -> i32 {
    if command == Some("exec") { 255 } else { 1 }
}

/// Writes to stdout; a reader that went away is an error like any other.
fn print(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest)) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(e) => return Err(Error::system("write to stdout", e).coded(Code::OutputFailed)),
        }
    }
    Ok(())
}

/// Writes to stderr in one piece (conmon reads once); there is nobody to tell when that fails.
fn print_error(text: &str) {
    let _lost = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
