//! Network set-up inside a new network namespace: the loopback interface; and what went through the interfaces.
//!
//! Interfaces beyond it are the engine's work (CNI, netavark), between create and start.

pub mod child;
pub mod statistics;
