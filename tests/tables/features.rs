//! `docs/features.tsv`, and `docs/features.md`, which is made of it by `scripts/features`.
//!
//! A line of the table is a section (`# TITLE`), what follows a title, or a row: capability, what the specification
//! says, tare, test, runc, crun. tare's answer is `yes`, `no: WHY`, `partial: WHY` or `none`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use crate::known::{Known, repository};

const HEAD: &str = "capability\tspec\ttare\ttest\trunc 1.5\tcrun 1.29";

struct Row<'text> {
    capability: &'text str,
    spec: &'text str,
    tare: &'text str,
    test: &'text str,
    peers: [&'text str; 2],
}

enum Line<'text> {
    Section(&'text str),
    Row(Row<'text>),
}

fn lines(table: &str) -> Vec<Line<'_>> {
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some(HEAD));
    let line = |line: &'_ str| -> Vec<String> { line.split('\t').map(str::to_string).collect() };
    lines
        .map(|text| match text.strip_prefix("# ") {
            Some(title) => Line::Section(title),
            None => {
                let cells: Vec<_> = text.split('\t').collect();
                let [capability, spec, tare, test, runc, crun] = cells[..] else {
                    panic!("{} cells in {:?}", cells.len(), line(text));
                };
                Line::Row(Row { capability, spec, tare, test, peers: [runc, crun] })
            }
        })
        .collect()
}

fn rows<'lines, 'text>(lines: &'lines [Line<'text>]) -> impl Iterator<Item = &'lines Row<'text>> {
    lines.iter().filter_map(|line| match line {
        Line::Row(row) => Some(row),
        Line::Section(_) => None,
    })
}

fn word(answer: &str) -> &str {
    answer.split(':').next().unwrap()
}

/// The page. A bar in a cell is written so that the table keeps its columns.
fn page(lines: &[Line<'_>]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut page = String::from(INTRODUCTION);
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for row in rows(lines) {
        for (at, answer) in [row.tare, row.peers[0], row.peers[1]].into_iter().enumerate() {
            counts.entry(word(answer)).or_default()[at] += 1;
        }
    }
    for (answer, [tare, runc, crun]) in counts {
        writeln!(page, "| {answer} | {tare} | {runc} | {crun} |").unwrap();
    }
    for line in lines {
        match line {
            Line::Section(title) => {
                write!(page, "\n## {title}\n\n| capability | spec | tare | test | runc | crun |\n").unwrap();
                page.push_str("|---|---|---|---|---|---|\n");
            }
            Line::Row(row) => {
                let test = row.test.split("; ").filter(|test| !test.is_empty()).map(|test| format!("`{test}`"));
                let test = test.collect::<Vec<_>>().join(", ");
                let words = [row.capability, row.spec, row.tare, &test, row.peers[0], row.peers[1]].map(cell);
                writeln!(page, "| {} |", words.join(" | ")).unwrap();
            }
        }
    }
    let untested: Vec<_> = rows(lines).filter(|row| word(row.tare) == "yes" && row.test.is_empty()).collect();
    let yes = rows(lines).filter(|row| word(row.tare) == "yes").count();
    let head = format!("{} of {yes} rows that say yes have no test:", untested.len());
    write!(page, "\n## Without a test\n\n{head}\n\n").unwrap();
    untested.iter().for_each(|row| writeln!(page, "- {}", row.capability).unwrap());
    page
}

const INTRODUCTION: &str = "\
# Features

Made of `docs/features.tsv` by `scripts/features`; change that file, not this one. `tests/tables` fails when a row names
a test that does not exist, or when this page is not what the table says.

The rows are what runc 1.5.1, crun 1.29.1 and the runtime specification 1.3 know between them. The answers for runc and
crun come from reading their sources, those for tare from its code and tests. **yes**: done. **partial**: accepted with a
limit that is named. **no**: absent or refused. **none**: there is nothing to have. In the column *spec*, *apply-or-error*
means that the field is optional in config.json, and a runtime that finds it has to apply it or fail.

| answer | tare | runc | crun |
|---|---|---|---|
";

fn table() -> String {
    fs::read_to_string(repository().join("docs/features.tsv")).unwrap()
}

#[test]
fn every_row_has_an_answer_and_names_tests_that_exist() {
    let (known, table) = (Known::gather(), table());
    let lines = lines(&table);
    let mut faults = Vec::new();
    for row in rows(&lines) {
        let mut fault = |is_one: bool, text: &str| faults.extend(is_one.then(|| format!("{}: {text}", row.capability)));
        known.unknown(row.test).iter().for_each(|name| fault(true, &format!("no such test: {name}")));
        fault(!["yes", "no", "partial", "none"].contains(&word(row.tare)), "no such answer");
        fault(["no", "partial"].contains(&row.tare), "no reason");
        fault(row.peers.iter().any(|peer| peer.is_empty()), "no answer of a peer");
    }
    assert!(faults.is_empty(), "docs/features.tsv\n{}", faults.join("\n"));
    let count = rows(&lines).count();
    assert!(count >= 550, "{count} rows");
}

/// With TARE_WRITE_FEATURES it is written.
#[test]
fn the_page_is_what_the_table_says() {
    let (table, path) = (table(), repository().join("docs/features.md"));
    let page = page(&lines(&table));
    if std::env::var_os("TARE_WRITE_FEATURES").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/features.md is stale; run scripts/features");
}
