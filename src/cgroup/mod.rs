//! The cgroup of a container: where it is, what limits it has, how it is frozen, killed and measured.
//!
//! World: door.
//! Verbs: [`plan`] (pure) -> [`Cgroup::create`] (parent) -> clone into [`Cgroup::directory`]. cgroup v2
//! only; on a hybrid host the v2 tree is used and a limit of a controller bound to v1 is an error.

mod change;
mod control;
mod controllers;
mod delegate;
mod devices;
mod files;
mod hierarchy;
mod limits;
mod lookup;
mod parent;
pub(crate) mod path;
mod plan;
mod stats;
pub(crate) mod systemd;
mod tag;
mod tree;
mod update;
mod watch;

pub use change::{Change, Present, plan_change};
pub use control::Events;
pub use delegate::refusal;
pub use devices::Devices;
pub use hierarchy::{Hierarchy, mount, own_path, path_of};
pub use limits::{IfMissing, Write};
pub use lookup::explain_gone;
pub use parent::{Cgroup, above};
pub use plan::{Asked, Driver, Facts, Plan, Scope, Systemd, file_path, is_relative, plan};
pub use stats::{BlockIo, Cpu, CpuSet, DeathFacts, HugePages, Memory, Pids, Pressure, Stats};
pub use systemd::parent::control_group;
pub use systemd::{Instance, Property, Unit, UnitName};
pub use tag::{Identity, Tag};
pub use watch::{Happening, Watch};
