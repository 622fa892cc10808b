//! Command lines as people and engines write them, and what is understood.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

/// What was given, in clap's ids: `root=/a; create bundle=/x id=c`. Ids are sorted, defaults are left out.
fn understood(matches: &ArgMatches) -> String {
    let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(clap::parser::ValueSource::CommandLine);
    let value = |id: &clap::Id| {
        let values = matches.get_raw(id.as_str()).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        format!("{id}={}", values.join(","))
    };
    let mut found: Vec<_> = matches.ids().filter(given).map(value).collect();
    found.sort();
    if let Some((name, command)) = matches.subcommand() {
        found.push(format!("[{name}] {}", understood(command)));
    }
    found.join(" ").trim_end().to_owned()
}

/// The same for a whole line without the program's name, or the error.
fn read(line: &str) -> String {
    match parse(words(&format!("tare {line}"))) {
        Ok(matches) => understood(&matches),
        Err(End::Text(text)) => format!("text: {}", text.lines().next().unwrap_or_default()),
        Err(End::Usage { line, .. }) => {
            assert!(!line.contains('\n'), "{line}");
            format!("error: {line}")
        }
    }
}

#[track_caller]
fn assert_read(lines: &[(&str, &str)]) {
    let wrong = lines.iter().map(|(line, expected)| (line, expected, read(line)));
    let wrong: Vec<_> = wrong.filter(|(_, expected, found)| found != *expected).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn one_dash_and_repeated_options_as_engines_send_them() {
    assert_read(&[
        (
            "--root=/a --systemd-cgroup --root /b --systemd-cgroup create -bundle /x --pid-file /p id",
            "root=/b systemd-cgroup=true [create] bundle=/x id=id pid-file=/p",
        ),
        ("-root /a -log=/l -log-format json list", "log-format=json log=/l root=/a [list]"),
        ("run -d -detach --detach --keep -keep id", "[run] detach=true id=id keep=true"),
        ("create -b /a --bundle /b -bundle=/c id", "[create] bundle=/c id=id"),
        ("list -q -q -f json -format table", "[list] format=table quiet=true"),
        ("ls -format=json", "[list] format=json"),
        ("update -r - -r /f --memory 1 -memory 2 id", "[update] id=id memory=2 resources=/f"),
        ("exec -e A=1 -env B=2 --env=C=3 id x", "[exec] env=A=1,B=2,C=3 words=id,x"),
        (
            "exec -cap CAP_KILL -c CAP_CHOWN -g 1 -additional-gids 2 id",
            "[exec] additional-gids=1,2 cap=CAP_KILL,CAP_CHOWN words=id",
        ),
        ("kill -all id 9", "[kill] all=true id=id signal=9"),
        ("kill -ar id", "[kill] all=true id=id regex=true"),
        ("-log-level WARN list", "log-level=WARN [list]"),
    ]);
}

#[test]
fn flags_may_have_a_value() {
    assert_read(&[
        ("-debug=true --systemd-cgroup=false kill --all=1 id", "debug=true [kill] all=true id=id"),
        ("--debug=0 list -quiet=1", "[list] quiet=true"),
        ("--debug --debug=false list", "debug=true [list]"),
        ("exec --tty=true -detach=false id x --tty=true", "[exec] tty=true words=id,x,--tty=true"),
        ("--debug=x list", "error: unexpected value 'x' for '--debug' found; no more were expected"),
        ("kill -a=true id", "error: unknown option \"-=\" of kill; `tare kill --help` lists them"),
        ("--rootless=true list", "rootless=true [list]"),
        ("spec --rootless", "[spec] rootless=true"),
        ("spec -rootless -b /x", "[spec] bundle=/x rootless=true"),
    ]);
}

#[test]
fn a_value_is_a_value() {
    assert_read(&[
        ("--root state delete run", "root=state [delete] id=run"),
        ("--log exec --root ls state x", "log=exec root=ls [state] id=x"),
        ("create --bundle exec id -pid-file /p", "[create] bundle=exec id=id pid-file=/p"),
        (
            "update id --cpu-quota -1 --memory-swap=-1 -memory 5m",
            "[update] cpu-quota=-1 id=id memory-swap=-1 memory=5m",
        ),
        ("update --cpuset-cpus -debug id", "[update] cpuset-cpus=-debug id=id"),
        ("events --interval -1s id", "[events] id=id interval=-1s"),
        ("events -interval=2s -stats id", "[events] id=id interval=2s stats=true"),
        ("update --resources=- id", "[update] id=id resources=-"),
        ("update --resources - id", "[update] id=id resources=-"),
        ("update -r - id", "[update] id=id resources=-"),
        ("update id -r -", "[update] id=id resources=-"),
        ("update -resources - id", "[update] id=id resources=-"),
        ("create --pid-file= id", "error: flag needs an argument: --pid-file"),
        ("--root -debug list", "error: unknown option \"-d\"; `tare --help` lists them"),
        ("--root -- list", "error: unexpected argument \"list\"; `tare --help` shows what is expected"),
        ("--log-level --debug list", "error: flag needs an argument: --log-level"),
    ]);
}

#[test]
fn words_behind_the_id() {
    assert_read(&[
        (
            "exec -d --pid-file=/p id ls -format --all -- -root x",
            "[exec] detach=true pid-file=/p words=id,ls,-format,--all,--,-root,x",
        ),
        ("exec id -tty", "[exec] words=id,-tty"),
        ("exec -- id -tty", "[exec] words=id,-tty"),
        ("exec -tty -- id -- ls", "[exec] tty=true words=id,--,ls"),
        ("exec -cwd / exec exec", "[exec] cwd=/ words=exec,exec"),
        ("create id -bundle /b", "[create] bundle=/b id=id"),
        ("kill id KILL -all", "[kill] all=true id=id signal=KILL"),
        ("kill -- id 9", "[kill] id=id signal=9"),
        ("delete -f -- -force", "[delete] force=true id=-force"),
        ("ps id -ef", "[ps] arguments=-ef id=id"),
        ("ps -format json id -o pid", "[ps] arguments=-o,pid format=json id=id"),
        ("ps id -format json", "[ps] format=json id=id"),
        ("ps id aux --format json", "[ps] arguments=aux,--format,json id=id"),
        ("ps id -- -format", "[ps] arguments=-format id=id"),
        ("create exec -bundle /x", "[create] bundle=/x id=exec"),
        ("state -- id", "[state] id=id"),
    ]);
}

#[test]
fn hidden_options_are_options() {
    assert_read(&[
        ("update --kernel-memory 1 id", "[update] id=id kernel-memory=1"),
        ("update -kernel-memory-tcp -1 id", "[update] id=id kernel-memory-tcp=-1"),
    ]);
}

#[test]
fn unknown_options_are_named_in_full() {
    assert_read(&[
        ("create --bundel x id", "error: unknown option \"--bundel\" of create; did you mean \"--bundle\"?"),
        ("create ---bundle /x id", "error: unknown option \"---bundle\" of create; did you mean \"--bundle\"?"),
        ("---debug list", "error: unknown option \"---debug\"; did you mean \"--debug\"?"),
        ("create --frobnicate id", "error: unknown option \"--frobnicate\" of create; `tare create --help` lists them"),
        ("--frobnicate=x list", "error: unknown option \"--frobnicate\"; `tare --help` lists them"),
        ("-frobnicate list", "error: unknown option \"-f\"; `tare --help` lists them"),
        ("create --detach id", "error: unknown option \"--detach\" of create; `tare create --help` lists them"),
        ("create -detach id", "error: unknown option \"--detach\" of create; `tare create --help` lists them"),
        ("create -root=/x id", "error: unknown option \"--root\" of create; `tare create --help` lists them"),
        ("create -debug id", "error: unknown option \"--debug\" of create; `tare create --help` lists them"),
        ("-bundle /x create id", "error: unknown option \"--bundle\"; `tare --help` lists them"),
        ("list -v", "error: unknown option \"-v\" of list; `tare list --help` lists them"),
        // An option of one letter, with its value behind it.
        ("create -frobnicate id", "[create] config=robnicate id=id"),
        ("create -bundel x id", "error: unexpected argument \"id\"; `tare create --help` shows what is expected"),
        // The first word that is not an option of exec is the id, whatever it is.
        ("exec --frobnicate id ls", "[exec] words=--frobnicate,id,ls"),
        ("exec -x id -tty", "[exec] words=-x,id,-tty"),
    ]);
}

#[test]
fn usage_errors_are_one_line() {
    assert_read(&[
        ("", "error: unknown command \"\"; `tare --help` lists them"),
        ("- list", "error: unknown command \"-\"; `tare --help` lists them"),
        ("craete x", "error: unknown command \"craete\"; did you mean \"create\"?"),
        ("mounts add x -", "[mounts] action=add file=- id=x"),
        ("mounts x", "error: <ACTION>: \"x\" is not one of add, remove"),
        ("mounts remove", "error: the container's ID is missing; `tare mounts --help` shows what is expected"),
        ("mounts add x", "error: the following required arguments were not provided: <FILE>"),
        ("nonsense", "error: unknown command \"nonsense\"; `tare --help` lists them"),
        ("help nonsense", "error: unknown command \"nonsense\"; `tare --help` lists them"),
        ("-- list", "error: unexpected argument \"list\"; `tare --help` shows what is expected"),
        ("list --", "[list]"),
        ("list -- a", "error: unexpected argument \"a\"; `tare list --help` shows what is expected"),
        ("state a b", "error: unexpected argument \"b\"; `tare state --help` shows what is expected"),
        ("state", "error: the container's ID is missing; `tare state --help` shows what is expected"),
        ("exec -d", "error: the container's ID is missing; `tare exec --help` shows what is expected"),
        ("create --bundle", "error: flag needs an argument: --bundle"),
        ("update --memory", "error: flag needs an argument: --memory"),
        ("--log-level= list", "error: flag needs an argument: --log-level"),
        ("--log-format xml list", "error: --log-format: \"xml\" is not one of text, json"),
        (
            "--log-level loud list",
            "error: --log-level: \"loud\" is not one of trace, debug, info, warn, warning, error, fatal, panic",
        ),
        ("list -format yaml", "error: --format: \"yaml\" is not one of table, json"),
        ("list -f -format", "error: flag needs an argument: --format"),
        ("create -preserve-fds x id", "error: --preserve-fds: \"x\" is not a number"),
        ("exec -g x id", "error: --additional-gids: \"x\" is not a number"),
    ]);
}

#[test]
fn help_and_version_are_text() {
    for line in ["--version", "-version", "-v", "-debug -v", "-help", "-h", "list -help", "help list", "help help"] {
        let read = read(line);
        assert!(read.starts_with("text: "), "{line}: {read}");
    }
    assert_read(&[
        ("help -help", "error: unknown command \"--help\"; `tare --help` lists them"),
        ("list --help=true", "error: unexpected value 'true' for '--help' found; no more were expected"),
        ("--version=true", "error: unexpected value 'true' for '--version' found; no more were expected"),
    ]);
}

/// A value that an option takes.
fn sample(takes: Takes) -> &'static str {
    match takes {
        Takes::OneOf(_, words) | Takes::AnyCase(_, words) => words[0],
        Takes::Number(_) | Takes::Numbers(_) => "3",
        _ => "value",
    }
}

