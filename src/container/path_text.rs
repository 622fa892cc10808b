//! Paths in JSON, which has text alone: a path on Linux is bytes.
//!
//! World: parent. What tare reads again keeps every byte: a path that is UTF-8 is a string, as it always was, and another
//! one a list of its bytes. What others read is text, with a sign of replacement for what is none.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;

/// For the record.
pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => serializer.collect_seq(path.as_os_str().as_bytes()),
    }
}

/// Reads both.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    struct Text;

    impl<'de> Visitor<'de> for Text {
        type Value = PathBuf;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a path")
        }

        fn visit_str<E>(self, text: &str) -> Result<PathBuf, E> {
            Ok(PathBuf::from(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PathBuf, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element()? {
                bytes.push(byte);
            }
            Ok(PathBuf::from(OsString::from_vec(bytes)))
        }
    }

    deserializer.deserialize_any(Text)
}

/// For others to read.
pub fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept(#[serde(with = "super")] PathBuf);

    #[derive(Serialize)]
    struct Shown(#[serde(serialize_with = "super::lossy")] PathBuf);

    #[test]
    fn every_byte_is_kept() {
        for (bytes, json) in [
            (&b"/b/rootfs"[..], r#""/b/rootfs""#),
            ("/ü\n\"".as_bytes(), r#""/ü\n\"""#),
            (b"/x\xff\xfe", "[47,120,255,254]"),
            (b"", r#""""#),
        ] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!(serde_json::to_string(&Kept(path.clone())).unwrap(), json);
            assert_eq!(serde_json::from_str::<Kept>(json).unwrap(), Kept(path));
        }
        for json in ["5", "null", "[256]", "[-1]", r#"["a"]"#, "{}"] {
            assert!(serde_json::from_str::<Kept>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_such() {
        let path = PathBuf::from(OsString::from_vec(b"/x\xff".to_vec()));
        assert_eq!(serde_json::to_string(&Shown(path)).unwrap(), "\"/x\u{fffd}\"");
    }
}
