//! The steps as a table for stderr.
//!
//! World: parent.

use std::fmt::Write;

use tare::error::escaped;
use tare::timings::{Timings, Track};

use super::{Command, milliseconds};

/// A line for each step of the parent, then of the child.
pub fn table(command: &Command, timings: &Timings) -> String {
    let Command { name, id } = command;
    let mut text = format!("tare {name} {}: {} ms\n", escaped(id), milliseconds(timings.length));
    for (track, title) in [(Track::Parent, "parent"), (Track::Child, "child")] {
        let mut spans = timings.spans.iter().filter(|span| span.track == track).peekable();
        if spans.peek().is_some() {
            let _written = writeln!(text, "{:>10} {:>10}  {title}", "start/ms", "length/ms");
        }
        for span in spans {
            let start = milliseconds(span.start.saturating_sub(timings.start));
            let (length, indent) = (milliseconds(span.length), "  ".repeat(span.depth));
            let at = span.at.as_deref().map(|at| format!(" ({})", escaped(at))).unwrap_or_default();
            let _written = writeln!(text, "{start:>10} {length:>10}  {indent}{}{at}", escaped(&span.name));
        }
    }
    text
}