/// Each place with a command line that its options are inserted into, and the command's name.
fn places() -> impl Iterator<Item = (Place, &'static str, &'static str)> {
    let operand = |row: &CliCommand| if row.operands == Operands::None { "" } else { " id" };
    let commands = COMMANDS.iter().map(move |row| (row.place, row.name, operand(row)));
    commands.chain([(Place::PROGRAM, "", " features")])
}

#[test]
fn each_option_works_in_each_of_gos_spellings() {
    for (place, command, operand) in places() {
        for option in options::in_place(place) {
            let value = sample(option.takes);
            let endings = match option.takes {
                Takes::Nothing => vec!["=true".to_owned(), "=1".to_owned(), String::new()],
                Takes::Help | Takes::Version => vec![String::new()],
                _ => vec![format!("={value}"), format!(" {value}")],
            };
            let one_letter = option.short.map(|letter| match option.takes.value_name() {
                Some(_) => format!("-{letter} {value}"),
                None => format!("-{letter}"),
            });
            let long = endings.iter().flat_map(|end| ["-", "--"].map(|dash| format!("{dash}{}{end}", option.name)));
            for spelling in long.chain(one_letter) {
                let line = format!("{command} {spelling}{operand}");
                let found = read(line.trim_start());
                let given = match option.takes {
                    Takes::Help | Takes::Version => "text: ".to_owned(),
                    Takes::Nothing => format!("{}=true", option.name),
                    _ => format!("{}={value}", option.name),
                };
                assert!(found.contains(&given) && !found.starts_with("error"), "{line}: {found}");
            }
            if matches!(option.takes, Takes::Nothing) {
                let line = format!("{command} -{}=false{operand}", option.name);
                let found = read(line.trim_start());
                assert!(
                    !found.contains(&format!("{}=", option.name)) && !found.starts_with("error"),
                    "{line}: {found}"
                );
            }
        }
    }
}

