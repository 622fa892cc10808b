//! A signal by name or number.
//!
//! World: parent.

use std::fmt;
use std::str::FromStr;

use crate::container::kill::parse_signal;
use crate::error::{Error, Result};

/// A signal of this kernel, or 0, which is not sent but tells whether a process could be signalled.
///
/// ```
/// use tare::Signal;
/// assert_eq!("TERM".parse::<Signal>()?, Signal::TERM);
/// assert_eq!("sigrtmin+3".parse::<Signal>()?.number(), 37);
/// assert!("NOPE".parse::<Signal>().is_err());
/// assert!(Signal::try_from(9)? == Signal::KILL && Signal::try_from(65).is_err());
/// # Ok::<(), tare::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// Ends a process at once.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// Asks a process to end.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// A number, or a name with or without `SIG` in any case; `RTMIN+3` and `RTMAX-3` too.
    fn from_str(text: &str) -> Result<Self> {
        parse_signal(text).map(Self)
    }
}

impl TryFrom<i32> for Signal {
    type Error = Error;

    fn try_from(number: i32) -> Result<Self> {
        number.to_string().parse()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
