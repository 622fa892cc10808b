//! The rows of the table: one command, one config, one mode.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use crate::bundle::is_tare;
use crate::command::Command;
use crate::stage::Config;
use crate::trace::Blow;
use crate::trial::{Found, Wrong};

/// A row and what it found so far.
pub struct Row {
    pub command: Command,
    pub config: Config,
    pub blow: Blow,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    trials: usize,
    pending: usize,
    handed_out: bool,
    counts: BTreeMap<Wrong, usize>,
    details: Vec<String>,
    obstacle: Option<String>,
}

fn mode(blow: Blow) -> &'static str {
    match blow {
        Blow::Count => "undisturbed",
        Blow::KillCaller => "caller killed",
        Blow::KillMain => "runtime killed",
        Blow::FailOnce => "call fails once",
        Blow::FailOn => "fails from then on",
        Blow::FailWith(_) => "call fails",
    }
}

impl Found {
    /// A command that did not end.
    pub fn panicked() -> Self {
        Self { hit: true, wrong: BTreeMap::from([(Wrong::Hang, "a command after the trial hangs".to_string())]) }
    }
}

impl Row {
    pub fn new(command: Command, config: Config, blow: Blow) -> Self {
        Self { command, config, blow, state: Mutex::default() }
    }

    pub fn name(&self) -> String {
        format!("{}, {}, {}", self.command.name(), self.config.name(), mode(self.blow))
    }

    pub fn begin(&self) {
        let mut state = self.state.lock().unwrap();
        state.began.get_or_insert_with(Instant::now);
        state.pending += 1;
    }

    /// The command does not even work undisturbed.
    pub fn cannot(&self, why: String) {
        self.state.lock().unwrap().obstacle = Some(why);
    }

    pub fn enter(&self, at: usize, found: Found) {
        let mut state = self.state.lock().unwrap();
        state.pending -= 1;
        state.trials += usize::from(found.hit);
        for (wrong, what) in found.wrong {
            *state.counts.entry(wrong).or_default() += 1;
            state.details.push(format!("{}: point {at}, {what}", wrong.title()));
        }
        self.finish(&mut state);
    }

    pub fn handed_out(&self) {
        let mut state = self.state.lock().unwrap();
        state.handed_out = true;
        self.finish(&mut state);
    }

    fn finish(&self, state: &mut State) {
        if !state.handed_out || state.pending > 0 {
            return;
        }
        let seconds = state.began.map_or(0.0, |began| began.elapsed().as_secs_f32());
        let word = if state.fails() { "FAILED" } else { "ok" };
        println!("test {} ({} trials, {seconds:.0} s) ... {word}", self.name(), state.trials);
        if let Some(why) = &state.obstacle {
            println!("    cannot be tried: {why}");
        }
        state.details.iter().for_each(|line| println!("    {line}"));
        if let Some(path) = std::env::var_os("TARE_FAULTS_TABLE") {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            writeln!(file, "{}", self.line(state)).unwrap();
        }
    }

    fn line(&self, state: &State) -> String {
        let count = |wrong: &Wrong| state.counts.get(wrong).copied().unwrap_or(0).to_string();
        let fails = matches!(self.blow, Blow::FailOnce | Blow::FailOn);
        let cells = Wrong::ALL.iter().map(|wrong| match wrong {
            Wrong::NoMessage | Wrong::DeadInit | Wrong::LeftBeforeDelete | Wrong::Weaker if !fails => "-".to_string(),
            _ if state.obstacle.is_some() => "?".to_string(),
            wrong => count(wrong),
        });
        let cells: Vec<String> = cells.collect();
        let (command, config, mode) = (self.command.name(), self.config.name(), mode(self.blow));
        format!("| {command} | {config} | {mode} | {} | {} |", state.trials, cells.join(" | "))
    }
}

impl State {
    fn fails(&self) -> bool {
        is_tare() && (self.obstacle.is_some() || !self.counts.is_empty())
    }
}

/// Says how it went, in libtest's words; the exit code.
pub fn result(rows: &[Row]) -> i32 {
    let failed = rows.iter().filter(|row| row.state.lock().unwrap().fails()).count();
    let trials: usize = rows.iter().map(|row| row.state.lock().unwrap().trials).sum();
    println!("{trials} trials");
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed; 0 ignored", rows.len() - failed);
    i32::from(failed > 0)
}
