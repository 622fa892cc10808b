//! The command line: one file per concern, each command is one call into the library.
//!
//! World: parent.
//! Promises: nothing on stdout or stderr on success but what was asked for; one line on stderr on failure, in the log
//! too when there is one; exit codes as runc's (1, exec 255, run and exec in the foreground the program's).

pub(crate) mod arguments;
mod commands;
pub(crate) mod duration;
mod features;
mod log;
mod spec;
mod table;
mod update;
mod usage;

pub use arguments::command;

use std::ffi::OsString;

use crate::error::{Context, Error};

/// Runs the command line and returns the exit code; `args` begin with the program's name.
#[must_use]
pub fn run(args: Vec<OsString>) -> i32 {
    // Before anything is done twice. A word that only looks like a command costs an exec and nothing else.
    if args.iter().any(|arg| ENTERING.iter().any(|command| arg == command)) {
        let withdraw = || crate::sys::environment::withdraw().context(|| "move the environment out of reach");
        if let Err(error) = crate::own_executable::protect(&args).and_then(|()| withdraw()) {
            print_error(&format!("tare: {error}\n"));
            return 1;
        }
    }
    execute(args)
}

/// Apart from [`run`], which executes tare anew: its stack frame of many pages would be touched twice.
#[inline(never)]
fn execute(args: Vec<OsString>) -> i32 {
    // What enters a container hands its signals on, and forwards them; the others wait for hooks at most.
    let enters = args.iter().any(|arg| ENTERING.iter().any(|command| arg == command));
    let reset = if enters { crate::sys::signals::reset() } else { crate::sys::signals::reset_child() };
    if let Err(errno) = reset {
        print_error(&format!("tare: {}\n", Error::system("reset the signals", errno)));
        return 1;
    }
    crate::sys::signals::ignore_pipe();
    let matches = match arguments::parse(args) {
        Ok(matches) => matches,
        Err(end) => return end.show(),
    };
    let global = commands::Global::new(&matches);
    let log = log::Log::new(&global.messages);
    if let Err(error) = log.check() {
        print_error(&format!("tare: {error}\n"));
        return failure_code(matches.subcommand_name());
    }
    match commands::dispatch(&matches, &global, &log) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error);
            failure_code(matches.subcommand_name())
        }
    }
}

/// The commands that enter a container.
const ENTERING: [&str; 3] = ["create", "run", "exec"];

/// Closed stdio could not be replaced: says so, if anybody can hear it; the exit code.
#[must_use]
pub fn without_stdio(errno: rustix::io::Errno) -> i32 {
    print_error(&format!("tare: {}\n", Error::system("open /dev/null in place of closed stdio", errno)));
    1
}

/// Scripts of runc tell a failed exec (255) from a failed program.
fn failure_code(command: Option<&str>) -> i32 {
    if command == Some("exec") { 255 } else { 1 }
}

/// Writes to stdout; a reader that went away is an error like any other.
fn print(bytes: &[u8]) -> crate::error::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest)) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(e) => return Err(Error::system("write to stdout", e)),
        }
    }
    Ok(())
}

/// Writes to stderr in one piece (conmon reads once); there is nobody to tell when that fails.
fn print_error(text: &str) {
    let _lost = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}
