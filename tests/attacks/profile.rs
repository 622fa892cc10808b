//! Class 35: the container's own seccomp profile meets what the runtime does between the fork and the program.
//!
//! The calls are not a list of ours: strace tells which ones the runtime makes there. Each is tried with each action. The
//! program makes one call alone, exit(2), so whatever fails is the runtime.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::{Agent, Answer};
use crate::bundle::{Bundle, Done, eventually, finish, is_tare, reap, runtime, wait};
use crate::patience;
use crate::programs::bring;
use crate::support::skip;

/// What happens to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Errno,
    Kill,
    Trap,
    /// An agent lets it go on.
    Notify,
    /// Nobody listens at the socket.
    NotifyNobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Run,
    Create,
    Exec,
}

/// One trial.
#[derive(Debug, Clone)]
struct Trial {
    call: String,
    action: Action,
    no_new_privileges: bool,
    way: Way,
}

/// What a command may take; more is a hang.
const LIMIT: Duration = Duration::from_secs(4);

/// How many trials the gate has; `TARE_ATTACK_ALL` set: all.
const SAMPLE: usize = 90;

/// The calls of processes of the runtime from their birth to their execve, in a log of `strace -f`.
fn calls_after_fork(log: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    let mut over = BTreeSet::new();
    let main = log.split_whitespace().next().unwrap_or_default();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if pid == main || over.contains(pid) || !is_name {
            continue;
        }
        calls.insert(name.to_string());
        // Its own image again, as runc and crun have it, is still the runtime.
        if ["execve", "execveat"].contains(&name) && arguments.contains("\"/quit\"") {
            over.insert(pid.to_string());
        }
    }
    calls
}

/// A bundle whose program does as good as nothing.
fn bundle(way: Way) -> Bundle {
    let mut bundle = Bundle::new();
    bring(&bundle, "quit");
    bring(&bundle, "stay");
    bundle.set("/process/args", json!([if way == Way::Exec { "/stay" } else { "/quit" }]));
    bundle
}

fn profile(call: &str, action: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [call], "action": action }] })
}

/// What strace sees of each way, with a profile that hits nothing.
fn calls() -> Option<BTreeSet<String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("needs strace");
        return None;
    }
    let mut calls = BTreeSet::new();
    for way in [Way::Run, Way::Create, Way::Exec] {
        let mut bundle = bundle(way);
        bundle.set("/linux/seccomp", profile("acct", "SCMP_ACT_ERRNO")).write();
        let traced = |args: &[&str]| {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-o", "calls"]).arg(runtime()).arg("--root").arg(bundle.root()).args(args);
            strace.current_dir(bundle.path()).env("TARE_TEST_MARK", &bundle.name).stdin(std::process::Stdio::null());
            strace
        };
        let done = match way {
            Way::Run => finish(traced(&["run", &bundle.id])).code,
            Way::Create => {
                // It ends when init does.
                let strace = traced(&["create", &bundle.id]).spawn().unwrap();
                eventually("it is created", || {
                    let state: Value = serde_json::from_str(&bundle.on("state").stdout).unwrap_or_default();
                    state["status"] == "created"
                });
                bundle.on("start").silent();
                wait(strace, "strace of create")
            }
            Way::Exec => {
                bundle.begin();
                finish(traced(&["exec", &bundle.id, "/quit"])).code
            }
        };
        assert_eq!(done, 0, "strace, {way:?}");
        calls.extend(calls_after_fork(&fs::read_to_string(bundle.file("calls")).unwrap()));
    }
    Some(calls)
}

