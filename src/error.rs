//! The one error type of tare: what went wrong, where in config.json, in the kernel's words, what to do.
//!
//! World: plan; the child reports a `wire::Fault`, which the parent turns into an `Error`.
//! Promises: `Display` is one line; the words that engines match (lower case errno texts,
//! "does not exist", "container not running") are kept as runc writes them.

mod code;

use std::ffi::CString;
use std::fmt;

pub use code::Code;

/// Result with tare's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! kinds {
    ($(#[doc = $meaning:literal] $name:ident = $text:literal,)*) => {
        /// What sort of failure it is: JSON logs show it as `kind`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorKind { $(#[doc = $meaning] $name,)* }

        impl ErrorKind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for JSON logs.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the kind means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning.trim_ascii(),)* }
            }
        }
    };
}

kinds! {
    /// A value of the caller (config.json, process.json, command line) cannot be accepted.
    InvalidConfig = "invalid-config",
    /// The request is valid, but this kernel, host or version of tare cannot do it.
    Unsupported = "unsupported",
    /// The container or a file that was named is not there.
    NotFound = "not-found",
    /// The container id, or another name, is taken.
    Exists = "exists",
    /// The container is not in a state in which the command makes sense.
    WrongStatus = "wrong-status",
    /// The caller lacks a privilege.
    Denied = "denied",
    /// The kernel or a service refused or failed.
    System = "system",
    /// A hook failed.
    Hook = "hook",
    /// The caller of the library has not called `tare::protect`.
    Unprotected = "unprotected",
    /// A defect in tare.
    Internal = "internal",
}

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    at: Option<String>,
    /// Outermost first.
    what: Vec<String>,
    errno: Option<i32>,
    detail: Option<String>,
    hint: Option<String>,
}

/// A failure, ready to be shown as one line.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

impl Error {
    /// An error with `code`; `what` names the noun and the action, in lower case, without "failed to".
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        let what = vec![what.into()];
        Self(Box::new(Inner { code, at: None, what, errno: None, detail: None, hint: None }))
    }

    /// A value that is refused, or a request that cannot be done here; `at` is its JSON path in config.json,
    /// `mounts[3].options[1]`.
    pub fn refused(code: Code, at: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(code, what).at(at)
    }

    /// A failed system call; [`Error::coded`] names its code, where the caller can do something about it.
    pub fn system(what: impl Into<String>, errno: impl Errno) -> Self {
        Self::new(Code::SystemCallFailed, what).errno(errno)
    }

    /// Names the JSON path of the value at fault; the innermost name wins.
    #[must_use]
    pub fn at(mut self, at: impl Into<String>) -> Self {
        if self.0.at.is_none() {
            self.0.at = Some(at.into());
        }
        self
    }

    /// Adds the kernel's error number.
    #[must_use]
    pub fn errno(mut self, errno: impl Errno) -> Self {
        self.0.errno = Some(errno.raw());
        self
    }

    /// Adds the kernel's or a helper's own text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        if !detail.is_empty() {
            self.0.detail = Some(detail);
        }
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Puts an outer phrase in front: the thing that was being done.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.0.what.insert(0, what.into());
        self
    }

    /// Names what a system call failed at: the innermost code stays, as the innermost path does.
    #[must_use]
    pub fn coded(self, code: Code) -> Self {
        if self.0.code == Code::SystemCallFailed { self.recoded(code) } else { self }
    }

    /// The same error with another code, and thus of that code's kind.
    #[must_use]
    pub fn recoded(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// The stable word for what failed.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sort of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.code.kind()
    }

    /// The JSON path in config.json, when one is known.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.0.at.as_deref()
    }

    /// What was being done, without the path and the kernel's words.
    #[must_use]
    pub(crate) fn phrase(&self) -> String {
        self.0.what.join(": ")
    }

    /// The same error at another JSON path.
    #[must_use]
    pub(crate) fn moved_to(mut self, at: String) -> Self {
        self.0.at = Some(at);
        self
    }

    /// What went wrong, on one line, without the JSON path and the hint.
    #[must_use]
    pub fn message(&self) -> String {
        let inner = Inner { at: None, hint: None, ..(*self.0).clone() };
        Self(Box::new(inner)).to_string()
    }

    /// What the user can do about it, when that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The kernel's error number, when there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(at) = &inner.at {
            write!(f, "{}: ", OneLine(at))?;
        }
        for (i, what) in inner.what.iter().enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            write!(f, "{}", OneLine(what))?;
        }
        if let Some(errno) = inner.errno {
            write!(f, ": {}", errno_text(errno))?;
        }
        if let Some(detail) = &inner.detail {
            write!(f, " ({})", OneLine(detail.trim()))?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {}", OneLine(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Characters of one phrase that are shown at the most: engines read 8 KiB of a message, and a config may hold more.
const PHRASE: usize = 1500;

/// What a terminal acts on instead of showing it: control characters, and what changes the direction of text.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Shows text of others without letting it act on the terminal.
#[must_use]
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_obeyed(c) {
            shown.extend(c.escape_default())
        } else {
            shown.push(c)
        }
        shown
    })
}

