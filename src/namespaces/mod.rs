//! Namespaces: which are new, which are joined, their id mappings, names, clocks and sysctls.
//!
//! World: door.
//! plan (pure) -> parent (opens the joined ones, writes id mappings) -> child (enters, names, sysctls).

pub mod check;
pub mod child;
mod explain;
mod kind;
pub mod parent;
pub mod plan;
pub mod sysctl;

pub use kind::{NamespaceKind, NamespaceSet, word};
pub use parent::OpenNamespaces;
pub use plan::{NamespacePlan, plan};
