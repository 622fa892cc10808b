//! Builds the runtime-tools validation programs and runs them against any OCI runtime by path.
//!
//! `run` prints a table and, last, `runtime-tools: N of 58 passed`. It exits 0 when every program
//! that must pass here has passed, 1 when one has not, 77 when the suite cannot be had, 2 else.

mod arguments;
mod command;
mod error;
mod expectations;
mod host;
mod packages;
mod report;
mod runner;
mod sandbox;
mod subtree;
mod suite;
mod tap;

use std::env;
use std::io;
use std::process::ExitCode;

use arguments::{Request, Run, USAGE};
use error::{Error, Result};
use suite::Suite;

/// Exit code for a suite that cannot be had; the value that test drivers read as "skipped".
const NO_SUITE: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments::parse(&arguments) {
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
        Some(Request::Sandbox(job, limit)) => return part(sandbox::sandbox(&job, limit)),
        Some(Request::Inside(job, subtree)) => return part(sandbox::inside(&job, &subtree)),
        Some(Request::Build) => Suite::cached().map(|suite| {
            println!("{}", suite.dir.display());
            true
        }),
        Some(Request::List) => {
            report::print_expectations();
            Ok(true)
        }
        Some(Request::Run(options)) => run(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(Error::NoSuite(reason)) => {
            eprintln!("oci-conformance: skipped, the suite cannot be had: {reason}");
            ExitCode::from(NO_SUITE)
        }
        Err(Error::Failed(reason)) => {
            eprintln!("oci-conformance: {reason}");
            ExitCode::from(2)
        }
    }
}

/// Whether the runtime has passed what it must.
fn run(options: &Run) -> Result<bool> {
    let runtime = host::find_program(&options.runtime)?;
    let suite = match &options.built {
        Some(dir) => Suite::open(dir)?,
        None => Suite::cached()?,
    };
    let outcomes = runner::run(&suite, &runtime, options)?;
    report::print(&outcomes, options)
}

fn part(exit_code: io::Result<i32>) -> ExitCode {
    let code = exit_code.unwrap_or_else(|error| {
        eprintln!("sandbox: {error}");
        sandbox::BROKEN
    });
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
