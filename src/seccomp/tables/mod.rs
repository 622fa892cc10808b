//! From the name of a system call to its numbers, by a hash table that is made at compile time.
//!
//! World: plan. Promises: a lookup costs one hash and about one comparison; names are kept in one
//! string, so that the table needs no relocations in a position-independent binary.

mod rows;

pub(super) use rows::N;
use rows::ROWS;

/// A number for each ABI (`Abi as usize`), then the call inside socketcall(2) (0x100 + n) or ipc(2) (0x200 + n).
pub(super) type Call = [u16; 9];

const SLOTS: usize = 1024;
const EMPTY: u16 = u16::MAX;

static NUMBERS: [Call; ROWS.len()] = numbers();
static NAMES: [u8; names_len()] = names();
/// Where each name begins in `NAMES`, and the end of the last one.
static OFFSETS: [u16; ROWS.len() + 1] = offsets();
/// Row numbers by hash, linear probing.
static HASHED: [u16; SLOTS] = hashed();

/// The numbers of the call `name`, if any ABI has it.
pub(super) fn find(name: &str) -> Option<&'static Call> {
    let mut slot = hash(name.as_bytes());
    loop {
        let row = *HASHED.get(slot)?;
        if row == EMPTY {
            return None;
        }
        let row = usize::from(row);
        if name_of(row) == name.as_bytes() {
            return NUMBERS.get(row);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The name of the call whose entry in `column` of the table is `value`.
pub(super) fn name(column: usize, value: u16) -> Option<&'static str> {
    let row = NUMBERS.iter().position(|call| call.get(column) == Some(&value))?;
    std::str::from_utf8(name_of(row)).ok()
}

/// Every name that [`find`] knows.
#[cfg(test)]
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    (0..ROWS.len()).filter_map(|row| std::str::from_utf8(name_of(row)).ok())
}

fn name_of(row: usize) -> &'static [u8] {
    let end = OFFSETS.get(row + 1).copied().unwrap_or_default();
    let start = OFFSETS.get(row).copied().unwrap_or_default();
    NAMES.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

/// FNV-1a, folded.
const fn hash(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 15)) as usize % SLOTS
}

const fn numbers() -> [Call; ROWS.len()] {
    let mut numbers = [[N; 9]; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        numbers[row] = ROWS[row].1;
        row += 1;
    }
    numbers
}

const fn names_len() -> usize {
    let (mut len, mut row) = (0, 0);
    while row < ROWS.len() {
        len += ROWS[row].0.len();
        row += 1;
    }
    len
}

const fn names() -> [u8; names_len()] {
    let mut names = [0; names_len()];
    let (mut at, mut row) = (0, 0);
    while row < ROWS.len() {
        let name = ROWS[row].0.as_bytes();
        let mut i = 0;
        while i < name.len() {
            names[at] = name[i];
            (at, i) = (at + 1, i + 1);
        }
        row += 1;
    }
    names
}

#[allow(clippy::cast_possible_truncation, reason = "the assertion is evaluated by the compiler")]
const fn offsets() -> [u16; ROWS.len() + 1] {
    assert!(names_len() <= u16::MAX as usize);
    let mut offsets = [0; ROWS.len() + 1];
    let (mut at, mut row) = (0, 0);
    while row < ROWS.len() {
        at += ROWS[row].0.len();
        row += 1;
        offsets[row] = at as u16;
    }
    offsets
}

#[allow(clippy::cast_possible_truncation, reason = "the assertion is evaluated by the compiler")]
const fn hashed() -> [u16; SLOTS] {
    assert!(ROWS.len() < SLOTS && SLOTS < EMPTY as usize);
    let mut slots = [EMPTY; SLOTS];
    let mut row = 0;
    while row < ROWS.len() {
        let mut slot = hash(ROWS[row].0.as_bytes());
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = row as u16;
        row += 1;
    }
    slots
}
