//! Records the system calls of a container, and writes the profile that allows them.
//!
//! World: door. Order: [`plan()`] makes the filter that reports every call which the profile in force allows ->
//! `super::child` installs it and hands the listener over -> [`parent::Recorder::serve`] starts the process that notes
//! each call and lets it through (`child`) -> [`written()`] makes the profile from what was [`seen`].
//! Promises: no call that the profile in force refuses is made or recorded; the written profile is never weaker.

mod calls;
mod child;
mod complement;
pub mod parent;
mod plan;
mod seen;
mod written;

pub use calls::Calls;
pub use plan::plan;
pub use written::{refuses_by_default, written};

#[cfg(test)]
pub(super) fn note(page: &[std::sync::atomic::AtomicU64], arch: u32, number: u32, first: u64) {
    seen::Seen(page).note(arch, number, first);
}

#[cfg(test)]
pub(super) fn seen(page: &[std::sync::atomic::AtomicU64], multiplexers: bool) -> Calls {
    Calls::seen(seen::Seen(page), multiplexers)
}
