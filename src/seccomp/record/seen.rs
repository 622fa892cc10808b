//! The calls that were seen, as bits in a page that two processes share.
//!
//! World: all. Promises: one process notes, others read; nothing is ever removed.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::seccomp::abi::Abi;

/// Numbers of an ABI: the ordinary ones, then the 16 private ones of arm.
const PRIVATE: u16 = 640;
const DENSE: u16 = PRIVATE + 16;
/// Words of an ABI.
const WORDS: usize = (DENSE as usize).div_ceil(64);
/// The word of the calls inside socketcall(2) and ipc(2). No machine has two ABIs with them.
const INNER: usize = 8 * WORDS;
/// Where calls without a number in the tables begin, and how many of them are kept.
const UNNAMED: usize = INNER + 1;
const MOST_UNNAMED: usize = 32;
const _: () = assert!(UNNAMED + MOST_UNNAMED <= crate::sys::memory::SharedPage::LENGTH);

/// A view of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a>(pub(super) &'a [AtomicU64]);

impl Seen<'_> {
    /// Notes a call as the kernel reports it.
    pub(super) fn note(self, arch: u32, number: u32, first: u64) {
        match Abi::of_call(arch, number).and_then(|(abi, number)| Some((abi, number, dense(number)?))) {
            Some((abi, number, dense)) => match abi.inner(number, first) {
                Some(inner) => self.set(INNER, inner_bit(inner)),
                None => self.set(abi as usize * WORDS + usize::from(dense / 64), dense % 64),
            },
            None => self.note_unnamed(u64::from(arch) << 32 | u64::from(number)),
        }
    }

    fn set(self, word: usize, bit: u16) {
        if let Some(word) = self.0.get(word) {
            word.fetch_or(1 << bit, Ordering::Relaxed);
        }
    }

    fn note_unnamed(self, call: u64) {
        for place in self.0.iter().skip(UNNAMED).take(MOST_UNNAMED) {
            let there = place.load(Ordering::Relaxed);
            if there == 0 {
                place.store(call, Ordering::Relaxed);
            }
            if there == 0 || there == call {
                return;
            }
        }
    }

    /// The numbers in the table of the calls that were seen.
    pub(super) fn numbers(self, abi: Abi) -> impl Iterator<Item = u16> {
        (0..PRIVATE).chain(0xf000..0xf010).filter(move |number| self.has(abi, *number))
    }

    fn has(self, abi: Abi, number: u16) -> bool {
        dense(number).is_some_and(|dense| self.bit(abi as usize * WORDS + usize::from(dense / 64), dense % 64))
    }

    /// Whether this call was seen inside socketcall(2) or ipc(2).
    pub(super) fn has_inner(self, inner: u16) -> bool {
        self.bit(INNER, inner_bit(inner))
    }

    fn bit(self, word: usize, bit: u16) -> bool {
        self.0.get(word).is_some_and(|word| word.load(Ordering::Relaxed) >> bit & 1 == 1)
    }

    /// Architecture and number of the calls that no table can have.
    pub(super) fn unnamed(self) -> impl Iterator<Item = (u32, u32)> {
        let calls = [const { 0_u64 }; MOST_UNNAMED];
        let mut calls = calls;
        for (call, place) in calls.iter_mut().zip(self.0.iter().skip(UNNAMED)) {
            *call = place.load(Ordering::Relaxed);
        }
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
        let halves = |call: u64| ((call >> 32) as u32, call as u32);
        calls.into_iter().take_while(|call| *call != 0).map(halves)
    }
}

fn dense(number: u16) -> Option<u16> {
    match number {
        0..PRIVATE => Some(number),
        0xf000..0xf010 => Some(PRIVATE + (number & 0xf)),
        _ => None,
    }
}

/// The bit of 0x100 + n or 0x200 + n, where n is below 32.
fn inner_bit(inner: u16) -> u16 {
    (inner >> 9 << 5) | (inner & 0x1f)
}
