//! How long each step of a command takes, for `--timings`: spans of the parent, and the marks of its child.
//!
//! World: parent. Off unless [`Recording::start`] was called in this thread; a span costs a load and a branch then.
//! The spans of the parent are nested as the calls are. The child's follow each other: a step lasts from the mark of the
//! step before it to its own. The recording is handed over when the program runs, or else when the command has ended.
//! A child's marks are not trusted (`timings/steps.rs`).

mod entry;
mod steps;

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys::clock;
use crate::sys::marks::Marks;
use crate::whole_file;
use crate::wire::Fault;

pub use entry::enter;
pub(crate) use entry::environment;
pub(crate) use steps::End;

/// The process that a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// That of the command.
    Parent,
    /// The one that becomes the program, and those that clone it.
    Child,
}

/// A step of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The process.
    pub track: Track,
    /// Verb and noun: `create the cgroup`.
    pub name: String,
    /// The JSON path of the value in config.json that the step is about, if there is one.
    pub at: Option<String>,
    /// When it began, on CLOCK_MONOTONIC.
    pub start: Duration,
    /// How long it took.
    pub length: Duration,
    /// How many spans of its track it is nested in.
    pub depth: usize,
}

/// The steps of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    /// When the command began, on CLOCK_MONOTONIC.
    pub start: Duration,
    /// From then until the program ran, or the command had ended.
    pub length: Duration,
    /// Those of a track are in the order of their start; an outer one comes before those that are nested in it.
    pub spans: Vec<Span>,
}

struct Recorder {
    /// Nanoseconds on CLOCK_MONOTONIC.
    start: u64,
    spans: Vec<Span>,
    /// The spans of the parent that have not ended, outermost first.
    open: Vec<usize>,
    child: Option<steps::Recorded>,
    done: Box<dyn FnOnce(Timings)>,
}

thread_local! {
    /// Apart from the recorder, which has to be dropped with its thread, so that a look at it costs nothing.
    static ON: Cell<bool> = const { Cell::new(false) };
    /// In a box: with more than 128 bytes of thread-local variables, musl maps memory for them in every command.
    static RECORDER: RefCell<Option<Box<Recorder>>> = const { RefCell::new(None) };
}

/// Records the commands of this thread until it is dropped, or until a program runs.
#[derive(Debug)]
#[must_use]
pub struct Recording(PhantomData<Rc<()>>);

/// Writes a picture or a trace to `path`, which is replaced as a whole: a reader never finds half of it.
///
/// # Errors
/// The directory is missing or not writable.
pub fn write_file(path: &std::path::Path, text: &[u8]) -> Result<()> {
    let written = whole_file::replace(path, std::process::id(), text);
    written.map_err(|e| Error::system(format!("write {}", path.display()), e))
}

impl Recording {
    /// Starts to record. `done` gets the result once. The recording begins with the call of [`enter`], if there was one.
    pub fn start(done: impl FnOnce(Timings) + 'static) -> Self {
        let (start, spans) = entry::spans(clock::monotonic_nanoseconds());
        RECORDER.set(Some(Box::new(Recorder { start, spans, open: Vec::new(), child: None, done: Box::new(done) })));
        ON.set(true);
        Self(PhantomData)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        complete();
    }
}

/// Ends the recording of this thread, if there is one.
pub(crate) fn complete() {
    if ON.replace(false)
        && let Some(recorder) = RECORDER.take()
    {
        recorder.finish();
    }
}

/// A step, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Open(Option<usize>);

/// Begins a step.
pub(crate) fn span(name: &'static str) -> Open {
    span_named(|| name.to_string())
}

/// Begins a step whose name has to be made.
pub(crate) fn span_named(name: impl FnOnce() -> String) -> Open {
    Open(record(|recorder| recorder.begin(name())))
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            record(|recorder| recorder.end(number));
        }
    }
}

/// The memory for the marks of the child that is cloned next, if this thread records and has no child yet. Without memory
/// the child is not measured.
pub(crate) fn child() -> Option<Rc<Marks>> {
    record(|recorder| match &recorder.child {
        None => recorder.child.insert(steps::Recorded::new()?).marks(),
        Some(_) => None,
    })?
}

/// Takes the marks of the child; `explain` is asked for the config's words for a step.
pub(crate) fn end_child(end: End, explain: impl Fn(&Fault) -> Error) {
    record(|recorder| {
        if let Some(child) = &mut recorder.child {
            child.take(end, &explain);
        }
    });
}

fn record<T>(act: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
    if !ON.get() {
        return None;
    }
    RECORDER.with_borrow_mut(|recorder| recorder.as_deref_mut().map(act))
}

impl Recorder {
    fn begin(&mut self, name: String) -> usize {
        let depth = self.open.len();
        let start = clock::monotonic_nanoseconds();
        self.spans.push(span_of(Track::Parent, name, (start, start), depth));
        let number = self.spans.len() - 1;
        self.open.push(number);
        number
    }

    /// Ends a span, and those in it that were forgotten.
    fn end(&mut self, number: usize) {
        let now = Duration::from_nanos(clock::monotonic_nanoseconds());
        while let Some(last) = self.open.pop_if(|last| *last >= number) {
            if let Some(span) = self.spans.get_mut(last) {
                span.length = now.saturating_sub(span.start);
            }
        }
    }

    fn finish(mut self) {
        self.end(0);
        let end = clock::monotonic_nanoseconds();
        if let Some(child) = self.child {
            self.spans.extend(child.spans(end));
        }
        let start = Duration::from_nanos(self.start);
        let length = Duration::from_nanos(end.saturating_sub(self.start));
        (self.done)(Timings { start, length, spans: self.spans });
    }
}

/// From nanoseconds.
fn span_of(track: Track, name: String, (start, end): (u64, u64), depth: usize) -> Span {
    let length = Duration::from_nanos(end.saturating_sub(start));
    Span { track, name, at: None, start: Duration::from_nanos(start), length, depth }
}

#[cfg(test)]
mod tests;
