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
use clap::builder::Resettable;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use cli::options::{self, Place};

/// What is installed, and where a packager puts it: man1, completions/bash, ...
fn write(directory: &Path) -> Result<()> {
    let man = directory.join("man1");
    // A page of a command that no longer exists would be packaged.
    if man.exists() {
        fs::remove_dir_all(&man)?;
    }
    fs::create_dir_all(&man)?;
    for command in every_command() {
        fs::write(man.join(format!("{}.1", page_name(command.get_name()))), page(&command)?)?;
    }
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let completions = directory.join("completions").join(name);
        fs::create_dir_all(&completions)?;
        let mut command: Command = cli::arguments::command();
        clap_complete::generate_to(shell, &mut command, "tare", &completions)?;
    }
    Ok(())
}

/// `tare` and its commands. `help` is not one of them: `tare(1)` would refer to a page for each `tare help COMMAND`.
fn every_command() -> Vec<Command> {
    let mut whole = cli::arguments::command().disable_help_subcommand(true);
    // Commands are deferred until they are used.
    whole.build();
    let mut commands: Vec<Command> = whole.get_subcommands().cloned().collect();
    commands.push(whole);
    commands
}

fn page_name(command: &str) -> String {
    if command == "tare" { command.to_owned() } else { format!("tare-{command}") }
}

/// A man page: the sections that clap knows, and those that a manual has besides.
fn page(command: &Command) -> Result<Vec<u8>> {
    let name = command.get_name();
    let man = Man::new(command.clone().after_help(Resettable::Reset))
        .title(page_name(name).to_uppercase())
        .source(format!("tare {}", env!("CARGO_PKG_VERSION")))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    text.extend(synopsis(command).to_roff().bytes());
    man.render_description_section(&mut text)?;
    text.extend(description(name).to_roff().bytes());
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    for section in [exit_status(name), files(name), examples(name), see_also(name)] {
        text.extend(section.to_roff().bytes());
    }
    Ok(text)
}

/// As the help has it. clap_mangen would list the options without their values.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = command.get_bin_name().unwrap_or("tare");
    let rest = usage.strip_prefix(name).unwrap_or(usage);
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text([bold(name), roman(rest)]);
    roff
}

/// What the help says after the options. An indented line is a term and its meaning.
fn description(name: &str) -> Roff {
    let mut roff = Roff::new();
    let more = options::command(name).and_then(|command| command.more);
    if let Some(more) = more {
        roff.control("PP", []);
        for line in more.lines() {
            match line.strip_prefix("  ").and_then(|row| row.split_once("  ")) {
                Some((term, meaning)) => row(&mut roff, term, meaning.trim_start()),
                None => _ = roff.text([roman(line)]),
            }
        }
    }
    roff
}

/// A section of terms and what they are.
fn list(heading: &str, rows: &[(&str, &str)]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (term, meaning) in rows {
        row(&mut roff, term, meaning);
    }
    roff
}

fn row(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
}

fn exit_status(name: &str) -> Roff {
    let passed_on =
        ("other", "In the foreground: that of the program, or 128 plus the number of the signal that ended it.");
    let rows: &[(&str, &str)] = match name {
        "run" | "restore" => &[("0", "Success."), FAILED, passed_on],
        "exec" => &[
            ("0", "Success."),
            ("1", "The arguments are wrong."),
            ("255", "The program could not be started."),
            passed_on,
        ],
        "doctor" => &[("0", "Nothing is left over."), ("1", "Something remains, or the command failed.")],
        _ => &[("0", "Success."), FAILED],
    };
    list("EXIT STATUS", rows)
}

const FAILED: (&str, &str) = ("1", "The command failed, or its arguments are wrong.");

