//! Every command is killed, or made to fail, at every one of its system calls: one `delete --force` restores the host.
//!
//! `TARE_FAULTS=all` tries every point of every command in every config; without it the commands of a container's life
//! are hit everywhere in the plain config, the rest at a few points; `TARE_FAULTS=7,9` tries these points alone.
//! `TARE_FAULTS_TABLE` is a file for the table's rows, `TARE_FAULTS_JOBS` the number of trials at a time. With another runtime (`TARE_RUNTIME`) the table is all: nothing fails.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test program")]

#[allow(dead_code, reason = "shared with the tests of the host")]
#[path = "../host/bundle.rs"]
mod bundle;
mod command;
mod errors;
#[path = "../host/requests.rs"]
mod requests;
mod stage;
mod table;
#[allow(dead_code, reason = "shared with the other tests of the binary")]
#[path = "../host/trace.rs"]
mod trace;
mod trial;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use command::Command;
use stage::{Config, Stage};
use table::Row;
use trace::{Aim, Blow};
use trial::{Found, Reference};

/// Points of a row that the quick set only samples.
const SAMPLE: usize = 4;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all = std::env::var("TARE_FAULTS").is_ok_and(|value| value == "all");
    // As libtest does for tests with #[ignore]: on the host as it is, nothing is killed unless it is asked for.
    if !std::env::args().any(|word| word == "--include-ignored" || word == "--ignored") {
        println!("test faults ... ignored, needs root: sudo scripts/test host faults");
        println!("test result: ok. 0 passed; 0 failed; 1 ignored");
        return;
    }
    let rows: Vec<Row> = rows().into_iter().filter(|row| words.iter().all(|word| row.name().contains(word))).collect();
    let jobs = std::env::var("TARE_FAULTS_JOBS").map_or(2, |jobs| jobs.parse().unwrap());
    let only = std::env::var("TARE_FAULTS").unwrap_or_default();
    let only = only.split(',').filter_map(|at| at.parse().ok()).collect();
    let work = Work { rows, all, only, next: Mutex::default(), references: Mutex::default() };
    let busy = AtomicUsize::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let _done = Leave(&busy);
                work.run();
            });
        }
        // Orphans come to this thread, as they come to an engine; the others wait for what they started themselves.
        while busy.load(Ordering::Relaxed) > 0 {
            reap_orphans();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    std::process::exit(table::result(&work.rows));
}

/// __WNOTHREAD.
const NO_THREADS: u32 = libc::__WNOTHREAD.cast_unsigned();

/// Not of whichever comes: an orphan's stop under ptrace would be taken from its tracer, another thread of this process.
fn reap_orphans() {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    let mine = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::from_bits_retain(NO_THREADS);
    for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()) {
        if bundle::stat(pid).is_some_and(|fields| fields[0] == "Z") {
            let _gone = waitid(WaitId::Pid(Pid::from_raw(pid).unwrap()), mine);
        }
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn rows() -> Vec<Row> {
    let blows = [Blow::KillMain, Blow::KillCaller, Blow::FailOnce, Blow::FailOn];
    let mut rows = Vec::new();
    let criu = std::process::Command::new("criu").arg("check").output().is_ok_and(|done| done.status.success());
    if !criu {
        println!("skipped: checkpoint and restore, since `criu check` fails here or there is no CRIU");
    }
    // What cannot be had here is said.
    for config in Config::ALL.into_iter().filter(|config| Stage::new(*config).is_some()) {
        for command in Command::ALL.into_iter().filter(|command| config.has(*command)) {
            if command.needs_criu() && !criu {
                continue;
            }
            rows.extend(blows.iter().filter(|blow| can(**blow)).map(|blow| Row::new(command, config, *blow)));
        }
    }
    rows
}

fn can(blow: Blow) -> bool {
    requests::CAN_FAIL || matches!(blow, Blow::KillMain | Blow::KillCaller)
}

/// The trials of all rows, handed out one by one.
struct Work {
    rows: Vec<Row>,
    all: bool,
    /// The points to try, unless empty.
    only: Vec<usize>,
    /// The row that is being worked on, and its points that are not handed out yet.
    next: Mutex<(usize, Option<Vec<usize>>)>,
    references: Mutex<HashMap<(Command, Config), Result<Reference, String>>>,
}

impl Work {
    fn run(&self) {
        let mut stages: HashMap<Config, Stage> = HashMap::new();
        while let Some((row, at)) = self.take(&mut stages) {
            let stage = stages.entry(row.config).or_insert_with(|| Stage::new(row.config).unwrap());
            let reference = self.reference(row.command, row.config, stage).unwrap();
            let aim = Aim { at, blow: row.blow, pure: self.pure(row.config) };
            let trial = std::panic::AssertUnwindSafe(|| trial::run(row.command, stage, aim, &reference));
            let found = std::panic::catch_unwind(trial).unwrap_or_else(|_| Found::panicked());
            row.enter(at, found);
        }
    }

    fn pure(&self, config: Config) -> bool {
        self.all && config == Config::Plain
    }

    fn take(&self, stages: &mut HashMap<Config, Stage>) -> Option<(&Row, usize)> {
        let mut next = self.next.lock().unwrap();
        loop {
            let row = self.rows.get(next.0)?;
            let points = match &mut next.1 {
                Some(points) => points,
                none => {
                    let stage = stages.entry(row.config).or_insert_with(|| Stage::new(row.config).unwrap());
                    match self.reference(row.command, row.config, stage) {
                        Ok(reference) => none.insert(self.points(row, &reference)),
                        Err(why) => {
                            row.cannot(why);
                            none.insert(Vec::new())
                        }
                    }
                }
            };
            if let Some(at) = points.pop() {
                row.begin();
                return Some((row, at));
            }
            row.handed_out();
            *next = (next.0 + 1, None);
        }
    }

    fn reference(&self, command: Command, config: Config, stage: &Stage) -> Result<Reference, String> {
        let mut references = self.references.lock().unwrap();
        references
            .entry((command, config))
            .or_insert_with(|| trial::reference(command, stage, self.pure(config)))
            .clone()
    }

    fn points(&self, row: &Row, reference: &Reference) -> Vec<usize> {
        let fails = matches!(row.blow, Blow::FailOnce | Blow::FailOn);
        let calls = reference.calls.iter().enumerate();
        let points: Vec<usize> =
            calls.filter(|(_, number)| !fails || errors::can_fail(**number)).map(|(at, _)| at).collect();
        if !self.only.is_empty() {
            return self.only.iter().rev().copied().filter(|at| points.contains(at)).collect();
        }
        let life = [Command::Create, Command::Start, Command::Exec, Command::Delete].contains(&row.command);
        let whole = life && row.config == Config::Plain && matches!(row.blow, Blow::KillMain | Blow::FailOnce);
        // The one command with two processes that the runtime makes besides init.
        let hooks = (row.command, row.config, row.blow) == (Command::Run, Config::Hooks, Blow::KillCaller);
        let wanted = if self.all || whole || hooks { points.len() } else { SAMPLE.min(points.len()) };
        (0..wanted).rev().map(|n| points[n * points.len() / wanted]).collect()
    }
}
