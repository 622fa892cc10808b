//! Memory for the child beyond its stack, and memory that it shares with the parent: mmap(2), because the child may
//! not allocate.
//!
//! World: all.

use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A list of fixed capacity that grows and shrinks at its end. It has a mapping of its own, in which a page that was
/// never written costs nothing. Every access is checked against the length, so the mapping needs no guard page.
#[derive(Debug)]
pub struct Stack<T: Copy> {
    start: NonNull<T>,
    /// Elements that were written.
    len: usize,
    capacity: usize,
}

impl<T: Copy> Stack<T> {
    /// An empty stack with room for `capacity` elements.
    ///
    /// # Errors
    /// ENOMEM for a capacity that does not fit into the address space or its limit; EINVAL for 0.
    pub fn new(capacity: usize) -> Result<Self, Errno> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let bytes = capacity.checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags) }?;
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?, len: 0, capacity })
    }

    /// Whether nothing can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Adds one element.
    ///
    /// # Errors
    /// ENOMEM when it is full.
    pub fn push(&mut self, element: T) -> Result<(), Errno> {
        self.extend(&[element])
    }

    /// Adds all elements or none.
    ///
    /// # Errors
    /// ENOMEM when there is no room.
    pub fn extend(&mut self, elements: &[T]) -> Result<(), Errno> {
        if elements.len() > self.capacity - self.len {
            return Err(Errno::NOMEM);
        }
        let end = self.start.as_ptr().wrapping_add(self.len);
        // SAFETY: there is room for the elements between `end` and the capacity, and nobody else has a pointer into it.
        unsafe { end.copy_from_nonoverlapping(elements.as_ptr(), elements.len()) };
        self.len += elements.len();
        Ok(())
    }

    /// Removes the last element.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.last().copied();
        self.truncate(self.len.saturating_sub(1));
        last
    }

    /// Forgets all but the first `len` elements.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The last element, to be changed.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        // SAFETY: the first `len` elements were written, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }.last_mut()
    }
}

impl<T: Copy> Deref for Stack<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements were written.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> Drop for Stack<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and nobody holds a pointer into it any more.
        let _kept = unsafe { munmap(self.start.as_ptr().cast(), self.capacity * size_of::<T>()) };
    }
}

/// A page of numbers, all 0 at first, that this process and those that it creates from now on all see.
#[derive(Debug)]
pub struct SharedPage(NonNull<[AtomicU64; Self::LENGTH]>);

impl SharedPage {
    /// How many numbers there are.
    pub const LENGTH: usize = 512;

    /// A new page.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let (size, protection) = (size_of::<[AtomicU64; Self::LENGTH]>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::SHARED) }?;
        Ok(Self(NonNull::new(start.cast()).ok_or(Errno::NOMEM)?))
    }

    /// The first page of `file`, which others may write to: shared with those who have mapped or read it.
    ///
    /// # Errors
    /// ENOMEM; EACCES if the file is not open for reading and writing.
    pub fn of_file(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        let (size, protection) = (size_of::<[AtomicU64; Self::LENGTH]>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self(NonNull::new(start.cast()).ok_or(Errno::NOMEM)?))
    }
}

impl Deref for SharedPage {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: mapped by `new` with this size and alignment, filled with zeros by the kernel, and only atomics.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and nobody in this process holds a pointer into it any more.
        let _kept = unsafe { munmap(self.0.as_ptr().cast(), size_of::<[AtomicU64; Self::LENGTH]>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_capacity_and_shrinks() {
        let mut stack = Stack::new(5000).unwrap();
        assert_eq!(stack.last_mut(), None);
        assert_eq!(stack.pop(), None);
        for number in 0..4998_u64 {
            stack.push(number).unwrap();
        }
        assert_eq!(stack.extend(&[7, 8, 9]), Err(Errno::NOMEM));
        stack.extend(&[7, 8]).unwrap();
        assert!(stack.is_full() && stack.push(1) == Err(Errno::NOMEM));
        assert_eq!((stack.pop(), stack.len()), (Some(8), 4999));
        stack.truncate(3);
        stack.truncate(4);
        *stack.last_mut().unwrap() = 11;
        assert_eq!(*stack, [0, 1, 11]);
        assert_eq!(Stack::<u64>::new(usize::MAX).unwrap_err(), Errno::NOMEM);
    }
}
