//! Tables that say what is tested: the requirements of runtime-spec and the features of a runtime. They need no
//! kernel; a row that names a test which does not exist fails. And the plans for the configs of engines.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test program")]

mod errors;
mod features;
mod known;
mod plans;
mod requirements;
