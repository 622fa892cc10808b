//! Example command lines for the help and the man page of each command.
//!
//! A table of its own: the command line is parsed without it.
//! World: parent.

/// A command line, and what it is for.
pub struct Example {
    pub purpose: &'static str,
    pub line: &'static str,
}

/// The examples of a command; those of `tare` itself are for its man page alone.
pub fn of(command: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, examples)| examples)
}

/// What the help of a command says after its options: `more`, then the examples.
pub fn after_help(command: &str, more: Option<&str>) -> String {
    let mut paragraphs: Vec<String> = more.map(str::to_owned).into_iter().collect();
    let examples = of(command);
    if !examples.is_empty() {
        let lines = examples.iter().map(|example| format!("\n  {}:\n    {}", example.purpose, example.line));
        paragraphs.push(lines.fold("Examples:".to_owned(), |all, line| all + &line));
    }
    paragraphs.join("\n\n")
}

const fn example(purpose: &'static str, line: &'static str) -> Example {
    Example { purpose, line }
}

static EXAMPLES: &[(&str, &[Example])] = &[
    (
        "tare",
        &[
            example("Write a config.json and run the container that it describes", "tare spec && tare run web"),
            example("Show the containers of another state directory", "tare --root /run/other list"),
            example("Use systemd to create the cgroup", "tare --systemd-cgroup run --detach web"),
        ],
    ),
    (
        "create",
        &[
            example("Create a container from the bundle in the current directory", "tare create web"),
            example("Pass the process ID to a supervisor", "tare create --bundle /srv/web --pid-file /run/web.pid web"),
        ],
    ),
    (
        "run",
        &[
            example("Run the bundle in the current directory in the foreground", "tare run web"),
            example("Run another bundle in the background", "tare run --detach --bundle /srv/web web"),
        ],
    ),
    ("start", &[example("Start a container that `tare create` made", "tare start web")]),
    ("state", &[example("Print the status alone", "tare state web | jq -r .status")]),
    (
        "kill",
        &[
            example("Ask a container to stop", "tare kill web"),
            example("Kill all of its processes", "tare kill --all web KILL"),
        ],
    ),
    (
        "delete",
        &[
            example("Delete a container that has stopped", "tare delete web"),
            example(
                "Kill and delete all containers whose ID starts with test-",
                "tare delete --force --regex '^test-'",
            ),
        ],
    ),
    (
        "exec",
        &[
            example("Open a shell in a container", "tare exec --tty web sh"),
            example("Run a command as another user", "tare exec --user 1000:1000 --cwd /tmp web id"),
        ],
    ),
    (
        "list",
        &[
            example("Show all containers", "tare list"),
            example("Print the directories of the bundles", "tare list --format json | jq -r .[].bundle"),
        ],
    ),
    (
        "ps",
        &[
            example("Show the processes of a container", "tare ps web"),
            example("Choose the columns with options of ps(1)", "tare ps web -o pid,rss,args"),
        ],
    ),
    ("pause", &[example("Suspend a container, and resume it later", "tare pause web && sleep 10 && tare resume web")]),
    ("resume", &[example("Resume a container that `tare pause` suspended", "tare resume web")]),
    (
        "events",
        &[
            example("Follow the events of a container", "tare events web"),
            example("Print the memory usage once", "tare events --stats web | jq .data.memory.usage.usage"),
        ],
    ),
    (
        "update",
        &[
            example("Limit memory and the number of processes", "tare update --memory 512m --pids-limit 100 web"),
            example("Limit the container to half a CPU", "tare update --cpu-quota 50000 --cpu-period 100000 web"),
        ],
    ),
    (
        "mounts",
        &[
            example(
                "Bind mount /srv/data into a running container",
                "echo '[{\"destination\": \"/data\", \"source\": \"/srv/data\", \"options\": [\"bind\", \"ro\"]}]' | tare mounts add web -",
            ),
            example("Remove it again", "echo '[{\"destination\": \"/data\"}]' | tare mounts remove web -"),
        ],
    ),
    (
        "checkpoint",
        &[
            example("Write a container to images and stop it", "tare checkpoint --image-path /var/tmp/web web"),
            example("Keep it running", "tare checkpoint --image-path /var/tmp/web --leave-running web"),
        ],
    ),
    (
        "restore",
        &[example(
            "Restore a container in the background",
            "tare restore --detach --image-path /var/tmp/web --bundle /srv/web web",
        )],
    ),
    (
        "spec",
        &[
            example("Write config.json into the current directory", "tare spec"),
            example("Write one for a user without root", "tare spec --rootless --bundle ~/web"),
        ],
    ),
    (
        "doctor",
        &[
            example("Report what killed commands left behind", "tare doctor"),
            example("Remove it", "tare doctor --repair"),
        ],
    ),
    (
        "info",
        &[
            example("Describe the host for a report of an error", "tare info"),
            example("Print the same for a program", "tare info --json"),
        ],
    ),
    (
        "inspect",
        &[
            example("Show how a container differs from its configuration", "tare inspect web"),
            example("List the differences for a program", "tare inspect --json web | jq .differences"),
        ],
    ),
    (
        "check",
        &[
            example("Find all that `tare create` would refuse", "tare check --bundle /srv/web"),
            example("Print what it would do, in order", "tare check --plan --bundle /srv/web"),
            example(
                "Check a bundle for rootless containers as all users",
                "sudo tare check --all-users --bundle /srv/web",
            ),
        ],
    ),
    (
        "completion",
        &[
            example("Complete in each new bash", "tare completion bash | tee /etc/bash_completion.d/tare"),
            example("Complete in each new fish", "tare completion fish | tee ~/.config/fish/completions/tare.fish"),
        ],
    ),
    ("features", &[example("List the mount options that are supported", "tare features | jq .mountOptions")]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::COMMANDS;

    /// The calls of tare in a line of a shell, one vector of words each.
    fn calls(line: &str) -> Vec<Vec<&str>> {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let parts = words.split(|word| ["&&", "|"].contains(word));
        parts.filter_map(|part| Some(part[part.iter().position(|word| *word == "tare")?..].to_vec())).collect()
    }

    #[test]
    fn each_command_has_examples_that_parse() {
        let names = COMMANDS.iter().map(|command| command.name);
        let without: Vec<_> = names.filter(|name| of(name).is_empty()).collect();
        assert!(without.is_empty(), "commands without an example: {without:?}");
        for (name, examples) in EXAMPLES {
            for Example { line, purpose } in *examples {
                let calls = calls(line);
                assert!(calls.iter().any(|words| *name == "tare" || words.contains(name)), "{name}: {line}");
                for words in calls {
                    let words = words.into_iter().map(|word| word.trim_matches('\'').into()).collect();
                    assert!(crate::cli::arguments::parse(words).is_ok(), "{name}: {line}");
                }
                assert!(!purpose.ends_with('.') && purpose.len() < 80, "{purpose}");
            }
        }
    }

    #[test]
    fn the_help_of_a_command_ends_with_its_examples() {
        let text = after_help("events", Some("Each line is an object."));
        assert!(
            text.starts_with("Each line is an object.\n\nExamples:\n  Follow the events of a container:\n    tare")
        );
        assert_eq!(after_help("start", None).lines().count(), 3);
        assert_eq!(after_help("missing", None), "");
    }
}
