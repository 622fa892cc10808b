//! The foreground relay, seen from outside: exit codes, signals, bytes, modes and sizes of terminals.
//!
//! This program plays two parts: without arguments it runs the checks; with `relay tty|plain CMD...` it is a
//! foreground runtime whose "container" is CMD, on a pty of the machine's devpts.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::zombie_processes, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, OutputModes, tcgetattr, tcgetwinsize, tcsetwinsize};
use tare::internals::terminal::plan::Destination;
use tare::internals::terminal::{TerminalPlan, child, foreground, parent};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "relay") {
        std::process::exit(relay(&arguments[1], &arguments[2..]));
    }
    // libtest's own options; a word without a dash selects checks.
    let ask = |option: &str| arguments.iter().any(|argument| argument == option);
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()));
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_wanted(name)) {
        if !ask("--include-ignored") && !ask("--ignored") {
            println!("test {name} ... ignored, needs root: sudo scripts/test host terminal");
            continue;
        }
        let before = Instant::now();
        check();
        println!("ok {name} ({} ms)", before.elapsed().as_millis());
    }
}

const CHECKS: &[(&str, fn())] = &[
    ("exit_codes", exit_codes),
    ("signals_are_forwarded", signals_are_forwarded),
    ("other_children_are_reaped", other_children_are_reaped),
    ("a_burst_arrives_byte_for_byte", a_burst_arrives_byte_for_byte),
    ("a_slow_reader_gets_everything", a_slow_reader_gets_everything),
    ("the_end_of_stdin_reaches_the_container", the_end_of_stdin_reaches_the_container),
    ("much_input_arrives", much_input_arrives),
    ("nobody_reads_any_more", nobody_reads_any_more),
    ("a_terminal_closed_for_a_while", a_terminal_closed_for_a_while),
    ("writers_that_stay_do_not_hold_us", writers_that_stay_do_not_hold_us),
    ("raw_mode_and_size_of_the_callers_terminal", raw_mode_and_size_of_the_callers_terminal),
    ("redirected_stdio_has_the_size_of_the_controlling_terminal", redirected_stdio_has_the_size),
    ("memory_does_not_grow", memory_does_not_grow),
    ("master_goes_to_a_console_socket", master_goes_to_a_console_socket),
];

/// The other part.
fn relay(mode: &str, command: &[String]) -> i32 {
    foreground::block_signals().unwrap();
    let (mut program, master) = if mode == "tty" {
        let mut plan = TerminalPlan { destination: Destination::Foreground, size: None };
        let console = parent::open(&mut plan).unwrap();
        let root = File::open("/").unwrap();
        let pty = child::open(&plan, root.as_fd()).map_err(|fault| fault.errno).unwrap();
        child::send_master(console.socket.as_fd(), &pty).map_err(|fault| fault.errno).unwrap();
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut program = Command::new("setsid");
        program.arg("--ctty").args(command).stdin(stdio()).stdout(stdio()).stderr(stdio());
        (program, console.master().unwrap())
    } else {
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]);
        (program, None)
    };
    // The standard library gives the child an empty signal mask.
    let child = program.spawn().unwrap();
    drop(program);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    foreground::wait(process.as_fd(), pid, master, None).unwrap()
}

