//! Runs the programs, several at a time, each in its own sandbox, and judges each.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::{Job, Run};
use crate::error::{Error, Result};
use crate::expectations::needs_pause;
use crate::host::{load, outside_run};
use crate::sandbox::{BROKEN, LATE};
use crate::suite::Suite;
use crate::tap::Tap;

/// Limit for one program on an idle machine; the slowest (delete, kill) take 15 s there.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Programs at a time: they spend nine tenths of their time in sleeps of a second.
const JOBS: usize = 4;

/// What came of one program.
#[derive(Debug)]
pub struct Outcome {
    /// Name of the program.
    pub name: String,
    /// What is wrong; nothing when it passed.
    pub complaint: Option<String>,
    /// What it says is wrong without counting it as a failure.
    pub remark: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Runs every program that the filters let through; the outcomes are in order of name.
///
/// # Errors
/// A directory that cannot be used, or a filter that lets nothing through.
pub fn run(suite: &Suite, runtime: &Path, options: &Run) -> Result<Vec<Outcome>> {
    outside_run(&suite.dir)?;
    if let Some(logs) = &options.logs {
        fs::create_dir_all(logs).map_err(Error::at(logs))?;
    }
    let wanted =
        |name: &String| options.filters.is_empty() || options.filters.iter().any(|part| name.contains(part.as_str()));
    let names: Vec<String> = suite.programs()?.into_iter().filter(wanted).collect();
    if names.is_empty() {
        return Err(Error::Failed("no program has such a name".to_owned()));
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run_one(suite, runtime, name, options);
            // A worker that panicked has not left the list half-changed.
            outcomes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs.unwrap_or(JOBS) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    outcomes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(outcomes)
}

fn run_one(suite: &Suite, runtime: &Path, name: &str, options: &Run) -> Outcome {
    let limit = options.time_limit.unwrap_or_else(|| TIME_LIMIT.mul_f64(load()));
    let job = Job {
        runtime: runtime.to_string_lossy().into_owned(),
        program: suite.program(name).to_string_lossy().into_owned(),
        pause: needs_pause(name),
    };
    let started = Instant::now();
    let output = Command::new("/proc/self/exe")
        .arg("sandbox")
        .args(job.words())
        .arg(limit.as_secs().to_string())
        .current_dir(&suite.dir)
        .stdin(Stdio::null())
        .output();
    let (complaint, remark) = match &output {
        Ok(output) => judge(output, limit),
        Err(error) => (Some(format!("start the sandbox: {error}")), None),
    };
    if let (Some(logs), Ok(output)) = (&options.logs, &output) {
        let text = [&output.stdout[..], b"--- stderr\n", &output.stderr[..]].concat();
        // A log that cannot be written is no reason to lose the verdict.
        let _ = fs::write(logs.join(format!("{name}.log")), text);
    }
    Outcome { name: name.to_owned(), complaint, remark, took: started.elapsed() }
}

/// What is wrong, and what the program says is wrong without counting it.
fn judge(output: &Output, limit: Duration) -> (Option<String>, Option<String>) {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = last_words(&said);
    let tap = Tap::parse(&String::from_utf8_lossy(&output.stdout));
    let complaint = match output.status.code() {
        Some(BROKEN) => Some(last.to_owned()),
        Some(LATE) => Some(explained(format!("not done in {} s", limit.as_secs()), last)),
        code => tap.complaint(code.unwrap_or(-1)).map(|complaint| explained(complaint, last)),
    };
    (complaint, tap.remark().map(str::to_owned))
}

/// Adds what went to standard error, unless the failed result tells enough itself.
fn explained(complaint: String, last: &str) -> String {
    let tells = complaint.starts_with("not ok") && !complaint.contains("exit status");
    if tells || last.is_empty() { complaint } else { format!("{complaint}: {last}") }
}

/// The last line that tells something; the programs close with a bare "exit status 1".
fn last_words(said: &str) -> &str {
    let tells = |line: &&str| !line.trim().is_empty() && !line.starts_with("exit status");
    said.lines().rfind(tells).unwrap_or_default()
}
