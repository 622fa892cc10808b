//! Network set-up inside a new network namespace: the loopback interface.
//!
//! Interfaces beyond it are the engine's work (CNI, netavark), between create and start.

pub mod child;
