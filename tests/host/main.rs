//! Black-box tests of the built binary on this host's kernel: as root, with cgroup2 alone on /sys/fs/cgroup.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "a test program")]

mod aftermath;
mod bad_bundles;
mod bad_values;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod bundle;
mod check;
mod checkpoint;
mod delegation;
mod doctor;
mod error_codes;
#[path = "../faults/errors.rs"]
#[allow(dead_code, reason = "shared with the tests of faults")]
mod errors;
mod events;
mod exec;
mod faults;
mod first_contact;
mod hooks;
mod info;
mod inspect;
mod library;
mod lifecycle;
mod live_mounts;
mod mappings;
mod mount_options;
mod mount_words;
mod nested;
mod network_devices;
mod not_utf8;
mod notify;
mod options;
mod other_abi;
mod output;
mod placement;
mod process_file;
#[path = "../attacks/programs.rs"]
mod programs;
mod record;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod requests;
mod requirements;
mod resctrl;
mod resctrl_tree;
mod restricted;
mod rootless;
mod run;
mod scarcity;
mod signals;
mod stack;
mod storms;
mod systemd;
mod timings;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod trace;
mod update;
mod words;
