//! The kinds and codes of errors: the tables of `docs/errors.md`, which `scripts/errors` writes from the code.

use std::fmt::Write;
use std::fs;

use tare::{Code, ErrorKind};

use crate::known::{repository, walk};

/// What follows it is written from the code.
const GENERATED: &str = "\n## Kinds\n";

/// With TARE_WRITE_ERRORS it is written.
#[test]
fn the_page_is_what_the_code_says() {
    let path = repository().join("docs/errors.md");
    let written = fs::read_to_string(&path).unwrap();
    let (by_hand, _) =
        written.split_once(GENERATED).unwrap_or_else(|| panic!("{}: no heading \"Kinds\"", path.display()));
    let page = format!("{by_hand}{GENERATED}{}", tables());
    if std::env::var_os("TARE_WRITE_ERRORS").is_some() {
        return fs::write(&path, &page).unwrap();
    }
    assert!(written == page, "docs/errors.md is stale; run scripts/errors");
}

fn tables() -> String {
    let mut page = String::from(KINDS);
    for kind in ErrorKind::ALL {
        let codes = Code::ALL.iter().filter(|code| code.kind() == *kind).count();
        writeln!(page, "| `{}` | {} | {EXIT_CODE} | {codes} |", kind.name(), kind.meaning()).unwrap();
    }
    page.push_str(CODES);
    for code in Code::ALL {
        let (name, kind) = (code.name(), code.kind().name());
        writeln!(page, "| `{name}` | `{kind}` | {} | {} |", code.meaning(), code.remedy()).unwrap();
    }
    page
}

/// The exit code depends on the command alone, so that engines can tell a failed `exec` from a failed program.
const EXIT_CODE: &str = "1; 255 from `exec`";

const KINDS: &str = "
The tables below are written by `scripts/errors` from `src/error.rs` and `src/error/code.rs`; change these files, not
the tables.

| kind | meaning | exit code | codes |
|---|---|---|---|
";

const CODES: &str = "
## Codes

A code keeps its name, its kind and its meaning in later versions; new versions may add codes, and may give an error a
code that says more than `system-call-failed` or `config-value-invalid`.

| code | kind | meaning | what to do |
|---|---|---|---|
";

#[test]
fn each_code_is_used() {
    let mut text = String::new();
    walk(&repository().join("src"), &mut |path| {
        if !path.ends_with("error/code.rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    });
    let is_used = |code: &Code| {
        let variant = format!("Code::{code:?}");
        text.match_indices(&variant).any(|(at, _)| !text[at + variant.len()..].starts_with(char::is_alphanumeric))
    };
    let unused: Vec<_> = Code::ALL.iter().filter(|code| !is_used(code)).collect();
    assert!(unused.is_empty(), "no error has these codes: {unused:?}");
}
