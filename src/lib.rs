//! tare, a low-level OCI container runtime, as a library. The `tare` program is its first user.
//!
//! A [`Runtime`] is a state root; a [`Bundle`] goes in, a [`Container`] comes out:
//!
//! ```no_run
//! use tare::{Bundle, CreateOptions, ExecOptions, Force, Runtime, Signal, Target};
//!
//! tare::protect(c"example")?;
//! let runtime = Runtime::new("/run/example");
//! let container = runtime.create("web", &Bundle::new("/srv/web"), &CreateOptions::default())?;
//! container.start()?;
//! let code = container.exec(&ExecOptions::new(["id", "-u"]))?;
//! container.kill(Signal::TERM, Target::Init)?;
//! container.delete(Force::Yes)?;
//! # Ok::<(), tare::Error>(())
//! ```
//!
//! # What it does to the calling process
//!
//! [`protect`] may execute the program again, and must be called before anything else. [`Runtime::create`] and
//! [`Container::exec`] block all signals of the calling thread for a moment, and make the process non-dumpable for the
//! time of the clone. [`Runtime::run`] and a foreground [`Container::exec`] take over the process's signals and, with a
//! terminal, its stdin and stdout, until the program has ended; `run` also makes the process a child subreaper, unless
//! the options forbid it. startContainer hooks reset all signals of the process and ignore SIGPIPE. Many mounts raise
//! its soft limit of open files, which stays raised. `execCPUAffinity.initial` is set on it for the time of the clone.
//! `record_syscalls` creates a process that ends with the last process that it records.
//! [`protect`] moves the environment and sets the process name. Nothing else is changed, and no thread is made.
//!
//! # How it works
//!
//! ```text
//! Bundle -> Spec -> Plan (pure) -> open descriptors -> clone -> init -> execve
//! ```
//!
//! docs/architecture.md tells it, with the layers of the modules and the glossary. Read `container/create/mod.rs` for the
//! parent's straight line and `init.rs` for the child's.
//!
//! World: door.

mod annotation;
mod bundle;
mod cgroup;
mod checkpoint;
mod container;
pub mod error;
mod features;
mod hooks;
mod host;
mod init;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod json_path;
mod label;
mod mountinfo;
mod namespaces;
mod network;
mod number_list;
mod own_executable;
mod plan;
mod process;
mod resctrl;
mod rootfs;
mod runtime;
mod seccomp;
mod spawn;
pub mod startup;
mod sys;
mod terminal;
pub mod timings;
mod whole_file;
mod wire;

pub use bundle::Bundle;
pub use cgroup::CgroupManager;
pub use container::check::CheckReport;
pub use container::checkpoint::{CgroupMode, CheckpointOptions, NetworkLock, PageServer, RestoreOptions};
pub use container::doctor::{Finding, FindingKind, Report};
pub use container::events::{Output as EventOutput, Statistics};
pub use container::inspect::{Entry as InspectionEntry, Inspection};
pub use container::mounts::Mounts;
pub use container::options::{CreateOptions, ExecOptions, RunOptions, Stdio};
pub use container::state::State;
pub use container::status::Status;
pub use container::time::now as timestamp;
pub use container::update::Resources;
pub use error::{Code, Error, ErrorKind, Result};
pub use features::features;
pub use host::info;
pub use own_executable::protect;
pub use plan::{PlanSection, PlanSummary};
pub use runtime::{Container, Force, Runtime, Signal, Target};
