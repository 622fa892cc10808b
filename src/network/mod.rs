//! Network set-up: the loopback interface of a new network namespace, devices that are moved into one; and what went
//! through the interfaces.
//!
//! World: door.
//! Interfaces beyond those are the engine's work (CNI, netavark), between create and start.

pub mod child;
pub mod devices;
pub mod plan;
mod route;
pub mod statistics;

pub use plan::{Device, plan};
