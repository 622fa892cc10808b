//! Turns the decisions into one program: the architecture first, then a balanced tree over ranges of numbers.
//!
//! World: plan. Promises: at most [`LIMIT`] instructions; an architecture (or x32) that the profile does not
//! list kills the thread, as libseccomp's default does. The kernel remembers which calls are allowed whatever
//! their arguments are (5.11), so only the others pay for the depth of the tree.

use seccompiler::BpfProgram;

use super::abi::{Abi, X32_BIT};
use super::chain::Chains;
use super::decide::{Decision, Decisions};
use super::emit::{ARCHITECTURE, AT_LEAST, EQUAL, Label, NUMBER, Writer};
use crate::error::{Code, Error, Result};

/// Instructions that the kernel takes: BPF_MAXINSNS of linux/bpf_common.h.
pub(super) const LIMIT: usize = 4096;

/// For calls of an ABI that the profile does not list.
const FOREIGN: Decision = Decision::Return(libc::SECCOMP_RET_KILL_THREAD);

/// Writes the program.
///
/// # Errors
/// A profile whose conditions need more than [`LIMIT`] instructions.
pub(super) fn compile(decisions: &Decisions<'_>) -> Result<BpfProgram> {
    let mut writer = Writer::new();
    let mut chains = Chains::new(decisions);
    let mut entries: Vec<(u32, Label)> = Vec::new();
    // Last first, so that the native one, which is listed first, is tested first.
    for section in decisions.sections.iter().rev() {
        let audit = section.abi.audit();
        if entries.iter().any(|(other, _)| *other == audit) {
            continue;
        }
        let root = tree(&mut writer, &mut chains, &ranges(decisions, section.abi));
        entries.push((audit, writer.load(NUMBER, root)));
    }
    let mut entry = writer.answer(libc::SECCOMP_RET_KILL_THREAD);
    for (audit, section) in entries {
        entry = writer.branch(EQUAL, audit, section, entry);
    }
    writer.load(ARCHITECTURE, entry);
    let program = writer.finish();
    if program.len() > LIMIT {
        let what = format!("the filter needs {} instructions; the kernel accepts at most {LIMIT}", program.len());
        return Err(Error::refused(Code::SeccompFilterTooLong, "linux.seccomp.syscalls", what)
            .hint("use fewer rules with args"));
    }
    Ok(program)
}

/// All ranges of the architecture of `abi`: x86_64 and x32 are one to the kernel.
fn ranges(decisions: &Decisions<'_>, abi: Abi) -> Vec<(u32, Decision)> {
    let of = |abi: Abi| {
        let section = decisions.sections.iter().find(|section| section.abi == abi);
        section.map(|section| section.ranges(decisions.default))
    };
    if !matches!(abi, Abi::X86_64 | Abi::X32) {
        return of(abi).unwrap_or_default();
    }
    let mut all = of(Abi::X86_64).unwrap_or_else(|| vec![(0, FOREIGN)]);
    match (of(Abi::X32), decisions.beyond(Abi::X86_64)) {
        (Some(x32), _) => all.extend(x32),
        // A tracer makes the kernel skip a call by the number -1, which must not count as x32.
        (None, Some(beyond)) => all.extend([(X32_BIT, FOREIGN), (u32::MAX, Decision::Return(beyond))]),
        (None, None) => {}
    }
    all
}

/// A balanced search over `ranges`, which are not empty; the number is in the accumulator.
fn tree(writer: &mut Writer, chains: &mut Chains<'_>, ranges: &[(u32, Decision)]) -> Label {
    match ranges {
        [] => writer.answer(libc::SECCOMP_RET_KILL_THREAD),
        [(_, decision)] => leaf(writer, chains, *decision),
        // One number that differs from those around it.
        [(_, around), (number, one), (next, other)] if around == other && number + 1 == *next => {
            let one = leaf(writer, chains, *one);
            let around = leaf(writer, chains, *around);
            writer.branch(EQUAL, *number, one, around)
        }
        _ => {
            let (below, from) = ranges.split_at(ranges.len() / 2);
            let number = from.first().map_or(0, |(number, _)| *number);
            let from = tree(writer, chains, from);
            let below = tree(writer, chains, below);
            writer.branch(AT_LEAST, number, from, below)
        }
    }
}

fn leaf(writer: &mut Writer, chains: &mut Chains<'_>, decision: Decision) -> Label {
    match decision {
        Decision::Return(action) => writer.answer(action),
        Decision::Unnamed => chains.otherwise(writer),
        Decision::Chain(index) => chains.write(writer, index),
    }
}
