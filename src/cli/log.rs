//! Messages as engines read them: one line per message, `level`, `msg` and `time` in JSON, the error last.
//!
//! World: parent.
//! The log is opened for appending and never truncated: engines keep one file per container. One that cannot be opened is
//! an error before anything is done. An error goes to stderr as well, in one write (conmon reads stderr once), its cause on
//! the last line; warnings only to where they are wanted.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tare::error::{Code, Error, Result};

use super::options::{self, Place};

/// Where messages go.
pub struct Log {
    file: Option<PathBuf>,
    json: bool,
    level: Level,
}

/// The global options about messages.
#[derive(Debug, Default)]
pub struct Messages {
    /// --log.
    pub file: Option<PathBuf>,
    /// --log-format json.
    pub json: bool,
    /// --log-level.
    pub level: Option<String>,
    /// --debug.
    pub debug: bool,
}

impl Messages {
    /// From a command line that could not be parsed: an engine looks for the mistake in its log. Words from the command
    /// on are not looked at: they may belong to a program of a container.
    pub fn from_words(args: &[OsString]) -> Self {
        let mut messages = Self::default();
        let mut words = args.iter().skip(1).map(|word| word.to_string_lossy());
        while let Some(word) = words.next().filter(|word| options::command(word).is_none()) {
            let Some(word) = word.strip_prefix("--") else { continue };
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let option = options::find(Place::PROGRAM, name);
            let value = match value {
                Some(value) => value.to_owned(),
                None if option.is_some_and(|option| option.takes.value_name().is_some()) => {
                    words.next().unwrap_or_default().into_owned()
                }
                None => continue,
            };
            match name {
                "log" => messages.file = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty()),
                "log-format" => messages.json = value == "json",
                _ => {}
            }
        }
        messages
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl Level {
    /// LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG. Source: syslog(3).
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// The words of --log-level: those of logrus and of crun.
pub const LEVELS: [&str; 8] = ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];

impl Log {
    /// As the global options say.
    pub fn new(messages: &Messages) -> Self {
        let level = match messages.level.as_deref().map(str::to_ascii_lowercase).as_deref() {
            _ if messages.debug => Level::Debug,
            Some("debug" | "trace") => Level::Debug,
            Some("info") => Level::Info,
            Some("error" | "fatal" | "panic") => Level::Error,
            _ => Level::Warning,
        };
        Self { file: messages.file.clone(), json: messages.json, level }
    }

    /// Whether messages will have a place to go. The log is closed again: no process of a container may find it open.
    ///
    /// # Errors
    /// The file can neither be opened nor made.
    pub fn check(&self) -> Result<()> {
        // Sockets take messages one by one, and those that they do not take are on stderr: as with crun.
        let Some(Target::File(path)) = self.target() else { return Ok(()) };
        // To the reader of a FIFO, closing it is the end of the log.
        if std::fs::metadata(path).is_ok_and(|facts| facts.file_type().is_fifo()) {
            return Ok(());
        }
        open(path)
            .map(drop)
            .map_err(|e| Error::system(format!("open the log {}", path.display()), e).coded(Code::LogFailed))
    }

    fn target(&self) -> Option<Target<'_>> {
        let path = self.file.as_deref()?;
        // A path that is not UTF-8 is a file's.
        Some(match path.to_str().and_then(|text| text.split_once(':')) {
            Some(("journald", id)) => Target::Journal(id),
            Some(("syslog", id)) => Target::Syslog(id),
            Some(("file", path)) => Target::File(Path::new(path)),
            _ => Target::File(path),
        })
    }

    /// The failure of the command.
    pub fn error(&self, error: &Error) {
        let message = error.to_string();
        let line = if self.json { json("error", &message, Some(error)) } else { text("error", &message) };
        let on_stderr = if self.json && self.file.is_none() { line.clone() } else { format!("tare: {message}\n") };
        // The cause comes last: engines show the last line.
        match self.append(Level::Error, &line) {
            Ok(()) => super::print_error(&on_stderr),
            Err(e) => super::print_error(&format!("tare: {e}\n{on_stderr}")),
        }
    }

