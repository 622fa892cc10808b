//! The process: arguments, environment, user, capabilities, limits, labels, and its execution.
//!
//! World: door.
//! `plan` (pure) turns `process` of config.json into masks, numbers and pointer arrays; `child` applies
//! them after pivot_root, in the order of its functions; `explain` (parent) words a fault of the child.

pub mod capabilities;
pub mod check;
pub mod child;
mod environment;
mod explain;
pub mod labels;
pub mod limits;
mod paths;
mod plan;
pub mod scheduling;
pub mod user;

pub use plan::{ProcessFacts, ProcessPlan, plan};