impl Trial {
    /// All there are, in an order that is random and always the same; `execve` first.
    fn all(calls: &BTreeSet<String>) -> Vec<Self> {
        let mut all = Vec::new();
        for call in calls {
            for action in [Action::Errno, Action::Kill, Action::Trap, Action::Notify, Action::NotifyNobody] {
                for no_new_privileges in [true, false] {
                    for way in [Way::Run, Way::Create, Way::Exec] {
                        all.push(Self { call: call.clone(), action, no_new_privileges, way });
                    }
                }
            }
        }
        // A generator of Marsaglia's (xorshift64), seeded with a number of no meaning.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for at in (1..all.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let other = state % u64::try_from(at + 1).unwrap();
            all.swap(at, usize::try_from(other).unwrap());
        }
        all
    }

    /// Whether the program itself, or what starts it, needs the call; or the kernel wants it after the filter.
    fn may_fail(&self) -> bool {
        match self.action {
            // What an agent cannot be asked about may be refused; that it lets the rest go on does not matter here.
            Action::Notify | Action::NotifyNobody => true,
            Action::Errno | Action::Kill | Action::Trap => {
                let needed = ["execve", "execveat", "exit", "exit_group"].contains(&&*self.call);
                // Without no_new_privs only CAP_SYS_ADMIN loads a filter, so capabilities are dropped after it.
                needed || self.call == "capset" && !self.no_new_privileges
            }
        }
    }

    /// What is wrong, if anything is.
    fn run(&self) -> Option<String> {
        let mut bundle = bundle(self.way);
        let path = bundle.file("agent");
        let (action, agent) = match self.action {
            Action::Errno => ("SCMP_ACT_ERRNO", None),
            Action::Kill => ("SCMP_ACT_KILL_PROCESS", None),
            Action::Trap => ("SCMP_ACT_TRAP", None),
            Action::Notify => ("SCMP_ACT_NOTIFY", Some(Agent::new(&path, Answer::Continue))),
            Action::NotifyNobody => ("SCMP_ACT_NOTIFY", None),
        };
        bundle.set("/linux/seccomp", profile(&self.call, action));
        if action == "SCMP_ACT_NOTIFY" {
            bundle.set("/linux/seccomp/listenerPath", json!(path.display().to_string()));
        }
        bundle.set("/process/noNewPrivileges", json!(self.no_new_privileges)).write();
        let done = self.commands(&bundle);
        let deleted = patience::ends_within(&bundle, &["delete", "--force", &bundle.id], LIMIT);
        bundle.reap_orphans();
        drop(agent);
        let wrong = match (done, deleted) {
            (Err(hangs), _) | (_, Err(hangs)) => Some(hangs),
            (Ok(done), _) if done.code == 0 && done.stderr.is_empty() => None,
            (Ok(done), _) if !self.may_fail() => Some(format!("no start: {done:?}")),
            // The kernel ends what cannot begin or end by itself, and no runtime can tell that from the program's own end.
            (Ok(done), _) if done.code > 128 && done.code < 255 => None,
            (Ok(done), _) if is_tare() && done.stderr.lines().count() != 1 => Some(format!("not one line: {done:?}")),
            (Ok(done), _) if done.code == 0 => Some(format!("success with words: {done:?}")),
            (Ok(_), _) => None,
        };
        let left = || if is_tare() { bundle.leftovers() } else { Vec::new() };
        if !crate::bundle::eventually_within(2000, || left().is_empty()) {
            let left = format!("left: {:?}", left());
            bundle.sweep();
            return Some(left);
        }
        wrong
    }

    /// The last command that was needed.
    fn commands(&self, bundle: &Bundle) -> Result<Done, String> {
        if self.way == Way::Run {
            return within(bundle, &["run", &bundle.id]);
        }
        let created = within(bundle, &["create", "--pid-file", "pid", &bundle.id])?;
        if created.code != 0 {
            return Ok(created);
        }
        let started = within(bundle, &["start", &bundle.id])?;
        if started.code != 0 {
            return Ok(started);
        }
        if self.way == Way::Exec {
            return within(bundle, &["exec", &bundle.id, "/quit"]);
        }
        let pid = fs::read_to_string(bundle.file("pid")).unwrap().parse().unwrap();
        // The program's own end tells whether it ran.
        Ok(Done { code: reap(pid), ..started })
    }
}

/// A command that must end, successful or not.
fn within(bundle: &Bundle, args: &[&str]) -> Result<Done, String> {
    patience::within(bundle, args, LIMIT)
}

