//! The steps in the Trace Event format, which Perfetto and chrome://tracing open. Source: the document "Trace Event
//! Format" of the Chromium project.
//!
//! World: parent. Times are microseconds on CLOCK_MONOTONIC, so that the traces of several commands can be put together.

use std::time::Duration;

use serde_json::{Value, json};
use tare::timings::{Span, Timings, Track};

use super::Command;

/// The trace of one command, with a line for each event.
pub fn json(command: &Command, timings: &Timings) -> String {
    let pid = std::process::id();
    let named = |what: &str, tid: u32, name: &str| json!({ "name": what, "ph": "M", "pid": pid, "tid": tid, "args": { "name": name } });
    let process = format!("tare {} {}", command.name, command.id);
    let whole = json!({
        "name": process, "cat": "command", "ph": "X", "pid": pid, "tid": tid(Track::Parent),
        "ts": micros(timings.start), "dur": micros(timings.length),
    });
    let mut events = vec![
        named("process_name", tid(Track::Parent), &process),
        named("thread_name", tid(Track::Parent), "parent"),
        named("thread_name", tid(Track::Child), "child"),
        whole,
    ];
    events.extend(timings.spans.iter().map(|span| event(pid, span)));
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    format!("{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n"))
}

fn event(pid: u32, span: &Span) -> Value {
    let category = match span.track {
        Track::Parent => "parent",
        Track::Child => "child",
    };
    let mut event = json!({
        "name": span.name, "cat": category, "ph": "X", "pid": pid, "tid": tid(span.track),
        "ts": micros(span.start), "dur": micros(span.length),
    });
    if let Some(at) = &span.at {
        event["args"] = json!({ "config": at });
    }
    event
}

fn tid(track: Track) -> u32 {
    match track {
        Track::Parent => 1,
        Track::Child => 2,
    }
}

/// With nanoseconds after the point.
fn micros(time: Duration) -> Value {
    let text = format!("{}.{:03}", time.as_micros(), time.subsec_nanos() % 1000);
    text.parse().map_or(Value::Null, |number: f64| json!(number))
}