    /// Something that did not stop the command. With a JSON log it is written only when debug is on: podman takes the
    /// whole file for one object, the error.
    pub fn warning(&self, error: &Error) {
        if self.level < Level::Warning || (self.json && self.file.is_some() && self.level < Level::Debug) {
            return;
        }
        let message = error.to_string();
        let line = if self.json { json("warning", &message, None) } else { text("warning", &message) };
        if self.file.is_none() || self.append(Level::Warning, &line).is_err() {
            let shown = if self.json { line } else { format!("tare: warning: {message}\n") };
            super::print_error(&shown);
        }
    }

    /// What tare does, for `--debug`.
    pub fn debug(&self, message: &str) {
        if self.level < Level::Debug {
            return;
        }
        let line = if self.json { json("debug", message, None) } else { text("debug", message) };
        if self.file.is_none() || self.append(Level::Debug, &line).is_err() {
            super::print_error(&line);
        }
    }

    fn append(&self, level: Level, line: &str) -> Result<()> {
        match self.target() {
            None => Ok(()),
            Some(Target::Journal(id)) => send(JOURNAL, &journal_entry(id, level, line)),
            Some(Target::Syslog(id)) => send(SYSLOG, &syslog_entry(id, level, line)),
            Some(Target::File(path)) => open(path)
                .and_then(|mut file| file.write_all(line.as_bytes()))
                .map_err(|e| Error::system(format!("write the log {}", path.display()), e).coded(Code::LogFailed)),
        }
    }
}

/// What --log names.
enum Target<'a> {
    /// `journald:` and the identifier.
    Journal(&'a str),
    /// `syslog:` and the identifier.
    Syslog(&'a str),
    /// `file:` and a path, or a path alone.
    File(&'a Path),
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    // Whatever the caller's umask: a container's log is not for everybody to write.
    std::fs::OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

/// Where journald and syslog listen. Source: systemd's Native Journal Protocol; syslog(3).
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// The facility. Source: syslog(3).
const LOG_USER: u8 = 8;

fn send(socket: &str, datagram: &[u8]) -> Result<()> {
    let sent = UnixDatagram::unbound().and_then(|unbound| unbound.send_to(datagram, socket));
    sent.map(drop).map_err(|e| Error::system(format!("write the log to {socket}"), e).coded(Code::LogFailed))
}

/// A line has no line break but at its end, so that the short form of a field will do.
fn journal_entry(id: &str, level: Level, line: &str) -> Vec<u8> {
    let id = id.replace(|c: char| c.is_control(), "?");
    format!("MESSAGE={}\nPRIORITY={}\nSYSLOG_IDENTIFIER={id}\n", line.trim_end(), level.priority()).into_bytes()
}

fn syslog_entry(id: &str, level: Level, line: &str) -> Vec<u8> {
    format!("<{}>{id}: {}", LOG_USER | level.priority(), line.trim_end()).into_bytes()
}

/// One object; `kind`, `code`, `errno` and `at` are tare's additions, which engines ignore.
fn json(level: &str, message: &str, error: Option<&Error>) -> String {
    let mut object = serde_json::json!({
        "level": level,
        "msg": message,
        "time": tare::timestamp(),
    });
    if let Some(error) = error {
        object["kind"] = error.kind().name().into();
        object["code"] = error.code().name().into();
        if let Some(errno) = error.raw_os_error() {
            object["errno"] = errno.into();
        }
        if let Some(at) = error.path() {
            object["at"] = at.into();
        }
    }
    format!("{object}\n")
}

/// A line as logrus writes text, which scripts of runc know.
fn text(level: &str, message: &str) -> String {
    format!("time={:?} level={level} msg={message:?}\n", tare::timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_found_before_the_command_alone() {
        let of = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let messages = Messages::from_words(&words);
            (messages.file.map(|path| path.display().to_string()).unwrap_or_default(), messages.json)
        };
        let found = |file: &str, json| (file.to_owned(), json);
        assert_eq!(of("tare --log /l --log-format json run --wrong a"), found("/l", true));
        assert_eq!(of("tare --wrong x --log=/l --log-format=text list"), found("/l", false));
        assert_eq!(of("tare --root run --log /a --log /l run"), found("/l", false));
        assert_eq!(of("tare --log"), found("", false));
        assert_eq!(of("tare exec --wrong a program --log /l --log-format json"), found("", false));
    }
}
