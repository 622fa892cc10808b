//! Commands that have to end within a time, seen from who waits for them as an engine does.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::bundle::{Bundle, Done, eventually_within, stat};

/// Runs a command of the runtime; an error says that it did not end within `limit`, and it is killed then. Orphans are
/// reaped all the while: without that, init of a pid namespace could not end.
pub fn within(bundle: &Bundle, args: &[&str], limit: Duration) -> Result<Done, String> {
    let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut command = bundle.command(args);
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let ended = || {
        bundle.reap_orphans();
        stat(pid).is_none_or(|fields| fields[0] == "Z")
    };
    let in_time = eventually_within(u64::try_from(limit.as_millis()).unwrap(), ended);
    if !in_time {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap();
    let done = Done { code, stdout: text(stdout), stderr: text(stderr) };
    if in_time { Ok(done) } else { Err(format!("{} hangs for {:?}: {done:?}", args[0], began.elapsed())) }
}

fn text(mut file: fs::File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
