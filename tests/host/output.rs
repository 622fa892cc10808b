//! What is printed: version, help, usage, features, spec, and the log. Most of it needs no privilege.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bundle::{Bundle, Done, LIMIT, finish, is_tare, runtime};

fn tare(args: &[&str]) -> Done {
    let mut command = Command::new(runtime());
    command.args(args);
    finish(command)
}

#[test]
fn version_has_one_line_with_the_word() {
    for option in ["--version", "-v", "-version"] {
        let text = tare(&[option]).good();
        let lines: Vec<_> = text.lines().collect();
        let (name, version) = lines[0].split_once(" version ").unwrap();
        assert!(!name.contains(' ') && version.split('.').count() >= 3, "{text}");
        assert_eq!(lines.iter().filter(|line| line.contains("version")).count(), 1);
        assert!(lines[1].starts_with("commit: ") && lines[2].starts_with("spec: 1."), "{text}");
    }
}

#[test]
fn help_is_on_stdout() {
    for args in [&["--help"][..], &["-h"], &["create", "--help"], &["run", "-h"], &["exec", "--help"], &["help"]] {
        let text = tare(args).good();
        assert!(text.lines().count() > 3, "{text}");
    }
    if is_tare() {
        let text = tare(&["--help"]).stdout;
        for command in [
            "create", "start", "run", "exec", "kill", "delete", "state", "list", "ps", "pause", "resume", "spec",
            "features", "update", "events",
        ] {
            assert!(text.lines().any(|line| line.trim_start().starts_with(command)), "{command}");
        }
    }
}

#[test]
fn usage_errors_are_one_line_that_names_the_word() {
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    for (args, text) in [
        (&["craete"][..], "unknown command \"craete\"; did you mean \"create\"?"),
        (&["nonsense"], "unknown command \"nonsense\"; `tare --help` lists them"),
        (&["create", "--bundel", "x", "id"], "unknown option \"--bundel\" of create; did you mean \"--bundle\"?"),
        (
            &["create", "--frobnicate", "id"],
            "unknown option \"--frobnicate\" of create; `tare create --help` lists them",
        ),
        (&["--frobnicate", "list"], "unknown option \"--frobnicate\"; `tare --help` lists them"),
        (&["create", "--bundle"], "flag needs an argument: --bundle"),
        (&["kill", "a", "9", "more"], "unexpected argument \"more\"; `tare kill --help` shows what is expected"),
        (&["state"], "the container's ID is missing; `tare state --help` shows what is expected"),
        (&["create"], "the container's ID is missing; `tare create --help` shows what is expected"),
        (&["exec"], "the container's ID is missing; `tare exec --help` shows what is expected"),
        (&["--log-format", "xml", "list"], "--log-format: \"xml\" is not one of text, json"),
        (&["list", "--format", "yaml"], "--format: \"yaml\" is not one of table, json"),
        (&["create", "--preserve-fds", "x", "id"], "--preserve-fds: \"x\" is not a number"),
    ] {
        let done = tare(args);
        assert_eq!((done.code, done.stdout.as_str(), done.stderr), (1, "", format!("tare: {text}\n")), "{args:?}");
    }
}

#[test]
fn features_is_json_and_nothing_else() {
    let features: Value = serde_json::from_str(&tare(&["features"]).good()).unwrap();
    for key in ["ociVersionMin", "ociVersionMax"] {
        assert!(features[key].as_str().unwrap().starts_with("1."));
    }
    let has =
        |pointer: &str, word: &str| features.pointer(pointer).unwrap().as_array().unwrap().iter().any(|x| x == word);
    assert!(has("/mountOptions", "rro") && has("/linux/namespaces", "user"));
    if is_tare() {
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    }
}

#[test]
fn a_completion_script_completes_commands_and_options() {
    if !is_tare() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("tare.bash");
    fs::write(&script, tare(&["completion", "bash"]).good()).unwrap();
    let completed = |before: &str, word: &str| {
        let line = format!(
            "source {}; COMP_WORDS=({before} {word}) COMP_CWORD={}; _tare tare {word} {}; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            before.split(' ').count(),
            before.split(' ').next_back().unwrap(),
        );
        let done = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("tare", "crea"), "create");
    assert_eq!(completed("tare create", "--console"), "--console-socket");
    for (shell, word) in [("zsh", "#compdef tare"), ("fish", "complete -c tare"), ("elvish", "edit:completion")] {
        assert!(tare(&["completion", shell]).good().contains(word), "{shell}");
    }
    assert_eq!(
        tare(&["completion"]).refused(),
        "the name of the shell is missing; `tare completion --help` shows what is expected"
    );
    assert!(tare(&["completion", "tcsh"]).refused().starts_with("<SHELL>: \"tcsh\" is not one of bash, elvish, fish"));
}

