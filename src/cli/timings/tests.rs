//! Each form of a small recording, and the words of --timings.

use std::time::Duration;

use tare::timings::{Span, Track};

use super::*;

fn command(id: &str) -> Command {
    Command { name: "run".into(), id: id.into() }
}

fn span(track: Track, name: &str, (start, length): (u64, u64), depth: usize) -> Span {
    let (start, length) = (Duration::from_micros(start), Duration::from_micros(length));
    Span { track, name: name.into(), at: None, start, length, depth }
}

fn small() -> Timings {
    let spans = vec![
        span(Track::Parent, "create the cgroup", (1_000_100, 2000), 0),
        span(Track::Parent, "kill \"<&>\u{1b}[2J\"", (1_000_200, 300), 1),
        Span { at: Some("mounts[0]".into()), ..span(Track::Child, "mount proc on /proc", (1_001_000, 1500), 0) },
        span(Track::Child, "set the hostname", (1_002_500, 3), 0),
    ];
    Timings { start: Duration::from_secs(1), length: Duration::from_micros(4000), spans }
}

#[test]
fn a_name_has_the_id_the_command_and_the_pid() {
    let of = |file: &str, id: &str| match output(Path::new(file), &command(id), 7) {
        Ok(Output::Json(path) | Output::Svg(path)) => path.display().to_string(),
        Ok(Output::Stderr) => "stderr".into(),
        Err(error) => error.to_string(),
    };
    assert_eq!(of("-", "a"), "stderr");
    assert_eq!(of("/t/%c-%i-%p.json", "web.1"), "/t/run-web.1-7.json");
    assert_eq!(of("100%%.svg", "a"), "100%.svg");
    assert_eq!(of("%i/x.svg", "../../etc"), "_._.._etc/x.svg");
    assert_eq!(of("%i/x.svg", ".."), "_./x.svg");
    for file in ["trace", "trace.txt", "json", ".json", "", "x.JSON"] {
        let line = of(file, "a");
        assert!(line.contains("ends neither in .json nor in .svg; .json is"), "{line}");
    }
    for file in ["%", "%x.json", "a%.json"] {
        let line = of(file, "a");
        assert!(line.starts_with("--timings: "), "{line}");
    }
    assert!(of("%x.json", "a").ends_with("%i is the ID, %c the command, %p the PID of tare, %% a %"));
}

#[test]
fn a_table_has_a_line_for_each_step() {
    let expected = "\
tare run web: 4.000 ms
  start/ms  length/ms  parent
     0.100      2.000  create the cgroup
     0.200      0.300    kill \"<&>\\u{1b}[2J\"
  start/ms  length/ms  child
     1.000      1.500  mount proc on /proc (mounts[0])
     2.500      0.003  set the hostname
";
    assert_eq!(table::table(&command("web"), &small()), expected);
}

#[test]
fn a_trace_has_an_event_for_each_step() {
    let trace: serde_json::Value = serde_json::from_str(&trace::json(&command("web"), &small())).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), 3 + 1 + 4);
    assert_eq!(events[2]["args"]["name"], "child");
    assert_eq!((&events[3]["name"], &events[3]["dur"]), (&"tare run web".into(), &4000.0.into()));
    let mount = &events[6];
    assert_eq!((&mount["ph"], &mount["tid"], &mount["ts"]), (&"X".into(), &2.into(), &1_001_000.0.into()));
    assert_eq!(mount["args"]["config"], "mounts[0]");
}

#[test]
fn a_picture_has_a_bar_for_each_step_and_words_for_the_long_ones() {
    let svg = picture::svg(&command("a<b"), &small());
    assert_eq!(svg.matches("<title>").count(), 4);
    assert!(svg.contains(">tare run a&lt;b: 4.000 ms<"), "{svg}");
    assert!(svg.contains(">mount proc on /proc 1.500 ms<"), "{svg}");
    assert!(svg.contains("kill &quot;&lt;&amp;&gt;\\u{1b}[2J&quot;"), "{svg}");
    assert!(
        !svg.contains(">set the hostname 0.003 ms<") && svg.contains("<title>set the hostname: 0.003 ms<"),
        "{svg}"
    );
    assert!(svg.contains(">2 ms<") && !svg.chars().any(|c| c.is_control() && c != '\n'));
}

#[test]
fn nothing_and_hardly_anything_can_be_drawn() {
    for length in [0, 1, 10_000_000_000_000] {
        let timings = Timings { length: Duration::from_nanos(length), ..Timings::default() };
        let svg = picture::svg(&command("a"), &timings);
        assert!(svg.matches("<line").count() <= 12, "{svg}");
    }
}
