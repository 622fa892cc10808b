//! `linux.resources` as an ordered list of values for cgroup v2 files. World: plan.
//!
//! Promise: every member is written, is a value that engines send for "not set", or is an error.
//! Order rules: cpuset first (memory is charged to its nodes); swap before memory.max, so that a
//! lowered limit may push pages out; cpu.idle before or after cpu.weight as the kernel demands;
//! cpu.max before its burst; `unified` last, because it names the files themselves.
//! Source: runtime-spec 1.3 config-linux.md; Documentation/admin-guide/cgroup-v2.rst.

mod block_io;
mod convert;
mod cpu;
mod memory;
#[cfg(test)]
mod oracle;
mod other;
#[cfg(test)]
mod tests;

use oci_spec::runtime::LinuxResources;

use crate::error::Result;

/// What to do when the kernel has no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMissing {
    /// The limit cannot be set: an error.
    Fail,
    /// What is asked holds without the file (no swap to limit, no reservations to count).
    Skip,
    /// Another file and value mean the same.
    Instead(&'static str, String),
}

/// One value for one file of the cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// File name in the cgroup's directory; never a path.
    pub file: String,
    /// What is written, in one write(2).
    pub value: String,
    /// The JSON path of the setting, for errors.
    pub at: String,
    /// When the file is not there.
    pub if_missing: IfMissing,
}

impl Write {
    fn new(at: String, file: impl Into<String>, value: impl ToString) -> Self {
        Self { file: file.into(), value: value.to_string(), at, if_missing: IfMissing::Fail }
    }

    /// For "no limit", which holds where the file is not there.
    fn or_skip_if(self, unlimited: bool) -> Self {
        if unlimited { self.or_skip() } else { self }
    }

    fn or_skip(self) -> Self {
        Self { if_missing: IfMissing::Skip, ..self }
    }

    fn or(self, file: &'static str, value: impl ToString) -> Self {
        Self { if_missing: IfMissing::Instead(file, value.to_string()), ..self }
    }

    /// The controller that owns the file, which must be enabled; `None` for files of the core.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        let controller = self.file.split_once('.').map_or(self.file.as_str(), |(controller, _)| controller);
        // Pressure files exist without the controller (Linux 5.2: cgroup.pressure governs them).
        let core = controller == "cgroup" || self.file.ends_with(".pressure");
        (!core && self.if_missing != IfMissing::Skip).then_some(controller)
    }
}

/// The writes for `resources`, in order; devices are not among them.
///
/// # Errors
/// A value that cannot be accepted or that cgroup v2 cannot do, with its JSON path below `at`.
pub fn plan(resources: &LinuxResources, at: &str) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(cpu) = resources.cpu() {
        cpu::plan(cpu, &format!("{at}.cpu"), &mut writes)?;
    }
    if let Some(memory) = resources.memory() {
        memory::plan(memory, &format!("{at}.memory"), &mut writes)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::plan(block_io, &format!("{at}.blockIO"), &mut writes)?;
    }
    other::plan(resources, at, &mut writes)?;
    Ok(writes)
}
