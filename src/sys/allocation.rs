//! The global allocator: an arena, because most commands live for a millisecond and musl's malloc is slow.
//!
//! World: all.
//! A block comes from the list of freed ones of its size, else from the end of the arena; what does not fit goes to the
//! system's allocator. So a long-running command does not grow, and [`release`] gives back what a finished phase used.
//! In the child nothing is allocated at all: [`forbid`] says from when on, and debug builds abort then.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{Advice, madvise};

/// Bytes of the arena: untouched pages cost nothing.
const SIZE: usize = 2 * 1024 * 1024;
const PAGE: usize = 4096;
/// The alignment of every block, and the step between the sizes of small ones.
const STEP: usize = 16;
/// Sizes up to here have a list each; larger ones are rounded up to a power of two.
const SMALL: usize = 1024;
/// Blocks above this size are the system's.
const LARGEST: usize = 128 * 1024;
const LISTS: usize = SMALL / STEP + (LARGEST / SMALL).ilog2() as usize;

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: it is reached through pointers to disjoint blocks alone, each of which has one owner.
unsafe impl Sync for Memory {}

/// What is where in the memory, as offsets.
struct Book {
    /// Bytes given out, freed ones included.
    used: usize,
    /// Offset + 1 of the first freed block of each size; a freed block begins with that of the next.
    freed: [u32; LISTS],
    /// Live blocks that touch each page.
    live: [u16; SIZE / PAGE],
}

struct Shared(UnsafeCell<Book>);

// SAFETY: `with` lets one thread at a time reach the book.
unsafe impl Sync for Shared {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; SIZE]));
static BOOK: Shared = Shared(UnsafeCell::new(Book { used: 0, freed: [0; LISTS], live: [0; SIZE / PAGE] }));
static TAKEN: AtomicBool = AtomicBool::new(false);
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From now on an allocation in this process (a copy, since the fork) is a defect; debug builds abort.
pub fn forbid() {
    if cfg!(debug_assertions) {
        FORBIDDEN.store(true, Ordering::Relaxed);
    }
}

/// Gives the pages without a live block back to the kernel: once, before a long wait. The freed blocks between live ones
/// are forgotten with them.
pub fn release() {
    with(|book| {
        book.freed = [0; LISTS];
        let end = book.used.div_ceil(PAGE);
        let mut page = 0;
        while page < end {
            let dead = book.live[page..end].iter().take_while(|live| **live == 0).count();
            if dead > 0 {
                // SAFETY: no live block touches these pages, and no list leads to the dead ones any more.
                let _kept = unsafe { madvise(place(page * PAGE).cast(), dead * PAGE, Advice::LinuxDontNeed) };
            }
            page += dead.max(1);
        }
    });
}

/// The allocator; the binary installs it.
pub struct Allocator;

/// Runs `act` on the book, unless another thread is at it: there is one thread in tare, but a library cannot know.
fn with<T>(act: impl FnOnce(&mut Book) -> T) -> Option<T> {
    if TAKEN.swap(true, Ordering::Acquire) {
        return None;
    }
    // SAFETY: TAKEN was false, so this is the only reference.
    let done = act(unsafe { &mut *BOOK.0.get() });
    TAKEN.store(false, Ordering::Release);
    Some(done)
}

fn place(offset: usize) -> *mut u8 {
    MEMORY.0.get().cast::<u8>().wrapping_add(offset)
}

/// The list of a size, and the size that its blocks have; `None` for what is the system's.
#[inline(always)]
#[allow(clippy::inline_always, reason = "every allocation goes through it, and opt-level s would call it")]
fn list(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(STEP);
    if layout.align() > STEP || size > LARGEST {
        return None;
    }
    if size <= SMALL {
        let size = size.next_multiple_of(STEP);
        return Some((size / STEP - 1, size));
    }
    let size = size.next_power_of_two();
    Some((SMALL / STEP + (size / SMALL).ilog2() as usize - 1, size))
}

impl Book {
    /// Offset of a block of `size` bytes; `None` when the arena is full.
    #[inline]
    fn take(&mut self, list: usize, size: usize) -> Option<usize> {
        let at = match self.freed[list].checked_sub(1) {
            Some(at) => {
                let at = at as usize;
                // SAFETY: `give` wrote it there, and a freed block has no other owner.
                self.freed[list] = unsafe { place(at).cast::<u32>().read() };
                at
            }
            None => {
                let at = self.used;
                self.used = at.checked_add(size).filter(|end| *end <= SIZE)?;
                at
            }
        };
        self.count(at, size, |live| live.wrapping_add(1));
        Some(at)
    }

    fn give(&mut self, at: usize, list: usize, size: usize) {
        self.count(at, size, |live| live.wrapping_sub(1));
        if at + size == self.used {
            self.used = at;
            return;
        }
        // SAFETY: the block has at least STEP bytes, is aligned to them, and its owner gave it up.
        unsafe { place(at).cast::<u32>().write(self.freed[list]) };
        self.freed[list] = u32::try_from(at + 1).unwrap_or(0);
    }

