//! Writes the man pages and shell completions of tare into a directory; `scripts/build --documents` calls it.
//!
//! usage: cargo run --example documents -- DIRECTORY
#![allow(missing_docs, reason = "a program of the build")]

#[path = "../src/cli/mod.rs"]
#[allow(dead_code, reason = "the command line is described, not run")]
mod cli;

use std::fs;
use std::io::Result;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// What is installed, and where a packager puts it: man1, completions/bash, ...
fn write(directory: &Path) -> Result<()> {
    let mut command = cli::arguments::command();
    // Commands are deferred until they are used.
    command.build();
    let man = directory.join("man1");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command.clone().disable_help_subcommand(true), &man)?;
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let completions = directory.join("completions").join(name);
        fs::create_dir_all(&completions)?;
        let mut command: Command = cli::arguments::command();
        clap_complete::generate_to(shell, &mut command, "tare", &completions)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(directory) => write(Path::new(&directory)),
        None => Err(std::io::Error::other("usage: documents DIRECTORY")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_command() -> Vec<Command> {
        let mut whole = cli::arguments::command();
        whole.build();
        let mut commands: Vec<Command> = whole.get_subcommands().cloned().collect();
        commands.push(whole);
        commands.retain(|command| command.get_name() != "help");
        commands
    }

    #[test]
    fn every_command_and_option_has_a_help_text() {
        let mut silent = Vec::new();
        for command in every_command() {
            if command.get_about().is_none() {
                silent.push(command.get_name().to_owned());
            }
            let arguments = command.get_arguments().filter(|argument| argument.get_help().is_none());
            silent.extend(arguments.map(|argument| format!("{} {}", command.get_name(), argument.get_id())));
        }
        assert!(silent.is_empty(), "without help: {silent:?}");
    }

    #[test]
    fn each_command_has_a_page_and_each_shell_its_completions() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let read =
            |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        for command in every_command() {
            let name = command.get_name();
            let page = if name == "tare" { "man1/tare.1".to_owned() } else { format!("man1/tare-{name}.1") };
            let text = read(&page);
            assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
            for option in
                command.get_arguments().filter(|argument| !argument.is_hide_set()).filter_map(|a| a.get_long())
            {
                assert!(text.contains(&option.replace('-', "\\-")), "{page} has no --{option}");
            }
        }
        for (file, word) in [
            ("bash/tare.bash", "--console-socket"),
            ("zsh/_tare", "--console-socket"),
            ("fish/tare.fish", "console-socket"),
        ] {
            let text = read(&format!("completions/{file}"));
            assert!(text.contains(word) && text.contains("update") && text.contains("pids-limit"), "{file}");
        }
    }
}
