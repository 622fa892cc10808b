//! Hooks: planned here, run by the parent (never by init).

use std::os::fd::BorrowedFd;

use oci_spec::runtime::Spec;

use crate::error::{Error, Result};

/// A program that is run at a point of the lifecycle.
#[derive(Debug, Clone)]
pub struct Hook;

/// The hooks of a container.
#[derive(Debug, Default)]
pub struct Plan {
    /// Before createRuntime, deprecated.
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, before pivot_root.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// In the container's namespaces, before the program.
    pub start_container: Vec<Hook>,
    /// After the program has started.
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    pub poststop: Vec<Hook>,
}

impl Plan {
    /// Whether create has hooks to run before pivot_root.
    #[must_use]
    pub fn before_pivot(&self) -> bool {
        !(self.prestart.is_empty() && self.create_runtime.is_empty() && self.create_container.is_empty())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.before_pivot() && self.start_container.is_empty() && self.poststart.is_empty() && self.poststop.is_empty()
    }
}

/// Where a hook runs.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the runtime's namespaces.
    Runtime,
    /// In those of a container.
    Container {
        /// Its init.
        pidfd: BorrowedFd<'a>,
        /// CLONE_NEW* bits.
        namespaces: u64,
    },
}

/// Plans the hooks.
///
/// # Errors
/// There are some: they are not done yet.
pub fn plan(spec: &Spec) -> Result<Plan> {
    match spec.hooks() {
        None => Ok(Plan::default()),
        Some(_) => Err(Error::unsupported("hooks", "not supported yet")),
    }
}

/// Runs hooks.
///
/// # Errors
/// They are not done yet.
pub fn run(list: &[Hook], _state: &[u8], _place: Place<'_>) -> Result<()> {
    if list.is_empty() { Ok(()) } else { Err(Error::unsupported("hooks", "not supported yet")) }
}
