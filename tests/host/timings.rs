//! `--timings`: each form of each command, and what it must not change.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Done, is_tare, reap};

/// A step of a trace: times in microseconds.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    config: String,
    child: bool,
    start: f64,
    end: f64,
}

/// Two numbers of a trace that are equal but for the last digit of one of them.
const ROUNDING: f64 = 0.01;

/// The steps of a trace, without the one that stands for the whole command.
#[track_caller]
fn steps(path: &Path, command: &str, id: &str) -> Vec<Step> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |tid: i64| events.iter().find(|event| event["name"] == "thread_name" && event["tid"] == tid).unwrap();
    assert_eq!((&named(1)["args"]["name"], &named(2)["args"]["name"]), (&json!("parent"), &json!("child")));
    let mut steps: Vec<Step> = events.iter().filter(|event| event["ph"] == "X").map(step).collect();
    let whole = steps.remove(0);
    assert_eq!(whole.name, format!("tare {command} {id}"));
    for step in &steps {
        assert!(step.start >= whole.start - ROUNDING && step.end <= whole.end + ROUNDING, "{step:?} in {whole:?}");
    }
    for (at, first) in steps.iter().enumerate() {
        for second in steps[at + 1..].iter().filter(|second| second.child == first.child) {
            let apart = first.end <= second.start + ROUNDING;
            let nested = !first.child && second.start + ROUNDING >= first.start && second.end <= first.end + ROUNDING;
            assert!(apart || nested, "{first:?} and {second:?}");
        }
    }
    steps
}

fn step(event: &Value) -> Step {
    let (start, length) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
    assert!(start >= 0.0 && length >= 0.0 && event["pid"].as_i64().unwrap() > 1, "{event}");
    Step {
        name: event["name"].as_str().unwrap().to_string(),
        config: event["args"]["config"].as_str().unwrap_or_default().to_string(),
        child: event["tid"] == 2,
        start,
        end: start + length,
    }
}

#[track_caller]
fn find<'a>(steps: &'a [Step], name: &str) -> &'a Step {
    steps.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("no {name:?} in {steps:#?}"))
}

fn has(steps: &[Step], name: &str) -> bool {
    steps.iter().any(|step| step.name == name)
}

/// The steps of the child lie between its clone and the end of the conversation with it.
#[track_caller]
fn assert_child_within(steps: &[Step], clone: &str, answer: &str) {
    let (from, to) = (find(steps, clone).start, find(steps, answer).end);
    let child: Vec<_> = steps.iter().filter(|step| step.child).collect();
    assert!(child.len() > 5, "{child:?}");
    for step in child {
        assert!(step.start >= from - ROUNDING && step.end <= to + ROUNDING, "{step:?} in {from} to {to}");
    }
}

fn hook(line: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", line] })
}

