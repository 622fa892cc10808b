//! The profile that allows exactly what was recorded, and never more than the profile in force.
//!
//! World: plan. If the profile in force refuses by default, its rules are kept: those that allow for the recorded names
//! only, with their conditions, and those that refuse as they are. If it allows by default, the written profile refuses
//! by default, and what the default stood for is written as rules. A name whose conditions cannot be written is left out.
//! Promises: [`written`] of [`Calls::of`] a written profile is that profile.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action, LinuxSyscall};

use super::calls::{Calls, is_permissive};
use super::complement::complement;
use crate::seccomp::abi::Abi;
use crate::seccomp::tables::{self, N};

/// What every program needs, whether a recording shows it or not: the runtime executes the program, each process ends,
/// and the kernel makes a signal handler return and a sleep go on by the last two.
const ALWAYS: [&str; 5] = ["execve", "exit", "exit_group", "rt_sigreturn", "restart_syscall"];

/// The signal return of the older architectures of 32 bits.
const SIGRETURN: &str = "sigreturn";

/// The calls that contain others, in which conditions cannot be seen.
const MULTIPLEXERS: [&str; 2] = ["socketcall", "ipc"];

/// A profile from a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The profile.
    pub profile: LinuxSeccomp,
    /// Recorded names that are not in it, because rules cannot say under which conditions the profile in force allows
    /// them.
    pub left_out: Vec<String>,
}

/// Whether the profile refuses what it does not name.
#[must_use]
pub fn refuses_by_default(profile: &LinuxSeccomp) -> bool {
    use Action::{ScmpActErrno, ScmpActKill, ScmpActKillProcess, ScmpActKillThread, ScmpActTrap};
    matches!(
        profile.default_action(),
        ScmpActErrno | ScmpActKill | ScmpActKillProcess | ScmpActKillThread | ScmpActTrap
    )
}

/// Writes the profile for `calls`, which were recorded under the profile `in_force`.
#[must_use]
pub fn written(in_force: Option<&LinuxSeccomp>, calls: &Calls) -> Written {
    let everything = LinuxSeccomp::default();
    let in_force = in_force.unwrap_or(&everything);
    let names = with_always(calls);
    let mut profile = LinuxSeccomp::default();
    profile.set_architectures(Some(architectures(in_force, calls, *in_force == everything)));
    profile.set_flags(in_force.flags().clone());
    let (rules, left_out) = if refuses_by_default(in_force) {
        profile.set_default_action(in_force.default_action());
        profile.set_default_errno_ret(in_force.default_errno_ret());
        (restricted(in_force, &names), Vec::new())
    } else {
        profile.set_default_action(Action::ScmpActErrno);
        inverted(in_force, &names, &calls.names)
    };
    profile.set_syscalls(Some(rules));
    Written { profile, left_out }
}

fn with_always(calls: &Calls) -> BTreeSet<&str> {
    let is_old = |abi: &Abi| matches!(abi, Abi::X86 | Abi::Arm);
    let old = calls.foreign.iter().any(is_old) || Abi::NATIVE.as_ref().is_some_and(is_old);
    let always = ALWAYS.into_iter().chain(old.then_some(SIGRETURN));
    calls.names.iter().map(String::as_str).chain(always).collect()
}

/// The native one, then those that were seen and are permitted.
fn architectures(in_force: &LinuxSeccomp, calls: &Calls, all: bool) -> Vec<oci_spec::runtime::Arch> {
    let listed: Vec<Abi> = in_force.architectures().iter().flatten().filter_map(|arch| Abi::of(*arch)).collect();
    let foreign = calls.foreign.iter().copied().filter(|abi| all || listed.contains(abi));
    Abi::NATIVE.into_iter().chain(foreign).map(Abi::arch).collect()
}

/// A rule for other names.
fn with_names(rule: &LinuxSyscall, names: Vec<String>) -> LinuxSyscall {
    let mut rule = rule.clone();
    rule.set_names(names);
    rule
}

/// The rules of a profile that refuses by default.
fn restricted<'names>(in_force: &'names LinuxSeccomp, names: &BTreeSet<&'names str>) -> Vec<LinuxSyscall> {
    let mut names = names.clone();
    for outer in MULTIPLEXERS {
        names.extend(inseparable(in_force, outer, &names));
    }
    let keep = |rule: &LinuxSyscall| {
        if !is_permissive(rule.action()) {
            return Some(rule.clone());
        }
        let kept: Vec<String> = rule.names().iter().filter(|name| names.contains(name.as_str())).cloned().collect();
        (!kept.is_empty()).then(|| with_names(rule, kept))
    };
    in_force.syscalls().iter().flatten().filter_map(keep).collect()
}

/// The names of a multiplexer and of the calls inside it, if one of them is kept and they are allowed by different
/// actions: which one counts depends on which rules there are.
fn inseparable<'profile>(in_force: &'profile LinuxSeccomp, outer: &str, kept: &BTreeSet<&str>) -> Vec<&'profile str> {
    let of_group = |name: &&str| *name == outer || multiplexer(name) == Some(outer);
    let permissive = in_force.syscalls().iter().flatten().filter(|rule| is_permissive(rule.action()));
    let (mut group, mut actions) = (Vec::new(), BTreeSet::new());
    for rule in permissive {
        for name in rule.names().iter().map(String::as_str).filter(of_group) {
            group.push(name);
            actions.insert(rule.action().as_u32(rule.errno_ret()));
        }
    }
    if actions.len() > 1 && group.iter().any(|name| kept.contains(name)) { group } else { Vec::new() }
}

