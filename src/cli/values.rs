//! What a command line gives, by the names of options.rs.
//!
//! World: parent. clap knows only the options that the line has (arguments.rs): the others have no value.

use std::any::Any;

use clap::ArgMatches;
use clap::parser::MatchesError;

use super::options;

/// The operands of all commands (arguments.rs).
const OPERANDS: [&str; 7] = ["id", "signal", "action", "file", "arguments", "words", "shell"];

/// The values of a command's options and operands.
#[derive(Clone, Copy)]
pub struct Values<'line>(&'line ArgMatches);

impl<'line> Values<'line> {
    /// Those of the options before the command.
    pub fn new(matches: &'line ArgMatches) -> Self {
        Self(matches)
    }

    /// The command and its values.
    pub fn command(self) -> Option<(&'line str, Self)> {
        self.0.subcommand().map(|(name, matches)| (name, Self(matches)))
    }

    /// Whether the flag is given.
    pub fn flag(self, name: &str) -> bool {
        self.one::<bool>(name).copied().unwrap_or(false)
    }

    /// The value of an option or of an operand that takes a single value.
    pub fn one<T: Any + Clone + Send + Sync>(self, name: &str) -> Option<&'line T> {
        known(name, self.0.try_get_one(name)).flatten()
    }

    /// The values of a list.
    pub fn many<T: Any + Clone + Send + Sync>(self, name: &str) -> impl Iterator<Item = &'line T> + use<'line, T> {
        known(name, self.0.try_get_many(name)).flatten().into_iter().flatten()
    }
}

/// A name that no table has, or another type than the table's, is a defect.
fn known<T>(name: &str, value: Result<T, MatchesError>) -> Option<T> {
    debug_assert!(OPERANDS.contains(&name) || options::OPTIONS.iter().any(|option| option.name == name), "no {name}");
    debug_assert!(!matches!(value, Err(MatchesError::Downcast { .. })), "the value of {name} has another type");
    value.ok()
}
