//! The seccomp filter: from the OCI profile to one cBPF program, installed in the child, announced to an agent.
//!
//! World: door. Order: [`plan()`] (pure), [`child::install`], then only with an agent
//! [`child::send_listener`], [`parent::receive_listener`], [`parent::send_to_agent`].
//! Promises: a profile means here what it means to libseccomp as runc drives it; where we differ (overlapping
//! rules, socketcall and ipc on 32-bit x86) the stricter reading is taken; `decide` says how.

mod abi;
mod chain;
pub mod child;
mod compile;
mod decide;
mod emit;
pub mod parent;
pub mod plan;
mod profile;
mod raw;
pub mod record;
mod tables;

#[cfg(any(test, feature = "internals"))]
pub mod tests;

pub use plan::{SeccompPlan, check_names, plan};
pub use raw::plan_raw;
