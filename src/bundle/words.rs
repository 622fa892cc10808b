//! Says what is wrong with a JSON value that the model does not take. World: plan.
//!
//! serde speaks of Rust's types ("invalid type: map, expected a sequence"); a user wrote objects and lists.

use serde_json::Value;

use crate::error::{Code, Error, nearest};
use crate::json_path::{self, Segment};

/// The error for `value` of the file `what`, whose text is `bytes`; it carries the JSON path.
pub(super) fn explain(error: &serde_json::Error, bytes: &[u8], value: &Value, what: &str) -> Error {
    let mut path = json_path::at(bytes, error.line(), error.column());
    let text = error.to_string();
    // A list for an object is noticed at its first element or its end: the list is meant.
    if text.starts_with("invalid length") {
        path.pop_if(|last| matches!(last, Segment::Index(_)));
    }
    let text = text.split(" at line ").next().unwrap_or_default();
    let explained = unknown_word(text, &path)
        .or_else(|| missing_key(text, find(value, &path)))
        .or_else(|| wrong_type(text))
        .unwrap_or_else(|| Error::new(Code::ConfigValueInvalid, text));
    if path.is_empty() { explained.context(what) } else { explained.at(json_path::text(&path)) }
}

/// The value at a path, as far as it exists.
fn find<'v>(value: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Index(index) => value.get(index),
        Segment::Key(key) => value.get(key),
    })
}

/// "unknown variant `pdi`, expected one of `mount`, `pid`".
fn unknown_word(text: &str, path: &[Segment]) -> Option<Error> {
    let mut words = text.strip_prefix("unknown variant")?.split('`').skip(1).step_by(2);
    let given = words.next()?;
    let known: Vec<_> = words.collect();
    let of_seccomp = matches!(path, [Segment::Key(linux), Segment::Key(seccomp), .., Segment::Key(key)]
        if linux == "linux" && seccomp == "seccomp" && ["action", "defaultAction"].contains(&key.as_str()));
    let code = if of_seccomp { Code::SeccompActionUnknown } else { Code::ConfigValueUnknown };
    let error = Error::new(code, format!("unknown value {given:?}"));
    // One letter is an edit away from every other.
    Some(match nearest(given, known.iter().copied()).filter(|_| given.len() > 1) {
        Some(known) => error.hint(format!("did you mean {known:?}?")),
        None => error.hint(format!("known are {}", known.join(", "))),
    })
}

/// "missing field `destination`"; a misspelt key is likely the one that is missing.
fn missing_key(text: &str, object: Option<&Value>) -> Option<Error> {
    let key = text.strip_prefix("missing field `")?.strip_suffix('`')?;
    let error = Error::new(Code::ConfigKeyMissing, format!("{key:?} is missing"));
    let keys = object.and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str());
    Some(match nearest(key, keys) {
        Some(misspelt) => error.hint(format!("{misspelt:?} is not known: did you mean {key:?}?")),
        None => error,
    })
}

/// "invalid type: map, expected a sequence", "invalid value: integer `-1`, expected u32".
fn wrong_type(text: &str) -> Option<Error> {
    if text.starts_with("invalid length") && text.contains("expected struct") {
        return Some(Error::new(Code::ConfigTypeWrong, "a list where an object is expected"));
    }
    let (given, expected) = text.strip_prefix("invalid ")?.split_once(": ")?.1.split_once(", expected ")?;
    let given = match given.split_once(' ') {
        Some(("integer" | "boolean", literal)) => literal.trim_matches('`').to_string(),
        Some(("floating", literal)) => literal.trim_start_matches("point ").trim_matches('`').to_string(),
        Some(("string", literal)) => literal.to_string(),
        _ if given == "map" => "an object".to_string(),
        _ if given == "sequence" => "a list".to_string(),
        _ => given.to_string(),
    };
    let expected = match expected {
        "u8" | "u16" | "u32" => {
            format!("a number from 0 to {}", u64::MAX >> (64 - expected[1..].parse::<u32>().unwrap_or(64)))
        }
        "u64" | "usize" => "a number that is not negative".to_string(),
        "i64" | "isize" => "a whole number".to_string(),
        "a sequence" => "a list".to_string(),
        "a map" => "an object".to_string(),
        other => other.strip_prefix("struct ").map_or_else(|| other.to_string(), |_| "an object".to_string()),
    };
    Some(Error::new(Code::ConfigTypeWrong, format!("{given} where {expected} is expected")))
}

#[cfg(test)]
mod tests {
    use super::super::parse_spec;

    #[test]
    fn says_it_in_words_of_json() {
        for (json, text) in [
            (
                r#""linux":{"namespaces":[{"type":"mount"},{"type":"pdi"}]}"#,
                "linux.namespaces[1].type: unknown value \"pdi\"; did you mean \"pid\"?",
            ),
            (
                r#""linux":{"devices":[{"path":"/x","type":"x"}]}"#,
                "linux.devices[0].type: unknown value \"x\"; known are a, b, c, u, p",
            ),
            (
                r#""mounts":[{"destinaton":"/proc"}]"#,
                "mounts[0]: \"destination\" is missing; \"destinaton\" is not known: did you mean \"destination\"?",
            ),
            (r#""mounts":[{}]"#, "mounts[0]: \"destination\" is missing"),
            (r#""mounts":{}"#, "mounts: an object where a list is expected"),
            (r#""hostname":5"#, "hostname: 5 where a string is expected"),
            (r#""process":[]"#, "process: a list where an object is expected"),
            (
                r#""process":{"cwd":"/","user":{"uid":-1,"gid":0}}"#,
                "process.user.uid: -1 where a number from 0 to 4294967295 is expected",
            ),
            (
                r#""process":{"cwd":"/","user":{"uid":1.5,"gid":0}}"#,
                "process.user.uid: 1.5 where a number from 0 to 4294967295 is expected",
            ),
            (
                r#""process":{"cwd":"/","user":{"uid":"root","gid":0}}"#,
                "process.user.uid: \"root\" where a number from 0 to 4294967295 is expected",
            ),
        ] {
            let config = format!(r#"{{"ociVersion":"1.2.0",{json}}}"#);
            assert_eq!(parse_spec(config.as_bytes()).unwrap_err().to_string(), text);
        }
    }
}
