//! Writes cBPF from the last instruction to the first, so that the target of every jump is known.
//!
//! World: plan. Promises: conditional jumps reach 255 instructions; a target further away is reached through a
//! jump of its own, or is a copy when it is a return. Offsets: `struct seccomp_data` of linux/seccomp.h.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSeccompOperator as Operator;
use seccompiler::sock_filter;

use super::profile::Condition;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
/// Jump when the accumulator equals the constant.
pub(super) const EQUAL: u16 = 0x15;
/// Jump when it is greater.
const GREATER: u16 = 0x25;
/// Jump when it is greater or equal.
pub(super) const AT_LEAST: u16 = 0x35;

/// Offset of the call number.
pub(super) const NUMBER: u32 = 0;
/// Offset of the architecture.
pub(super) const ARCHITECTURE: u32 = 4;
/// Offset of the first argument; each has eight bytes, the low word first.
pub(super) const ARGUMENTS: u32 = 16;

/// How far a label may be for one more instruction to fit between.
const NEAR: usize = 250;

/// Values that are compared one after the other: each level of a search costs an instruction more.
const LINEAR: usize = 4;

/// An instruction that can be jumped to, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label(usize);

/// How a word is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    /// [`EQUAL`] and the like.
    pub(super) code: u16,
    /// The bits that are looked at.
    pub(super) mask: u32,
    pub(super) value: u32,
}

