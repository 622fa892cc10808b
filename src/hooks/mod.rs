//! Hooks: programs of the host's administrator that run at six points of a container's life.
//!
//! World: door.
//! They are never run by init itself (docs/security.md, class 26): `parent::run` starts each one in a process of its
//! own, in the runtime's namespaces or joined to the container's, with nothing but its own arguments and environment, the state
//! JSON on stdin, and no descriptor of ours. plan (pure) -> run (parent) -> child (the process before its execve).

mod child;
mod parent;
mod plan;
mod streams;

pub use parent::{Place, look, run, run_with};
pub use plan::{Hook, HookPlan, plan};
