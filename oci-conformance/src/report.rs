//! Prints what came of the programs, and compares it with what is expected.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::arguments::Run;
use crate::error::{Error, Result};
use crate::expectations::{EXPECTATIONS, Expectation, of};
use crate::runner::Outcome;

/// Longest reason in the table, in characters; `--logs` has the whole.
const WIDTH: usize = 160;

/// Prints the table and the summary; returns whether the runtime has passed what it must.
///
/// # Errors
/// The JSON file cannot be written.
pub fn print(outcomes: &[Outcome], options: &Run) -> Result<bool> {
    println!("{:<34} {:<12} {:>6}  reason", "program", "verdict", "time");
    for outcome in outcomes {
        let (verdict, reason) = verdict(outcome, options.baseline);
        let reason: String = reason.chars().take(WIDTH).collect();
        println!("{:<34} {verdict:<12} {:>5.1}s  {reason}", outcome.name, outcome.took.as_secs_f64());
    }
    if let Some(file) = &options.json {
        write_json(outcomes, file)?;
    }
    let good = options.baseline || summarize(outcomes, options.filters.is_empty());
    let passed = outcomes.iter().filter(|outcome| outcome.complaint.is_none()).count();
    let total = if options.filters.is_empty() { EXPECTATIONS.len() } else { outcomes.len() };
    println!("runtime-tools: {passed} of {total} passed");
    Ok(good)
}

/// Prints what is expected of each program, with the reason where it is not a pass.
pub fn print_expectations() {
    for (name, expectation) in EXPECTATIONS {
        match expectation {
            Expectation::MustPass => println!("{name:<34} must pass"),
            Expectation::MustBeSilent => println!("{name:<34} must pass, with nothing to say"),
            Expectation::MustPassWhere(need) => {
                println!("{name:<34} must pass where {}", need.description());
            }
            Expectation::MayPass(reason) => println!("{name:<34} may pass: {reason}"),
            Expectation::CannotPass(reason) => println!("{name:<34} cannot pass: {reason}"),
        }
    }
}

fn verdict(outcome: &Outcome, baseline: bool) -> (&'static str, String) {
    let Some(complaint) = &outcome.complaint else { return passed(outcome, baseline) };
    if baseline {
        return ("fail", complaint.clone());
    }
    match of(&outcome.name) {
        Some(Expectation::CannotPass(reason)) => ("cannot pass", (*reason).to_owned()),
        Some(Expectation::MayPass(reason)) => ("may fail", (*reason).to_owned()),
        Some(Expectation::MustPassWhere(need)) if !need.is_met() => {
            ("not here", format!("only where {}", need.description()))
        }
        _ => ("FAIL", complaint.clone()),
    }
}

fn passed(outcome: &Outcome, baseline: bool) -> (&'static str, String) {
    let Some(remark) = &outcome.remark else { return ("pass", String::new()) };
    let word = match of(&outcome.name) {
        Some(Expectation::MustBeSilent) if !baseline => "NOT SILENT",
        _ => "pass",
    };
    (word, format!("prints no result, says: {remark}"))
}

/// Says what is unlike the table of expectations.
fn summarize(outcomes: &[Outcome], all: bool) -> bool {
    let mut good = true;
    let mut complain = |text: String| {
        good = false;
        println!("{text}");
    };
    for outcome in outcomes {
        if matches!(verdict(outcome, false).0, "FAIL" | "NOT SILENT") {
            let how = if outcome.complaint.is_some() { "pass" } else { "pass silently" };
            complain(format!("must {how} and does not: {}", outcome.name));
        }
        match of(&outcome.name) {
            None => complain(format!("not in the table of expectations: {}", outcome.name)),
            Some(Expectation::CannotPass(_)) if outcome.complaint.is_none() => {
                println!("passes, although listed as one that cannot: {}", outcome.name);
            }
            Some(_) => {}
        }
    }
    let is_missing = |name: &str| all && outcomes.iter().all(|outcome| outcome.name != name);
    for (name, _) in EXPECTATIONS.iter().filter(|(name, _)| is_missing(name)) {
        complain(format!("not in the built suite: {name}"));
    }
    good
}

fn write_json(outcomes: &[Outcome], file: &Path) -> Result<()> {
    let rows = outcomes.iter().map(|outcome| {
        let complaint = outcome.complaint.as_deref().map_or("null".to_owned(), quoted);
        let took = outcome.took.as_millis();
        format!("  {{\"program\": {}, \"complaint\": {complaint}, \"ms\": {took}}}", quoted(&outcome.name))
    });
    let text = format!("[\n{}\n]\n", rows.collect::<Vec<_>>().join(",\n"));
    fs::write(file, text).map_err(Error::at(file))
}

fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => json.extend(['\\', char]),
            // Writing to a String cannot fail.
            c if c.is_control() => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(quoted("a \"b\"\\\n\u{e9}"), "\"a \\\"b\\\"\\\\\\u000a\u{e9}\"");
    }
}
