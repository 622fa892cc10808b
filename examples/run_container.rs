//! Runs the container of a bundle in the foreground: `run_container BUNDLE`. The exit code is the container's.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use tare::{Bundle, CreateOptions, RunOptions, Runtime};

fn main() -> tare::Result<()> {
    // First of all: it may execute this program again.
    tare::protect(c"run_container")?;
    let bundle = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let runtime = Runtime::new(Runtime::default_root()).on_warning(|warning| eprintln!("warning: {warning}"));
    let id = format!("example-{}", std::process::id());
    let code = runtime.run(&id, &Bundle::new(bundle), &CreateOptions::default(), RunOptions::default())?;
    std::process::exit(code)
}
