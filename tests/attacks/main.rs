//! The attack classes of docs/security.md, each tried on the built binary: a container, an image or a caller does what
//! led to CVEs in some runtime. The number in a test's name is the class; `scripts/attacks` prints them as a table.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test program")]

mod binary;
#[path = "../host/bundle.rs"]
#[allow(dead_code, reason = "shared with the other tests of the binary")]
mod bundle;
mod cgroups;
mod descriptors;
mod faults;
mod hooks;
mod names;
mod paths;
mod privileges;
mod procfs;
mod state;
mod support;
#[path = "../host/trace.rs"]
#[allow(dead_code, reason = "shared with the other tests of the binary")]
mod trace;