/// The rules for a profile that does not refuse by default, and the recorded names that are left out.
fn inverted(
    in_force: &LinuxSeccomp,
    names: &BTreeSet<&str>,
    recorded: &BTreeSet<String>,
) -> (Vec<LinuxSyscall>, Vec<String>) {
    let mut by_name: BTreeMap<&str, Vec<&LinuxSyscall>> = names.iter().map(|name| (*name, Vec::new())).collect();
    let default = in_force.default_action().as_u32(in_force.default_errno_ret());
    for rule in in_force.syscalls().iter().flatten() {
        // A rule whose action is the default does nothing.
        if rule.action().as_u32(rule.errno_ret()) != default {
            rule.names().iter().for_each(|name| by_name.entry(name).or_default().push(rule));
        }
    }
    let entangled = entangled(&by_name);
    let (mut rules, mut left_out, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for (name, list) in by_name {
        let allowed = names.contains(name) && !entangled.contains(name) && !is_contradictory(name, &list);
        let own = allowed.then(|| allowing(in_force.default_action(), &list)).flatten();
        if own.is_none() && recorded.contains(name) {
            left_out.push(name.to_owned());
        }
        match own {
            Some(own) if own.is_plain => plain.push(name.to_owned()),
            Some(own) => rules.extend(own.rules.iter().map(|rule| with_names(rule, vec![name.to_owned()]))),
            None => {
                let refusing = list.into_iter().filter(|rule| !is_permissive(rule.action()));
                rules.extend(refusing.map(|rule| with_names(rule, vec![name.to_owned()])));
            }
        }
    }
    if !plain.is_empty() {
        rules.push(rule_of(in_force.default_action(), plain, None));
    }
    (rules, left_out)
}

/// Names that stand for the same call as another one with rules of its own: socket(2) is also a socketcall(2).
fn entangled(by_name: &BTreeMap<&str, Vec<&LinuxSyscall>>) -> BTreeSet<String> {
    let has_rules = |name: &str| by_name.get(name).is_some_and(|rules| !rules.is_empty());
    let mut found = BTreeSet::new();
    for (name, outer) in by_name.keys().filter_map(|name| Some((*name, multiplexer(name)?))) {
        if has_rules(outer) {
            found.insert(name.to_owned());
        }
        if has_rules(name) {
            found.insert(outer.to_owned());
        }
    }
    found
}

/// The call that contains this one on i386.
fn multiplexer(name: &str) -> Option<&'static str> {
    match tables::find(name) {
        Some([.., code]) if *code != N => MULTIPLEXERS.get(usize::from(code >> 9)).copied(),
        _ => None,
    }
}

/// Different actions for calls that are not told apart: by rules without conditions, or inside a multiplexer, where
/// conditions cannot be seen. Which one counts depends on the order, the architecture and the other rules.
fn is_contradictory(name: &str, list: &[&LinuxSyscall]) -> bool {
    let actions: BTreeSet<u32> = list.iter().map(|rule| rule.action().as_u32(rule.errno_ret())).collect();
    actions.len() > 1 && (multiplexer(name).is_some() || list.iter().any(|rule| is_unconditional(rule)))
}

fn is_unconditional(rule: &LinuxSyscall) -> bool {
    rule.args().as_ref().is_none_or(Vec::is_empty)
}

/// The rules that allow a name.
struct Allowing {
    rules: Vec<LinuxSyscall>,
    /// The name has no rules: the default action is all.
    is_plain: bool,
}

/// What a profile with this default allows of a name with these rules; `None` if nothing, or if rules cannot say it.
fn allowing(default: Action, list: &[&LinuxSyscall]) -> Option<Allowing> {
    if list.is_empty() {
        return is_permissive(default).then(|| Allowing { rules: Vec::new(), is_plain: true });
    }
    let rules = |rules| Some(Allowing { rules, is_plain: false });
    // Whatever others with the same action say.
    if let Some(always) = list.iter().find(|rule| is_unconditional(rule)) {
        return rules(vec![LinuxSyscall::clone(always)]).filter(|_| is_permissive(always.action()));
    }
    // EPERM is the default of the written profile, so that a rule with it would not be stricter than one that allows.
    let eperm = Action::ScmpActErrno.as_u32(None);
    let is_lost = list.iter().any(|rule| rule.action().as_u32(rule.errno_ret()) == eperm);
    if is_lost && list.iter().any(|rule| is_permissive(rule.action())) {
        return None;
    }
    let mut found: Vec<LinuxSyscall> = list.iter().copied().cloned().collect();
    if is_permissive(default) {
        found.extend(complement(list)?.into_iter().map(|args| rule_of(default, Vec::new(), Some(args))));
    }
    rules(found).filter(|allowing| allowing.rules.iter().any(|rule| is_permissive(rule.action())))
}

fn rule_of(action: Action, names: Vec<String>, args: Option<Vec<oci_spec::runtime::LinuxSeccompArg>>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names).set_action(action).set_args(args);
    rule
}
