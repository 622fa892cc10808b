//! Marks in memory that a process shares with its parent: which step it has completed, and when.
//!
//! World: all.
//! The memory exists only if the parent has asked for it; else a mark costs a load and a branch. It is anonymous, so
//! execve(2) removes it from the process. Whoever may trace the process can write to it: the parent reads each value
//! once, within bounds that do not depend on the content, and must check what it reads.

use std::cell::Cell;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::clock;

/// More than the steps of a config with several hundred mounts. A page that is never written costs nothing.
pub const CAPACITY: usize = 4095;

/// The memory, zero at first.
#[repr(C)]
struct Sheet {
    used: AtomicU32,
    unused: [u32; 3],
    marks: [Slot; CAPACITY],
}
const _: () = assert!(size_of::<Sheet>() == 65536);

#[repr(C)]
struct Slot {
    step: AtomicU32,
    index: AtomicU32,
    /// Nanoseconds since 1970: the upper half and the lower one.
    time: [AtomicU32; 2],
}

/// A step has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The number of the step.
    pub step: u32,
    /// The element of the step's list.
    pub index: u32,
    /// When, in nanoseconds since 1970. CLOCK_REALTIME alone is the same in every time namespace.
    pub time: u64,
}

impl Slot {
    fn write(&self, mark: Mark) {
        self.step.store(mark.step, Ordering::Relaxed);
        self.index.store(mark.index, Ordering::Relaxed);
        self.write_time(mark.time);
    }

    fn write_time(&self, time: u64) {
        let bytes = time.to_be_bytes();
        for (half, bytes) in self.time.iter().zip(bytes.chunks_exact(4)) {
            half.store(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), Ordering::Relaxed);
        }
    }

    fn read(&self) -> Mark {
        let [high, low] = &self.time;
        let time = u64::from(high.load(Ordering::Relaxed)) << 32 | u64::from(low.load(Ordering::Relaxed));
        Mark { step: self.step.load(Ordering::Relaxed), index: self.index.load(Ordering::Relaxed), time }
    }

    fn is_about(&self, mark: Mark) -> bool {
        (self.step.load(Ordering::Relaxed), self.index.load(Ordering::Relaxed)) == (mark.step, mark.index)
    }
}

impl Sheet {
    /// Adds a mark, or moves the last one if it is about the same element. One for which there is no room is lost.
    fn add(&self, mark: Mark) {
        let used = self.used.load(Ordering::Relaxed);
        let slot = |number: u32| self.marks.get(number as usize);
        if let Some(last) = used.checked_sub(1).and_then(slot).filter(|last| last.is_about(mark)) {
            return last.write_time(mark.time);
        }
        if let Some(slot) = slot(used) {
            slot.write(mark);
            self.used.store(used.wrapping_add(1), Ordering::Release);
        }
    }
}

/// The memory, as the parent owns it.
#[derive(Debug)]
pub struct Marks {
    sheet: NonNull<Sheet>,
    installed: Cell<u64>,
}

impl Marks {
    /// Maps it: without a mark yet.
    ///
    /// # Errors
    /// mmap(2): ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(null_mut(), size_of::<Sheet>(), protection, MapFlags::SHARED) }?;
        let sheet = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { sheet, installed: Cell::new(0) })
    }

    fn sheet(&self) -> &Sheet {
        // SAFETY: mapped by `new`, for as long as `self` exists. Zero is a value of all fields, and all that is written
        // later, also by other processes, is atomic.
        unsafe { self.sheet.as_ref() }
    }

    /// What has been marked, in the order of the marks. The values may be anybody's.
    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        let used = (self.sheet().used.load(Ordering::Acquire) as usize).min(CAPACITY);
        self.sheet().marks.iter().take(used).map(Slot::read)
    }

    /// Adds a mark as a child does, but not those of other threads.
    #[cfg(test)]
    pub fn add(&self, step: u16, index: u32) {
        if self.installed.get() == 0 {
            self.installed.set(clock::monotonic_nanoseconds());
        }
        self.sheet().add(Mark { step: step.into(), index, time: clock::real_nanoseconds() });
    }

    /// When [`Self::install`] was called, in nanoseconds on CLOCK_MONOTONIC; 0: never.
    pub fn installed(&self) -> u64 {
        self.installed.get()
    }

    /// Has this process, and what it clones, mark its steps here until the answer is dropped. One thread at a time.
    pub fn install(&self) -> Installed<'_> {
        self.installed.set(clock::monotonic_nanoseconds());
        SHEET.store(self.sheet.as_ptr(), Ordering::Relaxed);
        Installed(self)
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; `install` has borrowed it, so that nobody has the address any more.
        let _kept = unsafe { munmap(self.sheet.as_ptr().cast(), size_of::<Sheet>()) };
    }
}

/// As long as it exists, steps are marked.
#[derive(Debug)]
pub struct Installed<'a>(#[allow(dead_code, reason = "keeps the memory mapped")] &'a Marks);

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        SHEET.store(null_mut(), Ordering::Relaxed);
    }
}

/// Where this process marks its steps; null if it does not.
static SHEET: AtomicPtr<Sheet> = AtomicPtr::new(null_mut());

/// Marks the end of a step, if marks are wanted.
#[inline]
pub fn mark(step: u16, index: u32) {
    let sheet = SHEET.load(Ordering::Relaxed);
    if !sheet.is_null() {
        add(sheet, step, index);
    }
}

#[cold]
#[inline(never)]
fn add(sheet: *mut Sheet, step: u16, index: u32) {
    // SAFETY: installed by `install`, and mapped until that is undone; a clone that does not undo it keeps its mapping.
    let sheet = unsafe { &*sheet };
    sheet.add(Mark { step: step.into(), index, time: clock::real_nanoseconds() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_bounded_whatever_is_in_the_memory() {
        let marks = Marks::new().unwrap();
        assert_eq!(marks.iter().count(), 0);
        for number in 0..10_000_u32 {
            marks.sheet().add(Mark { step: 1, index: number / 2, time: number.into() });
        }
        assert_eq!(marks.iter().count(), CAPACITY);
        assert_eq!(marks.iter().next(), Some(Mark { step: 1, index: 0, time: 1 }));
        assert_eq!(marks.iter().last(), Some(Mark { step: 1, index: 4094, time: 8189 }));
        marks.sheet().used.store(u32::MAX, Ordering::Relaxed);
        marks.sheet().add(Mark { step: 2, index: 0, time: 7 });
        assert_eq!(marks.iter().count(), CAPACITY);
    }

    #[test]
    fn a_step_is_marked_while_the_memory_is_installed() {
        let marks = Marks::new().unwrap();
        let installed = marks.install();
        mark(60_000, 70_000);
        mark(60_000, 70_000);
        mark(60_001, 0);
        drop(installed);
        mark(60_002, 0);
        // Other threads make system calls meanwhile.
        let own = || marks.iter().filter(|mark| mark.step >= 60_000);
        assert!(own().any(|mark| (mark.step, mark.index) == (60_000, 70_000)) && own().any(|mark| mark.step == 60_001));
        assert!(own().all(|mark| mark.time > 1_600_000_000_000_000_000));
    }
}
