//! The compiler against an independent evaluation of profiles; values, errors and sizes.
#![allow(clippy::unwrap_used, reason = "tests, and the fuzzers that use a part of them")]
#![cfg_attr(not(test), allow(dead_code, missing_docs, reason = "the fuzzers use a part"))]

#[cfg(test)]
mod docker;
#[cfg(test)]
mod errors;
pub mod interpreter;
#[cfg(test)]
mod meaning;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod oracle;
#[cfg(test)]
mod random;
#[cfg(test)]
mod record;
pub mod specification;
#[cfg(test)]
mod table;

use oci_spec::runtime::LinuxSeccomp;
use serde_json::json;

/// A profile from JSON, as a bundle has it.
fn profile(json: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(json).unwrap()
}

/// Docker's default profile on amd64 without extra capabilities.
fn docker() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../../../tests/data/docker-seccomp.json")).unwrap()
}

/// The least profile: everything is refused but what `rules` say.
fn refusing(rules: serde_json::Value) -> LinuxSeccomp {
    profile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "syscalls": rules,
    }))
}
