//! World: door. Checkpoint and restore through CRIU: its messages, its process, its log.

mod child;
pub mod criu;
mod log;
pub mod messages;
