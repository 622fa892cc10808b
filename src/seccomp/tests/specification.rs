//! What a profile means, written down as directly as possible: slow, and without a thought of code generation.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall};

use super::interpreter::Call;
use crate::seccomp::abi::Abi;
use crate::seccomp::tables;

/// The answer to one call.
pub fn evaluate(profile: &LinuxSeccomp, call: &Call) -> u32 {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let mut listed = vec![Abi::NATIVE.unwrap()];
    listed.extend(profile.architectures().iter().flatten().map(|arch| Abi::of(*arch).unwrap()));

    let is_x32 = call.number >= 0x4000_0000;
    let of_arch = listed.iter().copied().filter(|abi| abi.audit() == call.arch);
    let exact = of_arch.clone().find(|abi| (*abi == Abi::X32) == (is_x32 && call.arch == 0xc000_003e));
    let skipped = call.number == u32::MAX;
    let Some(abi) = exact.or_else(|| of_arch.clone().find(|abi| *abi == Abi::X86_64 && skipped)) else {
        return 0;
    };

    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let named = rules.iter().flat_map(LinuxSyscall::names).filter_map(|name| tables::find(name));
    let highest = named
        .flat_map(|numbers| [abi.direct(numbers), abi.multiplexed(numbers).map(|within| within.number)])
        .flatten()
        .filter(|number| *number < 0xf000)
        .max()
        .filter(|number| *number > 0);

    let mut conditional: Vec<u32> = Vec::new();
    let mut is_named = false;
    for rule in rules {
        let action = rule.action().as_u32(rule.errno_ret());
        let args = rule.args().as_deref().unwrap_or_default();
        for numbers in rule.names().iter().filter_map(|name| tables::find(name)) {
            let direct = abi.direct(numbers).map(|number| abi.number(number)) == Some(call.number);
            let within = abi.multiplexed(numbers).filter(|within| u32::from(within.number) == call.number);
            is_named |= direct || within.is_some();
            if action == default {
                continue;
            }
            if direct && always(args, abi) {
                return conditional_or_unconditional(rules, profile, abi, call);
            }
            if direct && matches(args, abi, call) {
                conditional.push(action);
            }
            if let Some(within) = within {
                let this = (call.args[0] & 0xffff_ffff) as u32 & within.mask == within.call;
                if this && (always(args, abi) || strictness(action) <= strictness(default)) {
                    conditional.push(action);
                }
                // A later rule for the multiplexer itself, without conditions, is found above.
            }
        }
    }
    if let Some(action) = conditional.into_iter().min_by_key(|action| strictness(*action)) {
        return action;
    }
    let lets_through = strictness(default) >= 0x7fc0_0000;
    match highest {
        Some(highest) if !is_named && !lets_through && call.number > abi.number(highest) => 0x0005_0000 | 38,
        _ => default,
    }
}

/// The first rule without conditions; there is one.
fn conditional_or_unconditional(rules: &[LinuxSyscall], profile: &LinuxSeccomp, abi: Abi, call: &Call) -> u32 {
    let default = profile.default_action().as_u32(profile.default_errno_ret());
    let first = rules.iter().find(|rule| {
        let here = rule
            .names()
            .iter()
            .filter_map(|name| tables::find(name))
            .any(|numbers| abi.direct(numbers).map(|number| abi.number(number)) == Some(call.number));
        let args = rule.args().as_deref().unwrap_or_default();
        here && always(args, abi) && rule.action().as_u32(rule.errno_ret()) != default
    });
    let first = first.unwrap();
    first.action().as_u32(first.errno_ret())
}

/// The order in which the kernel prefers actions.
fn strictness(action: u32) -> i32 {
    (action & 0xffff_0000) as i32
}

fn repeated(args: &[LinuxSeccompArg]) -> bool {
    args.iter().enumerate().any(|(i, arg)| args[..i].iter().any(|other| other.index() == arg.index()))
}

fn always(args: &[LinuxSeccompArg], abi: Abi) -> bool {
    let bits = if abi.narrow() { 0xffff_ffff } else { u64::MAX };
    let trivial = |arg: &LinuxSeccompArg| arg.op() == Operator::ScmpCmpMaskedEq && arg.value() & bits == 0;
    if repeated(args) { args.iter().any(trivial) } else { args.iter().all(trivial) }
}

fn matches(args: &[LinuxSeccompArg], abi: Abi, call: &Call) -> bool {
    let holds = |arg: &LinuxSeccompArg| {
        let bits = if abi.narrow() { 0xffff_ffff } else { u64::MAX };
        let (is, value) = (call.args[arg.index()] & bits, arg.value() & bits);
        match arg.op() {
            Operator::ScmpCmpNe => is != value,
            Operator::ScmpCmpLt => is < value,
            Operator::ScmpCmpLe => is <= value,
            Operator::ScmpCmpEq => is == value,
            Operator::ScmpCmpGe => is >= value,
            Operator::ScmpCmpGt => is > value,
            Operator::ScmpCmpMaskedEq => is & value == arg.value_two().unwrap_or(0) & value,
        }
    };
    if repeated(args) { args.iter().any(holds) } else { args.iter().all(holds) }
}