#[test]
fn spec_writes_a_config_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    tare(&["spec", "--bundle", path]).silent();
    let first = fs::read(directory.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(config["root"]["path"], "rootfs");
    let line = tare(&["spec", "-b", path]).refused();
    if is_tare() {
        assert_eq!(line, format!("{path}/config.json exists; remove it first: tare does not overwrite it"));
    }
    assert_eq!(fs::read(directory.path().join("config.json")).unwrap(), first);
}

fn objects(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().unwrap()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_failure_is_one_json_object_and_also_on_stderr() {
    let bundle = Bundle::new();
    let log = bundle.file("log.json");
    let log_option = log.to_str().unwrap();
    let globals = ["--log", log_option, "--log-format", "json"];
    let done = bundle.tare(&[&globals[..], &["state", "nobody"]].concat());
    assert_eq!(done.stdout, "");
    let found = objects(&log);
    assert_eq!(found.len(), 1, "{found:?}");
    let object = &found[0];
    assert_eq!(object["level"], "error");
    let message = object["msg"].as_str().unwrap();
    assert!(message.contains("does not exist"));
    let time = object["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
    assert!(done.stderr.contains("does not exist"), "{}", done.stderr);
    if is_tare() {
        assert_eq!(done.stderr, format!("tare: {message}\n"));
        assert_eq!(object["kind"], "not-found");
    }
    // Appended, never truncated; silence on success.
    bundle.tare(&[&globals[..], &["delete", "nobody"]].concat());
    assert_eq!(objects(&log).len(), 2);
    bundle.write();
    bundle.tare(&[&globals[..], &["create", &bundle.id]].concat()).silent();
    bundle.tare(&[&globals[..], &["start", &bundle.id]].concat()).silent();
    assert_eq!(objects(&log).len(), 2);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_debug_log_is_json_line_by_line() {
    let bundle = Bundle::new();
    let log = bundle.file("log.json");
    bundle.write();
    let globals = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
    bundle.tare(&[&globals[..], &["create", &bundle.id]].concat()).silent();
    let found = objects(&log);
    assert!(!found.is_empty() && found.iter().all(|object| object["level"] == "debug"), "{found:?}");
    bundle.tare(&[&globals[..], &["state", "nobody"]].concat()).refused();
    assert_eq!(objects(&log).last().unwrap()["level"], "error");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn json_messages_have_no_characters_that_a_terminal_obeys() {
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let obeyed = "\u{202e}\u{9b}\u{7f}";
    let mut bundle = Bundle::new();
    bundle.set("/linux/sysctl", serde_json::json!({ format!("net.{obeyed}"): "1" })).write();
    let lines: [&[&str]; 4] = [
        &["create", &bundle.id],
        &["create", "--bundle", &format!("/no/{obeyed}"), &bundle.id],
        &["state", &format!("id{obeyed}")],
        &[&format!("--option{obeyed}"), "list"],
    ];
    for line in lines {
        let done = bundle.tare(&[&["--log-format", "json"], line].concat());
        assert!(done.stderr.contains(r"\\u{202e}\\u{9b}"), "{done:?}");
        assert!(!done.stderr.contains(|c| obeyed.contains(c)), "{done:?}");
        serde_json::from_str::<serde_json::Value>(&done.stderr).unwrap();
    }
}

#[test]
fn usage_errors_reach_the_json_log_too() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log.json");
    let globals = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let done = tare(&[&globals[..], &["create", "--frobnicate", "id"]].concat());
    assert_ne!(done.code, 0);
    if is_tare() {
        let found = objects(&log);
        assert_eq!((found.len(), found[0]["level"].as_str()), (1, Some("error")), "{found:?}");
        assert!(found[0]["msg"].as_str().unwrap().contains("--frobnicate"));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_text_log_is_one_line_as_logrus_writes_it() {
    let bundle = Bundle::new();
    let log = bundle.file("log");
    bundle.tare(&["--log", log.to_str().unwrap(), "state", "nobody"]).refused();
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.starts_with("time=") && text.contains(" level=error msg="), "{text}");
}

#[test]
fn a_full_log_does_not_hide_the_error() {
    if !is_tare() {
        return eprintln!("skipped: the texts are tare's");
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    for format in ["text", "json"] {
        let globals = ["--log", "/dev/full", "--log-format", format, "--root", root.to_str().unwrap()];
        let done = tare(&[&globals[..], &["state", "nobody"]].concat());
        assert_eq!(done.code, 1);
        let lines: Vec<_> = done.stderr.lines().collect();
        // Engines show the last line.
        assert_eq!(lines[1..], ["tare: container \"nobody\" does not exist"]);
        assert!(lines[0].starts_with("tare: write the log /dev/full: no space left on device"), "{lines:?}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_log_that_cannot_be_opened_ends_the_command_before_it_begins() {
    let bundle = Bundle::script("echo ran");
    bundle.write();
    for log in ["/no/such/log", "/proc"] {
        let done = bundle.tare(&["--log", log, "run", &bundle.id]);
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        let line = done.refused();
        assert!(!is_tare() || line.starts_with(&format!("open the log {log}: ")), "{line}");
    }
    // A reader of a FIFO sees one end, that of the command.
    if is_tare() {
        let fifo = bundle.file("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        bundle.tare(&["--log", fifo.to_str().unwrap(), "state", "nobody"]).refused();
        assert!(reader.join().unwrap().contains("does not exist"));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn globals_may_be_doubled_and_options_may_have_one_dash() {
    let bundle = Bundle::script("sleep 100");
    bundle.write();
    let root = bundle.root().to_str().unwrap().to_string();
    let wrong = bundle.file("other").to_str().unwrap().to_string();
    let wrong = format!("--root={wrong}");
    let doubled =
        [&*wrong, "--root", &root, "--log-format", "json", "--log-format=text", "--debug=false", "--rootless=false"];
    let doubled = &doubled[..if is_tare() { 8 } else { 5 }];
    let pid_file = format!("-pid-file={}", bundle.file("pid").display());
    let create = ["create", "-bundle", bundle.path().to_str().unwrap(), &pid_file, "-no-new-keyring", &bundle.id];
    tare(&[doubled, &create[..]].concat()).silent();
    assert_eq!(bundle.status(), "created");
    assert!(bundle.file("other").read_dir().map_or(0, Iterator::count) == 0);
}

/// conmon-rs asks for it of a runtime whose name is crun.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn errors_reach_journald_and_syslog() {
    let bundle = Bundle::new();
    if !is_tare() {
        return eprintln!("skipped: runc logs to files alone");
    }
    let socket = std::path::Path::new("/run/systemd/journal/socket");
    if socket.exists() {
        return eprintln!("skipped: this machine's journald listens");
    }
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let journal = std::os::unix::net::UnixDatagram::bind(socket).unwrap();
    journal.set_read_timeout(Some(LIMIT)).unwrap();
    let received = || {
        let mut entry = [0; 4096];
        let length = journal.recv(&mut entry).unwrap();
        String::from_utf8_lossy(&entry[..length]).into_owned()
    };
    bundle.tare(&["--log=journald:abc", "--debug", "state", "nobody"]).refused();
    let first = received();
    assert!(first.contains("level=debug") && first.contains("\nPRIORITY=7\n"), "{first}");
    bundle.tare(&["--log=journald:abc", "state", "nobody"]).refused();
    let entry = std::iter::repeat_with(received).find(|entry| !entry.contains("level=debug")).unwrap();
    fs::remove_file(socket).unwrap();
    assert!(entry.starts_with("MESSAGE=time=") && entry.contains("does not exist"), "{entry}");
    assert!(entry.ends_with("\nPRIORITY=3\nSYSLOG_IDENTIFIER=abc\n"), "{entry}");
    assert!(!bundle.file("journald:abc").exists());
    // Nobody listens: the error is on stderr all the same.
    let done = bundle.tare(&["--log=journald:abc", "state", "nobody"]);
    assert!(
        done.stderr.contains("does not exist") && done.stderr.contains(socket.to_str().unwrap()),
        "{}",
        done.stderr
    );
    bundle.tare(&["--log", "file:own.log", "state", "nobody"]).refused();
    assert!(fs::read_to_string(bundle.file("own.log")).unwrap().contains("does not exist"));
}
