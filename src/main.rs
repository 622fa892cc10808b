//! The binary: the command line on top of the library. `main` is in `sys/entry.rs`.
//!
//! World: parent.
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have a main of their own"))]

mod cli;
#[cfg(not(test))]
#[path = "sys/entry.rs"]
mod entry;
#[cfg(all(not(test), target_arch = "x86_64", target_env = "musl"))]
#[path = "sys/exe_file.rs"]
mod exe_file;
