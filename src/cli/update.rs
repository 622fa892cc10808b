//! `update`: each setting is a member of the resources object. An option overrides the same member of the file.
//!
//! World: parent.

use std::path::Path;

use serde_json::{Value, json};

use tare::{Code, Error, Resources, Result};

use super::options::{self, Setting, SettingKind};
use super::values::Values;

const FILE: &str = "resources";

/// The settings of the file and of the options, which override the file's.
pub fn resources(matches: Values<'_>, mut warn: impl FnMut(Error)) -> Result<Resources> {
    let given = |name: &str| matches.one::<String>(name).map(String::as_str).filter(|text| !text.is_empty());
    let file = match given(FILE) {
        None => Resources::from(json!({})),
        Some("-") => Resources::from_stdin()?,
        Some(path) => Resources::from_file(Path::new(path))?,
    };
    let mut resources = file.into_value();
    let mut schemata = json!({});
    for (name, setting) in options::settings() {
        if let Some(text) = given(name) {
            let object = if matches!(setting.kind, SettingKind::CacheSchema) { &mut schemata } else { &mut resources };
            set(object, name, setting, text, &mut warn)?;
        }
    }
    let mut resources = Resources::from(resources);
    let schema = |name: &str| schemata["intelRdt"][name].as_str();
    if let Some(schema) = schema("l3CacheSchema") {
        resources = resources.l3_cache_schema(schema);
    }
    if let Some(schema) = schema("memBwSchema") {
        resources = resources.mem_bw_schema(schema);
    }
    Ok(resources)
}

fn set(resources: &mut Value, name: &str, setting: Setting, text: &str, warn: &mut dyn FnMut(Error)) -> Result<()> {
    let value = match setting.kind {
        SettingKind::Number => number::<i64>(text, name, "a whole number")?.into(),
        SettingKind::Count => number::<u64>(text, name, "a number that is not negative")?.into(),
        SettingKind::Bytes => bytes(text, name)?.into(),
        SettingKind::List | SettingKind::CacheSchema => text.into(),
        SettingKind::Ignored => {
            warn(wrong(name, "is obsolete and does nothing"));
            return Ok(());
        }
    };
    let [section, member] = setting.members;
    let Some(object) = resources.as_object_mut() else { return Ok(()) };
    let section = object.entry(section).or_insert(Value::Null);
    if section.is_null() {
        *section = json!({});
    }
    if let Some(section) = section.as_object_mut() {
        section.insert(member.to_owned(), value);
    }
    Ok(())
}

fn wrong(name: &str, what: &str) -> Error {
    Error::new(Code::OptionValueInvalid, format!("--{name}: {what}"))
}

fn number<N: std::str::FromStr>(text: &str, name: &str, kind: &str) -> Result<N> {
    text.parse().map_err(|_| wrong(name, &format!("{text:?} is not {kind}")))
}

/// Bytes as docker and runc write them: powers of 1024, `k` to `p` in any case, `b` or `iB` behind them.
fn bytes(text: &str, name: &str) -> Result<i64> {
    let refuse =
        || wrong(name, &format!("{text:?} is not a number of bytes")).hint("write it like 4096, 512m or 1.5GiB");
    if text == "-1" {
        return Ok(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let prefix = match unit.strip_suffix('b').unwrap_or(&unit) {
        "i" => return Err(refuse()),
        rest => rest.strip_suffix('i').unwrap_or(rest),
    };
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == prefix).ok_or_else(refuse)?;
    let factor = 1_i64 << (10 * power);
    if let Ok(whole) = digits.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    fraction(digits, factor).ok_or_else(refuse)
}

/// `1.5` times a factor, rounded down.
fn fraction(digits: &str, factor: i64) -> Option<i64> {
    let (whole, part) = digits.split_once('.')?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    // More digits than these do not make a byte of difference.
    let part = part.get(..part.len().min(15))?;
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let bytes = part.parse::<u64>().ok().map(i128::from)? * i128::from(factor) / scale;
    whole.checked_add(i64::try_from(bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn anything_is_bytes_or_an_error(text in "[0-9.]{0,22} ?[kmgtpibKMGTPIB]{0,3}|.{0,20}") {
            if let Ok(bytes) = bytes(&text, "memory") {
                assert!(bytes >= -1, "{text}: {bytes}");
            }
        }
    }

    #[test]
    fn bytes_with_units() {
        let good = [
            ("0", 0),
            ("4096", 4096),
            ("-1", -1),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("512MiB", 512 << 20),
            ("512 mb", 512 << 20),
            ("1.5g", 3 << 29),
            ("0.25k", 256),
            ("32b", 32),
            ("1p", 1 << 50),
            ("9223372036854775807", i64::MAX),
        ];
        for (text, expected) in good {
            assert_eq!(bytes(text, "memory").unwrap(), expected, "{text}");
        }
        for text in ["", "m", "x", "-2", "1.5.5", "1.", ".5", "1ib", "1x", "5 5", "1e", "9223372036854775808", "9999p"]
        {
            let error = bytes(text, "memory").unwrap_err().to_string();
            assert!(error.starts_with("--memory: ") && error.contains("is not a number of bytes; write it"), "{error}");
        }
    }

    #[test]
    fn options_are_members_and_win_over_the_file() {
        let mut resources = json!({"cpu": {"quota": 1, "cpus": "0"}, "memory": null});
        let mut warnings = Vec::new();
        let warn: &mut dyn FnMut(Error) = &mut |error| warnings.push(error.to_string());
        for (name, text) in [("cpu-quota", "5"), ("memory", "1k"), ("pids-limit", "-1"), ("kernel-memory", "1")] {
            let (name, setting) = options::settings().find(|(option, _)| *option == name).unwrap();
            set(&mut resources, name, setting, text, warn).unwrap();
        }
        let expected = json!({"cpu": {"quota": 5, "cpus": "0"}, "memory": {"limit": 1024}, "pids": {"limit": -1}});
        assert_eq!(resources, expected);
        assert_eq!(warnings, ["--kernel-memory: is obsolete and does nothing"]);
    }
}
