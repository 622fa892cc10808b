//! The terminal: a pty of the container's own devpts, handed to the console socket or relayed in the foreground.
//!
//! World: door.
//! Order: `plan` -> `parent::open` (before the clone) -> in init: `child::open`, `child::send_master`,
//! `child::attach` (after setsid) -> `parent::Console::master` and `foreground::wait` in a foreground run or exec.
//! The console socket of an engine and the socket pair of the foreground are one and the same to the child.
//! `foreground::wait` serves processes without a terminal too.

mod caller;
pub mod child;
mod flow;
pub mod foreground;
pub mod parent;
pub mod plan;
mod relay;

pub use plan::{TerminalPlan, plan};
