//! The cgroup of a container: where it is, what limits it has, how it is frozen, killed and measured.
//!
//! World: door.
//! Verbs: [`plan`] (pure) -> [`Cgroup::create`] (parent) -> clone into [`Cgroup::directory`]. cgroup v2
//! only; on a hybrid host the v2 tree is used and a limit of a controller bound to v1 is an error.

pub mod change;
pub mod check;
pub mod control;
mod controllers;
mod delegate;
pub mod devices;
mod effective;
mod files;
mod hierarchy;
pub mod holds;
pub mod limits;
mod lookup;
mod parent;
pub mod path;
pub mod plan;
pub mod stats;
pub mod systemd;
mod tag;
mod tree;
mod update;
mod watch;

pub use change::plan_change;
pub use controllers::READ_ONLY;
pub use delegate::{Refusal, refusal};
pub use effective::AttachedProgram;
pub use hierarchy::{Hierarchy, mount, own_path, path_of};
pub use lookup::explain_gone;
pub use parent::{Cgroup, above};
pub use plan::{CgroupFacts, CgroupManager, CgroupPlan, DELEGATE, Driver, Systemd, file_path, is_relative, plan};
pub use stats::{BlockIo, Cpu, CpuSet, HugePages, Memory, Pids, Stats};
pub use systemd::UnitName;
pub use systemd::parent::control_group;
pub use tag::{Identity, Tag};
pub use watch::{Happening, Watch};
