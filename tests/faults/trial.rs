//! One trial: a command is hit at one point; then the inventory, `delete --force`, the inventory, the id again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use crate::bundle::{eventually_within, is_tare};
use crate::command::{Command, Effect};
use crate::errors;
use crate::stage::Stage;
use crate::trace::{self, Aim, Blow, Traced};

/// What can be wrong, as in the columns of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    LeftAfterDelete,
    DeleteFailed,
    IdNotReusable,
    Hang,
    NoMessage,
    DeadInit,
    LeftBeforeDelete,
    Weaker,
}

impl Wrong {
    pub const ALL: [Self; 8] = [
        Self::LeftAfterDelete,
        Self::DeleteFailed,
        Self::IdNotReusable,
        Self::Hang,
        Self::NoMessage,
        Self::DeadInit,
        Self::LeftBeforeDelete,
        Self::Weaker,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::LeftAfterDelete => "left after delete",
            Self::DeleteFailed => "delete failed",
            Self::IdNotReusable => "id not reusable",
            Self::Hang => "hang",
            Self::NoMessage => "no message",
            Self::DeadInit => "exit 0, dead init",
            Self::LeftBeforeDelete => "left before delete",
            Self::Weaker => "weaker than asked",
        }
    }
}

/// A delete that takes longer waits for something that does not happen.
const DELETE: Duration = Duration::from_secs(20);

/// How a command goes that nobody disturbs.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The numbers of its calls.
    pub calls: Vec<u64>,
    pub effect: Effect,
}

/// What a trial found.
#[derive(Debug, Default)]
pub struct Found {
    /// Whether the point was reached.
    pub hit: bool,
    pub wrong: BTreeMap<Wrong, String>,
}

fn traced(command: Command, stage: &Stage, aim: Aim) -> (Option<Traced>, String) {
    let mut stderr = tempfile::tempfile().unwrap();
    let words = command.arguments(stage);
    let traced = trace::run(stage.bundle.command(&words), aim, stderr.try_clone().unwrap());
    if traced.is_none() {
        stage.bundle.kill_processes();
    }
    (traced, text(&mut stderr))
}

fn text(file: &mut File) -> String {
    let mut text = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs the command undisturbed.
///
/// # Errors
/// It fails.
pub fn reference(command: Command, stage: &Stage, pure: bool) -> Result<Reference, String> {
    let reference = undisturbed(command, stage, pure);
    let mut found = Found::default();
    clean_up(stage, &mut found);
    reference.and_then(|reference| found.wrong.into_values().next().map_or(Ok(reference), Err))
}

fn undisturbed(command: Command, stage: &Stage, pure: bool) -> Result<Reference, String> {
    command.prepare(stage)?;
    let (traced, stderr) = traced(command, stage, Aim { at: usize::MAX, blow: Blow::Count, pure });
    let traced = traced.ok_or("it hangs when it is traced")?;
    if traced.code != 0 {
        return Err(format!("it fails undisturbed: {}", stderr.trim()));
    }
    Ok(Reference { calls: traced.calls, effect: command.effect(stage) })
}

/// Hits the command once.
pub fn run(command: Command, stage: &Stage, aim: Aim, reference: &Reference) -> Found {
    let mut found = Found::default();
    if let Err(why) = command.prepare(stage) {
        found.wrong.insert(Wrong::IdNotReusable, why);
        clean_up(stage, &mut found);
        return found;
    }
    let (traced, stderr) = traced(command, stage, aim);
    found.hit = traced.as_ref().is_none_or(|traced| traced.hit.is_some());
    let planned = reference.calls.get(aim.at).map(|number| (*number, 0));
    let hit = traced.as_ref().map_or(planned, |traced| traced.hit);
    let about = hit.map_or_else(String::new, |(number, errno)| {
        let error =
            if errno == 0 { String::new() } else { format!(" -> {}", std::io::Error::from_raw_os_error(errno)) };
        format!("{}{error}", errors::name(number))
    });
    match &traced {
        None => {
            found.wrong.insert(Wrong::Hang, stderr.trim().to_string());
        }
        Some(traced) if matches!(aim.blow, Blow::FailOnce | Blow::FailOn) && found.hit => {
            judge(command, stage, traced, &stderr, reference, &mut found);
        }
        Some(_) => {}
    }
    clean_up(stage, &mut found);
    use_again(stage, &mut found);
    for what in found.wrong.values_mut() {
        *what = format!("{about}: {what}; said {:?}", stderr.trim());
    }
    found
}

/// Whether a command whose call failed did what it says.
fn judge(command: Command, stage: &Stage, traced: &Traced, stderr: &str, reference: &Reference, found: &mut Found) {
    if traced.code == 0 {
        let effect = command.effect(stage);
        if !effect.lives {
            found.wrong.insert(Wrong::DeadInit, "init is not as it should be".into());
        } else if sorted(&effect.seen) != sorted(&reference.effect.seen) {
            found.wrong.insert(Wrong::Weaker, difference(&reference.effect.seen, &effect.seen));
        }
        return;
    }
    // One line, after warnings of what else went wrong.
    let last = stderr.lines().filter(|line| !line.starts_with("tare: warning: ")).collect::<Vec<_>>();
    let said = if is_tare() { last.len() == 1 && last[0].starts_with("tare: ") } else { !stderr.trim().is_empty() };
    if !said || (traced.code > 128 && traced.code != 255) {
        found.wrong.insert(Wrong::NoMessage, format!("exit code {}", traced.code));
    }
    // What cannot be removed, or changed back, must stay; but then the message says so.
    let admitted = ["delete --force", "new values may stay", "mounts may stay", "the container has stopped"]
        .iter()
        .any(|words| stderr.contains(words));
    if !admitted && !eventually_within(settle(stage), || command.remains(stage).is_empty()) {
        found.wrong.insert(Wrong::LeftBeforeDelete, command.remains(stage).join(", "));
    }
}

/// How long what is left may take to go, in milliseconds: a scope without processes is collected by systemd, in its time.
fn settle(stage: &Stage) -> u64 {
    if stage.bundle.systemd { 10_000 } else { 1000 }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn difference(asked: &str, is: &str) -> String {
    let missing = asked.lines().filter(|line| !is.lines().any(|other| other == *line)).map(|line| format!("- {line}"));
    let extra = is.lines().filter(|line| !asked.lines().any(|other| other == *line)).map(|line| format!("+ {line}"));
    let all: Vec<_> = missing.chain(extra).take(6).collect();
    all.join(" | ")
}

fn clean_up(stage: &Stage, found: &mut Found) {
    let before = Instant::now();
    let done = stage.bundle.tare(&["delete", "--force", &stage.bundle.id]);
    stage.drain();
    if before.elapsed() > DELETE {
        found.wrong.insert(Wrong::Hang, format!("delete --force took {:.1} s", before.elapsed().as_secs_f32()));
    }
    if done.code != 0 {
        found.wrong.insert(Wrong::DeleteFailed, done.stderr.trim().to_string());
    }
    if !eventually_within(settle(stage), || stage.bundle.leftovers().is_empty()) {
        found.wrong.insert(Wrong::LeftAfterDelete, stage.bundle.leftovers().join(", "));
        stage.bundle.sweep();
    }
}

fn use_again(stage: &Stage, found: &mut Found) {
    let done = stage.bundle.tare(&Command::Create.arguments(stage));
    if done.code != 0 {
        found.wrong.insert(Wrong::IdNotReusable, done.stderr.trim().to_string());
    }
    clean_up(stage, found);
}
