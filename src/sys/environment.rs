//! The environment of this process, out of reach of processes that it makes.
//!
//! World: parent. A process that joins a container has a copy of tare's memory until it executes its program, and whoever
//! may trace it there reads the copy. The environment is the host's, with whatever secrets a service manager gave.

use std::ffi::{CStr, CString, OsString, c_char};

use rustix::io::Errno;

use super::strings::Strings;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// The variable that one execution of tare leaves to the next: when it began.
pub const START: &str = "TARE_TIMINGS_START";

/// The environment of this process with [`START`].
#[must_use]
pub fn with_start(time: u64) -> Strings {
    let others = inherited();
    let others = others.as_slice().iter().filter(|entry| !is_start(entry)).cloned();
    Strings::new(others.chain(CString::new(format!("{START}={time}")).ok()).collect())
}

fn is_start(entry: &CStr) -> bool {
    entry.to_bytes().strip_prefix(START.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
}

/// The environment of this process for execve: `NAME=VALUE` each.
#[must_use]
pub fn inherited() -> Strings {
    let entry = |(name, value): (OsString, OsString)| {
        let entry = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
        // What came from the environment has no NUL in it.
        CString::new(entry).unwrap_or_default()
    };
    Strings::new(std::env::vars_os().map(entry).collect())
}

/// Moves the environment to memory that no clone inherits, and overwrites it where it was: /proc/PID/environ shows
/// nothing any more. [`START`] is dropped: no other program needs it. To be called once, while this process has one
/// thread. Kernel: 2.6.16 (MADV_DONTFORK).
///
/// # Errors
/// mmap(2), madvise(2): ENOMEM.
pub fn withdraw() -> Result<(), Errno> {
    const POINTER: usize = size_of::<*mut c_char>();
    // SAFETY: the C library keeps `environ` valid, and there is one thread.
    let old = unsafe { environ };
    if old.is_null() {
        return Ok(());
    }
    let (mut count, mut bytes) = (0, 0);
    loop {
        // SAFETY: the array ends with a null pointer, which ends the loop.
        let entry = unsafe { *old.add(count) };
        if entry.is_null() {
            break;
        }
        // SAFETY: every entry is a string that ends in NUL.
        bytes += unsafe { libc::strlen(entry) } + 1;
        count += 1;
    }
    let size = (count + 1) * POINTER + bytes;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let mapping = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if mapping == libc::MAP_FAILED {
        return Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw()));
    }
    // SAFETY: the range is the mapping that was just made.
    super::check(libc::c_long::from(unsafe { libc::madvise(mapping, size, libc::MADV_DONTFORK) }))?;
    let new = mapping.cast::<*mut c_char>();
    let mut place = mapping.wrapping_byte_add((count + 1) * POINTER).cast::<c_char>();
    let mut kept = 0;
    for number in 0..count {
        // SAFETY: below `count` there are entries.
        let entry = unsafe { *old.add(number) };
        // SAFETY: as above, a string that ends in NUL.
        let text = unsafe { CStr::from_ptr(entry) };
        let (length, dropped) = (text.count_bytes() + 1, is_start(text));
        // SAFETY: the mapping has room for all pointers and, behind them, for all strings, in this order.
        unsafe { place.copy_from_nonoverlapping(entry, length) };
        // SAFETY: the entry is this process's own memory, and nobody holds a reference to what is overwritten.
        unsafe { entry.write_bytes(0, length) };
        if dropped {
            continue;
        }
        // SAFETY: `new` has `count` pointers and one more; a fresh mapping is null there.
        unsafe { *new.add(kept) = place };
        kept += 1;
        place = place.wrapping_add(length);
    }
    // SAFETY: there is one thread, and the new array is complete.
    unsafe { environ = new };
    Ok(())
}
