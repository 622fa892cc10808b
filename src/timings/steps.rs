//! The steps of a child, from the marks that it leaves in shared memory.
//!
//! World: parent.
//! A process of the container may write to that memory until the program is executed. So the number of marks is bounded, a
//! step or an element that does not exist is left out or has no name, and times are kept within those of the parent.

use std::rc::Rc;

use rustix::io::Errno;

use super::{Span, Track, span_of};
use crate::error::Error;
use crate::sys::clock;
use crate::sys::marks::{Mark, Marks};
use crate::wire::{Fault, Step};

/// How the part of the child that tare hears of has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It has executed its program.
    Executed,
    /// It waits at the start gate.
    AtGate,
    /// A step failed.
    Failed,
}

/// The child of a command.
pub(super) struct Recorded {
    /// None once they are taken.
    marks: Option<Rc<Marks>>,
    /// What CLOCK_REALTIME, which the child uses, is ahead by.
    ahead: u64,
    spans: Vec<Span>,
    /// The last span lasts as long as the command.
    waits: bool,
}

impl Recorded {
    /// `None`: no memory.
    pub(super) fn new() -> Option<Self> {
        let marks = Rc::new(Marks::new().ok()?);
        let ahead = clock::real_nanoseconds().wrapping_sub(clock::monotonic_nanoseconds());
        Some(Self { marks: Some(marks), ahead, spans: Vec::new(), waits: false })
    }

    pub(super) fn marks(&self) -> Option<Rc<Marks>> {
        self.marks.clone()
    }

    /// Takes the marks, for good.
    pub(super) fn take(&mut self, end: End, explain: &dyn Fn(&Fault) -> Error) {
        let Some(marks) = self.marks.take() else { return };
        let now = clock::monotonic_nanoseconds();
        let ends = marks.iter().map(|mark| Mark { time: mark.time.wrapping_sub(self.ahead), ..mark });
        let (spans, last) = steps(ends, (marks.installed(), now), explain);
        self.spans = spans;
        let (name, at) = match end {
            End::Executed => (Step::Exec, Some("process.args[0]".to_string())),
            End::AtGate => (Step::StartGate, None),
            End::Failed => return,
        };
        self.spans.push(Span { at, ..span_of(Track::Child, name.name().to_string(), (last, now), 0) });
        self.waits = end == End::AtGate;
    }

    /// The steps of the child of a command that ends at `end`.
    pub(super) fn spans(mut self, end: u64) -> Vec<Span> {
        self.take(End::Failed, &|fault| Error::system(fault.step.name(), fault.errno));
        if let Some(last) = self.spans.last_mut().filter(|_| self.waits) {
            last.length = std::time::Duration::from_nanos(end).saturating_sub(last.start);
        }
        self.spans
    }
}

/// The steps that the marks end, and when the last one did. All are within `from` and `to`.
fn steps(
    marks: impl Iterator<Item = Mark>,
    (from, to): (u64, u64),
    explain: &dyn Fn(&Fault) -> Error,
) -> (Vec<Span>, u64) {
    let (mut spans, mut last): (Vec<Span>, u64) = (Vec::new(), from);
    for Mark { step, index, time } in marks {
        let Some(step) = u16::try_from(step).ok().and_then(Step::from_number) else { continue };
        let end = time.clamp(last, to.max(last));
        let (name, at) = words(step, index, explain);
        add(&mut spans, Span { at, ..span_of(Track::Child, name, (last, end), 0) });
        last = end;
    }
    (spans, last)
}

/// Adds a step; one that has no other words than the last is a part of it.
fn add(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut().filter(|last| (&last.name, &last.at) == (&span.name, &span.at)) {
        Some(last) => last.length += span.length,
        None => spans.push(span),
    }
}

/// The name of a step, with the element that it is about, and the JSON path of that.
fn words(step: Step, index: u32, explain: &dyn Fn(&Fault) -> Error) -> (String, Option<String>) {
    if step == Step::StartGate {
        // The gate itself has no mark.
        return ("report that the process is ready".to_string(), None);
    }
    let mut fault = Fault::new(step, 0, Errno::IO);
    (fault.index, fault.errno) = (index, 0);
    let error = explain(&fault);
    let name = if names_element(step) { error.phrase() } else { step.name().to_string() };
    (name, error.path().map(str::to_string))
}

/// Whether the words of an error of this step name what it is about. Others word the failure.
fn names_element(step: Step) -> bool {
    matches!(
        step,
        Step::JoinNamespace
            | Step::Rootfs
            | Step::MountTarget
            | Step::MountSource
            | Step::Mount
            | Step::MountAttributes
            | Step::MountPropagation
            | Step::CopyUp
            | Step::Device
            | Step::MaskedPath
            | Step::ReadonlyPath
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn explained(fault: &Fault) -> Error {
        match (fault.step, fault.index) {
            (Step::Mount, 0) => Error::system("mount proc on /proc", 0).at("mounts[0]"),
            _ => Error::system(fault.step.name(), 0),
        }
    }

    fn mark(step: Step, index: u32, time: u64) -> Mark {
        Mark { step: step as u32, index, time }
    }

    fn shown(marks: &[Mark]) -> Vec<(String, u64, u64)> {
        let (spans, last) = steps(marks.iter().copied(), (100, 200), &explained);
        assert!(spans.last().is_none_or(|span| span.start + span.length == Duration::from_nanos(last)));
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap();
        spans.into_iter().map(|span| (span.name, nanoseconds(span.start), nanoseconds(span.length))).collect()
    }

    #[test]
    fn a_step_lasts_from_the_mark_before_it_to_its_own() {
        let mut marks = vec![mark(Step::Clone, 0, 110), mark(Step::Mount, 0, 150)];
        // Without a name of their own, those of a list are one.
        marks.extend([mark(Step::BoundingCapabilities, 0, 151), mark(Step::BoundingCapabilities, 1, 152)]);
        marks.push(mark(Step::StartGate, 0, 155));
        let expected = [
            ("create the process with clone3", 100, 10),
            ("mount proc on /proc", 110, 40),
            ("drop capabilities from the bounding set", 150, 2),
            ("report that the process is ready", 152, 3),
        ];
        assert_eq!(shown(&marks), expected.map(|(name, start, length)| (name.to_string(), start, length)));
    }

    #[test]
    fn marks_of_an_attacker_are_no_more_than_wrong() {
        let marks = [
            mark(Step::Clone, u32::MAX, u64::MAX),
            Mark { step: u32::MAX, index: 0, time: 0 },
            Mark { step: 65536, index: 0, time: 0 },
            mark(Step::Mount, 7, 0),
            mark(Step::Mount, 8, 0),
        ];
        let expected = [("create the process with clone3", 100, 100), ("mount", 200, 0)];
        assert_eq!(shown(&marks), expected.map(|(name, start, length)| (name.to_string(), start, length)));
        // Every bit of the memory.
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 16
        };
        for _ in 0..1000 {
            let mut garbage =
                || Mark { step: (random() & 0x7f) as u32, index: (random() & 0xffff_ffff) as u32, time: random() };
            let marks: Vec<Mark> = (0..50).map(|_| garbage()).collect();
            let spans = shown(&marks);
            assert!(spans.len() <= marks.len());
            assert!(spans.iter().all(|(_, start, length)| *start >= 100 && start + length <= 200));
            assert!(spans.windows(2).all(|pair| pair[0].1 + pair[0].2 == pair[1].1));
        }
    }
}
