//! World: parent. A list of mounts as a caller gives it: JSON, or the model's values.

use std::path::Path;

use oci_spec::runtime::Mount;

use crate::bundle;
use crate::error::Result;

/// Mounts, as in `mounts` of config.json.
///
/// ```
/// use tare::Mounts;
/// let mounts = Mounts::from_json(br#"[{"destination": "/cache", "type": "tmpfs", "options": ["size=64m"]}]"#)?;
/// # let _ = mounts;
/// # Ok::<(), tare::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mounts {
    pub(super) list: Vec<Mount>,
    pub(super) warnings: Vec<String>,
}

impl Mounts {
    /// From JSON.
    ///
    /// # Errors
    /// It is not JSON, not a list, or a value is not one of a mount; the JSON path is named.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        Self::parse(text, "the mounts")
    }

    /// From a JSON file, which may be a pipe.
    ///
    /// # Errors
    /// It cannot be read or is too large; as [`Self::from_json`].
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::parse(&bundle::read_json_file(path)?, &path.display().to_string())
    }

    /// From stdin.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn from_stdin() -> Result<Self> {
        Self::parse(&bundle::read_json_stdin()?, "stdin")
    }

    fn parse(text: &[u8], name: &str) -> Result<Self> {
        let (list, warnings) = bundle::parse_mounts(&bundle::parse_value(text, name)?)?;
        Ok(Self { list, warnings })
    }
}

impl From<Vec<Mount>> for Mounts {
    fn from(list: Vec<Mount>) -> Self {
        Self { list, warnings: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::Mounts;

    #[test]
    fn a_list_of_mounts_is_read_as_in_the_config() {
        let mounts = Mounts::from_json(br#"[{"destination": "/a"}, {"destination": "/b", "optoins": []}]"#).unwrap();
        assert_eq!(mounts.list.len(), 2);
        assert!(mounts.warnings[0].starts_with("mounts[1].optoins: "), "{:?}", mounts.warnings);
        let refused = |text: &str| Mounts::from_json(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused("{}"), "mounts: a list is expected, in the form of `mounts` in config.json");
        assert!(refused("[").starts_with("the mounts: "), "{}", refused("["));
        let line = refused(r#"[{"destination": "/a"}, {"destination": "/b", "options": ["ro", 7]}]"#);
        assert!(line.starts_with("mounts[1].options[1]: "), "{line}");
        let line = refused(r#"[{"type": "tmpfs"}]"#);
        assert!(line.starts_with("mounts[0]") && line.contains("destination"), "{line}");
    }
}
