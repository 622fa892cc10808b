//! The binary: `main` is in `sys/entry.rs`, everything else in the library.
//!
//! World: parent.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;
