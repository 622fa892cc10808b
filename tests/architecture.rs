//! The rules of the project's shape, read from its sources: layers, worlds, where unsafe code is.
//!
//! The rules are described in docs/architecture.md. Comments and code for tests do not count.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test program")]

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first: a module imports modules of the rows above its own, and itself. Modules of one row do not
/// know each other. A name is a module of the crate; one with a slash is a file or folder that is apart from its module.
const LAYERS: &[&[&str]] = &[
    &["sys"],
    &["error", "wire", "json_path", "annotation", "number_list", "mountinfo", "whole_file"],
    &["label", "timings"],
    // The rooms, one kernel subject each; and the bundle's files.
    &[
        "namespaces",
        "rootfs",
        "cgroup",
        "process",
        "seccomp",
        "terminal",
        "hooks",
        "network",
        "checkpoint",
        "resctrl",
        "bundle",
    ],
    &["host"],
    &["plan", "own_executable", "features"],
    &["init"],
    &["spawn"],
    &["container"],
    // The library's face, then the binary, which sees nothing else of the library.
    &["runtime", "startup", "internals"],
    &["tare"],
    &["cli"],
    &["main", "sys/entry"],
];

/// What a file may do, by the word after `World:` in its head.
const WORLDS: &[&str] = &["plan", "parent", "child", "all", "door"];

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
    /// The word after `World:`, empty if there is none.
    fn world(&self) -> &str {
        let rest = self.head.split("World: ").nth(1).unwrap_or_default();
        &rest[..rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len())]
    }

    /// The world that the file's name or folder promises.
    fn promised(&self) -> Option<&'static str> {
        let named =
            |world: &str| self.path.ends_with(&format!("/{world}.rs")) || self.path.contains(&format!("/{world}/"));
        ["plan", "parent", "child"].into_iter().find(|world| named(world))
    }

    /// Whether it runs in the child too.
    fn is_child(&self) -> bool {
        matches!(self.world(), "child" | "all")
    }

    /// The modules on the way to this file, from the crate's root: `rootfs`, `child`, `masks`.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path).split('/').collect()
    }

    /// The name in [`LAYERS`] that this file belongs to.
    fn layer_name(&self) -> String {
        let modules = self.modules();
        let apart = |name: &&&str| name.contains('/') && modules.join("/").starts_with(**name);
        LAYERS.iter().copied().flatten().find(apart).map_or_else(|| modules[0].to_string(), |name| (*name).to_string())
    }

    /// The code as one text.
    fn text(&self) -> String {
        self.code.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
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

/// Whether `word` stands in `line` as a word of its own: `String` is neither in `CString` nor in `Strings`.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    let apart = |at: usize| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !(word.starts_with(joins) && before.ends_with(joins) || word.ends_with(joins) && after.starts_with(joins))
    };
    line.match_indices(word).any(|(at, _)| apart(at))
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
        "VecDeque",
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
        let debug = line.contains("debug_assert") || line.starts_with("const ");
        WORDS.iter().any(|word| has_word(line, word) && !(debug && word.starts_with("assert")))
    };
    let breaches: Vec<_> =
        sources().iter().filter(|source| source.is_child()).flat_map(|source| source.breaches(breaks)).collect();
    assert_none("code after the clone only makes system calls on planned data", &breaches);
}

#[test]
fn modules_import_lower_layers() {
    let row = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let mut breaches = Vec::new();
    let mut used = 0;
    for source in sources().iter().filter(|source| source.path != "src/lib.rs") {
        let own = source.layer_name();
        let Some(own_row) = row(&own) else {
            breaches.push(format!("{}: {own} is in no row of the table", source.path));
            continue;
        };
        let (text, in_binary) = (source.text(), own_row > row("tare").unwrap());
        for module in imported(&text, source.modules().len(), in_binary) {
            used += 1;
            match row(&module) {
                _ if module == own => {}
                Some(other) if other < own_row => {}
                Some(_) => breaches.push(format!("{}: {own} imports {module}", source.path)),
                None => breaches.push(format!("{}: {module} is in no row of the table", source.path)),
            }
        }
    }
    assert!(used > 300, "the imports were not found: {used}");
    assert_none("a module imports lower layers and itself", &breaches);
}

