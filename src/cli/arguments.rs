//! Parses the command line with clap, which gets its commands and options from the tables in options.rs.
//!
//! Building all commands takes longer than most of them run, so clap first gets the command and the options that the
//! line names, without texts. A line that these do not accept is parsed again with everything, for the help or the
//! error. An option may be repeated: the last one wins.
//!
//! World: parent.

use std::ffi::OsString;
use std::path::PathBuf;

use super::examples;
use super::go_flags;
use super::log::{Log, Messages};
use super::options::{self, COMMANDS, CliCommand, CliOption, Operands, Place, Takes};
use super::usage;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use tare::error::{Code, Error};

/// How a parse that yields no command ends.
pub enum End {
    /// Help or version: text for stdout.
    Text(String),
    /// Bad usage: one line, and where it is logged.
    Usage {
        /// The line.
        line: String,
        /// As far as the words before the mistake tell.
        log: Log,
    },
}

impl End {
    /// Prints and returns the exit code.
    pub fn show(self) -> i32 {
        match self {
            Self::Text(text) => i32::from(super::print(text.as_bytes()).is_err()),
            Self::Usage { line, log } => {
                log.error(&Error::new(Code::CommandLineInvalid, line));
                1
            }
        }
    }
}

/// Parses; `args` begin with the program's name.
pub fn parse(args: Vec<OsString>) -> Result<ArgMatches, End> {
    if super::welcome::is_wanted(args.len()) {
        return Err(End::Text(super::welcome::WELCOME.to_owned()));
    }
    let line = go_flags::normalize(args);
    if let Some(row) = line.command
        && let Ok(matches) = bare_program(row, &line.given).try_get_matches_from(&line.words)
    {
        return Ok(matches);
    }
    command().try_get_matches_from(&line.words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            End::Text(error.to_string())
        }
        _ => End::Usage { line: usage::line(&error), log: Log::new(&Messages::from_words(&line.words)) },
    })
}

/// The whole command line; public for the generator of man pages and completions.
#[must_use]
pub fn command() -> Command {
    COMMANDS.iter().fold(program().args(arguments(options::in_place(Place::PROGRAM), described)), |all, row| {
        all.subcommand(described_command(row))
    })
}

/// The program, without options and commands.
fn program() -> Command {
    Command::new("tare")
        .about("A low-level OCI container runtime")
        .version(super::commands::version())
        .disable_version_flag(true)
        .args_override_self(true)
        .subcommand_required(true)
        .arg_required_else_help(true)
}

/// The command line with one command and the options that are given, without help.
fn bare_program(row: &'static CliCommand, given: &[&'static CliOption]) -> Command {
    let options = |place| arguments(given.iter().copied().filter(move |option| option.places.contains(place)), bare);
    let command = Command::new(row.name).args_override_self(true).args(options(row.place));
    let command = operands(row.alias.into_iter().fold(command, Command::alias), row.operands);
    program().args(options(Place::PROGRAM)).subcommand(command)
}

/// A command with its help, built when it is used.
fn described_command(row: &'static CliCommand) -> Command {
    let command = Command::new(row.name).about(row.about).args_override_self(true);
    row.alias.into_iter().fold(command, Command::alias).defer(|command| {
        let Some(row) = options::command(command.get_name()) else { return command };
        let command = command.args(arguments(options::in_place(row.place), described));
        operands(command.after_help(examples::after_help(row.name, row.more)), row.operands)
    })
}

/// The options one by one: an array of them would fill pages of the stack. clap adds --help itself.
fn arguments(
    options: impl Iterator<Item = &'static CliOption>,
    argument: fn(&'static CliOption) -> Arg,
) -> impl Iterator<Item = Arg> {
    options.filter(|option| !matches!(option.takes, Takes::Help)).map(argument)
}

/// An option with all that parsing needs.
fn bare(option: &'static CliOption) -> Arg {
    let argument = Arg::new(option.name).long(option.name);
    let argument = option.short.into_iter().fold(argument, Arg::short);
    match option.takes {
        Takes::Nothing => argument.action(ArgAction::SetTrue),
        Takes::Help => argument.action(ArgAction::Help),
        Takes::Version => argument.action(ArgAction::Version),
        Takes::Path(_) => argument.value_parser(value_parser!(PathBuf)),
        Takes::Text(_) => argument,
        Takes::Texts(_) => argument.action(ArgAction::Append),
        Takes::DashedText(_) | Takes::Setting(_) => argument.allow_hyphen_values(true),
        Takes::Number(_) => argument.value_parser(value_parser!(u32)),
        Takes::Numbers(_) => argument.value_parser(value_parser!(u32)).action(ArgAction::Append),
        Takes::OneOf(_, words) => argument.value_parser(PossibleValuesParser::new(words)),
        Takes::AnyCase(_, words) => argument.value_parser(PossibleValuesParser::new(words)).ignore_case(true),
    }
}

/// An option with its help.
fn described(option: &'static CliOption) -> Arg {
    let argument = bare(option).help(option.help).hide(option.hidden);
    let argument = option.takes.value_name().into_iter().fold(argument, Arg::value_name);
    argument.hide_possible_values(matches!(option.takes, Takes::AnyCase(..)))
}

fn operands(command: Command, operands: Operands) -> Command {
    match operands {
        Operands::None => command,
        Operands::Id => command.arg(id()),
        Operands::Signal => command
            .arg(id())
            .arg(Arg::new("signal").value_name("SIGNAL").default_value("TERM").help("Signal name or number")),
        Operands::MountList => {
            let action = Arg::new("action").value_name("ACTION").required(true).help("What to do");
            let file = Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf));
            command
                .arg(action.value_parser(PossibleValuesParser::new(["add", "remove"])))
                .arg(id())
                .arg(file.help("JSON file with a list of mounts, or - for stdin"))
        }
        Operands::PsArguments => command.arg(id()).arg(
            Arg::new("arguments")
                .value_name("PS_ARGUMENT")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("Arguments for ps(1) [default: -ef]"),
        ),
        Operands::ContainerCommand => command.arg(
            Arg::new("words")
                .value_names(["ID", "COMMAND"])
                .num_args(1..)
                .required(true)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("Container ID, then the command and its arguments"),
        ),
        Operands::Shell => command.arg(
            Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)).help("Which shell"),
        ),
    }
}

fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("Container ID")
}

#[cfg(test)]
mod tests;