/// What is not tare has no such option.
fn skipped() -> bool {
    if !is_tare() {
        eprintln!("skipped: only tare has --timings");
    }
    !is_tare()
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_command_writes_a_trace() {
    if skipped() {
        return;
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.write();
    let id = &*bundle.id;
    let trace = |command: &str, more: &[&str]| {
        // The option stands before the command, where engines put options.
        bundle.tare(&[&["--timings", "%c-%i.json", command, id], more].concat()).silent();
        steps(&bundle.file(&format!("{command}-{id}.json")), command, id)
    };
    let create = trace("create", &[]);
    assert_child_within(&create[..create.len() - 1], "clone init", "answer init until it is ready");
    assert!(has(&create, "create the cgroup"));
    let mount = find(&create, "mount proc on /proc");
    assert!(mount.child && mount.config == "mounts[0]", "{mount:?}");
    assert_eq!(find(&create, "set the hostname").config, "hostname");
    // The last mark before the gate, of the report that init is ready, may come after the parent has looked.
    assert!(!has(&create, "execute the program"));
    let gate = create.last().unwrap();
    assert!(gate.child && gate.name == "wait on the start gate", "{gate:?}");

    let start = trace("start", &[]);
    let (open, wait) = (find(&start, "open the start gate"), find(&start, "wait until the program is executed"));
    assert!(open.start <= wait.start && wait.end <= open.end + ROUNDING);
    assert!(start.iter().all(|step| !step.child), "{start:?}");

    let exec = trace("exec", &["/bin/true"]);
    assert_child_within(&exec, "clone the process", "answer the process until it runs");
    assert!(find(&exec, "execute the program").child && has(&exec, "wait until the parent has the pidfd"));
    assert!(exec.iter().all(|step| !step.name.contains("cpu affinity")), "{exec:?}");

    bundle.kill_processes();
    bundle.reap_orphans();
    let delete = trace("delete", &[]);
    assert!(has(&delete, "remove the cgroup") && has(&delete, "remove the state directory"), "{delete:?}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn run_is_measured_until_the_program_runs() {
    if skipped() {
        return;
    }
    // The program of the container finds the file.
    let mut bundle = Bundle::script("while ! cat /out/run.json; do :; done 2>/dev/null; sleep 0.5");
    let mount = json!({ "destination": "/out", "type": "bind", "source": bundle.path(), "options": ["bind"] });
    bundle.set("/mounts/-", mount);
    bundle.write();
    let seen = bundle.tare(&["run", "--timings", "run.json", &bundle.id]).good();
    assert_eq!(seen, fs::read_to_string(bundle.file("run.json")).unwrap());
    let run = steps(&bundle.file("run.json"), "run", &bundle.id);
    assert_child_within(&run, "clone init", "answer init until it is ready");
    assert!(find(&run, "execute the program").child);
    let length = run.iter().map(|step| step.end).fold(0.0, f64::max) - run[0].start;
    assert!(length > 0.0 && !has(&run, "remove the state directory"), "{run:?}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_table_is_on_stderr() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::script("echo out; echo err >&2");
    bundle.set("/hooks", json!({ "poststop": [hook("exit 3")] })).write();
    let Done { code, stdout, stderr } = bundle.tare(&["run", "--timings", "-", &bundle.id]);
    assert_eq!((code, stdout.as_str()), (0, "out\n"));
    // What the program says may come before the end of the table, which is written in one piece.
    let lines: Vec<&str> =
        stderr.lines().filter(|line| *line != "err" && !line.starts_with("tare: warning: ")).collect();
    let first = format!("tare run {}: ", bundle.id);
    assert!(lines[0].starts_with(&first) && lines[0].ends_with(" ms"), "{stderr}");
    for title in ["  start/ms  length/ms  parent", "  start/ms  length/ms  child"] {
        assert!(lines.contains(&title), "{stderr}");
    }
    for name in ["  clone init", "    read config.json", "  mount proc on /proc (mounts[0])"] {
        assert!(lines.iter().any(|line| line.ends_with(name)), "{name}: {stderr}");
    }
    for line in lines.iter().skip(1).filter(|line| !line.contains("start/ms")) {
        let mut words = line.split_whitespace();
        let numbers: Vec<f64> = words.by_ref().take(2).map(|word| word.parse().unwrap()).collect();
        assert!(numbers.iter().all(|number| (0.0..30_000.0).contains(number)), "{line}");
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_picture_is_well_formed() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.set("/hooks", json!({ "prestart": [{ "path": "/bin/true", "args": ["<&\">"] }] })).write();
    bundle.tare(&["run", "--timings=%i.svg", &bundle.id]).silent();
    let svg = fs::read_to_string(bundle.file(&format!("{}.svg", bundle.id))).unwrap();
    assert_well_formed(&svg);
    for words in ["xmlns=\"http://www.w3.org/2000/svg\"", ">parent</text>", ">child</text>", "<title>clone init: "] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    assert!(svg.matches("<rect").count() > 30 && !svg.contains("<script"), "{svg}");
}

/// Elements are closed in order, attributes are quoted, and there are no bare `<` and `&`.
#[track_caller]
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut pieces = xml.split('<');
    assert_eq!(pieces.next(), Some(""));
    for piece in pieces {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("{piece}"));
        assert!(!text.contains('>'), "{text}");
        for entity in [tag, text].iter().flat_map(|words| words.split('&').skip(1)) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "{entity}");
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count(), 2 * tag.matches("=\"").count(), "{tag}");
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn each_hook_is_a_step_with_its_path() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::script("sleep 1000");
    // Without an environment of their own they get that of tare, in which nothing must be left of the measurement.
    let line = format!("env >> {}/hooks; sleep 0.05", bundle.path().display());
    let (outside, inside) = (hook(&line), hook("sleep 0.05"));
    bundle.set(
        "/hooks",
        json!({
            "prestart": [outside], "createRuntime": [outside, outside], "createContainer": [outside],
            "startContainer": [inside], "poststart": [outside], "poststop": [outside],
        }),
    );
    bundle.write();
    let id = &*bundle.id;
    let trace = |words: &[&str], command: &str| {
        bundle.tare(words).silent();
        steps(&bundle.file(&format!("{command}.json")), command, id)
    };
    let hook = |steps: &[Step], list: &str, number: usize| {
        let step = find(steps, &format!("run {list} hook #{number}: /bin/sh")).clone();
        assert!(step.end - step.start >= 50_000.0 && !step.child, "{step:?}");
        step
    };
    let create = trace(&["create", "--timings", "create.json", id], "create");
    let wait = find(&create, "wait for the hooks");
    for (list, number) in [("prestart", 0), ("createRuntime", 0), ("createRuntime", 1), ("createContainer", 0)] {
        let hook = hook(&create, list, number);
        assert!(wait.child && wait.start <= hook.start && hook.end <= wait.end + ROUNDING, "{wait:?} {hook:?}");
    }
    let start = trace(&["start", "--timings", "start.json", id], "start");
    let (before, after) = (hook(&start, "startContainer", 0), hook(&start, "poststart", 0));
    let gate = find(&start, "open the start gate");
    assert!(before.end <= gate.start + ROUNDING && gate.end <= after.start + ROUNDING, "{start:?}");
    // start executes itself again when it has found the hooks.
    assert!(has(&start, "execute tare from a read-only image"), "{start:?}");
    let delete = trace(&["delete", "--force", "--timings", "delete.json", id], "delete");
    hook(&delete, "poststop", 0);
    let environment = fs::read_to_string(bundle.file("hooks")).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("TIMINGS"), "{environment}");

    let run = trace(&["run", "--detach", "--timings", "run.json", id], "run");
    for list in ["prestart", "createContainer", "startContainer", "poststart"] {
        hook(&run, list, 0);
    }
    assert_child_within(&run, "clone init", "answer init until it is ready");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_failure_is_measured_too() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.set("/hooks", json!({ "createRuntime": [hook("sleep 0.05; exit 3")] })).write();
    let id = &*bundle.id.clone();
    bundle.tare(&["create", "--timings", "hook.json", id]).refused();
    let failed = steps(&bundle.file("hook.json"), "create", id);
    assert!(has(&failed, "run createRuntime hook #0: /bin/sh") && has(&failed, "mount proc on /proc"), "{failed:?}");
    assert!(has(&failed, "kill init") && has(&failed, "remove the cgroup"), "{failed:?}");

    bundle.unset("/hooks").set("/mounts/1/options/-", json!("wrong=1")).write();
    bundle.tare(&["run", "--timings", "mount.json", id]).refused();
    let failed = steps(&bundle.file("mount.json"), "run", id);
    let last = failed.iter().rfind(|step| step.child).unwrap();
    assert_eq!((last.name.as_str(), last.config.as_str()), ("mount tmpfs on /dev", "mounts[1]"), "{failed:?}");

    bundle.set("/process/cwd", json!("relative")).write();
    bundle.tare(&["run", "--timings", "plan.json", id]).refused();
    assert!(has(&steps(&bundle.file("plan.json"), "run", id), "plan"));
    // The error is the last line.
    let Done { code, stderr, .. } = bundle.tare(&["run", "--timings", "-", id]);
    assert!(code == 1 && stderr.lines().last().unwrap().starts_with("tare: process.cwd: "), "{stderr}");
    bundle.assert_nothing_left();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_wrong_name_is_refused_and_a_file_that_cannot_be_written_is_a_warning() {
    if skipped() {
        return;
    }
    let bundle = Bundle::script("sleep 1000");
    bundle.write();
    let id = &*bundle.id;
    for (file, words) in [("trace.txt", "ends neither in .json nor in .svg"), ("%x.json", "is not followed by i, c")] {
        let line = bundle.tare(&["create", "--timings", file, id]).refused();
        assert!(line.starts_with("--timings: ") && line.contains(words), "{line}");
        assert_eq!(bundle.tare(&["exec", "--timings", file, id, "/bin/true"]).code, 255);
    }
    bundle.assert_nothing_left();
    // Other commands take no notice.
    bundle.tare(&["--timings", "%c.json", "list", "--quiet"]).silent();
    assert!(!bundle.file("list.json").exists());

    let Done { code, stdout, stderr } = bundle.tare(&["create", "--timings", "absent/trace.json", id]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert_eq!(stderr, "tare: warning: --timings: write absent/trace.json: no such file or directory\n");
    bundle.on("start").silent();
    // A link is replaced, and what it leads to is left alone. The file has the usual mode.
    fs::write(bundle.file("target"), "kept").unwrap();
    std::os::unix::fs::symlink("target", bundle.file("link.json")).unwrap();
    bundle.tare(&["exec", "--timings", "link.json", id, "/bin/true"]).silent();
    assert_eq!(fs::read_to_string(bundle.file("target")).unwrap(), "kept");
    let facts = fs::symlink_metadata(bundle.file("link.json")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&facts) & !0o022, 0o100_644 & !0o022);
    let names = fs::read_dir(bundle.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")));
    // A refused id does not lead to another directory.
    fs::create_dir(bundle.file("below")).unwrap();
    bundle.tare(&["create", "--timings", "below/%i.json", "../escaped"]).refused();
    assert!(bundle.file("below/_._escaped.json").exists() && !bundle.file("escaped.json").exists());
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn clocks_of_a_time_namespace_do_not_count() {
    if skipped() {
        return;
    }
    let mut bundle = Bundle::new();
    bundle.set("/linux/namespaces/-", json!({ "type": "time" }));
    bundle.set("/linux/timeOffsets", json!({ "monotonic": { "secs": 100_000 } })).write();
    bundle.tare(&["run", "--timings", "run.json", &bundle.id]).silent();
    let run = steps(&bundle.file("run.json"), "run", &bundle.id);
    assert_child_within(&run, "clone init", "answer init until it is ready");
    assert!(find(&run, "set the time offsets").child);
    // Times that are not the child's own would all be pressed against the end of the parent's.
    let mount = find(&run, "mount proc on /proc");
    assert!(mount.end < find(&run, "answer init until it is ready").end - 100.0, "{run:?}");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_shared_memory_ends_with_execve() {
    if skipped() {
        return;
    }
    let bundle = Bundle::script("cat /proc/self/maps /proc/1/maps; env");
    bundle.write();
    let maps = bundle.tare(&["run", "--timings", "run.json", &bundle.id]).good();
    // Shared anonymous memory has this name.
    assert!(maps.contains("[stack]") && !maps.contains("/dev/zero") && !maps.contains("TIMINGS"), "{maps}");
    bundle.tare(&["run", "--detach", "--timings", "run.json", &bundle.id]);
    let waits = Bundle::script("sleep 1000");
    waits.begin();
    let pid = waits.pid();
    let maps = waits.tare(&["exec", "--timings", "exec.json", &waits.id, "/bin/cat", "/proc/self/maps"]).good();
    assert!(maps.contains("[stack]") && !maps.contains("/dev/zero"), "{maps}");
    waits.kill_processes();
    reap(pid);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_documented_table_is_what_run_prints() {
    if skipped() {
        return;
    }
    let bundle = Bundle::new();
    bundle.write();
    let Done { code, stderr, .. } = bundle.tare(&["run", "--timings", "-", &bundle.id]);
    assert_eq!(code, 0, "{stderr}");
    let parent = stderr.lines().skip(1).take_while(|line| !line.ends_with("  child"));
    // Not the released binary for x86-64, which the page is about.
    let parent = parent.filter(|line| !line.ends_with("execute tare from a read-only image"));
    let zeros = format!("{0:>10} {0:>10}", "0.000");
    let without_times = |line: &str| match line.split_at(zeros.len()) {
        (times, _) if times.contains("start") => line.to_string(),
        (_, rest) => format!("{zeros}{rest}"),
    };
    let printed: Vec<String> = parent.map(without_times).collect();
    let page = include_str!("../../docs/timings.md");
    let block = page.split("<!-- parent: begin -->\n```\n").nth(1).unwrap().split("```\n").next().unwrap();
    let documented: Vec<&str> = block.lines().skip(1).collect();
    assert_eq!(printed, documented);
}
