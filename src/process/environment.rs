//! The environment of the process.
//!
//! World: plan (pure). As runc does: an entry without `=` or without a name is refused, of duplicates the
//! last one counts, an empty HOME is as good as none.

use std::collections::HashMap;
use std::ffi::CString;

use super::plan::path;
use crate::error::{Code, Error, Result, c_string};

/// The entries for execve.
pub(super) fn plan(entries: &[String], at: &str) -> Result<Vec<CString>> {
    let mut planned: Vec<CString> = Vec::with_capacity(entries.len() + 1);
    let mut positions: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        let here = || path(at, &format!("env[{i}]"));
        let Some((name, value)) = entry.split_once('=') else {
            let error =
                Error::refused(Code::EnvironmentInvalid, here(), format!("invalid environment variable: {entry:?}"));
            return Err(error.hint("an entry has the form NAME=value"));
        };
        if name.is_empty() {
            return Err(Error::refused(
                Code::EnvironmentInvalid,
                here(),
                format!("environment variable name can't be empty: {entry:?}"),
            ));
        }
        let string = c_string(entry.as_str(), here)?;
        match positions.get(name) {
            Some(position) => planned[*position] = string,
            None if name == "HOME" && value.is_empty() => {}
            None => {
                positions.insert(name, planned.len());
                planned.push(string);
            }
        }
    }
    planned.retain(|entry| entry.as_bytes() != b"HOME=");
    Ok(planned)
}

/// The value of the variable `name`.
pub(super) fn value<'a>(entries: &'a [CString], name: &str) -> Option<&'a [u8]> {
    entries.iter().find_map(|entry| entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::tests::{planned, refusal};
    use super::*;

    #[test]
    fn the_last_of_duplicates_counts() {
        let plan = planned(json!({"env": ["A=1", "PATH=/x", "A=2", "B=", "HOME=/r", "HOME="]}));
        assert_eq!(plan.env.as_slice(), [c"A=2", c"PATH=/x", c"B="].map(CString::from));
        assert_eq!(value(plan.env.as_slice(), "PATH"), Some(b"/x".as_slice()));
        assert_eq!(value(plan.env.as_slice(), "PAT"), None);
        assert!(plan.lacks_home());
    }

    #[test]
    fn refuses_what_is_no_variable() {
        let cases = [
            (
                json!({"env": ["A=1", "FOO"]}),
                "process.env[1]: invalid environment variable: \"FOO\"; an entry has the form NAME=value",
            ),
            (json!({"env": ["=x"]}), "process.env[0]: environment variable name can't be empty: \"=x\""),
            (json!({"env": ["A=\u{0}"]}), "process.env[0]: contains a NUL character"),
        ];
        for (changes, expected) in cases {
            assert_eq!(refusal(changes), expected);
        }
    }
}