fn runtime(mode: &str, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["relay", mode, "env", "-u", "LC_ALL", "--default-signal", "sh", "-c", script]);
    command
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let before = Instant::now();
    while !condition() {
        assert!(before.elapsed() < Duration::from_secs(20), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exit_codes() {
    for mode in ["plain", "tty"] {
        for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
            let output = runtime(mode, script).stdin(Stdio::null()).output().unwrap();
            assert_eq!(output.status.code(), Some(expected), "{mode} {script}: {output:?}");
        }
    }
}

fn signals_are_forwarded() {
    for (mode, sent, name) in [
        ("plain", "USR1", "USR1"),
        ("plain", "TERM", "TERM"),
        ("tty", "HUP", "HUP"),
        ("plain", "40", "40"),
        ("plain", "TSTP", "TSTP"),
    ] {
        let script = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.02; done");
        let mut child = runtime(mode, &script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        // Neither of these may reach or end anything.
        signal(&child, Signal::SIGWINCH);
        signal(&child, Signal::SIGURG);
        assert!(Command::new("kill").args(["-s", sent, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(9), "{mode} {sent}");
    }
}

fn other_children_are_reaped() {
    // Orphans come to us only as a subreaper; here a second child of ours plays that part: the shell's exec keeps
    // the pid while its child ends first.
    let script = "sleep 0.01 & exec sh -c 'sleep 0.1; exit 5'";
    let output = runtime("plain", script).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
}

fn burst(bytes: usize) -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut data = vec![0; bytes];
    File::open("/dev/urandom").unwrap().read_exact(&mut data).unwrap();
    std::fs::write(directory.path().join("data"), &data).unwrap();
    (directory, data)
}

fn a_burst_arrives_byte_for_byte() {
    let (directory, data) = burst(1 << 20);
    for round in 0..5 {
        let script = format!("cat {}/data", directory.path().display());
        let output = runtime("tty", &script).stdin(Stdio::null()).output().unwrap();
        // What is typed (here: the end-of-file of /dev/null) is not echoed.
        assert_eq!(output.stdout.len(), data.len(), "round {round}");
        assert!(output.stdout == data, "round {round}");
    }
}

fn a_slow_reader_gets_everything() {
    let (directory, data) = burst(300_000);
    let script = format!("cat {}/data; exit 3", directory.path().display());
    let mut child = runtime("tty", &script).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut received = Vec::new();
    let mut part = [0; 3000];
    loop {
        let count = stdout.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        received.extend_from_slice(&part[..count]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(received == data);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

fn with_input(script: &str, input: &[u8]) -> (Option<i32>, Vec<u8>) {
    let mut child = runtime("tty", script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    (output.status.code(), output.stdout)
}

fn the_end_of_stdin_reaches_the_container() {
    let script = "stty -echo; echo go; cat; exit 4";
    for input in ["", "line\n", "line\nunfinished", "unfinished"] {
        let (code, output) = with_input(script, input.as_bytes());
        let output = String::from_utf8(output).unwrap();
        assert_eq!(code, Some(4), "{input:?}: {output:?}");
        // What was typed before `stty` took effect was echoed; what cat wrote comes last.
        assert!(output.ends_with(input), "{input:?}: {output:?}");
    }
}

fn much_input_arrives() {
    let input: String = (0..40_000).map(|number| format!("line number {number}\n")).collect();
    let (code, output) = with_input("stty -echo; wc -c; exit 0", input.as_bytes());
    assert_eq!(code, Some(0));
    let output = String::from_utf8_lossy(&output);
    assert!(output.trim_end().ends_with(&input.len().to_string()), "{}", input.len());
}

fn nobody_reads_any_more() {
    let mut child = runtime("tty", "exec yes").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut part = [0; 100];
    child.stdout.as_mut().unwrap().read_exact(&mut part).unwrap();
    drop(child.stdout.take());
    // SIGHUP, or the write error that comes with it.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(129 | 1)), "{code:?}");
}

fn a_terminal_closed_for_a_while() {
    let script = "tty=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.1; echo again > $tty; sleep 0.1; exit 6";
    let output = runtime("tty", script).stdin(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(output.stdout, b"again\n");
}

fn writers_that_stay_do_not_hold_us() {
    let script = "trap '' HUP; (while :; do echo y; done) & echo $! ; sleep 0.05; exit 8";
    let before = Instant::now();
    let output = runtime("tty", script).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(before.elapsed() < Duration::from_secs(5));
    let text = String::from_utf8_lossy(&output.stdout);
    let writer = text.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    kill(Pid::from_raw(writer), Signal::SIGKILL).unwrap();
}

fn raw_mode_and_size_of_the_callers_terminal() {
    let size = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    let callers = callers_terminal(&size);
    let stdio = || Stdio::from(callers.slave.try_clone().unwrap());
    let script = "trap 'new=1' WINCH; stty size; until [ \"$new\" ]; do sleep 0.02; done; stty size;
        read line; echo got $line; read line; exit 2";
    let mut child = runtime("tty", script).stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
    let mut seen = Vec::new();
    read_until(&callers.master, &mut seen, "33 101\r\n");
    let modes = tcgetattr(&callers.slave).unwrap();
    assert!(!modes.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
    assert!(modes.output_modes.contains(OutputModes::OPOST | OutputModes::ONLCR));

    let mut larger = tcgetwinsize(&callers.master).unwrap();
    (larger.ws_row, larger.ws_col) = (44, 122);
    tcsetwinsize(&callers.master, larger).unwrap();
    // The kernel tells the terminal's own foreground group; an engine tells the runtime.
    signal(&child, Signal::SIGWINCH);
    read_until(&callers.master, &mut seen, "44 122\r\n");

    rustix::io::write(&callers.master, b"hello\r").unwrap();
    read_until(&callers.master, &mut seen, "got hello\r\n");
    // Echoed once: by the container's terminal.
    assert_eq!(String::from_utf8_lossy(&seen).matches("hello").count(), 2, "{:?}", String::from_utf8_lossy(&seen));
    rustix::io::write(&callers.master, b"\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let modes = tcgetattr(&callers.slave).unwrap();
    assert!(modes.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
}

/// Its master stays here, so that whatever a failed check leaves behind is hung up.
fn callers_terminal(size: &Winsize) -> OpenptyResult {
    let terminal = openpty(Some(size), None).unwrap();
    rustix::io::fcntl_setfd(&terminal.master, rustix::io::FdFlags::CLOEXEC).unwrap();
    terminal
}

fn redirected_stdio_has_the_size() {
    let size = Winsize { ws_row: 21, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
    let callers = callers_terminal(&size);
    let inner = runtime("tty", "stty size");
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", "exec \"$@\" </dev/null 2>/dev/null | cat", "sh"]);
    // Its stdin becomes the controlling terminal and is redirected then; stdout is a pipe anyway.
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::from(callers.slave));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "21 77\n");
}

fn read_until(master: &OwnedFd, seen: &mut Vec<u8>, expected: &str) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut part = [0; 256];
    until(&format!("waiting for {expected:?}"), || {
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&wait)).unwrap() > 0 {
            let count = rustix::io::read(master, &mut part).unwrap();
            seen.extend_from_slice(&part[..count]);
        }
        seen.windows(expected.len()).any(|window| window == expected.as_bytes())
    });
}

fn memory_does_not_grow() {
    let script = "head -c 200000 /dev/zero; sleep 0.2; head -c 30000000 /dev/zero; sleep 60";
    let mut child = runtime("tty", script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut take = |count: usize| {
        let mut part = vec![0; count];
        stdout.read_exact(&mut part).unwrap();
    };
    take(200_000);
    let before = anonymous_kb(child.id());
    take(30_000_000);
    let after = anonymous_kb(child.id());
    assert!(after <= before + 4, "{before} KB before, {after} KB after");
    signal(&child, Signal::SIGTERM);
    let status = child.wait().unwrap();
    assert!(status.code().is_some() && status.signal().is_none());
}

fn anonymous_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn master_goes_to_a_console_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let size = rustix::termios::Winsize { ws_row: 10, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 };
    let mut plan = TerminalPlan { destination: Destination::ConsoleSocket(path), size: Some(size) };
    let console = parent::open(&mut plan).unwrap();
    let root = File::open("/").unwrap();
    let pty = child::open(&plan, root.as_fd()).map_err(|fault| fault.errno).unwrap();
    child::send_master(console.socket.as_fd(), &pty).map_err(|fault| fault.errno).unwrap();
    assert!(console.master().unwrap().is_none());
    let (stream, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut payload = [0; 4096];
    let message = rustix::net::recvmsg(
        &stream,
        &mut [std::io::IoSliceMut::new(&mut payload)],
        &mut ancillary,
        rustix::net::RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    assert_eq!(&payload[..message.bytes], format!("/dev/pts/{}", pty.number).as_bytes());
    let masters: Vec<OwnedFd> = ancillary
        .drain()
        .flat_map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(masters.len(), 1);
    let size = tcgetwinsize(&masters[0]).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (10, 110));
    // An engine sees the terminal as it is made; ONLCR is its own decision (conmon sets it).
    assert!(tcgetattr(&masters[0]).unwrap().output_modes.contains(OutputModes::ONLCR));
}
