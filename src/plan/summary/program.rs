//! World: plan. The program in words: its attributes, capabilities, filter and arguments.

use oci_spec::runtime::{LinuxSeccomp, Spec};

use super::super::Program;
use super::{count, text};
use crate::process::capabilities::{Masks, names};
use crate::process::limits::Rlimit;
use crate::terminal::plan::Destination;

/// User, directory, limits, labels.
pub(super) fn process(program: &Program) -> Vec<String> {
    let plan = &program.process;
    let groups: Vec<String> = plan.groups.iter().map(ToString::to_string).collect();
    let more = if groups.is_empty() { String::new() } else { format!(", groups {}", groups.join(", ")) };
    let mut steps = vec![format!("uid {}, gid {}{more}, umask {:04o}", plan.uid, plan.gid, plan.umask)];
    steps.push(format!("working directory {}", text(&plan.cwd)));
    steps.extend(program.terminal.as_ref().map(|terminal| match &terminal.destination {
        Destination::ConsoleSocket(path) => format!("a terminal, sent to {}", path.display()),
        Destination::Foreground => "a terminal".to_owned(),
    }));
    steps.extend(plan.keyring.as_ref().map(|keyring| format!("session keyring {}", text(&keyring.name))));
    steps.extend(plan.oom_score_adj.as_ref().map(|score| format!("oom_score_adj {}", String::from_utf8_lossy(score))));
    steps.extend(plan.rlimits.iter().map(rlimit));
    steps.extend(plan.scheduler.as_ref().map(|_| "a scheduling policy".to_owned()));
    steps.extend(plan.io_priority.map(|_| "an I/O priority".to_owned()));
    steps.extend(plan.memory_policy.as_ref().map(|_| "a NUMA memory policy".to_owned()));
    steps.extend(plan.personality.map(|value| format!("personality {value:#x}")));
    let labels = [("AppArmor", &plan.labels.apparmor), ("SELinux", &plan.labels.selinux)];
    steps.extend(labels.iter().filter_map(|(module, label)| {
        let label = String::from_utf8_lossy(label.as_ref()?);
        Some(format!("{module} label {}", label.strip_prefix("exec ").unwrap_or(&label)))
    }));
    if program.preserve_fds > 0 {
        let number = usize::try_from(program.preserve_fds).unwrap_or(usize::MAX);
        steps.push(format!("inherits {} from 3 on", count(number, "descriptor")));
    }
    steps.push(format!("no_new_privs {}", if plan.no_new_privileges { "set" } else { "not set" }));
    steps
}

fn rlimit(limit: &Rlimit) -> String {
    let value = |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    let name = format!("{:?}", limit.resource).to_uppercase();
    format!("RLIMIT_{name} {} (hard limit {})", value(limit.value.current), value(limit.value.maximum))
}

/// The five sets; those that are equal on one line.
pub(super) fn capabilities(program: &Program) -> Vec<String> {
    let Masks { bounding, effective, inheritable, permitted, ambient } = program.process.capabilities;
    let sets = [
        ("bounding", bounding),
        ("permitted", permitted),
        ("effective", effective),
        ("inheritable", inheritable),
        ("ambient", ambient),
    ];
    let mut steps: Vec<String> = Vec::new();
    for (at, (_, mask)) in sets.iter().enumerate() {
        if sets[..at].iter().any(|(_, earlier)| earlier == mask) {
            continue;
        }
        let equal: Vec<&str> = sets.iter().filter(|(_, other)| other == mask).map(|(name, _)| *name).collect();
        let list = if *mask == 0 { "none".to_owned() } else { names(*mask) };
        steps.push(format!("{}: {list}", equal.join(", ")));
    }
    steps
}

/// The default action, the rules, the size of the filter.
pub(super) fn seccomp(spec: &Spec, program: &Program) -> Vec<String> {
    let Some(plan) = &program.seccomp else { return vec!["no filter".to_owned()] };
    let mut steps = Vec::new();
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    steps.extend(profile.filter(|_| plan.at == "linux.seccomp").into_iter().flat_map(rules));
    steps.extend(plan.notify.as_ref().map(|notify| format!("the agent at {} decides", notify.path.display())));
    steps.push(if plan.empty {
        "allows every call, so no filter is installed".to_owned()
    } else {
        format!("a filter of {}", count(plan.program.len(), "instruction"))
    });
    steps
}

fn rules(profile: &LinuxSeccomp) -> Vec<String> {
    let mut steps = vec![format!("default {}", profile.default_action())];
    let mut actions: Vec<(String, usize)> = Vec::new();
    for rule in profile.syscalls().iter().flatten() {
        let action = rule.action().to_string();
        match actions.iter_mut().find(|(known, _)| *known == action) {
            Some((_, names)) => *names += rule.names().len(),
            None => actions.push((action, rule.names().len())),
        }
    }
    steps.extend(actions.iter().map(|(action, names)| format!("{action} for {}", count(*names, "system call"))));
    steps
}

/// The arguments, quoted where that is needed.
pub(super) fn command(program: &Program) -> Vec<String> {
    let is_plain =
        |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || "\"'\\$`".contains(c));
    let word = |argument: &std::ffi::CString| match text(argument) {
        plain if is_plain(&plain) => plain,
        other => format!("{other:?}"),
    };
    let words: Vec<String> = program.process.args.as_slice().iter().map(word).collect();
    vec![words.join(" "), format!("with {}", count(program.process.env.as_slice().len(), "environment variable"))]
}
