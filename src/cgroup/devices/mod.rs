//! Device rules of a container: from `linux.resources.devices` to a program that the kernel asks
//! at every mknod and every open of a device node. World: plan.
//!
//! Promise: the last rule that speaks about an access decides it; what no rule speaks about is denied.

mod program;
mod rules;
#[cfg(test)]
mod tests;

use oci_spec::runtime::LinuxDeviceCgroup;

use crate::error::{Code, Error, Result};
use crate::sys::bpf::Instruction;

/// What the cgroup does about devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// A program decides.
    Enforced(Vec<Instruction>),
    /// The rules allow everything: no program is attached.
    AllowAll,
    /// The caller is in a user namespace, where the kernel loads no device programs; device nodes
    /// cannot be made there either, so the rules have nothing to hold (as runc does).
    NotEnforcedInUserNamespace,
}

/// Plans the device program for `rules` and the default devices.
///
/// # Errors
/// A rule with a type, number or access that does not exist.
pub fn plan(rules: &[LinuxDeviceCgroup], at: &str, user_namespace: bool) -> Result<Devices> {
    let rules = rules::parse(rules, at)?;
    if user_namespace {
        return Ok(Devices::NotEnforcedInUserNamespace);
    }
    let table = rules::Table::new(&rules);
    if table.allows_all() {
        return Ok(Devices::AllowAll);
    }
    let program = program::assemble(&table);
    program
        .map(Devices::Enforced)
        .ok_or_else(|| Error::refused(Code::CgroupDeviceRuleInvalid, at, "the rules make a program that is too long"))
}
