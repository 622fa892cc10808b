//! The rule that the child allocates nothing, enforced in debug builds by the global allocator.

use std::sync::atomic::{AtomicBool, Ordering};

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From now on an allocation in this process (a copy, since the fork) is a defect; debug builds abort.
pub fn forbid() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

/// Whether [`forbid`] was called in this process.
#[must_use]
pub fn is_forbidden() -> bool {
    FORBIDDEN.load(Ordering::Relaxed)
}
