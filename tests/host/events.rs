//! events: statistics and what happens, as lines of JSON, until the container stops.
//!
//! This kernel has pressure, but neither the memory nor the pids controller: their events are for the virtual machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, LIMIT, eventually, is_tare, reap};

fn running(line: &str) -> Bundle {
    let bundle = Bundle::script(line);
    bundle.begin();
    bundle
}

/// `events` with options, its lines read as they come.
struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    fn of(bundle: &Bundle, options: &[&str]) -> Self {
        let mut command = bundle.command(&[&["events"], options, &[&*bundle.id]].concat());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; null at the end.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if line.is_empty() { Value::Null } else { serde_json::from_str(&line).unwrap() }
    }

    /// The next line of a type.
    #[track_caller]
    fn next_of(&mut self, kind: &str) -> Value {
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            match self.next() {
                Value::Null => panic!("the end instead of {kind}"),
                line if line["type"] == kind => return line,
                _ => {}
            }
        }
        panic!("no {kind}")
    }

    fn end(self) -> i32 {
        crate::bundle::wait(self.child, "events")
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn stats_has_the_shape_that_engines_decode() {
    let bundle = running("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo up > /tmp/up; sleep 100");
    bundle.wait_file("tmp/up");
    let text = bundle.tare(&["events", "--stats", &bundle.id]).good();
    assert_eq!(text.lines().count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&line["type"], &line["id"]), (&json!("stats"), &json!(bundle.id)));
    let data = &line["data"];
    let usage = &data["cpu"]["usage"];
    assert!(usage["total"].as_u64().unwrap() > 1_000_000, "nanoseconds: {usage}");
    assert!(usage["user"].is_u64() && usage["kernel"].is_u64());
    assert!(data["memory"]["usage"]["limit"].is_u64() && data["memory"]["kernelTCP"]["failcnt"] == 0);
    assert!(data["hugetlb"].is_object() && data["blkio"].is_object() && data["pids"].is_object());
    assert!(data["intel_rdt"].is_object() && data["cpuset"].is_object());
    if is_tare() {
        assert!(data["cpu"]["psi"]["some"]["avg10"].is_number(), "{data}");
        // A network namespace of its own with nothing but the loopback in it.
        assert_eq!(data["network_interfaces"], json!([]));
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn interfaces_are_those_of_the_containers_own_network() {
    let mut bundle = Bundle::script("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc never has interfaces");
    }
    bundle
        .set("/linux/namespaces", json!(["pid", "mount", "uts", "ipc", "cgroup"].map(|kind| json!({ "type": kind }))));
    // sysfs of a network that is not the container's cannot be mounted anew everywhere.
    bundle.unset("/mounts/3");
    let mounts = bundle.config["mounts"].as_array().unwrap()[..3].to_vec();
    bundle.set("/mounts", json!(mounts));
    bundle.begin();
    let line: Value = serde_json::from_str(&bundle.tare(&["events", "--stats", &bundle.id]).good()).unwrap();
    assert_eq!(line["data"]["network_interfaces"], Value::Null, "the host's");
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn the_stream_ends_with_the_container_and_says_how_it_ended() {
    let bundle = running("while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 42");
    let mut stream = Stream::of(&bundle, &["--interval", "50ms"]);
    let (mut last, begin) = (0, Instant::now());
    for _ in 0..5 {
        let total = stream.next_of("stats")["data"]["cpu"]["usage"]["total"].as_u64().unwrap();
        assert!(total >= last);
        last = total;
    }
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    let pid = bundle.pid();
    fs::write(bundle.file("rootfs/tmp/end"), "").unwrap();
    assert_eq!(reap(pid), 42);
    if is_tare() {
        let exit = stream.next_of("exit");
        // Linux 6.15 tells strangers.
        assert!(exit["data"] == json!({ "exitCode": 42 }) || exit["data"].is_null(), "{exit}");
        assert_eq!(stream.next(), Value::Null);
    }
    assert_eq!(stream.end(), 0);
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_signal_is_an_exit_code_too() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc tells no exits");
    }
    let mut stream = Stream::of(&bundle, &["--interval=1h"]);
    // Its files are open when it has a trigger on a pressure file: it watches.
    let pid = bundle.pid();
    watches(&stream);
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    assert_eq!(reap(pid), 137);
    let exit = stream.next();
    assert_eq!(exit["type"], "exit");
    assert!(exit["data"] == json!({ "exitCode": 137 }) || exit["data"].is_null(), "{exit}");
    assert_eq!(stream.end(), 0);
}

/// Waits until the stream sleeps in poll(2).
fn watches(stream: &Stream) {
    let call = format!("/proc/{}/wchan", stream.child.id());
    eventually("events that waits", || fs::read_to_string(&call).is_ok_and(|text| text.contains("poll")));
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn pressure_is_told_while_it_lasts() {
    // Four that want two processors, and more where there are more.
    let count = 2 * std::thread::available_parallelism().unwrap().get() + 2;
    let script = format!("i=0; while [ $i -lt {count} ]; do i=$((i + 1)); (while :; do :; done) & done; sleep 100");
    let bundle = Bundle::script(&script);
    if !is_tare() {
        return eprintln!("skipped: runc tells no pressure");
    }
    bundle.create().silent();
    let mut stream = Stream::of(&bundle, &["--interval", "1h"]);
    watches(&stream);
    bundle.on("start").silent();
    let line = stream.next_of("pressure");
    assert_eq!((&line["id"], &line["data"]["resource"]), (&json!(bundle.id), &json!("cpu")));
    assert!(line["data"]["psi"]["some"]["total"].as_u64().unwrap() > 0, "{line}");
    let pid = bundle.pid();
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    assert_eq!(stream.end(), 0);
}

/// Kilobytes of memory that are the process's own, and its processor time in ticks.
fn cost(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let memory = line.split_whitespace().next().unwrap().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (memory, fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_stream_does_not_grow() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: a promise of tare's");
    }
    let mut stream = Stream::of(&bundle, &["--interval", "1ms"]);
    let mut after = |lines| {
        (0..lines).for_each(|_| drop(stream.next_of("stats")));
        cost(stream.child.id()).0
    };
    let early = after(20);
    let late = after(1000);
    assert!(late <= early + 64, "{early} KB after 20 lines, {late} KB after 1020");
    let mut stream = stream;
    stream.child.kill().unwrap();
    stream.child.wait().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_stream_sleeps_while_nothing_happens() {
    let bundle = running("sleep 100");
    let mut stream = Stream::of(&bundle, &["--interval", "1h"]);
    watches(&stream);
    let (_, before) = cost(stream.child.id());
    std::thread::sleep(Duration::from_secs(1));
    let (_, after) = cost(stream.child.id());
    assert!(after - before <= 1, "{} ticks", after - before);
    stream.child.kill().unwrap();
    stream.child.wait().unwrap();
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn a_reader_that_has_gone_ends_the_stream() {
    let bundle = running("sleep 100");
    if !is_tare() {
        return eprintln!("skipped: runc stays until it writes again");
    }
    for options in [&["--interval", "1h"][..], &["--interval", "100ms"]] {
        let stream = Stream::of(&bundle, options);
        watches(&stream);
        let Stream { child, lines } = stream;
        drop(lines);
        assert_eq!(crate::bundle::wait(child, "events"), 0);
    }
}

#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn refusals() {
    let bundle = running("sleep 100");
    let unknown = bundle.tare(&["events", "nobody"]).refused();
    assert!(unknown.contains("does not exist"), "{unknown}");
    bundle.tare(&["events", "--interval", "0s", &bundle.id]).refused();
    let pid = bundle.pid();
    if is_tare() {
        for (interval, line) in [
            ("0", "--interval: must be greater than 0"),
            ("-5s", "--interval: \"-5s\" is not a duration; write it like 5s, 500ms or 1m30s"),
            ("soon", "--interval: \"soon\" is not a duration; write it like 5s, 500ms or 1m30s"),
        ] {
            assert_eq!(bundle.tare(&["events", "--interval", interval, &bundle.id]).refused(), line);
        }
    }
    bundle.tare(&["kill", &bundle.id, "KILL"]).silent();
    reap(pid);
    for options in [&[][..], &["--stats"]] {
        let line = bundle.tare(&[&["events"], options, &[&*bundle.id]].concat()).refused();
        assert!(line.contains("not running"), "{line}");
        if is_tare() {
            assert_eq!(line, format!("no events for container \"{}\": container not running", bundle.id));
        }
    }
}
