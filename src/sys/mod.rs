//! System calls that neither nix nor rustix wraps: the only unsafe code of tare.
//!
//! World: all. Promises: one block, one call; nothing here knows OCI; no function that the child
//! calls allocates. Errors are `rustix::io::Errno`.
#![allow(unsafe_code, reason = "this folder is the place for it")]

pub mod access;
pub mod allocation;
pub mod bpf;
pub mod clock;
pub mod clone;
pub mod credentials;
pub mod descriptors;
pub mod directory;
pub mod environment;
pub mod exec;
pub mod exit_code;
pub mod interface;
pub mod keyring;
pub mod marks;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod page;
pub mod parked;
pub mod pidfd;
pub mod probe;
pub mod process_attributes;
pub mod procfs;
pub mod pty;
pub mod scheduling;
pub mod seccomp;
pub mod signals;
pub mod stack;
mod strings;
pub mod text;

use rustix::io::Errno;

/// The result of `libc::syscall`-like calls: -1 means errno.
fn check(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value >= 0 {
        return Ok(value);
    }
    Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()))
}
