//! World: parent. The file that `--record-syscalls` names: checked before anything starts, written when the program has
//! ended.
//!
//! Order: [`Recording::begin`] -> the child hands its listener over (`handover.rs`) -> [`Recording::serve`] -> the program
//! ends -> [`Recording::finish`].
//! Promises: the file is replaced as a whole; several recordings into one file wait for each other and lose nothing.

use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxSeccomp, Spec};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, accessat, flock};
use serde::Deserialize;
use serde_json::Value;

use super::warning::Warn;
use crate::annotation::annotation;
use crate::error::{Code, Context, Error, Result};
use crate::plan::Program;
use crate::plan::annotations::RAW_FILTER;
use crate::seccomp::record::{self, Calls, parent::Recorder, refuses_by_default, written};
use crate::whole_file;

/// A profile that is being recorded.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    in_force: Option<LinuxSeccomp>,
    recorder: Recorder,
}

/// Refuses to record what tare does not wait for.
///
/// # Errors
/// `file` is given.
pub fn refuse_unattended(file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let what = format!("--record-syscalls {}: only a process in the foreground can be recorded", file.display());
    Err(Error::new(Code::RecordingUnsupported, what).hint("use run or exec without --detach"))
}

impl Recording {
    /// Gives `program`, which was planned from `spec`, the filter that reports its calls.
    ///
    /// # Errors
    /// The file cannot be written later, or is not a profile that was recorded under the profile in force. That one has an
    /// agent, or is a ready-made program.
    pub fn begin(file: Option<&Path>, spec: &Spec, program: Option<&mut Program>) -> Result<Option<Self>> {
        let Some((file, program)) = file.zip(program) else { return Ok(None) };
        if annotation(spec, RAW_FILTER).is_some() {
            let what = "a ready-made filter cannot be recorded: it has no rules by name";
            return Err(Error::refused(Code::RecordingUnsupported, format!("annotations[{RAW_FILTER:?}]"), what));
        }
        let in_force = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
        let recording = Self { file: file.to_owned(), in_force, recorder: Recorder::new()? };
        recording.name()?;
        let writable = accessat(CWD, recording.directory(), Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty());
        writable.context(|| recording.what())?;
        recording.read()?;
        program.seccomp = Some(record::plan(recording.in_force.as_ref(), mark()?)?);
        Ok(Some(recording))
    }

    /// Takes over the listener of the process.
    ///
    /// # Errors
    /// clone3(2).
    pub fn serve(&mut self, listener: OwnedFd) -> Result<()> {
        self.recorder.serve(listener)
    }

    /// Adds what was recorded to the file.
    ///
    /// # Errors
    /// As [`Self::begin`]; the file cannot be written.
    pub fn finish(mut self, warn: Warn<'_>) -> Result<()> {
        self.recorder.release();
        let mut calls = self.recorder.calls(self.in_force.as_ref().is_some_and(refuses_by_default));
        let told = |what: String| Error::new(Code::RecordingUnsupported, format!("{}: {what}", self.file.display()));
        for call in &calls.unnamed {
            warn(told(format!("system call {call} has no name and is left out")));
        }
        let directory = File::open(self.directory()).map_err(|e| Error::system(self.what(), e))?;
        flock(&directory, FlockOperation::LockExclusive).context(|| self.what())?;
        if let Some(earlier) = self.read()? {
            calls.unite(&earlier);
        }
        let written = written(self.in_force.as_ref(), &calls);
        for name in &written.left_out {
            let why = "the conditions of the profile in force cannot be written as rules that allow it";
            warn(told(format!("{name} is left out: {why}")));
        }
        self.replace(&written.profile)
    }

    fn what(&self) -> String {
        format!("write the seccomp profile {}", self.file.display())
    }

    fn name(&self) -> Result<std::borrow::Cow<'_, str>> {
        let name = self.file.file_name().ok_or_else(|| Error::system(self.what(), libc::EISDIR))?;
        Ok(name.to_string_lossy())
    }

    fn directory(&self) -> &Path {
        self.file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The calls in the file; `None` if there is no file yet.
    fn read(&self) -> Result<Option<Calls>> {
        let what = || format!("read the seccomp profile {}", self.file.display());
        let mut text = Vec::new();
        // A FIFO would block until somebody writes to it.
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.file);
        match opened.and_then(|mut file| file.read_to_end(&mut text)) {
            Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
            result => result.map_err(|e| Error::system(what(), e))?,
        };
        self.calls_in(&text).map(Some).ok_or_else(|| {
            let what = "is not a profile that was recorded under the seccomp profile of this container";
            Error::new(Code::RecordingInvalid, format!("{}: {what}", self.file.display()))
                .hint("remove it or name another file")
        })
    }

    fn calls_in(&self, text: &[u8]) -> Option<Calls> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let calls = Calls::of(&LinuxSeccomp::deserialize(&value).ok()?);
        let again = serde_json::to_value(written(self.in_force.as_ref(), &calls).profile).ok()?;
        (sorted(again) == sorted(value)).then_some(calls)
    }

    fn replace(&self, profile: &LinuxSeccomp) -> Result<()> {
        let text = serde_json::to_string_pretty(profile)
            .map_err(|e| Error::new(Code::Internal, self.what()).detail(e.to_string()))?;
        whole_file::replace(&self.file, std::process::id(), format!("{text}\n").as_bytes())
            .map_err(|e| Error::system(self.what(), e))
    }
}

/// The profile with the names of each rule in order, as they may not be after a change by hand.
fn sorted(mut profile: Value) -> Value {
    let rules = profile.get_mut("syscalls").and_then(Value::as_array_mut);
    for names in rules.into_iter().flatten().filter_map(|rule| rule.get_mut("names")?.as_array_mut()) {
        names.sort_by(|one, next| one.as_str().cmp(&next.as_str()));
        names.dedup();
    }
    profile
}

/// What no program can guess.
fn mark() -> Result<[u32; 3]> {
    let mut bytes = [0; 12];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|e| Error::system("read /dev/urandom", e))?;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    Ok([[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes))
}
