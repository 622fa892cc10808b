//! The table of accesses as an eBPF program with few branches. World: plan.
//!
//! Loading a program costs what the kernel's verifier walks: each branch is a state to keep and to
//! follow. So: accesses that every device has are answered first, access and type are tested as
//! bits of one register, minors go through a bitmap, and a major is compared once.
//! Source: linux/bpf.h (struct bpf_cgroup_dev_ctx), Documentation/bpf/standardization.

use std::collections::BTreeMap;

use super::rules::{ALL, Majors, Mask, Row, Table};
use crate::sys::bpf::Instruction;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
/// Type in the low half (1 block, 2 character), accesses in the high half.
const ACCESS_TYPE: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
const SCRATCH: u8 = 5;
const BITMAP: u8 = 6;

const TYPE_CHARACTER: i32 = 2;

const LOAD_32: u8 = 0x61;
const LOAD_64_IMMEDIATE: u8 = 0x18;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const ADD: u8 = 0x07;
const SHIFT_RIGHT_BY_REGISTER: u8 = 0x7f;
const JUMP: u8 = 0x05;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_GREATER: u8 = 0x25;
const JUMP_LESS_EQUAL: u8 = 0xb5;
const JUMP_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

/// A place to jump to, known before its address.
#[derive(Clone, Copy)]
struct Label(usize);

#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    addresses: Vec<usize>,
    jumps: Vec<(usize, Label)>,
    /// Where accesses outside the mask are denied and the rest allowed.
    leaves: BTreeMap<Mask, Label>,
    deny: Option<Label>,
    allow: Option<Label>,
}

/// Assembles the program: it returns 1 for an allowed access and 0 for a denied one.
/// `None` when it is too long for its jumps.
pub fn assemble(table: &Table) -> Option<Vec<Instruction>> {
    let mut asm = Assembler::default();
    let common = table.common();
    asm.load(ACCESS_TYPE, 0);
    asm.immediate(MOVE, RESULT, 1);
    if common != 0 {
        let rest = asm.label();
        asm.branch(JUMP_ANY_BIT, ACCESS_TYPE, accesses(ALL & !common), rest);
        asm.plain(EXIT, 0, 0, 0, 0);
        asm.place(rest);
    }
    asm.load(MAJOR, 4);
    asm.load(MINOR, 8);
    if table.character == table.block {
        asm.majors(&table.character, common);
    } else {
        let character = asm.label();
        asm.branch(JUMP_ANY_BIT, ACCESS_TYPE, TYPE_CHARACTER, character);
        asm.majors(&table.block, common);
        asm.place(character);
        asm.majors(&table.character, common);
    }
    asm.finish()
}

/// The mask where ACCESS_TYPE has it.
fn accesses(mask: Mask) -> i32 {
    i32::from(mask) << 16
}

