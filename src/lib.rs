//! tare, a low-level OCI container runtime: the library behind the binary.
//!
//! ```text
//! Bundle -> Spec -> Plan (pure) -> prepared descriptors -> double fork -> init::run -> exec
//! ```
//!
//! Every piece of code lives in one of three worlds, visible in file names: `plan.rs` decides and never touches the
//! kernel; `parent.rs` opens, writes and waits; `child.rs` (and `init.rs`, `wire.rs`) only makes system calls on data
//! it was handed: no allocation, no locks, no formatting, no panics. Each kernel subject is a room (a folder) with one
//! door (`mod.rs`). Rooms do not import each other: `plan.rs` and `init.rs` bring them together, and so do the commands in
//! `container/` and the facts in `host.rs`.
//!
//! Read `container/create.rs` for the parent's straight line and `init.rs` for the child's.
//!
//! World: door.
//!
//! Glossary: `Bundle`, an opened bundle directory; `Spec`, what the user asked; `Plan`, what will be done; `Record`,
//! what is remembered on disk; `State`, the JSON that engines read, derived from kernel facts each time.

mod annotation;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod error;
/// For the fuzzers alone.
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/targets/mod.rs"]
pub mod fuzz;
pub mod hooks;
pub mod host;
pub mod init;
mod json_path;
pub mod namespaces;
pub mod network;
pub mod own_executable;
pub mod plan;
pub mod process;
pub mod rootfs;
pub mod seccomp;
pub mod spawn;
pub mod sys;
pub mod terminal;
pub mod wire;