    /// Whether the block was the last one and now has the `new` size.
    fn resize_last(&mut self, at: usize, old: usize, new: usize) -> bool {
        if at + old != self.used || at + new > SIZE {
            return false;
        }
        self.count(at, old, |live| live.wrapping_sub(1));
        self.used = at + new;
        self.count(at, new, |live| live.wrapping_add(1));
        true
    }

    #[inline]
    fn count(&mut self, at: usize, size: usize, change: impl Fn(u16) -> u16) {
        let (first, last) = (at / PAGE, (at + size - 1) / PAGE);
        if let Some(live) = self.live.get_mut(first) {
            *live = change(*live);
        }
        if first != last {
            for live in &mut self.live[first + 1..=last] {
                *live = change(*live);
            }
        }
    }
}

/// Where the block begins in the arena; `None` for a block of the system's allocator.
fn offset(block: *mut u8) -> Option<usize> {
    block.addr().checked_sub(place(0).addr()).filter(|offset| *offset < SIZE)
}

fn check() {
    if cfg!(debug_assertions) && FORBIDDEN.load(Ordering::Relaxed) {
        let _lost = rustix::io::write(rustix::stdio::stderr(), b"tare: the child allocates memory\n");
        super::clone::exit_now(134);
    }
}

// SAFETY: blocks are aligned as asked, disjoint, and live until they are freed: `take` hands out the end of the arena or
// a block that `give` took back, with the size that both find from the layout.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        let at = list(layout).and_then(|(list, size)| with(|book| book.take(list, size))).flatten();
        match at {
            Some(at) => place(at),
            // SAFETY: the caller's layout is passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match offset(block) {
            Some(at) => {
                // A block that another thread keeps us from taking back is lost.
                let _lost = list(layout).and_then(|(list, size)| with(|book| book.give(at, list, size)));
            }
            // SAFETY: the block is not of the arena, so the system's allocator made it with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        let Some(at) = offset(block) else {
            // SAFETY: the block is not of the arena, so the system's allocator made it with this layout.
            return unsafe { System.realloc(block, layout, size) };
        };
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        let (old, new) = (list(layout), list(wanted));
        if old == new && old.is_some() {
            return block;
        }
        if let (Some((_, old)), Some((_, new))) = (old, new)
            && with(|book| book.resize_last(at, old, new)) == Some(true)
        {
            return block;
        }
        // SAFETY: `wanted` is a valid layout of a size above zero.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks are live, do not overlap, and have at least the smaller of both sizes.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the block was allocated here with this layout, and its owner gave it up for `moved`.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests' own allocator is the system's, so this one is ours alone.
    #[test]
    fn blocks_are_disjoint_reused_and_given_back() {
        let layout = |size: usize, align: usize| Layout::from_size_align(size, align).unwrap();
        let mut random = 7_u64;
        let mut next = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..5000_usize {
            let mark = u8::try_from(round % 251).unwrap();
            if live.len() < 200 && next(2) == 0 {
                let layout = layout([1, 24, 200, 1024, 1025, 5000, 200_000][next(7)], [1, 8, 16, 64][next(4)]);
                // SAFETY: the layout's size is above zero; the block is written within its size.
                let block = unsafe { Allocator.alloc(layout) };
                assert!(!block.is_null() && block.addr() % layout.align() == 0);
                // SAFETY: as above.
                unsafe { block.write_bytes(mark, layout.size()) };
                live.push((block, layout, mark));
            } else if !live.is_empty() {
                let at = next(live.len());
                let (block, old, mark) = live.swap_remove(at);
                // SAFETY: the block is live and was filled with `mark`.
                let content = unsafe { std::slice::from_raw_parts(block, old.size()) };
                assert!(content.iter().all(|byte| *byte == mark), "a block of {} bytes was overwritten", old.size());
                if next(3) == 0 {
                    let size = 1 + next(3000);
                    // SAFETY: the block is live with this layout; the new one is filled within its size.
                    let grown = unsafe { Allocator.realloc(block, old, size) };
                    // SAFETY: as above.
                    let content = unsafe { std::slice::from_raw_parts(grown, old.size().min(size)) };
                    assert!(content.iter().all(|byte| *byte == mark));
                    // SAFETY: as above.
                    unsafe { grown.write_bytes(mark, size) };
                    live.push((grown, layout(size, old.align()), mark));
                } else {
                    // SAFETY: the block is live with this layout.
                    unsafe { Allocator.dealloc(block, old) };
                }
            }
            if round % 2000 == 0 {
                release();
            }
        }
        let used = with(|book| book.used).unwrap();
        assert!(used < SIZE, "freed blocks are not used again: {used} bytes");
        for (block, layout, _) in live {
            // SAFETY: the block is live with this layout.
            unsafe { Allocator.dealloc(block, layout) };
        }
        assert!(with(|book| book.live.iter().all(|live| *live == 0)).unwrap());
    }
}