/// The profile binds the program and not the runtime: the filter is the last thing before execve.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_35_any_call_with_any_action() {
    let Some(calls) = calls() else { return };
    assert!(calls.len() > 15 && calls.contains("execve"), "strace saw too little: {calls:?}");
    let all = Trial::all(&calls);
    let number = if std::env::var_os("TARE_ATTACK_ALL").is_some() { all.len() } else { SAMPLE };
    eprintln!("{number} of {} trials with {} system calls", all.len(), calls.len());
    let wrong: Vec<_> =
        all.iter().take(number).filter_map(|trial| Some(format!("{trial:?}: {}", trial.run()?))).collect();
    assert!(wrong.is_empty(), "{} of {number}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whatever the sample is: the calls that every runtime is likely to make last, denied.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_35_the_last_calls_before_the_program() {
    let mut wrong = Vec::new();
    for call in ["prctl", "close", "close_range", "write", "read", "sendmsg", "fcntl", "capset", "setresuid", "fchdir"]
    {
        for way in [Way::Run, Way::Create, Way::Exec] {
            for no_new_privileges in [true, false] {
                let trial = Trial { call: call.to_string(), action: Action::Errno, no_new_privileges, way };
                let _tools = bundle(way);
                wrong.extend(trial.run().map(|what| format!("{trial:?}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every call that could say something, or end the process.
const VOICES: [&str; 13] = [
    "write",
    "writev",
    "pwritev2",
    "sendto",
    "sendmmsg",
    "splice",
    "vmsplice",
    "tee",
    "kill",
    "tgkill",
    "exit",
    "exit_group",
    "sendmsg",
];

/// A program that cannot be executed, under a profile that leaves the process no call to say so.
fn failing(way: Way, action: Action, no_new_privileges: bool) -> Option<String> {
    let mut bundle = bundle(way);
    let script = bundle.file("rootfs/script");
    fs::write(&script, "#!/nonexistent\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = bundle.file("agent");
    let agent = (action == Action::Notify).then(|| Agent::new(&path, Answer::Never));
    let (word, denied) = match action {
        Action::Errno => ("SCMP_ACT_ERRNO", VOICES.as_slice()),
        Action::Kill => ("SCMP_ACT_KILL_PROCESS", VOICES.as_slice()),
        Action::Trap => ("SCMP_ACT_TRAP", VOICES.as_slice()),
        // The listener itself needs sendmsg, and what never answers lets nothing end.
        Action::Notify | Action::NotifyNobody => ("SCMP_ACT_NOTIFY", &VOICES[..10]),
    };
    let rule = json!({ "names": denied, "action": word });
    let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    if agent.is_some() {
        profile["listenerPath"] = json!(path.display().to_string());
    }
    bundle.set("/linux/seccomp", profile).set("/process/noNewPrivileges", json!(no_new_privileges));
    if way != Way::Exec {
        bundle.set("/process/args", json!(["/script"]));
    }
    bundle.write();
    let done = match way {
        Way::Run => within(&bundle, &["run", &bundle.id]),
        Way::Create => within(&bundle, &["create", &bundle.id])
            .map(|created| assert_eq!(created.code, 0, "{created:?}"))
            .and_then(|()| within(&bundle, &["start", &bundle.id])),
        Way::Exec => {
            bundle.begin();
            within(&bundle, &["exec", &bundle.id, "/script"])
        }
    };
    let deleted = patience::ends_within(&bundle, &["delete", "--force", &bundle.id], LIMIT);
    bundle.reap_orphans();
    drop(agent);
    match (done, deleted) {
        (Err(hangs), _) | (_, Err(hangs)) => Some(hangs),
        (Ok(done), _) if done.code == 0 => Some(format!("success: {done:?}")),
        (Ok(done), _) if is_tare() && !done.stderr.contains("exec /script: no such file") => {
            Some(format!("not the reason: {done:?}"))
        }
        (Ok(_), _) => None,
    }
}

/// No filter denies a store to memory.
#[test]
#[ignore = "needs root: sudo scripts/test host"]
fn class_35_a_failed_execve_is_reported_without_a_call() {
    let mut wrong = Vec::new();
    for action in [Action::Errno, Action::Kill, Action::Trap, Action::Notify] {
        for way in [Way::Run, Way::Create, Way::Exec] {
            for no_new_privileges in [true, false] {
                let what = failing(way, action, no_new_privileges);
                wrong.extend(what.map(|what| format!("{action:?} {way:?} {no_new_privileges}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