impl Assembler {
    fn plain(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) {
        let registers =
            if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    fn load(&mut self, register: u8, offset: i16) {
        self.plain(LOAD_32, register, CONTEXT, offset, 0);
    }

    fn immediate(&mut self, code: u8, register: u8, value: i32) {
        self.plain(code, register, 0, 0, value);
    }

    fn label(&mut self) -> Label {
        self.addresses.push(usize::MAX);
        Label(self.addresses.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.addresses[label.0] = self.code.len();
    }

    fn branch(&mut self, code: u8, register: u8, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.immediate(code, register, value);
    }

    /// Picks the row of the major; equal rows share their code.
    fn majors(&mut self, majors: &Majors, common: Mask) {
        let mut rows: BTreeMap<&Row, Label> = BTreeMap::new();
        for (major, row) in &majors.majors {
            let label = match rows.get(row) {
                Some(label) => *label,
                None => self.row_label(row, common, &mut rows),
            };
            self.branch(JUMP_EQUAL, MAJOR, number(*major), label);
        }
        self.row(&majors.otherwise, common);
        for (row, label) in rows {
            self.place(label);
            self.row(row, common);
        }
    }

    /// A row without exceptions is only a leaf, which is shared by the whole program.
    fn row_label<'t>(&mut self, row: &'t Row, common: Mask, rows: &mut BTreeMap<&'t Row, Label>) -> Label {
        if row.minors.is_empty() {
            return self.leaf(row.otherwise, common);
        }
        let label = self.label();
        rows.insert(row, label);
        label
    }

    fn row(&mut self, row: &Row, common: Mask) {
        let mut groups: BTreeMap<Mask, Vec<u32>> = BTreeMap::new();
        for (minor, mask) in &row.minors {
            groups.entry(*mask).or_default().push(*minor);
        }
        for (mask, minors) in groups {
            let leaf = self.leaf(mask, common);
            self.minors(&minors, leaf);
        }
        let leaf = self.leaf(row.otherwise, common);
        self.branch(JUMP, 0, 0, leaf);
    }

    /// Jumps to `leaf` for every one of the (sorted) minors, in windows of 64.
    fn minors(&mut self, minors: &[u32], leaf: Label) {
        let mut rest = minors;
        while let Some(&first) = rest.first() {
            let base = if rest.last().is_some_and(|last| *last < 64) { 0 } else { first };
            let count = rest.iter().take_while(|minor| **minor - base < 64).count();
            let (window, next) = rest.split_at(count);
            self.window(window, base, leaf);
            rest = next;
        }
    }

    fn window(&mut self, minors: &[u32], base: u32, leaf: Label) {
        let bitmap = minors.iter().fold(0_u64, |bits, minor| bits | 1 << (minor - base));
        if minors.len() <= 2 {
            for minor in minors {
                self.branch(JUMP_EQUAL, MINOR, number(*minor), leaf);
            }
            return;
        }
        let index = if base == 0 { MINOR } else { SCRATCH };
        if base != 0 {
            self.plain(MOVE_REGISTER, SCRATCH, MINOR, 0, 0);
            self.immediate(ADD, SCRATCH, -number(base));
        }
        if bitmap & bitmap.wrapping_add(1) == 0 {
            // Bits 0 to n without a gap; the subtraction wraps to a huge number for smaller minors.
            self.branch(JUMP_LESS_EQUAL, index, number(bitmap.count_ones() - 1), leaf);
            return;
        }
        let outside = self.label();
        self.branch(JUMP_GREATER, index, 63, outside);
        self.bitmap(bitmap);
        self.plain(SHIFT_RIGHT_BY_REGISTER, BITMAP, index, 0, 0);
        self.branch(JUMP_ANY_BIT, BITMAP, 1, leaf);
        self.place(outside);
    }

    fn bitmap(&mut self, bitmap: u64) {
        match i32::try_from(bitmap) {
            Ok(small) => self.immediate(MOVE, BITMAP, small),
            Err(_) => {
                let [a, b, c, d, e, f, g, h] = bitmap.to_le_bytes();
                self.immediate(LOAD_64_IMMEDIATE, BITMAP, i32::from_le_bytes([a, b, c, d]));
                self.plain(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h]));
            }
        }
    }

    /// The shared place where an access is judged by `mask`; what `common` allows has been answered before.
    fn leaf(&mut self, mask: Mask, common: Mask) -> Label {
        let known = match mask {
            ALL => self.allow,
            mask if mask == common => self.deny,
            mask => self.leaves.get(&mask).copied(),
        };
        if let Some(label) = known {
            return label;
        }
        let label = self.label();
        match mask {
            ALL => self.allow = Some(label),
            mask if mask == common => self.deny = Some(label),
            mask => drop(self.leaves.insert(mask, label)),
        }
        label
    }

    fn finish(mut self) -> Option<Vec<Instruction>> {
        let leaves = std::mem::take(&mut self.leaves);
        let deny = match self.deny {
            Some(label) => label,
            None => self.label(),
        };
        for (mask, label) in leaves {
            self.place(label);
            self.branch(JUMP_ANY_BIT, ACCESS_TYPE, accesses(ALL & !mask), deny);
            self.plain(EXIT, 0, 0, 0, 0);
        }
        if let Some(allow) = self.allow {
            self.place(allow);
            self.plain(EXIT, 0, 0, 0, 0);
        }
        self.place(deny);
        self.immediate(MOVE, RESULT, 0);
        self.plain(EXIT, 0, 0, 0, 0);
        self.resolve()
    }

    fn resolve(mut self) -> Option<Vec<Instruction>> {
        for (from, to) in &self.jumps {
            let distance = self.addresses[to.0] - from - 1;
            self.code[*from].offset = i16::try_from(distance).ok()?;
        }
        Some(self.code)
    }
}

/// Device numbers and counts fit: 20 bits at most.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
