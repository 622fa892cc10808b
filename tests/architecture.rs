//! The rules of the project's shape, read from its sources: who may be unsafe, who may allocate, who may know whom.
//!
//! The rules stand in `src/lib.rs`. Sources are looked at line by line: comments and code for tests do not count.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test program")]

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms: one kernel subject each, one folder each.
const ROOMS: &[&str] = &["namespaces", "rootfs", "cgroup", "process", "seccomp", "terminal", "hooks", "network"];

/// What every room may import besides itself.
const SHARED: &[&str] = &["error", "wire", "sys"];

/// Lines of a file at the most; above the first number it is a candidate for a split.
const LINES: (usize, usize) = (200, 600);

/// A source file of the product: its path below the repository, and its code lines with their numbers.
struct Source {
    path: String,
    /// The `//!` lines.
    head: String,
    code: Vec<(usize, String)>,
    lines: usize,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

fn files(below: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&repository().join(below), &mut found);
    found
}

/// Files that exist for tests alone are no product.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || ["tests.rs", "oracle.rs"].iter().any(|name| path.file_name().is_some_and(|file| file == *name))
}

fn sources() -> Vec<Source> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let paths =
        files("src").into_iter().filter(|path| rust(path) && !is_test(path.strip_prefix(repository()).unwrap()));
    let sources: Vec<_> = paths.map(|path| read(&path)).collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let head = text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let path = path.strip_prefix(repository()).unwrap().display().to_string();
    Source { path, head, code: code(&text), lines: text.lines().count() }
}

/// The lines without comments, and without items under `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed == "#[cfg(test)]" {
            let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
            // One line (`mod tests;`), or up to the closing brace.
            let one_line = lines.next().is_some_and(|(_, item)| item.ends_with(';'));
            if !one_line {
                lines.by_ref().find(|(_, line)| *line == end);
            }
            continue;
        }
        let line = trimmed.split("//").next().unwrap_or_default();
        if !line.is_empty() {
            code.push((number + 1, line.to_string()));
        }
    }
    code
}

impl Source {
    fn is_child(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        matches!(name, "child.rs" | "init.rs" | "wire.rs") || self.path.contains("/child/")
    }

    fn is_plan(&self) -> bool {
        self.path.ends_with("plan.rs") || self.path.contains("/plan/") || self.head.contains("World: plan.")
    }

    fn room(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split(['/', '.']).next()?;
        ROOMS.contains(&first).then_some(first)
    }

    /// `path:line: text` of every line of code that breaks a rule.
    fn breaches(&self, breaks: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.code.iter().filter(|(_, line)| breaks(line));
        lines.map(|(number, line)| format!("{}:{number}: {line}", self.path)).collect()
    }
}

#[track_caller]
fn assert_none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Whether `word` stands in `line` as a word of its own: `String` is not in `CString`.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    let first_joins = word.starts_with(joins);
    line.match_indices(word).any(|(at, _)| !first_joins || !line[..at].ends_with(joins))
}

#[test]
fn unsafe_is_in_sys_alone() {
    let breaks = |line: &str| has_word(line, "unsafe ") || has_word(line, "unsafe_code");
    let breaches: Vec<_> = sources()
        .iter()
        .filter(|source| !source.path.starts_with("src/sys/") && source.path != "src/lib.rs")
        .flat_map(|source| source.breaches(breaks))
        .collect();
    assert_none("unsafe code belongs into src/sys", &breaches);
}

#[test]
fn the_child_neither_allocates_nor_formats_nor_panics() {
    // Between the clone and exec another thread's lock or a half-done allocation of the parent is copied memory.
    const WORDS: &[&str] = &[
        "format!",
        "String",
        "Vec",
        "vec!",
        "Box::new",
        ".to_string(",
        ".to_owned(",
        ".collect",
        "print!",
        "println",
        "eprint",
        "unwrap(",
        "expect(",
        "std::env",
        "Mutex",
        "panic!",
        "unreachable!",
        "assert!",
        "assert_eq!",
        "thread_local",
        "std::fs",
    ];
    let breaks = |line: &str| {
        let debug = line.contains("debug_assert");
        WORDS.iter().any(|word| has_word(line, word) && !(debug && word.starts_with("assert")))
    };
    let breaches: Vec<_> =
        sources().iter().filter(|source| source.is_child()).flat_map(|source| source.breaches(breaks)).collect();
    assert_none("code after the clone only makes system calls on planned data", &breaches);
}

#[test]
fn rooms_do_not_know_each_other() {
    let mut breaches = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else { continue };
        let knows = |module: &str| module == room || SHARED.contains(&module);
        breaches.extend(source.breaches(|line| imported(line).iter().any(|module| !knows(module))));
    }
    assert_none("a room imports error, wire, sys and itself", &breaches);
}