#[test]
fn the_options_of_clap_are_those_of_the_table() {
    let mut whole = command();
    whole.build();
    let commands = whole.get_subcommands().filter(|command| command.get_name() != "help");
    for command in commands.chain([&whole]) {
        let name = command.get_name();
        let place = options::command(name).map_or(Place::PROGRAM, |row| row.place);
        let table: Vec<_> = options::in_place(place)
            .map(|option| (option.name, option.short, option.hidden, option.takes.value_name(), option.help.to_owned()))
            .collect();
        let clap: Vec<_> = command
            .get_arguments()
            .filter(|argument| !argument.is_positional())
            .map(|argument| {
                let value = argument.get_value_names().map(|names| names[0].as_str());
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let takes_value = argument.get_action().takes_values();
                assert_eq!(argument.get_id(), argument.get_long().unwrap());
                (
                    argument.get_long().unwrap(),
                    argument.get_short(),
                    argument.is_hide_set(),
                    value.filter(|_| takes_value),
                    help,
                )
            })
            .collect();
        assert_eq!(clap, table, "{name}");
    }
}

#[test]
fn a_name_means_one_thing_in_a_place() {
    for (place, command, _) in places() {
        let options: Vec<_> = options::in_place(place).collect();
        let names = options.iter().map(|option| option.name.to_owned());
        let mut names: Vec<_> =
            names.chain(options.iter().filter_map(|option| option.short.map(String::from))).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{command}: {names:?}");
    }
    assert!(options::OPTIONS.iter().all(|option| option.name.len() > 1), "one letter is a short name");
}