/// Shows text of others on one line: control characters are escaped, what is too long is cut.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.chars().enumerate() {
            if at == PHRASE {
                return f.write_str("...");
            }
            if is_obeyed(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

/// The kernel's words for an error number, in lower case as Go programs print them (engines match them).
#[must_use]
pub fn errno_text(errno: i32) -> String {
    let text = match errno {
        // The C library's and Go's words; nix has its own.
        libc::ELOOP => "Too many levels of symbolic links",
        libc::EAGAIN => "Resource temporarily unavailable",
        libc::EBADF => "Bad file descriptor",
        libc::EDQUOT => "Disk quota exceeded",
        libc::ENOTTY => "Inappropriate ioctl for device",
        libc::EOPNOTSUPP => "Operation not supported",
        libc::ERANGE => "Numerical result out of range",
        libc::EXDEV => "Invalid cross-device link",
        errno => nix::errno::Errno::from_raw(errno).desc(),
    };
    let mut chars = text.chars();
    match chars.next() {
        // An abbreviation ("RFS specific error") stays as it is.
        Some(first) if !text.chars().nth(1).is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}

/// Anything that carries a kernel error number.
pub trait Errno {
    /// The error number, positive.
    fn raw(self) -> i32;
}

impl Errno for i32 {
    fn raw(self) -> i32 {
        self
    }
}

impl Errno for nix::errno::Errno {
    fn raw(self) -> i32 {
        self as i32
    }
}

impl Errno for rustix::io::Errno {
    fn raw(self) -> i32 {
        self.raw_os_error()
    }
}

impl Errno for std::io::Error {
    fn raw(self) -> i32 {
        self.raw_os_error().unwrap_or(libc::EIO)
    }
}

/// Adds to a failed system call what was being done.
pub trait Context<T> {
    /// The phrase is made only when there is an error.
    ///
    /// # Errors
    /// The error given, as [`ErrorKind::System`].
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Errno> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|errno| Error::system(what(), errno))
    }
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(what()))
    }
}

/// Adds to a failed operation what its system calls failed at.
pub trait Coded {
    /// As [`Error::coded`].
    #[must_use]
    fn coded(self, code: Code) -> Self;
}

impl<T> Coded for Result<T> {
    fn coded(self, code: Code) -> Self {
        self.map_err(|error| error.coded(code))
    }
}

/// A string for the kernel, which takes none with a NUL in it.
///
/// # Errors
/// The NUL, at the JSON path that `at` gives.
pub fn c_string(text: impl Into<Vec<u8>>, at: impl FnOnce() -> String) -> Result<CString> {
    CString::new(text).map_err(|_| Error::refused(Code::NulCharacter, at(), "contains a NUL character"))
}

/// The known word nearest to `word`, for "did you mean": at most two edits away (one for short words).
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = if word.len() <= 4 { 1 } else { 2 };
    // Edits change the number of characters by one at the most, and comparing takes memory for each pair of them.
    let length = word.chars().count();
    known
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_path_cause_kernel_words_and_remedy_on_one_line() {
        let error =
            Error::refused(Code::MountOptionUnknown, "mounts[3].options[1]", "unknown mount option \"nosiud\"\n")
                .errno(libc::EINVAL)
                .detail("tmpfs: Unknown parameter 'nosiud'\n")
                .hint("did you mean \"nosuid\"?")
                .context("mount tmpfs on /dev/shm");
        assert_eq!(
            error.to_string(),
            "mounts[3].options[1]: mount tmpfs on /dev/shm: unknown mount option \"nosiud\"\\n: invalid argument \
             (tmpfs: Unknown parameter 'nosiud'); did you mean \"nosuid\"?"
        );
    }

    #[test]
    fn the_innermost_code_stays_and_decides_the_kind() {
        let failed = |code| Error::system("write", libc::EPERM).coded(code);
        assert_eq!(Error::system("write", libc::EPERM).code(), Code::SystemCallFailed);
        let error: Result<()> = Err(failed(Code::MountFailed));
        assert_eq!(error.coded(Code::CgroupFailed).unwrap_err().code(), Code::MountFailed);
        let error = Error::new(Code::HookTimeout, "slow").coded(Code::MountFailed);
        assert_eq!((error.code(), error.kind()), (Code::HookTimeout, ErrorKind::Hook));
        assert_eq!(failed(Code::MountFailed).recoded(Code::HookFailed).kind(), ErrorKind::Hook);
    }

    #[test]
    fn a_terminal_obeys_nothing_that_is_shown() {
        assert_eq!(escaped("a\x1b[0m\u{7f}\u{9b}\u{202e}ü\t"), "a\\u{1b}[0m\\u{7f}\\u{9b}\\u{202e}ü\\t");
        assert_eq!(Error::refused(Code::NulCharacter, "a\x07", "b\u{2066}").to_string(), "a\\u{7}: b\\u{2066}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = Error::refused(Code::SpecVersionInvalid, "ociVersion", "x".repeat(1_000_000)).hint("y").to_string();
        assert!(text.len() < 2000 && text.ends_with("xxx...; y"), "{}", text.len());
    }

    #[test]
    fn kernel_words_are_the_ones_engines_match() {
        assert_eq!(errno_text(libc::ENOENT), "no such file or directory");
        assert_eq!(errno_text(libc::EACCES), "permission denied");
        assert_eq!(errno_text(libc::EPERM), "operation not permitted");
        assert_eq!(errno_text(libc::ESRCH), "no such process");
        assert_eq!(errno_text(libc::EISDIR), "is a directory");
        assert_eq!(errno_text(libc::ENOTDIR), "not a directory");
        assert_eq!(errno_text(libc::ELOOP), "too many levels of symbolic links");
        assert_eq!(errno_text(libc::EOPNOTSUPP), "operation not supported");
        assert_eq!(errno_text(libc::ERANGE), "numerical result out of range");
    }

    #[test]
    fn nearest_word() {
        assert_eq!(nearest("nosiud", ["nosuid", "nodev"]), Some("nosuid"));
        assert_eq!(nearest("pdi", ["pid", "network"]), Some("pid"));
        assert_eq!(nearest("entirely", ["pid", "network"]), None);
        // Of megabytes, as a config may have them: it would take gigabytes and minutes to compare.
        assert_eq!(nearest(&"x".repeat(16 << 20), ["pid", "network"]), None);
    }
}
