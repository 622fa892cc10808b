//! inspect: a table of one screen for people, JSON for programs.
//!
//! World: parent. Promise: what comes from the container is escaped, in JSON too, and long values are cut in the table.

use std::fmt::Write;

use serde_json::Value;
use tare::error::{Result, escaped};
use tare::{Inspection, InspectionEntry};

/// The longest cell, in characters.
const WIDEST: usize = 36;

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// A line of the table.
struct Row {
    section: &'static str,
    cells: [String; 3],
    differs: bool,
}

/// Prints what was found.
///
/// # Errors
/// stdout cannot be written to.
pub fn print(inspection: &Inspection, json: bool) -> Result<()> {
    if json {
        return super::print(&super::table::pretty(inspection)?);
    }
    super::print(table(inspection, has_colours()).as_bytes())
}

/// Source: no-color.org.
fn has_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && rustix::termios::isatty(rustix::stdio::stdout())
}

fn table(inspection: &Inspection, colours: bool) -> String {
    let head = format!("{}: {}", inspection.id, inspection.status);
    let pid = if inspection.pid == 0 { String::new() } else { format!(", pid {}", inspection.pid) };
    let created = format!(", created {}", inspection.created);
    let mut text = format!("{}\n", escaped(&format!("{head}{pid}{created}")));
    let _ = writeln!(text, "bundle {}", escaped(&inspection.bundle.to_string_lossy()));
    if inspection.pid == 0 {
        text.push_str("it has no process: only what is recorded is shown\n");
    }
    text.push('\n');
    let sections = inspection.sections();
    let rows: Vec<Row> = sections.into_iter().flat_map(|(section, entries)| rows(section, entries)).collect();
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0) + 2;
    let widths = [width(|row| row.section), width(|row| &row.cells[0]), width(|row| &row.cells[1]).max(12)];
    let mut section = "";
    text += &line(["", "", "configured", "effective"], widths, false, false);
    for row in &rows {
        let shown = if section == row.section { "" } else { row.section };
        section = row.section;
        let [name, configured, effective] = &row.cells;
        text += &line([shown, name, configured, effective], widths, row.differs, colours);
    }
    text.push('\n');
    text + &differences(inspection, colours)
}

fn line(cells: [&str; 4], [section, name, configured]: [usize; 3], differs: bool, colours: bool) -> String {
    let mark = if differs { "! " } else { "  " };
    let [first, second, third, last] = cells;
    let line = format!("{mark}{first:section$}{second:name$}{third:configured$}{last}");
    coloured(line.trim_end(), differs && colours)
}

fn coloured(line: &str, red: bool) -> String {
    if red { format!("{RED}{line}{PLAIN}\n") } else { format!("{line}\n") }
}

fn differences(inspection: &Inspection, colours: bool) -> String {
    let mut text = match inspection.differences.len() {
        0 if inspection.pid == 0 => return "differences: not compared\n".to_owned(),
        0 => return "no differences\n".to_owned(),
        1 => "1 difference:\n".to_owned(),
        count => format!("{count} differences:\n"),
    };
    for sentence in &inspection.differences {
        text += &coloured(&format!("! {}", escaped(sentence)), colours);
    }
    text
}

fn rows(section: &'static str, entries: &[InspectionEntry]) -> Vec<Row> {
    // What everybody has, or what is as it should be, is counted: the table has to fit on a screen.
    let is_counted = |entry: &&InspectionEntry| entry.difference.is_none() && is_counted(section, entry);
    let counted: Vec<&InspectionEntry> = entries.iter().filter(is_counted).collect();
    let mut rows: Vec<Row> =
        entries.iter().filter(|entry| !is_counted(entry)).map(|entry| row(section, entry)).collect();
    rows.extend(summary(section, &counted));
    rows
}

fn is_counted(section: &str, entry: &InspectionEntry) -> bool {
    let is_usual = entry.configured.is_null() && entry.note.is_none();
    match section {
        "paths" => entry.note.is_none(),
        "process" | "cgroup" => is_usual,
        _ => false,
    }
}

/// One row instead of those that are counted; for the paths one of each kind.
fn summary(section: &'static str, counted: &[&InspectionEntry]) -> Vec<Row> {
    let row = |name: &str, configured: String, effective: String| Row {
        section,
        cells: [name.to_owned(), configured, effective],
        differs: false,
    };
    let others = |what: &str| vec![row("other limits", "-".to_owned(), format!("{} {what}", counted.len()))];
    match section {
        _ if counted.is_empty() => Vec::new(),
        "paths" => ["masked", "read-only"]
            .iter()
            .filter_map(|kind| paths(kind, counted))
            .map(|[name, asked, now]| row(&name, asked, now))
            .collect(),
        "process" => others("inherited"),
        _ => others("unset"),
    }
}

/// How many paths of a kind there are: `12 paths`, `5 masked, 7 absent`.
fn paths(kind: &str, counted: &[&InspectionEntry]) -> Option<[String; 3]> {
    let ours: Vec<String> =
        counted.iter().filter(|entry| entry.configured == kind).map(|entry| cell(&entry.effective)).collect();
    let count = |word: &str| ours.iter().filter(|other| *other == word).count();
    let words = [kind, "absent"].map(|word| (count(word), word));
    let words: Vec<String> =
        words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let words = if words.is_empty() { "-".to_owned() } else { words.join(", ") };
    (!ours.is_empty()).then(|| [kind.to_owned(), format!("{} paths", ours.len()), words])
}

fn row(section: &'static str, entry: &InspectionEntry) -> Row {
    let mut effective = cell(&entry.effective);
    if let Some(note) = &entry.note {
        effective = format!("{effective} ({note})");
    }
    let cells = [entry.name.clone(), cell(&entry.configured), effective];
    let [name, configured, effective] = cells.map(|cell| escaped(&cell));
    let differs = entry.difference.is_some();
    Row { section, cells: [cut(&name, WIDEST), cut(&configured, WIDEST), cut(&effective, 2 * WIDEST)], differs }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    format!("{}...", text.chars().take(most - 3).collect::<String>())
}

/// A value as text; a long list is cut between its elements.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => words(list),
        Value::Object(members) => {
            let member = |name: &str| members.get(name).map(cell).filter(|text| text != "none");
            let known = ["kind", "inode", "id", "type", "options", "propagation", "soft", "hard"]
                .into_iter()
                .filter_map(member);
            known.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn words(list: &[Value]) -> String {
    let words: Vec<String> = list.iter().map(|word| cell(word).trim_start_matches("CAP_").to_owned()).collect();
    let mut text = String::new();
    for (number, word) in words.iter().enumerate() {
        let rest = words.len() - number;
        if number > 0 && text.len() + word.len() + 5 > WIDEST {
            return format!("{text} +{rest}");
        }
        let between = if number == 0 { "" } else { "," };
        let _ = write!(text, "{between}{word}");
    }
    text
}
