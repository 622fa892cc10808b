//! World: door. checkpoint, and what restore shares with it. restore itself is a creation (`../create/restore.rs`).

mod dump;
mod images;
mod mounts;
mod options;
mod request;
mod yard;

pub use dump::checkpoint;
pub(super) use images::{Images, read_descriptors};
pub(super) use mounts::{restored, stdio_pipes, text};
pub use options::{CgroupMode, CheckpointOptions, NetworkLock, PageServer, RestoreOptions};
pub(super) use request::{NETWORK_KEY, PID_KEY, asked, config_file, require_root};
pub(super) use yard::Yard;