/// The modules after each `crate::`, also those in braces.
fn imported(line: &str) -> Vec<&str> {
    let name = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let mut modules = Vec::new();
    for (at, found) in line.match_indices("crate::") {
        let rest = &line[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => modules.extend(list.split([',', '}']).map(|part| &part.trim()[..name(part.trim())])),
            None => modules.push(&rest[..name(rest)]),
        }
    }
    modules.retain(|module| !module.is_empty() && *module != "self");
    modules
}

#[test]
fn plans_do_not_touch_the_kernel() {
    const FORBIDDEN: &[&str] = &["std::fs", "std::env", "std::process", "std::net", "OwnedFd", "BorrowedFd"];
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| source.is_plan()) {
        let breaks = |line: &str| calls_kernel(line) || FORBIDDEN.iter().any(|word| line.contains(word));
        breaches.extend(source.breaches(breaks));
    }
    assert_none("a plan is computed from the config and facts alone", &breaches);
}

/// Types and constants of the wrappers may be named (`Winsize`, `MS_RDONLY`); a function or a module of theirs is a call.
fn calls_kernel(line: &str) -> bool {
    ["rustix::", "nix::", "libc::", "crate::sys::"].iter().any(|wrapper| {
        line.match_indices(wrapper).any(|(at, _)| {
            let path =
                line[at..].split(|c: char| !(c.is_alphanumeric() || "_:{".contains(c))).next().unwrap_or_default();
            let last = path.rsplit("::").next().unwrap_or_default();
            let used = line[at + path.len()..].starts_with('(') || line.starts_with("use ");
            used && last.trim_start_matches('{').starts_with(char::is_lowercase)
        })
    })
}

#[test]
fn the_rules_see_what_they_forbid() {
    let text =
        "a();\n// Vec\n    #[cfg(test)]\n    mod tests;\nb();\n#[cfg(test)]\nmod tests {\n    c();\n}\nd(); // e\n";
    let lines: Vec<_> = code(text).into_iter().map(|(number, line)| format!("{number} {}", line.trim())).collect();
    assert_eq!(lines, ["1 a();", "5 b();", "10 d();"]);
    assert!(has_word("let x = Vec::new();", "Vec") && !has_word("let x = ArrayVec::new();", "Vec"));
    assert!(has_word("x.unwrap()", "unwrap(") && has_word("x.to_string()", ".to_string("));
    assert_eq!(imported("use crate::{cgroup, error::Result};"), ["cgroup", "error"]);
    assert_eq!(imported("let x = crate::hooks::plan(crate::wire::Step::Exec);"), ["hooks", "wire"]);
    for call in ["libc::getpid()", "rustix::fs::open(x)", "use nix::unistd;", "use crate::sys::clone::clone3;"] {
        assert!(calls_kernel(call), "{call}");
    }
    for name in ["libc::MS_RDONLY", "use rustix::termios::Winsize;", "use crate::sys::mount::Attributes;"] {
        assert!(!calls_kernel(name), "{name}");
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let sources = sources();
    let long: Vec<_> = sources.iter().filter(|source| source.lines > LINES.0).collect();
    println!("{} of {} files have more than {} lines:", long.len(), sources.len(), LINES.0);
    long.iter().for_each(|source| println!("  {:4} {}", source.lines, source.path));
    let too_long: Vec<_> =
        sources.iter().filter(|s| s.lines > LINES.1).map(|s| format!("{}: {}", s.path, s.lines)).collect();
    assert_none("a file has 600 lines at the most", &too_long);
    let headless: Vec<_> = sources.iter().filter(|s| s.head.is_empty()).map(|s| s.path.clone()).collect();
    assert_none("a file begins with //! and what it does", &headless);
    // That of lib.rs is the documentation of the crate.
    let is_wordy = |s: &&Source| s.head.lines().count() > 20 && s.path != "src/lib.rs";
    let wordy: Vec<_> = sources.iter().filter(is_wordy).map(|s| s.path.clone()).collect();
    assert_none("a head is short", &wordy);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two pieces, so that this file does not find itself.
    let words = [("TO", "DO:"), ("TO", "DO("), ("FIX", "ME"), ("todo", "!("), ("unimplemented", "!("), ("XX", "X:")];
    let words = words.map(|(a, b)| format!("{a}{b}"));
    let mut breaches = Vec::new();
    for path in ["src", "tests", "oci-conformance/src"].iter().flat_map(|below| files(below)) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let found = text.lines().enumerate().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        breaches.extend(found.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    assert_none("what is merged is done", &breaches);
}

#[test]
fn no_path_of_somebodys_machine() {
    let needles = [("/wo", "rk/"), ("../sha", "red"), ("/var/tmp/", "tare")].map(|(a, b)| format!("{a}{b}"));
    let mut breaches = Vec::new();
    let here = ["src", "tests", "scripts", "docs", "oci-conformance/src"];
    let single = ["README.md", "Cargo.toml", "build.rs"].map(|name| repository().join(name));
    for path in here.iter().flat_map(|below| files(below)).chain(single) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let found = text.lines().enumerate().filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
        breaches.extend(found.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    assert_none("sources name no path of a developer's machine", &breaches);
}
