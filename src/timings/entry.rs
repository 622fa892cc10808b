//! When the process began: maybe before it executed itself again from a protected image, which leaves it the environment
//! alone to remember by.
//!
//! World: parent.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Span, Track, span_of};
use crate::sys::clock;
use crate::sys::environment::{self, START};
use crate::sys::exec::Strings;

/// Nanoseconds. What is older was left by another process.
const OLDEST: u64 = 60_000_000_000;

/// When [`enter`] was called in the first execution and in this one, on CLOCK_MONOTONIC; 0: not at all.
static FIRST: AtomicU64 = AtomicU64::new(0);
static THIS: AtomicU64 = AtomicU64::new(0);

/// Notes that the process begins, so that a [`Recording`](super::Recording) can cover all of it. To be called before
/// [`crate::protect`].
pub fn enter() {
    let now = clock::monotonic_nanoseconds();
    let left = std::env::var(START).ok().and_then(|text| text.parse().ok());
    FIRST.store(first(left, now), Ordering::Relaxed);
    THIS.store(now, Ordering::Relaxed);
}

/// The caller may have set the variable to anything.
fn first(left: Option<u64>, now: u64) -> u64 {
    left.filter(|left| (now.saturating_sub(OLDEST)..=now).contains(left)).unwrap_or(now)
}

/// The environment for the next execution; `None`: the same as now.
pub(crate) fn environment() -> Option<Strings> {
    let first = FIRST.load(Ordering::Relaxed);
    (first != 0).then(|| environment::with_start(first))
}

/// When the recording begins, and what has been done until `now`.
pub(super) fn spans(now: u64) -> (u64, Vec<Span>) {
    let (first, this) = (FIRST.load(Ordering::Relaxed), THIS.load(Ordering::Relaxed));
    if first == 0 {
        return (now, Vec::new());
    }
    let mut spans = Vec::new();
    if first != this {
        spans.push(span_of(Track::Parent, "execute tare from a read-only image".into(), (first, this), 0));
    }
    spans.push(span_of(Track::Parent, "read the command line".into(), (this, now), 0));
    (first, spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_another_process_left_does_not_count() {
        let now = 100 * OLDEST;
        assert_eq!(first(Some(now - 1), now), now - 1);
        for left in [None, Some(0), Some(now + 1), Some(now - OLDEST - 1), Some(u64::MAX)] {
            assert_eq!(first(left, now), now, "{left:?}");
        }
    }
}
