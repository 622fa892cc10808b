//! Every test of this repository by name, so that a table can name one and be held to it.
//!
//! - `tare::rootfs::options::tests::the_later_word_wins_but_for_trees`, `oci_conformance::tap::tests::...`: beside the code
//! - `host::lifecycle::pause_and_resume`: in `tests/`, by program and module
//! - `vm/limits: a process that exceeds the memory limit is killed`: words of a test in shell
//! - `runtime-tools/mounts`: a program of the validation suite
//! - `scripts/reproducible`: a check of its own

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names that tables may use.
pub struct Known(BTreeSet<String>);

impl Known {
    /// Reads all sources.
    pub fn gather() -> Self {
        let mut names = BTreeSet::new();
        for (below, root) in [("src", "tare"), ("oci-conformance/src", "oci_conformance"), ("tests", "")] {
            walk(&repository().join(below), &mut |path| {
                let Some(module) = module(path.strip_prefix(repository().join(below)).unwrap(), root) else { return };
                names.extend(in_file(&fs::read_to_string(path).unwrap(), &module));
            });
        }
        let read = |name: &str| fs::read_to_string(repository().join(name)).unwrap();
        names.extend(in_file(&read("scripts/documents.rs"), "documents"));
        // Tables instead of attributes: `("name", function),` and `("name", expectation`.
        names.extend(entries(&read("tests/terminal.rs"), "    (\"").map(|name| format!("terminal::{name}")));
        let suite = read("oci-conformance/src/expectations.rs");
        let (_, table) = suite.split_once("EXPECTATIONS: &[").unwrap();
        let programs = table.lines().filter_map(|line| line.trim_start().trim_start_matches('(').strip_prefix('"'));
        names.extend(programs.map(|rest| format!("runtime-tools/{}", rest.split('"').next().unwrap())));
        Self(names)
    }

    /// What is wrong with a cell that names tests, separated by "; ".
    pub fn unknown(&self, cell: &str) -> Vec<String> {
        cell.split("; ").filter(|name| !name.is_empty() && !self.has(name)).map(str::to_string).collect()
    }

    fn has(&self, name: &str) -> bool {
        if name.starts_with("scripts/") {
            return repository().join(name).is_file();
        }
        match name.strip_prefix("vm/").and_then(|rest| rest.split_once(": ")) {
            Some((file, words)) => {
                let text = fs::read_to_string(repository().join("tests/vm").join(file)).unwrap_or_default();
                !words.is_empty() && text.contains(words)
            }
            None => self.0.contains(name),
        }
    }
}

/// The Rust files below a directory.
pub fn walk(directory: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found(&path);
        }
    }
}

/// `rootfs/plan/tests.rs` is `tare::rootfs::plan::tests`; `main`, `lib` and `mod` are their directory.
fn module(path: &Path, root: &str) -> Option<String> {
    let mut parts: Vec<_> = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_string()).collect();
    if ["main", "lib", "mod"].contains(&parts.last()?.as_str()) {
        parts.pop();
    }
    if !root.is_empty() {
        parts.insert(0, root.to_string());
    }
    Some(parts.join("::"))
}

/// The functions behind `#[test]`, also in a module of the file.
fn in_file(text: &str, module: &str) -> Vec<String> {
    let (mut names, mut inner, mut is_test) = (Vec::new(), None, false);
    for line in text.lines() {
        let word = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap().to_string();
        if let Some(rest) =
            line.trim_start_matches("pub(super) ").strip_prefix("mod ").filter(|rest| rest.ends_with('{'))
        {
            inner = Some(word(rest));
        } else if line == "}" {
            inner = None;
        }
        let trimmed = line.trim_start();
        match trimmed.strip_prefix("fn ") {
            _ if trimmed == "#[test]" => is_test = true,
            Some(rest) if is_test => {
                let parts = [Some(module.to_string()), inner.clone(), Some(word(rest))];
                names.push(parts.into_iter().flatten().collect::<Vec<_>>().join("::"));
                is_test = false;
            }
            _ => {}
        }
    }
    names
}

fn entries<'text>(text: &'text str, start: &str) -> impl Iterator<Item = &'text str> {
    text.lines().filter_map(move |line| line.strip_prefix(start)?.split_once("\", ").map(|(name, _)| name))
}

#[test]
fn tests_are_found_where_they_are() {
    let known = Known::gather();
    for name in [
        "tables::known::tests_are_found_where_they_are",
        "architecture::unsafe_is_in_sys_alone",
        "host::lifecycle::pause_and_resume",
        "tare::rootfs::options::tests::the_later_word_wins_but_for_trees",
        "tare::rootfs::plan::tests::docker",
        "terminal::exit_codes",
        "runtime-tools/mounts",
        "runtime-tools/delete",
        "vm/limits: a process that exceeds the memory limit is killed",
        "scripts/reproducible",
    ] {
        assert_eq!(known.unknown(name), [""; 0]);
    }
    for name in
        ["host::lifecycle::nothing", "vm/limits: never said", "vm/nowhere: x", "runtime-tools/none", "scripts/no"]
    {
        assert_eq!(known.unknown(&format!("terminal::exit_codes; {name}")), [name]);
    }
}
