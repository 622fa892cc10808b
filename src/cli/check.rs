//! check: what would be refused and what would be done, for people and as JSON.
//!
//! World: parent.

use serde_json::{Map, Value, json};
use tare::error::{Error, Result, escaped};
use tare::{CheckReport, CreateOptions, PlanSummary};

use super::values::Values;

/// The options of create that decide what is refused.
pub fn options(command: Values<'_>) -> CreateOptions<'static> {
    let options = CreateOptions::default()
        .no_pivot(command.flag("no-pivot"))
        .keep_keyring(command.flag("no-new-keyring"))
        .preserve_fds(command.one::<u32>("preserve-fds").copied().unwrap_or(0));
    match command.one::<std::path::PathBuf>("console-socket").filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => options.console_socket(path),
        None => options,
    }
}

/// Prints the report.
///
/// # Errors
/// stdout cannot be written to.
pub fn print(report: &CheckReport, plan: bool, json: bool) -> Result<()> {
    let plan = report.plan.as_ref().filter(|_| plan);
    if json {
        return super::print(&super::table::pretty(&object(report, plan))?);
    }
    let mut text = String::new();
    for (word, list) in [("error", &report.errors), ("warning", &report.warnings)] {
        text.extend(list.iter().map(|error| format!("{word}: {error}\n")));
    }
    text.extend(plan.into_iter().flat_map(|plan| &plan.sections).map(|section| {
        let steps = section.steps.iter().map(|step| format!("  {}\n", escaped(step)));
        format!("{}:\n{}", section.name, steps.collect::<String>())
    }));
    super::print(format!("{text}{}\n", verdict(report)).as_bytes())
}

/// `tare check: 3 errors, 1 warning`.
fn verdict(report: &CheckReport) -> String {
    let count = |number: usize, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
    let mut words = Vec::new();
    if report.would_start() {
        words.push("would start".to_owned());
    } else {
        words.push(count(report.errors.len(), "error"));
    }
    if !report.warnings.is_empty() {
        words.push(count(report.warnings.len(), "warning"));
    }
    format!("tare check: {}", words.join(", "))
}

fn object(report: &CheckReport, plan: Option<&PlanSummary>) -> Value {
    let list = |errors: &[Error]| errors.iter().map(finding).collect::<Vec<_>>();
    let mut object = Map::new();
    object.insert("errors".to_owned(), json!(list(&report.errors)));
    object.insert("warnings".to_owned(), json!(list(&report.warnings)));
    object.extend(plan.map(|plan| ("plan".to_owned(), plan.json())));
    Value::Object(object)
}

fn finding(error: &Error) -> Value {
    json!({
        "path": error.path(),
        "kind": error.kind().name(),
        "code": error.code().name(),
        "message": error.message(),
        "hint": error.advice(),
    })
}
