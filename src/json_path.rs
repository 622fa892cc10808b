//! Where in a JSON text a position is: `linux.namespaces[1].type`, for error messages.
//!
//! World: plan (pure). The text has been parsed already, so nothing is checked again; serde_json counts lines from 1
//! and columns from 1, the column being that of the last byte it took.

/// One step from a value to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into an object; empty while no key is being read.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The path of the value at a position; empty outside of every object and array.
pub fn at(text: &[u8], line: usize, column: usize) -> Vec<Segment> {
    let mut path = walk(text, line, column).unwrap_or_default();
    path.retain(|segment| !matches!(segment, Segment::Key(key) if key.is_empty()));
    path
}

fn walk(text: &[u8], line: usize, column: usize) -> Option<Vec<Segment>> {
    let start: usize = text.split_inclusive(|byte| *byte == b'\n').take(line.checked_sub(1)?).map(<[u8]>::len).sum();
    let end = (start + column).min(text.len());
    let mut levels: Vec<Segment> = Vec::new();
    let mut at = 0;
    // The last string seen is a key once a colon follows.
    let mut word = String::new();
    // A bracket that closes at the very position still belongs to what it closes.
    while at < end {
        match text.get(at)? {
            b'"' => {
                let length = string_length(text.get(at..)?);
                word = String::from_utf8_lossy(text.get(at + 1..at + length - 1)?).into_owned();
                at += length;
                continue;
            }
            b':' => {
                if let Some(Segment::Key(key)) = levels.last_mut() {
                    *key = std::mem::take(&mut word);
                }
            }
            b'{' => levels.push(Segment::Key(String::new())),
            b'[' => levels.push(Segment::Index(0)),
            b'}' | b']' if at + 1 < end => drop(levels.pop()),
            b'}' => {
                // A missing field is noticed when its object ends: the object is meant, not its last key.
                if let Some(Segment::Key(key)) = levels.last_mut() {
                    key.clear();
                }
            }
            b',' => match levels.last_mut() {
                Some(Segment::Index(index)) if at + 1 < end => *index += 1,
                _ => {}
            },
            _ => {}
        }
        at += 1;
    }
    Some(levels)
}

/// Bytes of the string at the beginning of `text`, with both quotes.
pub fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        // What is escaped.
        at += 1;
    }
    text.len()
}

/// As users write it.
pub fn text(path: &[Segment]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for segment in path {
        let _ = match segment {
            Segment::Key(key) if text.is_empty() => write!(text, "{key}"),
            Segment::Key(key) => write!(text, ".{key}"),
            Segment::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its errors matter")]
    struct Outer {
        list: Vec<Inner>,
        text: Option<String>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only its errors matter")]
    struct Inner {
        number: u32,
        kind: Option<Kind>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Pid,
    }

    fn path(text: &str) -> String {
        let error = serde_json::from_str::<Outer>(text).map(drop).unwrap_err();
        super::text(&super::at(text.as_bytes(), error.line(), error.column()))
    }

    #[test]
    fn names_the_value_that_was_refused() {
        for (text, expected) in [
            (r#"{"list": [{"number": 1}, {"number": -1}]}"#, "list[1].number"),
            (r#"{"list": [{"number": 1, "kind": "pdi"}]}"#, "list[0].kind"),
            (r#"{"list": [{"kind": "pid"}]}"#, "list[0]"),
            ("{\n \"list\": [\n  {\"number\": 1},\n  {\"number\": \"x\"}\n ]\n}", "list[1].number"),
            (r#"{"list": [], "text": ["a"]}"#, "text"),
            (r#"{"list": 5}"#, "list"),
            (r#"{"text": "a \" { b", "list": [{"number": 4294967296}]}"#, "list[0].number"),
            (r#"{"text": "no list"}"#, ""),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
    }
}
