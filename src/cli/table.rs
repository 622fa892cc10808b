//! list, ps, info and doctor: tables for people, JSON for programs; list and ps in runc's layout.
//!
//! World: parent.

use std::process::Command;

use serde::Serialize;
use serde_json::Value;
use tare::error::{Code, Error, Result, escaped};
use tare::{Container, Report, Runtime};

/// JSON on several lines.
///
/// # Errors
/// None in practice.
pub fn pretty(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Code::Internal, "encode the output").detail(e.to_string()))?;
    text.push(b'\n');
    Ok(escaped_json(text))
}

/// JSON has its own escapes for the characters below the space alone, and a terminal acts on others too. They stand in
/// strings only.
pub fn escaped_json(text: Vec<u8>) -> Vec<u8> {
    if text.iter().all(|byte| byte.is_ascii() && *byte != b'\x7f') {
        return text;
    }
    let text = String::from_utf8_lossy(&text);
    let is_obeyed = |c: char| !c.is_ascii() && escaped(c.encode_utf8(&mut [0; 4])).starts_with('\\') || c == '\x7f';
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c) {
            code if is_obeyed(c) => shown.push_str(&format!("\\u{code:04x}")),
            _ => shown.push(c),
        }
    }
    shown.into_bytes()
}

/// Prints all containers.
///
/// # Errors
/// The state root cannot be read.
pub fn list(runtime: &Runtime, json: bool, quiet: bool) -> Result<()> {
    let states = runtime.states()?;
    if quiet {
        let ids: String = states.iter().map(|state| format!("{}\n", state.id)).collect();
        return super::print(ids.as_bytes());
    }
    if json {
        let mut text = serde_json::to_string(&states)
            .map_err(|e| Error::new(Code::Internal, "encode the list").detail(e.to_string()))?;
        text.push('\n');
        return super::print(&escaped_json(text.into_bytes()));
    }
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_string);
    let rows = states.iter().map(|state| {
        let bundle = state.bundle.display().to_string();
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.into(),
            bundle,
            state.created.clone(),
            state.owner.clone(),
        ]
    });
    super::print(columns(std::iter::once(head).chain(rows).collect()).as_bytes())
}

/// Prints what doctor found, a line each.
///
/// # Errors
/// stdout cannot be written to.
pub fn doctor(report: &Report, json: bool) -> Result<()> {
    if json {
        return super::print(&pretty(report)?);
    }
    let count = |number: usize, of: &str| format!("{number} {of}{}", if number == 1 { "" } else { "s" });
    let mut text = format!(
        "{}: {}, {}\n",
        escaped(&report.root.to_string_lossy()),
        count(report.containers, "container"),
        count(report.findings.len(), "finding")
    );
    for finding in &report.findings {
        let end = if finding.repaired { "removed" } else { &finding.remedy };
        text += &escaped(&format!("{}: {}; {end}", finding.subject, finding.what));
        text.push('\n');
    }
    super::print(text.as_bytes())
}

/// Prints what the host offers, a line for each value; then what is not possible, a line each.
///
/// # Errors
/// stdout cannot be written to.
pub fn info(report: &Value, json: bool) -> Result<()> {
    if json {
        return super::print(&pretty(report)?);
    }
    let sections = report.as_object().into_iter().flatten().filter(|(section, _)| *section != NOT_POSSIBLE);
    let rows = sections.flat_map(|(section, value)| match value.as_object() {
        Some(members) => members.iter().map(|(name, value)| [format!("{section}.{name}"), word(value)]).collect(),
        None => vec![[section.clone(), word(value)]],
    });
    let text = columns(rows.collect()) + "\nnot possible here\n" + &not_possible(&report[NOT_POSSIBLE]);
    super::print(text.as_bytes())
}

const NOT_POSSIBLE: &str = "notPossible";

/// What, why, and how to change it.
fn not_possible(list: &Value) -> String {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |one: &Value| {
        let [what, why, remedy] = ["what", "why", "remedy"].map(|member| escaped(one[member].as_str().unwrap_or("")));
        format!("  {what}: {why}; {remedy}\n")
    };
    if list.is_empty() { "  nothing is missing\n".to_owned() } else { list.iter().map(line).collect() }
}

/// A value as a cell.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(answer) => if *answer { "yes" } else { "no" }.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Columns as wide as their widest cell plus three, at least 12. A cell may come from a container.
fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|cell| escaped(&cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Prints the processes of a container; the table is that of ps(1), with the container's lines only.
///
/// # Errors
/// The container does not exist; there is no ps(1) for the table.
pub fn ps(container: &Container<'_>, json: bool, arguments: Vec<&str>) -> Result<()> {
    let pids = container.processes()?;
    if json {
        let text: Vec<String> = pids.iter().map(ToString::to_string).collect();
        return super::print(format!("[{}]\n", text.join(",")).as_bytes());
    }
    let arguments = if arguments.is_empty() { vec!["-ef"] } else { arguments };
    let output = match Command::new("ps").args(&arguments).output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && arguments == ["-ef"] => return own_table(&pids),
        output => output.map_err(|e| {
            Error::system("run ps", e).coded(Code::PsFailed).hint("install procps, or leave its arguments out")
        })?,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::new(Code::PsFailed, format!("ps {} failed", arguments.join(" "))).detail(text));
    }
    super::print(filter(&String::from_utf8_lossy(&output.stdout), &pids)?.as_bytes())
}

/// The table of a host without ps(1); a process that ends meanwhile is left out.
fn own_table(pids: &[i32]) -> Result<()> {
    let row = |pid: &i32| {
        let process = procfs::process::Process::new(*pid).ok()?;
        let (stat, words) = (process.stat().ok()?, process.cmdline().ok()?);
        let command = if words.is_empty() { format!("[{}]", stat.comm) } else { words.join(" ") };
        Some([process.uid().ok()?.to_string(), pid.to_string(), stat.ppid.to_string(), command])
    };
    let head = ["UID", "PID", "PPID", "CMD"].map(str::to_string);
    super::print(columns(std::iter::once(head).chain(pids.iter().filter_map(row)).collect()).as_bytes())
}

/// The head line and the lines whose PID column is one of `pids`.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID").ok_or_else(|| {
        Error::new(Code::OptionValueInvalid, "the table of ps has no PID column").hint("choose other arguments for ps")
    })?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(ours)).map(|line| format!("{}\n", escaped(line))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_no_cell() {
        let table = columns(vec![["ID", "BUNDLE"].map(str::to_string), ["a", "/b\x1b[31m\n"].map(str::to_string)]);
        assert_eq!(table, "ID          BUNDLE\na           /b\\u{1b}[31m\\n\n");
        assert_eq!(filter("PID CMD\n42 a\u{9b}31m\n", &[42]).unwrap(), "PID CMD\n42 a\\u{9b}31m\n");
    }

    #[test]
    fn only_the_containers_processes() {
        let table = "UID  PID PPID CMD\nroot 1 0 init\nroot 42 1 sleep 1\nroot 420 1 x 42\n";
        assert_eq!(filter(table, &[42]).unwrap(), "UID  PID PPID CMD\nroot 42 1 sleep 1\n");
        assert!(filter("A B\n", &[1]).is_err());
    }
}
