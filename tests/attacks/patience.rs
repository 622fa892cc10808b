//! Commands that have to end within a time, seen from who waits for them as an engine does.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::bundle::{Bundle, Done, eventually_within, stat};

/// Runs a command of the runtime; an error says that it did not end within `limit`, and it is killed then.
pub fn within(bundle: &Bundle, args: &[&str], limit: Duration) -> Result<Done, String> {
    run(bundle, args, limit, &[])
}

/// The same for a command that ends the container. Orphans of its pid namespace are reaped all the while: without that,
/// the namespace's init could not end.
pub fn ends_within(bundle: &Bundle, args: &[&str], limit: Duration) -> Result<Done, String> {
    let own = namespace("self");
    let namespaces: Vec<_> = bundle.members().iter().map(|pid| namespace(&pid.to_string())).collect();
    let namespaces: Vec<_> = namespaces.into_iter().filter(|it| it.is_some() && *it != own).collect();
    run(bundle, args, limit, &namespaces)
}

fn namespace(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Reaps what has ended there and came to us, in whichever cgroup it was.
fn reap_in(namespaces: &[Option<PathBuf>]) {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let is_ours = stat(pid).is_some_and(|fields| fields[0] == "Z" && fields[1] == own);
        if is_ours && namespaces.contains(&namespace(&pid.to_string())) {
            let _gone = waitpid(Pid::from_raw(pid), WaitOptions::NOHANG);
        }
    }
}

fn run(bundle: &Bundle, args: &[&str], limit: Duration, namespaces: &[Option<PathBuf>]) -> Result<Done, String> {
    let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut command = bundle.command(args);
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let ended = || {
        if !namespaces.is_empty() {
            reap_in(namespaces);
        }
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
