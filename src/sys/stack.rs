//! A stack for a child process: mapped for it alone, with a guard on both sides.
//!
//! World: all; the parent maps it, the child runs on it. Nothing of tare lies next to it: an overrun is a segmentation fault of the
//! child, never a change of the plan.

use rustix::io::Errno;

/// Bytes of a stack. The deepest use that the tests see is below a quarter of it.
pub const SIZE: usize = 256 * 1024;

/// Bytes on either side that nobody can touch. More than any frame, so that none can step over it.
const GUARD: usize = 64 * 1024;

const WHOLE: usize = GUARD + SIZE + GUARD;

/// The mapping; it is unmapped when this is dropped.
#[derive(Debug)]
pub struct Stack(*mut libc::c_void);

impl Stack {
    /// Maps a stack.
    ///
    /// # Errors
    /// mmap(2), mprotect(2): ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice.
        let whole = unsafe { libc::mmap(std::ptr::null_mut(), WHOLE, libc::PROT_NONE, flags, -1, 0) };
        if whole == libc::MAP_FAILED {
            return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
        }
        let stack = Self(whole);
        // SAFETY: the range is the middle of the mapping that was just made and is not in use.
        let value = unsafe { libc::mprotect(stack.bottom(), SIZE, libc::PROT_READ | libc::PROT_WRITE) };
        super::check(libc::c_long::from(value))?;
        Ok(stack)
    }

    fn bottom(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(GUARD)
    }

    /// One past the highest byte: stacks grow down.
    #[must_use]
    pub fn top(&self) -> *mut libc::c_void {
        self.bottom().wrapping_byte_add(SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: `new` mapped the range, and no process that shares this memory runs on it any more.
        unsafe { libc::munmap(self.0, WHOLE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_guard_on_both_sides() {
        let stack = Stack::new().unwrap();
        let (bottom, top) = (stack.bottom().addr(), stack.top().addr());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let rights = |address: usize| {
            let holds = |line: &&str| {
                let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                (number(from)..number(to)).contains(&address)
            };
            maps.lines().find(holds).map(|line| line.split(' ').nth(1).unwrap().to_string())
        };
        assert_eq!(rights(bottom).as_deref(), Some("rw-p"));
        assert_eq!(rights(top - 1).as_deref(), Some("rw-p"));
        for guard in [bottom - 1, bottom - GUARD, top, top + GUARD - 1] {
            assert_eq!(rights(guard).as_deref(), Some("---p"), "{guard:x}");
        }
    }
}
