//! Strings as execve(2) wants them.
//!
//! World: plan; the child reads the pointers alone.

use std::ffi::{CString, c_char};

/// Strings together with the NULL-terminated pointer array that execve wants.
#[derive(Debug)]
pub struct Strings {
    /// Never changed without `pointers`: these point into the heap buffers of these.
    strings: Vec<CString>,
    /// One per string, then NULL.
    pointers: Vec<*const c_char>,
}

impl Clone for Strings {
    fn clone(&self) -> Self {
        Self::new(self.strings.clone())
    }
}

impl Strings {
    /// Takes the strings over.
    #[must_use]
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    #[must_use]
    pub fn as_slice(&self) -> &[CString] {
        &self.strings
    }

    /// The array for execve: as many pointers as strings, then NULL; valid while `self` is not changed.
    #[must_use]
    pub fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}