#[test]
fn a_misspelt_option_is_told_from_the_table() {
    // In exec the first word that is not an option is the id.
    for (place, command, operand) in places().filter(|(place, ..)| *place != Place::EXEC) {
        for option in options::in_place(place).filter(|option| !option.hidden) {
            let found = read(format!("{command} --{}z=value{operand}", option.name).trim_start());
            assert!(found.ends_with(&format!("did you mean \"--{}\"?", option.name)), "{command}: {found}");
        }
    }
}

#[test]
fn the_same_name_before_and_after_the_command() {
    assert_read(&[
        // --rootless takes a value before the command and none after `spec`.
        ("-rootless true spec -rootless=true", "rootless=true [spec] rootless=true"),
        ("spec -rootless -bundle /x", "[spec] bundle=/x rootless=true"),
        ("spec -rootless=false", "[spec]"),
        // -r takes a value of update, and none of kill; -f of create, and none of delete.
        ("kill -r -all id", "[kill] all=true id=id regex=true"),
        ("kill -r --all=true id", "[kill] all=true id=id regex=true"),
        ("update -r -memory id", "[update] id=id resources=-memory"),
        ("delete -f -regex a", "[delete] force=true id=a regex=true"),
        // An id may be the name of a command.
        ("kill exec TERM -all", "[kill] all=true id=exec signal=TERM"),
        ("create -f exec id -bundle=/x", "[create] bundle=/x config=exec id=id"),
    ]);
}

#[test]
fn a_value_need_not_be_text() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    for option in ["-bundle=", "--bundle="] {
        let value = OsString::from_vec([option.as_bytes(), b"/\xff"].concat());
        let matches = parse(vec!["tare".into(), "create".into(), value, "id".into()]).ok().unwrap();
        let bundle = matches.subcommand().unwrap().1.get_one::<PathBuf>("bundle").unwrap();
        assert_eq!(bundle.as_os_str().as_bytes(), b"/\xff", "{option}");
    }
}

/// A command that the entry point does not know would be executed twice, and nobody would notice.
#[test]
fn the_entry_point_knows_the_commands_that_enter_containers() {
    let source = include_str!("../../sys/exe_file.rs");
    let mut known: Vec<&str> = source.split("is(b\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let entering = COMMANDS.iter().filter(|command| Place::ENTERING.contains(command.place));
    let mut expected: Vec<&str> = entering.map(|command| command.name).collect();
    known.sort_unstable();
    expected.sort_unstable();
    assert_eq!(known, expected);
}
