//! The process: arguments, environment, user, capabilities, limits, labels, and its execution.
//!
//! `plan` (pure) turns `process` of config.json into masks, numbers and pointer arrays; `child` applies
//! them after pivot_root, in the order of its functions; `explain` (parent) words a fault of the child.

pub mod capabilities;
pub mod child;
mod environment;
mod explain;
pub mod labels;
pub mod limits;
mod paths;
mod plan;
pub mod scheduling;
pub mod user;

pub use plan::{Facts, Plan, plan};

/// The JSON path of `field` below `at`, which may be empty.
fn path(at: &str, field: &str) -> String {
    if at.is_empty() { field.to_string() } else { format!("{at}.{field}") }
}

/// `text` for the kernel.
///
/// # Errors
/// A NUL in it, which no string of the kernel's can carry.
fn c_string(text: &str, at: impl FnOnce() -> String) -> crate::error::Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| crate::error::Error::invalid(at(), "contains a NUL character"))
}
