//! The inside of the library, for its own tests alone: no part of the library's face, and gone without the feature.
//!
//! World: door.

/// See the module of that name.
pub mod bundle {
    pub use crate::bundle::*;
}

/// See the module of that name.
pub mod cgroup {
    pub use crate::cgroup::*;
}

/// See the module of that name.
pub mod container {
    pub use crate::container::*;
}

/// See the module of that name.
pub mod error {
    pub use crate::error::*;
}

/// See the module of that name.
pub mod hooks {
    pub use crate::hooks::*;
}

/// See the module of that name.
pub mod host {
    pub use crate::host::*;
}

/// See the module of that name.
pub mod namespaces {
    pub use crate::namespaces::*;
}

/// See the module of that name.
pub mod plan {
    pub use crate::plan::*;
}

/// See the module of that name.
pub mod process {
    pub use crate::process::*;
}

/// See the module of that name.
pub mod resctrl {
    pub use crate::resctrl::*;
}

/// See the module of that name.
pub mod rootfs {
    pub use crate::rootfs::*;
}

/// See the module of that name.
pub mod seccomp {
    pub use crate::seccomp::*;
}

/// See the module of that name.
pub mod sys {
    pub use crate::sys::*;
}

/// See the module of that name.
pub mod terminal {
    pub use crate::terminal::*;
}

/// See the module of that name.
pub mod wire {
    pub use crate::wire::*;
}
