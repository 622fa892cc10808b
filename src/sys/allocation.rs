//! The global allocator: a bump arena, because most commands live for a millisecond and musl's malloc is slow.
//!
//! What does not fit into the arena goes to the system's allocator, which frees what it is given back; a command that
//! stays leaves the arena with [`leave`]. The last block can be freed and grown in place, which is what parsing and
//! formatting mostly do.
//! In the child nothing is allocated at all: [`forbid`] says from when on, and debug builds abort then.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of the arena: untouched pages cost nothing.
const ARENA: usize = 2 * 1024 * 1024;

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; ARENA]>);

// SAFETY: blocks handed out never overlap: `used` only moves forward, by compare and exchange, or back over the last
// block, which its owner gives up with that very call.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; ARENA]));
static USED: AtomicUsize = AtomicUsize::new(0);
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From now on an allocation in this process (a copy, since the fork) is a defect; debug builds abort.
pub fn forbid() {
    if cfg!(debug_assertions) {
        FORBIDDEN.store(true, Ordering::Relaxed);
    }
}

/// From now on memory comes from the system's allocator: for a command that stays, since the arena takes nothing back.
pub fn leave() {
    USED.store(ARENA, Ordering::Relaxed);
}

/// The allocator; the binary installs it.
pub struct Arena;

fn start() -> usize {
    MEMORY.0.get().addr()
}

/// Takes `layout` from the arena; `None` when it is full.
fn take(layout: Layout) -> Option<*mut u8> {
    let mut used = USED.load(Ordering::Relaxed);
    loop {
        let begin = used.checked_next_multiple_of(layout.align())?;
        let end = begin.checked_add(layout.size()).filter(|end| *end <= ARENA)?;
        match USED.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(MEMORY.0.get().cast::<u8>().wrapping_add(begin)),
            Err(now) => used = now,
        }
    }
}

/// Where the block begins in the arena; `None` for a block of the system's allocator.
fn offset(block: *mut u8) -> Option<usize> {
    block.addr().checked_sub(start()).filter(|offset| *offset < ARENA)
}

fn is_last(offset: usize, size: usize) -> bool {
    USED.load(Ordering::Relaxed) == offset + size
}

fn check() {
    if cfg!(debug_assertions) && FORBIDDEN.load(Ordering::Relaxed) {
        let _lost = rustix::io::write(rustix::stdio::stderr(), b"tare: the child allocates memory\n");
        super::clone::exit_now(134);
    }
}

// SAFETY: blocks are aligned as asked, disjoint, and live until they are freed; see `Memory`.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // Alignment beyond a page cannot be had from offsets.
        let block = if layout.align() <= 4096 { take(layout) } else { None };
        // SAFETY: the caller's layout is passed on.
        block.unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match offset(block) {
            Some(offset) if is_last(offset, layout.size()) => USED.store(offset, Ordering::Relaxed),
            Some(_) => {}
            // SAFETY: the block is not of the arena, so the system's allocator made it with this layout.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        let Some(offset) = offset(block) else {
            // SAFETY: the block is not of the arena, so the system's allocator made it with this layout.
            return unsafe { System.realloc(block, layout, size) };
        };
        if is_last(offset, layout.size()) && offset + size <= ARENA {
            USED.store(offset + size, Ordering::Relaxed);
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        // SAFETY: `wanted` is a valid layout of a size above zero.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks are live, do not overlap, and have at least the old size.
            unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size()) };
        }
        moved
    }
}
