//! `update`: each option is a member of the resources object; beside a file, options win.
//!
//! World: parent.

use std::path::Path;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use crate::bundle;
use crate::container::create::Warn;
use crate::error::{Error, ErrorKind, Result};

/// What the value of an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole number.
    Number,
    /// A whole number that is not negative.
    Count,
    /// Bytes, with a unit such as 512m or 1.5GiB; -1 for no limit.
    Bytes,
    /// A list of processors or nodes.
    List,
    /// Nothing in cgroup v2; runc ignores it too.
    Ignored,
    /// Intel RDT.
    CacheSchema,
}

/// An option: its name, its members in the resources object, what it takes, help.
struct Setting {
    name: &'static str,
    members: [&'static str; 2],
    kind: Kind,
    help: &'static str,
}

const fn setting(name: &'static str, members: [&'static str; 2], kind: Kind, help: &'static str) -> Setting {
    Setting { name, members, kind, help }
}

/// runc's and crun's, in alphabetical order.
const SETTINGS: [Setting; 18] = [
    setting("blkio-weight", ["blockIO", "weight"], Kind::Count, "Share of disk time, 10 to 1000"),
    setting("cpu-burst", ["cpu", "burst"], Kind::Count, "Processor time saved up for bursts, in us"),
    setting("cpu-idle", ["cpu", "idle"], Kind::Number, "1: run only when the CPU is idle otherwise; 0: normal"),
    setting("cpu-period", ["cpu", "period"], Kind::Count, "Period of the quota, in us; the quota stays"),
    setting("cpu-quota", ["cpu", "quota"], Kind::Number, "Processor time in a period, in us; -1: no limit"),
    setting("cpu-rt-period", ["cpu", "realtimePeriod"], Kind::Count, "Realtime period, in us (cgroup v2 has none)"),
    setting("cpu-rt-runtime", ["cpu", "realtimeRuntime"], Kind::Number, "Realtime quota, in us (cgroup v2 has none)"),
    setting("cpu-share", ["cpu", "shares"], Kind::Count, "Share of processor time, 2 to 262144; 1024 is usual"),
    setting("cpuset-cpus", ["cpu", "cpus"], Kind::List, "Processors, such as 0-2,5"),
    setting("cpuset-mems", ["cpu", "mems"], Kind::List, "Memory nodes, such as 0,1"),
    setting("kernel-memory", ["memory", "kernel"], Kind::Ignored, "Obsolete, does nothing"),
    setting("kernel-memory-tcp", ["memory", "kernelTCP"], Kind::Ignored, "Obsolete, does nothing"),
    setting("l3-cache-schema", ["intelRdt", "l3CacheSchema"], Kind::CacheSchema, "Intel RDT (not supported)"),
    setting("mem-bw-schema", ["intelRdt", "memBwSchema"], Kind::CacheSchema, "Intel RDT (not supported)"),
    setting("memory", ["memory", "limit"], Kind::Bytes, "Memory in bytes, or 512m, 1.5g; -1: no limit"),
    setting("memory-reservation", ["memory", "reservation"], Kind::Bytes, "Memory that is taken from others first"),
    setting("memory-swap", ["memory", "swap"], Kind::Bytes, "Memory and swap together; -1: no limit of swap"),
    setting("pids-limit", ["pids", "limit"], Kind::Number, "Processes and threads; -1: no limit"),
];

const FILE: &str = "resources";

/// Whether `name` is one of its options; each takes a value.
pub fn is_option(name: &str) -> bool {
    name == FILE || SETTINGS.iter().any(|setting| setting.name == name)
}

/// Its options and help.
pub fn command(command: Command) -> Command {
    let option = |name| Arg::new(name).long(name).value_name("VALUE").allow_hyphen_values(true);
    let setting = |setting: &Setting| option(setting.name).help(setting.help).hide(setting.kind == Kind::Ignored);
    let file = option(FILE).short('r').value_name("FILE");
    command
        .arg(file.help("JSON file like linux.resources of config.json; - for stdin"))
        .args(SETTINGS.iter().map(setting))
        .arg(super::arguments::id())
        .after_help("What is not named stays as it is. Either everything is changed or, after an error, nothing.")
}

/// Runs it.
pub fn run(root: &Path, id: &str, matches: &ArgMatches, warn: Warn<'_>) -> Result<()> {
    let given = |name: &str| matches.get_one::<String>(name).map(String::as_str).filter(|text| !text.is_empty());
    let mut resources = match given(FILE) {
        None => json!({}),
        Some("-") => bundle::parse_value(&bundle::read_json_stdin()?, "stdin")?,
        Some(path) => bundle::parse_value(&bundle::read_json_file(Path::new(path))?, path)?,
    };
    bundle::keys_in_any_case(&mut resources);
    for setting in &SETTINGS {
        if let Some(text) = given(setting.name) {
            set(&mut resources, setting, text, warn)?;
        }
    }
    crate::container::update::update(root, id, &resources, warn)
}

fn set(resources: &mut Value, setting: &Setting, text: &str, warn: Warn<'_>) -> Result<()> {
    let name = setting.name;
    let value = match setting.kind {
        Kind::Number => number::<i64>(text, name, "a whole number")?.into(),
        Kind::Count => number::<u64>(text, name, "a number that is not negative")?.into(),
        Kind::Bytes => bytes(text, name)?.into(),
        Kind::List => text.into(),
        Kind::Ignored => {
            warn(wrong(name, "is obsolete and does nothing"));
            return Ok(());
        }
        Kind::CacheSchema => {
            let what = format!("--{name}: tare does not manage Intel RDT groups");
            return Err(Error::new(ErrorKind::Unsupported, what).hint("write it to /sys/fs/resctrl"));
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
    Error::new(ErrorKind::InvalidConfig, format!("--{name}: {what}"))
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
        let warn: Warn<'_> = &mut |error| warnings.push(error.to_string());
        for (name, text) in [("cpu-quota", "5"), ("memory", "1k"), ("pids-limit", "-1"), ("kernel-memory", "1")] {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            set(&mut resources, setting, text, warn).unwrap();
        }
        let expected = json!({"cpu": {"quota": 5, "cpus": "0"}, "memory": {"limit": 1024}, "pids": {"limit": -1}});
        assert_eq!(resources, expected);
        assert_eq!(warnings, ["--kernel-memory: is obsolete and does nothing"]);
    }
}
