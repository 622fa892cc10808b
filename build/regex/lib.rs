//! regex-lite in the place of regex, on which oci-spec depends for one pattern of digits (the format of
//! execCPUAffinity) and for image references, which tare has not.
//!
//! regex brings tables of Unicode, and each start of the program relocated them: docs/startup.md has the figures.

pub use regex_lite::{Regex, RegexBuilder};