fn files(name: &str) -> Roff {
    let place = options::command(name).map_or(Place::all(), |command| command.place);
    let mut rows = Vec::new();
    if !(Place::SPEC | Place::FEATURES | Place::INFO).contains(place) {
        rows.push(("/run/tare/", "State of the containers of root."));
        rows.push(("$XDG_RUNTIME_DIR/tare/", "State of the containers of other users."));
    }
    if place.intersects(Place::CREATION | Place::SPEC) {
        rows.push(("config.json", "The configuration of a container, in its bundle directory."));
    }
    rows.push(("/usr/share/doc/tare/", "Documentation, and example configurations for container engines."));
    list("FILES", &rows)
}

fn examples(name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for example in cli::examples::of(name) {
        roff.control("PP", []).text([roman(format!("{}:", example.purpose))]);
        roff.control("PP", []).control("RS", ["4"]).control("nf", []).text([bold(example.line)]);
        roff.control("fi", []).control("RE", []);
    }
    roff
}

/// Other pages: all commands for `tare`, and those of the same purpose for a command.
fn see_also(name: &str) -> Roff {
    let related: &[&str] = match name {
        "create" => &["start", "run", "spec"],
        "run" => &["create", "exec", "spec"],
        "start" => &["create", "run"],
        "state" => &["list", "ps"],
        "kill" => &["delete"],
        "delete" => &["kill", "doctor"],
        "exec" => &["run", "ps"],
        "list" => &["state", "ps"],
        "ps" => &["list", "events"],
        "pause" => &["resume"],
        "resume" => &["pause"],
        "events" => &["update", "ps"],
        "update" => &["events"],
        "checkpoint" => &["restore"],
        "restore" => &["checkpoint"],
        "spec" => &["run", "create"],
        "doctor" => &["delete", "info"],
        "info" => &["features", "doctor"],
        "features" => &["info"],
        "inspect" => &["state", "update"],
        "check" => &["create", "info"],
        _ => &[],
    };
    let elsewhere: &[(&str, &str)] = match name {
        "tare" => &[("runc", "8"), ("crun", "1")],
        "ps" => &[("ps", "1")],
        "kill" => &[("kill", "1"), ("signal", "7")],
        "checkpoint" | "restore" => &[("criu", "8")],
        "events" | "update" => &[("cgroups", "7")],
        "mounts" => &[("mount", "8")],
        _ => &[],
    };
    let own: Vec<String> = match name {
        "tare" => options::COMMANDS.iter().map(|command| page_name(command.name)).collect(),
        _ => ["tare"].iter().chain(related).map(|command| page_name(command)).collect(),
    };
    let pages = own.iter().map(|page| (page.as_str(), "1")).chain(elsewhere.iter().copied());
    let mut words: Vec<Inline> =
        pages.flat_map(|(page, section)| [bold(page), roman(format!("({section}), "))]).collect();
    if let Some(Inline::Roman(last)) = words.last_mut() {
        last.truncate(last.len() - 2);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text(words);
    roff.control("PP", [])
        .text([roman("The specification: "), italic("https://github.com/opencontainers/runtime-spec")]);
    roff
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

    const SECTIONS: [&str; 8] =
        ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "FILES", "EXAMPLES", "\"SEE ALSO\""];

    #[test]
    fn pages_refer_to_pages_that_exist() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let man = directory.path().join("man1");
        let mut references = 0;
        for entry in fs::read_dir(&man).unwrap() {
            let page = entry.unwrap().path();
            assert!(!page.to_string_lossy().contains("help"), "{page:?}");
            let text = fs::read_to_string(&page).unwrap().replace("\\fB", "").replace("\\fR", "").replace("\\-", "-");
            for before in text.split("(1)").filter(|before| before.ends_with(|c: char| c.is_ascii_lowercase())) {
                let name = before.rsplit(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap();
                if name.starts_with("tare") {
                    references += 1;
                    assert!(man.join(format!("{name}.1")).exists(), "{page:?} refers to {name}(1)");
                }
            }
        }
        assert!(references > 60, "{references}");
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
            for section in SECTIONS {
                let content = text.split(&format!("\n.SH {section}\n")).nth(1).unwrap_or_default();
                assert!(!content.is_empty() && !content.starts_with(".SH"), "{page} has no {section}: {text}");
            }
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