/// The modules of the crate's root that a text names, in a file `depth` modules below the root: after `crate::` and enough
/// `super::`, also in braces and over several lines. In the binary `tare`, if it names anything of the library.
fn imported(text: &str, depth: usize, in_binary: bool) -> Vec<String> {
    let mut modules = Vec::new();
    if in_binary && text.contains("tare::") {
        modules.push("tare".to_string());
    }
    let root = "super::".repeat(depth);
    for prefix in ["crate::", root.as_str()] {
        for (at, _) in text.match_indices(prefix) {
            let before = &text[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            modules.extend(names(&text[at + prefix.len()..]));
        }
    }
    modules.retain(|module| !module.is_empty() && module != "self" && module != "super");
    modules
}

/// The first names of what follows `::`: one, or those of a list in braces.
fn names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(name(list[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_file_names_its_world() {
    let mut breaches = Vec::new();
    for source in sources() {
        let world = source.world();
        if !WORLDS.contains(&world) {
            breaches.push(format!("{}: no world: {world:?}", source.path));
        } else if source
            .promised()
            .is_some_and(|promised| world != promised && !(world == "all" && promised == "child"))
        {
            breaches.push(format!("{}: {world}, unlike its name", source.path));
        }
    }
    assert_none("the head of a file says `World: ` and one of plan, parent, child, all, door", &breaches);
}

#[test]
fn a_door_has_no_code() {
    let breaks = |line: &str| has_word(line, "fn ");
    let breaches: Vec<_> =
        sources().iter().filter(|source| source.world() == "door").flat_map(|source| source.breaches(breaks)).collect();
    assert_none("a door declares and re-exports", &breaches);
}

#[test]
fn worlds_call_what_they_may() {
    // Types of the parent may be named anywhere: what it opens, it hands over.
    let calls = |line: &str, world: &str| {
        let path = format!("{world}::");
        let called = |at: usize| line[at + path.len()..].trim_start_matches('{').starts_with(char::is_lowercase);
        line.match_indices(&path)
            .any(|(at, _)| called(at) && !line[..at].ends_with(|c: char| c == '_' || c.is_alphanumeric()))
    };
    let mut breaches = Vec::new();
    for source in sources() {
        breaches.extend(match source.world() {
            // No error text, no facts, nothing of the parent's.
            "child" | "all" => source.breaches(|line| calls(line, "parent") || line.contains("crate::error")),
            "plan" => source.breaches(|line| calls(line, "parent") || calls(line, "child")),
            _ => Vec::new(),
        });
    }
    assert_none("plan and child call nothing of the parent's", &breaches);
}

#[test]
fn plans_do_not_touch_the_kernel() {
    const FORBIDDEN: &[&str] = &["std::fs", "std::env", "std::process", "std::net", "OwnedFd", "BorrowedFd"];
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| source.world() == "plan") {
        let breaks = |line: &str| calls_kernel(line) || FORBIDDEN.iter().any(|word| line.contains(word));
        breaches.extend(source.breaches(breaks));
    }
    assert_none("a plan is computed from the config and facts alone", &breaches);
}

/// An error number's text is a constant, as are its names.
const PURE: &str = "nix::errno::";

/// Types and constants of the wrappers may be named (`Winsize`, `MS_RDONLY`); a function or a module of theirs is a call.
fn calls_kernel(line: &str) -> bool {
    ["rustix::", "nix::", "libc::", "crate::sys::"].iter().any(|wrapper| {
        line.match_indices(wrapper).any(|(at, _)| {
            let path =
                line[at..].split(|c: char| !(c.is_alphanumeric() || "_:{".contains(c))).next().unwrap_or_default();
            let last = path.rsplit("::").next().unwrap_or_default();
            let used = !path.starts_with(PURE) && line[at + path.len()..].starts_with('(') || line.starts_with("use ");
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
    assert!(has_word("use a::String;", "String") && !has_word("use a::Strings;", "String"));
    assert!(has_word("x.unwrap()", "unwrap(") && has_word("x.to_string()", ".to_string("));
    assert_eq!(
        imported("use crate::{cgroup, error::{Error, Result},\n    wire};", 2, false),
        ["cgroup", "error", "wire"]
    );
    assert_eq!(imported("let x = crate::hooks::plan(crate::wire::Step::Exec);", 2, false), ["hooks", "wire"]);
    assert_eq!(imported("use super::plan; use super::super::hooks;", 2, false), ["hooks"]);
    assert_eq!(imported("use tare::Runtime;", 2, true), ["tare"]);
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

#[test]
fn documents_name_files_that_exist() {
    let is_path = |word: &&str| {
        ["src/", "tests/", "scripts/", "docs/", "examples/", "oci-conformance/"].iter().any(|top| word.starts_with(top))
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
            // A name to be filled in.
            && !["NAME", "TARGET"].iter().any(|open| word.contains(open))
    };
    let (mut missing, mut named) = (Vec::new(), 0);
    for document in ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/testing.md", "docs/startup.md"] {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        for word in text.split('`').skip(1).step_by(2).filter(is_path) {
            named += 1;
            if !repository().join(word).exists() {
                missing.push(format!("{document}: {word}"));
            }
        }
    }
    assert!(named > 100, "the names were not found: {named}");
    assert_none("a file that a document names exists", &missing);
}
