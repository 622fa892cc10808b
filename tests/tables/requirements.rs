//! `oci-conformance/requirements.csv`: what runtime-spec v1.3.0 demands on Linux, and the test that holds tare to it.

use std::collections::BTreeSet;
use std::fs;

use crate::known::{Known, repository};

const HEAD: [&str; 6] = ["id", "section", "requirement", "test", "status", "note"];

/// `met` has a test; `differs` and `not-applicable` have a reason; `untested` is a gap, with how it is met.
const STATUS: [&str; 4] = ["met", "differs", "not-applicable", "untested"];

/// The documents that a section may be in.
const DOCUMENTS: [&str; 7] =
    ["bundle.md", "config.md", "config-linux.md", "features.md", "features-linux.md", "runtime.md", "runtime-linux.md"];

struct Row {
    line: usize,
    cells: Vec<String>,
}

impl Row {
    fn cell(&self, name: &str) -> &str {
        &self.cells[HEAD.iter().position(|head| *head == name).unwrap()]
    }

    /// What breaks the rules of the table.
    fn faults(&self, known: &Known) -> Vec<String> {
        let [test, status, note] = ["test", "status", "note"].map(|name| self.cell(name));
        let mut faults: Vec<_> = known.unknown(test).into_iter().map(|name| format!("no such test: {name}")).collect();
        let mut fault = |is_one: bool, text: &str| faults.extend(is_one.then(|| text.to_string()));
        fault(!STATUS.contains(&status), "no such status");
        fault(status == "met" && test.is_empty(), "met, and no test");
        fault(status != "met" && note.is_empty(), "not met, and no reason");
        fault(status == "untested" && !test.is_empty(), "untested, and a test");
        fault(["id", "section", "requirement"].iter().any(|name| self.cell(name).is_empty()), "an empty cell");
        fault(!DOCUMENTS.contains(&self.cell("section").split('#').next().unwrap()), "no such document");
        faults
    }
}

/// RFC 4180 without line breaks in cells.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut quoted, mut last) = (vec![String::new()], false, ' ');
    for c in line.chars() {
        match c {
            '"' => {
                // Two in a quoted cell are one of its text.
                if !quoted && last == '"' {
                    cells.last_mut().unwrap().push('"');
                }
                quoted = !quoted;
            }
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
        last = c;
    }
    cells
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(repository().join("oci-conformance/requirements.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().map(cells).unwrap(), HEAD);
    let rows: Vec<_> = lines.enumerate().map(|(at, line)| Row { line: at + 2, cells: cells(line) }).collect();
    for row in &rows {
        assert_eq!(row.cells.len(), HEAD.len(), "line {}", row.line);
    }
    rows
}

#[test]
fn every_requirement_is_met_by_a_test_or_has_a_reason() {
    let (known, rows) = (Known::gather(), rows());
    let faults: Vec<_> = rows
        .iter()
        .flat_map(|row| row.faults(&known).into_iter().map(|fault| format!("line {}: {fault}", row.line)))
        .collect();
    assert!(faults.is_empty(), "oci-conformance/requirements.csv\n{}", faults.join("\n"));
    let mut ids = BTreeSet::new();
    let twice: Vec<_> = rows.iter().map(|row| row.cell("id")).filter(|id| !ids.insert(*id)).collect();
    assert!(twice.is_empty(), "ids given twice: {twice:?}");
    for status in STATUS {
        println!("{status}: {}", rows.iter().filter(|row| row.cell("status") == status).count());
    }
}

/// Where a program of runtime-tools tests an older text, the row that says so names the program.
#[test]
fn older_programs_have_a_row() {
    let text = fs::read_to_string(repository().join("oci-conformance/src/expectations.rs")).unwrap();
    // A string may go on in the next line.
    let quoted: Vec<_> =
        text.split("requirement ").skip(1).map(|rest| rest.trim_start_matches(['\\', '\n', ' '])).collect();
    assert!(!quoted.is_empty(), "no expectation quotes a requirement");
    let rows = rows();
    for rest in quoted {
        let id = rest.split(|c: char| !(c.is_alphanumeric() || c == '-')).next().unwrap();
        assert!(
            rows.iter().any(|row| row.cell("id") == id),
            "expectations.rs quotes {id}, which is not a row of requirements.csv"
        );
    }
}

#[test]
fn cells_may_be_quoted() {
    assert_eq!(cells(r#"a,"b, c","d ""e""",,f"#), ["a", "b, c", "d \"e\"", "", "f"]);
}
