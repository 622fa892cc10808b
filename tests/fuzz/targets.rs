//! What is fuzzed, and what must hold for every input: one function for each parser, which panics when it does not.
//!
//! `properties` drives them with proptest, in `scripts/test unit` and for longer in `scripts/fuzz`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a broken promise is reported")]

mod cgroups;
mod command_line;
mod configs;
mod mutate;
mod properties;

use std::path::{Path, PathBuf};

pub use mutate::{Shape, mutate};
use tare::internals::error::Error;

/// A parser, and what is known about its inputs.
#[derive(Debug)]
pub struct Target {
    /// For `scripts/fuzz NAME`, and the directory of its inputs below tests/data/corpus.
    pub name: &'static str,
    /// How inputs are changed.
    pub shape: Shape,
    /// Panics when the parser breaks a promise.
    pub check: fn(&[u8]),
    /// Changed inputs that `scripts/test unit` tries: what a core does in 15 seconds, without optimization.
    pub cases: u64,
    /// Files of tests/data that are inputs too.
    pub more: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("config", Shape::Json, 2500, configs::config, &["docker-config.json", "runc-spec.json"]),
    target("process", Shape::Json, 10_000, configs::process, &[]),
    target("resources", Shape::Json, 15_000, cgroups::resources, &[]),
    target("record", Shape::Json, 20_000, configs::record, &[]),
    target("seccomp", Shape::Json, 2500, configs::seccomp, &["docker-seccomp.json"]),
    target("arguments", Shape::Text, 35_000, command_line::arguments, &[]),
    target("words", Shape::Text, 25_000, command_line::words, &[]),
    target("options", Shape::Text, 20_000, configs::options, &[]),
    target("cgroups-path", Shape::Text, 100_000, cgroups::path, &[]),
    target("annotation", Shape::Text, 100_000, cgroups::annotation, &[]),
    target("message", Shape::Bytes, 400_000, cgroups::message, &[]),
];

const fn target(
    name: &'static str,
    shape: Shape,
    cases: u64,
    check: fn(&[u8]),
    more: &'static [&'static str],
) -> Target {
    Target { name, shape, cases, check, more }
}

/// The target of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

impl Target {
    /// The files of inputs that are kept: real ones, and every one that a promise was broken with.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn kept(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.more.iter().map(|name| data().join(name)).collect();
        let directory = data().join("corpus").join(self.name);
        paths.extend(std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()));
        paths.sort();
        assert!(!paths.is_empty(), "{} has no inputs", self.name);
        paths
    }

    /// What is in them.
    #[must_use]
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        self.kept().iter().map(|path| std::fs::read(path).unwrap()).collect()
    }
}

/// An error is one line that can be read, and says where.
fn check_error(error: &Error, begins: &str) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 8192, "{} bytes: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "more than a line: {text:?}");
    let path = error.path();
    assert!(path.is_some_and(|path| !path.is_empty()) || text.starts_with(begins), "it does not say where: {text}");
}

/// As [`check_error`], for text that people wrote on a command line.
fn check_words(text: &str) {
    assert!(!text.is_empty() && text.len() < 8192, "{} bytes: {text}", text.len());
    assert!(!text.chars().any(char::is_control), "more than a line: {text:?}");
}

/// Shown without the addresses of pointers, which differ from run to run.
fn shown(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let mut parts = text.split("0x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()))
}

/// Panics where two values are shown differently, with the first difference of what may be many pages.
#[track_caller]
fn check_same(one: &impl std::fmt::Debug, other: &impl std::fmt::Debug) {
    let (one, other) = (shown(one), shown(other));
    if one != other {
        let at = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
        let part = |text: &str| text.chars().skip(at.saturating_sub(80)).take(160).collect::<String>();
        panic!("planned otherwise: {}\nfirst it was: {}", part(&other), part(&one));
    }
}
