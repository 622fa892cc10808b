//! Changed inputs for every parser; see `targets`.
#![allow(missing_docs, reason = "a test")]

#[path = "../../src/cli/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the parsers alone are looked at")]
mod cli;
mod targets;