/// A program that grows towards its beginning.
#[derive(Default)]
pub(super) struct Writer {
    /// Last instruction first.
    code: Vec<sock_filter>,
    /// Where each action was returned last.
    returns: Vec<(u32, Label)>,
    /// The last jump to each label that is far.
    jumps: BTreeMap<Label, Label>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { code: Vec::with_capacity(512), returns: Vec::new(), jumps: BTreeMap::new() }
    }

    /// Continues in front of a finished program; also its first instruction, which there must be.
    pub(super) fn before(mut program: Vec<sock_filter>) -> (Self, Label) {
        program.reverse();
        let first = Label(program.len().saturating_sub(1));
        (Self { code: program, returns: Vec::new(), jumps: BTreeMap::new() }, first)
    }

    /// The program, first instruction first.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.code.reverse();
        self.code
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(sock_filter { code, jt, jf, k });
        Label(self.code.len() - 1)
    }

    /// Instructions that a jump written next would skip.
    fn distance(&self, label: Label) -> usize {
        self.code.len() - 1 - label.0
    }

    /// Loads a word of `struct seccomp_data`, then goes to `then`.
    pub(super) fn load(&mut self, offset: u32, then: Label) -> Label {
        let distance = self.distance(then);
        if distance > 0 {
            self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX));
        }
        self.push(LOAD, 0, 0, offset)
    }

    /// Returns `action`; an earlier return within reach is used again.
    pub(super) fn answer(&mut self, action: u32) -> Label {
        let known = self.returns.iter().position(|(other, _)| *other == action);
        if let Some((_, label)) = known.and_then(|known| self.returns.get(known))
            && self.distance(*label) < NEAR
        {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, action);
        match known.and_then(|known| self.returns.get_mut(known)) {
            Some(entry) => entry.1 = label,
            None => self.returns.push((action, label)),
        }
        label
    }

    /// Goes to `yes` when the accumulator compares so with `k`, else to `no`.
    pub(super) fn branch(&mut self, comparison: u16, k: u32, yes: Label, no: Label) -> Label {
        let (mut yes, mut no) = (self.near(yes), self.near(no));
        loop {
            match (u8::try_from(self.distance(yes)), u8::try_from(self.distance(no))) {
                (Ok(jt), Ok(jf)) => return self.push(comparison, jt, jf, k),
                (Err(_), _) => yes = self.near(yes),
                (_, Err(_)) => no = self.near(no),
            }
        }
    }

    /// The label itself, or one within reach that leads there.
    fn near(&mut self, label: Label) -> Label {
        let distance = self.distance(label);
        if distance < NEAR {
            return label;
        }
        match self.code.get(label.0) {
            Some(&sock_filter { code: RETURN, k, .. }) => self.answer(k),
            _ => {
                if let Some(jump) = self.jumps.get(&label).filter(|jump| self.distance(**jump) < NEAR) {
                    return *jump;
                }
                let jump = self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX));
                self.jumps.insert(label, jump);
                jump
            }
        }
    }

    /// Decides between the sorted `values` of the word that is loaded; `no` for all others.
    pub(super) fn search(&mut self, values: &[(u32, Label)], no: Label) -> Label {
        if values.len() <= LINEAR {
            return values.iter().rev().fold(no, |next, (value, yes)| self.branch(EQUAL, *value, *yes, next));
        }
        let (below, from) = values.split_at(values.len() / 2);
        let pivot = from.first().map_or(0, |(value, _)| *value);
        let from = self.search(from, no);
        let below = self.search(below, no);
        self.branch(AT_LEAST, pivot, from, below)
    }

    /// Loads a word and masks it, then goes to `then`.
    pub(super) fn load_masked(&mut self, offset: u32, mask: u32, mut then: Label) -> Label {
        if mask != u32::MAX {
            let distance = self.distance(then);
            if distance > 0 {
                self.push(JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX));
            }
            then = self.push(AND, 0, 0, mask);
        }
        self.load(offset, then)
    }

    /// The action that is returned there, if one is.
    pub(super) fn returns(&self, label: Label) -> Option<u32> {
        self.code.get(label.0).filter(|instruction| instruction.code == RETURN).map(|instruction| instruction.k)
    }

    /// Instructions so far.
    pub(super) fn len(&self) -> usize {
        self.code.len()
    }

    /// Goes to `yes` where the condition holds, else to `no`.
    pub(super) fn condition(&mut self, narrow: bool, condition: &Condition, yes: Label, no: Label) -> Label {
        match condition.op {
            Operator::ScmpCmpEq | Operator::ScmpCmpMaskedEq => self.equal(narrow, condition, yes, no),
            Operator::ScmpCmpNe => self.equal(narrow, condition, no, yes),
            Operator::ScmpCmpGt => self.ordered(narrow, GREATER, condition, yes, no),
            Operator::ScmpCmpGe => self.ordered(narrow, AT_LEAST, condition, yes, no),
            Operator::ScmpCmpLe => self.ordered(narrow, GREATER, condition, no, yes),
            Operator::ScmpCmpLt => self.ordered(narrow, AT_LEAST, condition, no, yes),
        }
    }

    fn equal(&mut self, narrow: bool, condition: &Condition, yes: Label, no: Label) -> Label {
        let (low_at, high_at) = offsets(condition.index);
        let ((low_mask, high_mask), (low, high)) = (words(condition.mask), words(condition.value));
        let mut then = yes;
        if low_mask != 0 {
            then = self.word(low_at, Comparison { code: EQUAL, mask: low_mask, value: low }, then, no);
        }
        if high_mask != 0 && !narrow {
            then = self.word(high_at, Comparison { code: EQUAL, mask: high_mask, value: high }, then, no);
        }
        then
    }

    fn ordered(&mut self, narrow: bool, code: u16, condition: &Condition, yes: Label, no: Label) -> Label {
        let (low_at, high_at) = offsets(condition.index);
        let (low, high) = words(condition.value);
        let low = self.word(low_at, Comparison { code, mask: u32::MAX, value: low }, yes, no);
        if narrow {
            return low;
        }
        let same = self.branch(EQUAL, high, low, no);
        self.word(high_at, Comparison { code: GREATER, mask: u32::MAX, value: high }, yes, same)
    }

    /// Loads, masks and compares the word at `offset`.
    pub(super) fn word(&mut self, offset: u32, comparison: Comparison, yes: Label, no: Label) -> Label {
        let then = self.branch(comparison.code, comparison.value, yes, no);
        self.load_masked(offset, comparison.mask, then)
    }
}

/// Where the low and the high word of an argument are.
pub(super) fn offsets(index: u8) -> (u32, u32) {
    let low = ARGUMENTS + 8 * u32::from(index);
    (low, low + 4)
}

/// The low and the high word.
pub(super) fn words(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}
