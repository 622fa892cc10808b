//! The binary's `main`, called by the C library directly: the Rust runtime's preparations (a stack guard handler, polls
//! of stdio) cost a dozen system calls that tare does not need. Part of the binary alone.
//!
//! World: parent.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

use tare::startup::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Called with the arguments of execve.
#[allow(unsafe_code, reason = "the C library looks for this symbol")]
// SAFETY: there is no other `main` in the binary.
#[unsafe(no_mangle)]
pub extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    let word = |at: usize| {
        // SAFETY: the C library passes `count` pointers to strings that live as long as the process.
        let text = unsafe { CStr::from_ptr(*words.add(at)) };
        OsString::from_vec(text.to_bytes().to_vec())
    };
    crate::cli::run((0..count).map(word).collect())
}
