//! Creates, starts, enters, measures and deletes a container with a config from memory: `supervise ROOTFS`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::time::Duration;

use oci_spec::runtime::{ProcessBuilder, RootBuilder, SpecBuilder};
use tare::{Bundle, CreateOptions, EventOutput, ExecOptions, Force, Runtime, Signal, Target};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tare::protect(c"supervise")?;
    let rootfs = std::env::args().nth(1).ok_or("usage: supervise ROOTFS")?;
    let process = ProcessBuilder::default().args(["sleep", "1000"].map(String::from).to_vec()).cwd("/");
    let root = RootBuilder::default().path(&rootfs).build()?;
    let spec = SpecBuilder::default().version("1.3.0").process(process.build()?).root(root).build()?;

    let runtime = Runtime::new(Runtime::default_root()).on_warning(|warning| eprintln!("warning: {warning}"));
    let id = format!("supervised-{}", std::process::id());
    let container = runtime.create(&id, &Bundle::with_spec(".", &spec)?, &CreateOptions::default())?;
    container.start()?;
    let code = container.exec(&ExecOptions::new(["sh", "-c", "echo entered; exit 7"]))?;
    let (used, processes) = (container.stats()?.cpu.usage.total, container.processes()?.len());
    println!("exec ended with {code}; {processes} process, {used} ns of processor time");
    container.kill(Signal::KILL, Target::All)?;
    // Ends with the container, whose last line is its exit.
    let mut print = |line: &[u8]| {
        print!("{}", String::from_utf8_lossy(line));
        Ok(())
    };
    let stdout = std::io::stdout();
    let reader = std::os::fd::AsFd::as_fd(&stdout);
    match container.events(Duration::from_secs(1), &mut EventOutput { print: &mut print, reader }) {
        Err(error) if error.kind() == tare::ErrorKind::WrongStatus => println!("it has ended"),
        ended => ended?,
    }
    container.delete(Force::Yes)?;
    Ok(())
}
