//! What people and engines write on the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::check_words;
use crate::cli::{arguments, duration};
use tare::internals::container::{kill, store};
use tare::internals::error::{Code, Error};
use tare::internals::process::{capabilities, user};

/// A command line, one word in each line.
pub(super) fn arguments(input: &[u8]) {
    let words = input.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    let words: Vec<OsString> = [OsString::from("tare")].into_iter().chain(words).collect();
    // Terminated by NUL, no argument has one. clap compares an unknown word with every known one, letter by letter.
    if words.iter().any(|word| word.as_encoded_bytes().contains(&0) || word.len() > 500) {
        return;
    }
    match arguments::parse(words) {
        Ok(matches) => assert!(matches.subcommand_name().is_some()),
        Err(arguments::End::Text(text)) => assert!(!text.is_empty()),
        Err(arguments::End::Usage { line, .. }) => {
            // As it is shown.
            check_words(&Error::new(Code::ConfigValueInvalid, line).to_string());
        }
    }
}

/// The values of options: signals, users, durations, capabilities, ids.
pub(super) fn words(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let text = text.as_ref();
    match kill::parse_signal(text) {
        Ok(signal) => assert!((0..=64).contains(&signal), "{signal}"),
        Err(error) => check_words(&error.to_string()),
    }
    match user::parse(text) {
        Ok(user) => assert!(user.uid != u32::MAX && user.gid != Some(u32::MAX)),
        Err(error) => check_words(&error.to_string()),
    }
    if let Err(error) = capabilities::parse(text) {
        check_words(&error.to_string());
    }
    match store::check_id(text) {
        Ok(()) => assert!(!text.contains(['/', '\0', '\n']) && !text.starts_with('.') && text.len() <= 200),
        Err(error) => check_words(&error.to_string()),
    }
    if let Some(duration) = duration::parse(text) {
        // The longest that an `i64` of nanoseconds has.
        assert!(i64::try_from(duration.as_nanos()).is_ok(), "{duration:?}");
    }
}
