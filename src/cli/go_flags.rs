//! Go's spelling of options, as containerd, conmon-rs and Docker's wrappers send it, in the form that clap reads:
//! `-option` becomes `--option`, `--flag=true` becomes `--flag`, and `--flag=false` is left out.
//!
//! Words that are not options of tare stay as they are: values, what follows `--`, and what follows the id of exec.
//! World: parent.

use std::ffi::OsString;

use super::options::{self, CliCommand, CliOption, Operands, Place, Takes};

/// A command line for clap.
pub struct Line {
    /// The words; the first is the program's name.
    pub words: Vec<OsString>,
    /// The command, if it is one of tare's.
    pub command: Option<&'static CliCommand>,
    /// The options of tare that it names, each once.
    pub given: Vec<&'static CliOption>,
}

/// Rewrites a command line; the first word is the program's name.
pub fn normalize(args: Vec<OsString>) -> Line {
    let mut words = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    words.extend(args.next());
    let mut reader = Reader::default();
    words.extend(args.filter_map(|arg| reader.read(arg)));
    Line { words, command: reader.command, given: reader.given }
}

/// How far a command line has been read.
#[derive(Default)]
struct Reader {
    /// A word that is neither an option nor a value was read: the command.
    is_named: bool,
    command: Option<&'static CliCommand>,
    given: Vec<&'static CliOption>,
    /// The next word is the value of an option.
    expects_value: bool,
    /// No option of tare can follow.
    is_over: bool,
}

impl Reader {
    /// The next word for clap; `None` if it is left out.
    fn read(&mut self, arg: OsString) -> Option<OsString> {
        if std::mem::take(&mut self.expects_value) || self.is_over {
            return Some(arg);
        }
        let text = arg.to_string_lossy();
        if text == "--" {
            self.is_over = true;
            return Some(arg);
        }
        if text.len() < 2 || !text.starts_with('-') {
            self.read_operand(&text);
            return Some(arg);
        }
        let (dashed, value) = match text.split_once('=') {
            Some((dashed, value)) => (dashed, Some(value)),
            None => (&*text, None),
        };
        let name = dashed.trim_start_matches('-');
        let place = self.command.map_or(Place::PROGRAM, |command| command.place);
        let Some(option) = options::find(place, name) else { return Some(arg) };
        if !self.given.iter().any(|given| std::ptr::eq(*given, option)) {
            self.given.push(option);
        }
        self.expects_value = value.is_none() && option.takes.value_name().is_some();
        let is_long = option.name == name;
        let mut word = OsString::from(if is_long && !text.starts_with("--") { "-" } else { "" });
        match value.and_then(|value| switch(option, value)) {
            Some(on) if is_long => {
                word.push(dashed);
                on.then_some(word)
            }
            _ => {
                word.push(&arg);
                Some(word)
            }
        }
    }

    fn read_operand(&mut self, text: &str) {
        if self.is_named {
            self.is_over = self.command.is_some_and(|command| command.operands == Operands::ContainerCommand);
        } else {
            self.is_named = true;
            self.command = options::command(text);
        }
    }
}

/// Whether the value of a flag turns it on; `None` if it is not a flag, or not a value that Go's parser takes.
fn switch(option: &CliOption, value: &str) -> Option<bool> {
    match (option.takes, value) {
        (Takes::Nothing, "true" | "1") => Some(true),
        (Takes::Nothing, "false" | "0") => Some(false),
        _ => None,
    }
}
