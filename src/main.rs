//! Entry: parse, dispatch, print one error line, exit code.
fn main() {}
