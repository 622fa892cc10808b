//! tare, a low-level OCI container runtime.
#![cfg_attr(test, allow(clippy::unwrap_used))]
pub mod cgroup;
pub mod error;
pub mod hooks;
pub mod namespaces;
pub mod network;
pub mod process;
pub mod rootfs;
pub mod seccomp;
pub mod sys;
pub mod terminal;
pub mod wire;
