//! Spans as commands make them.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// What is recorded while `act` runs.
fn recorded(act: impl FnOnce()) -> Timings {
    let result = Rc::new(RefCell::new(None));
    let into = Rc::clone(&result);
    let recording = Recording::start(move |timings| *into.borrow_mut() = Some(timings));
    act();
    drop(recording);
    result.take().unwrap()
}

fn names(timings: &Timings) -> Vec<(&str, usize)> {
    timings.spans.iter().map(|span| (span.name.as_str(), span.depth)).collect()
}

#[test]
fn spans_are_nested_as_calls_are() {
    let timings = recorded(|| {
        let _outer = span("outer");
        drop(span("first"));
        let _second = span_named(|| "second".into());
        let _third = span("third");
    });
    assert_eq!(names(&timings), [("outer", 0), ("first", 1), ("second", 1), ("third", 2)]);
    let end = |span: &Span| span.start + span.length;
    for inner in &timings.spans[1..] {
        assert!(inner.start >= timings.spans[0].start && end(inner) <= end(&timings.spans[0]));
    }
    assert!(timings.spans[0].start >= timings.start && end(&timings.spans[0]) <= timings.start + timings.length);
}

#[test]
fn nothing_is_recorded_after_the_program_runs() {
    let timings = recorded(|| {
        let _command = span("command");
        complete();
        drop(span("late"));
        assert!(child().is_none());
    });
    assert_eq!(names(&timings), [("command", 0)]);
    complete();
    drop(span("off"));
}

#[test]
fn the_first_child_is_recorded_until_it_waits() {
    use crate::wire::Step;
    let timings = recorded(|| {
        let marks = child().unwrap();
        marks.add(Step::Clone as u16, 0);
        marks.add(Step::Hostname as u16, 0);
        end_child(End::AtGate, |fault| Error::system(fault.step.name(), fault.errno));
        assert!(child().is_none());
        end_child(End::Executed, |fault| Error::system(fault.step.name(), fault.errno));
        drop(span("later"));
    });
    let expected = ["later", "create the process with clone3", "set the hostname", "wait on the start gate"];
    assert_eq!(names(&timings), expected.map(|name| (name, 0)));
    assert!(timings.spans[1..].iter().all(|span| span.track == Track::Child));
    let last = &timings.spans[3];
    assert_eq!(last.start + last.length, timings.start + timings.length);
}
