//! A usage error in one line, instead of clap's paragraph: the word at fault, the likely intention, and where the help
//! is. Podman and CRI-O look for "flag needs an argument".
//!
//! World: parent.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The line.
pub fn line(error: &clap::Error) -> String {
    let option = first_word(&text(error, ContextKind::InvalidArg));
    let value = text(error, ContextKind::InvalidValue);
    let command = command(error);
    match error.kind() {
        ErrorKind::InvalidSubcommand => unknown_command(error),
        ErrorKind::InvalidValue if value.is_empty() => format!("flag needs an argument: {option}"),
        ErrorKind::InvalidValue => {
            format!("{option}: {value:?} is not one of {}", text(error, ContextKind::ValidValue))
        }
        ErrorKind::ValueValidation => format!("{option}: {value:?} is not a number"),
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            let of = command.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            let known = text(error, ContextKind::SuggestedArg);
            let rest = if known.is_empty() {
                format!("`{} --help` lists them", with_program(command.as_deref()))
            } else {
                format!("did you mean {:?}?", first_word(&known))
            };
            format!("unknown option {option:?}{of}; {rest}")
        }
        ErrorKind::UnknownArgument => format!("unexpected argument {option:?}; {}", expected(command.as_deref())),
        ErrorKind::MissingRequiredArgument if text(error, ContextKind::InvalidArg).contains("<ID>") => {
            format!("the container's ID is missing; {}", expected(command.as_deref()))
        }
        ErrorKind::MissingRequiredArgument if text(error, ContextKind::InvalidArg).contains("<SHELL>") => {
            format!("the name of the shell is missing; {}", expected(command.as_deref()))
        }
        _ => one_line(&error.to_string()),
    }
}

fn unknown_command(error: &clap::Error) -> String {
    let name = text(error, ContextKind::InvalidSubcommand);
    let known = text(error, ContextKind::SuggestedSubcommand);
    // The likeliest comes last.
    match known.rsplit(", ").next() {
        Some(known) if !known.is_empty() => format!("unknown command {name:?}; did you mean {known:?}?"),
        _ => format!("unknown command {name:?}; `tare --help` lists them"),
    }
}

/// A value of clap's context as text; lists are separated by commas.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::Strings(words)) => words.join(", "),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// `--root` of `--root <DIR>`.
fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_string()
}

/// The command whose usage clap would show: "Usage: tare create [OPTIONS] <ID>".
fn command(error: &clap::Error) -> Option<String> {
    let usage = text(error, ContextKind::Usage);
    let name = usage.split_whitespace().nth(2)?;
    name.starts_with(char::is_lowercase).then(|| name.to_string())
}

fn with_program(command: Option<&str>) -> String {
    command.map_or_else(|| "tare".to_string(), |name| format!("tare {name}"))
}

fn expected(command: Option<&str>) -> String {
    format!("`{} --help` shows what is expected", with_program(command))
}

/// Any other error: clap's message without its usage.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    lines.join(" ").trim_start_matches("error: ").to_string()
}
