//! Intel RDT: the resctrl group of a container, for shares of the L3 cache and of the memory bandwidth, and what it uses.
//!
//! World: door.
//! Verbs: [`plan`] (pure) -> [`look`] (before anything exists) -> [`make`] -> [`Group::set_up`] -> [`Group::admit`] for each
//! process. [`Recorded`] is what later commands know of the group. Source: runtime-spec 1.3 config-linux.md, "IntelRdt";
//! Documentation/filesystems/resctrl.rst.

mod parent;
mod plan;
mod recorded;
mod root;
mod schema;
mod stats;
#[cfg(test)]
mod tests;

pub use parent::{Group, Looked, look, make};
pub use plan::{Line, ResctrlFacts, ResctrlPlan, line, plan};
pub use recorded::Recorded;
pub use root::mount;
pub use stats::IntelRdt;
