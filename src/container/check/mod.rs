//! World: parent. check: all that create would refuse, and what it would do. Nothing is made, mounted, written or started.
//!
//! Order, as create's: the config is decided by create's own function, again and again, each time without the value that
//! was refused before (`document.rs`); then the host is looked at (`host.rs`). So the first error is the one of create.
//! What only the kernel can say, when it is asked to do it, is not known here: docs/check.md has the list.

mod document;
mod host;
mod warnings;

use std::path::Path;

use super::create::CreateRequest;
use super::create::prepare::{Decided, Opened, decide, inherited, open};
use super::create::{Creating, StartMode};
use super::listen_fds::Activation;
use crate::bundle::OpenBundle;
use crate::error::{Code, Error, Result};
use crate::host::{Host, calls};
use crate::plan::{PlanSummary, summary};
use document::Document;

/// Stands for the id that the container would have.
pub const ID: &str = "ID";

/// The most errors that are reported: a config may be wrong in a million places.
const MOST: usize = 100;

/// Bytes of the config that are parsed in all rounds together, so that a config of 16 MiB is decided four times.
const BYTES: usize = 64 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// What create would refuse; the first is create's error.
    pub errors: Vec<Error>,
    /// What would not stop it.
    pub warnings: Vec<Error>,
    /// What create would do; `None` if the config does not say so because of an error.
    pub plan: Option<PlanSummary>,
}

impl CheckReport {
    /// Whether create can be expected to succeed.
    #[must_use]
    pub fn would_start(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Finds what create would refuse for this bundle on this host.
pub fn check(root: &Path, request: &CreateRequest<'_>) -> CheckReport {
    let creating = Creating { root, id: ID, request, mode: StartMode::AtGate };
    let mut report = CheckReport::default();
    if let Err(error) = examine(&creating, &mut report) {
        report.errors.push(error);
    }
    report
}

/// An error that is returned is one after which nothing more can be told.
fn examine(creating: &Creating<'_>, report: &mut CheckReport) -> Result<()> {
    calls::require()?;
    let activation = inherited(creating)?;
    let host = Host::default();
    let bundle = creating.request.bundle.open()?;
    let mut config = bundle.read_config()?;
    let mut rounds =
        Rounds { creating, activation, host: &host, bundle: &bundle, document: None, errors: Vec::new(), bytes: 0 };
    let decided = loop {
        match rounds.one(&config) {
            Ok(decided) => break Some(decided),
            Err(error) => match rounds.go_on(error, &config) {
                Some(next) => config = next,
                None => break None,
            },
        }
    };
    let Rounds { document, errors, .. } = rounds;
    let is_whole = errors.is_empty();
    report.errors = errors;
    let Some((decided, opened)) = decided else { return Ok(()) };
    let found = host::check(creating, &decided.plan, &opened.namespaces, &host);
    let in_config = |error: Error| placed(error, document.as_ref());
    report.errors.extend(found.into_iter().filter_map(in_config));
    report.warnings = warnings::all(&decided).into_iter().filter_map(in_config).collect();
    report.plan = is_whole.then(|| summary(&decided.spec, &decided.plan));
    Ok(())
}

/// The config is decided until nothing is refused any more.
struct Rounds<'a> {
    creating: &'a Creating<'a>,
    activation: Activation,
    host: &'a Host,
    bundle: &'a OpenBundle<'a>,
    /// The config without what was refused; made when something is.
    document: Option<Document>,
    errors: Vec<Error>,
    /// How much was parsed.
    bytes: usize,
}

impl Rounds<'_> {
    fn one(&self, config: &[u8]) -> Result<(Decided, Opened)> {
        let decided = decide(self.creating, &self.activation, self.host, (self.bundle, config))?;
        let opened = open(&decided.plan)?;
        Ok((decided, opened))
    }

    /// Notes an error; the config without the value at fault, if there is one to take out.
    fn go_on(&mut self, error: Error, config: &[u8]) -> Option<Vec<u8>> {
        if self.document.is_none() {
            self.document = Document::parse(config);
        }
        let (Some(document), Some(path)) = (&mut self.document, error.path()) else {
            self.errors.push(error);
            return None;
        };
        let place = document.find(path);
        let is_known = self.errors.iter().any(|known| known.to_string() == error.to_string());
        if !is_known && !document.is_consequence(&place) {
            self.errors.push(error.moved_to(place.shown.clone()));
        }
        self.bytes += config.len();
        let may_go_on = self.errors.len() < MOST && self.bytes + config.len() <= BYTES;
        let goes_on = may_go_on && document.repair(&place);
        goes_on.then(|| document.text())
    }
}

/// The error with its place in the config as it was written; `None` if it follows from a change of the document.
fn placed(error: Error, document: Option<&Document>) -> Option<Error> {
    let (Some(document), Some(path)) = (document, error.path()) else { return Some(error) };
    let place = document.find(path);
    if document.is_consequence(&place) { None } else { Some(error.moved_to(place.shown)) }
}

/// A line of a warning that names its place: `mounts[3].optoins: this key is not known ...`.
fn warning(line: &str) -> Error {
    let is_place = |place: &str| !place.is_empty() && !place.contains(' ');
    match line.split_once(": ") {
        Some((place, what)) if is_place(place) => Error::refused(Code::ConfigWarning, place, what),
        _ => Error::new(Code::ConfigWarning, line),
    }
}
