//! Limits and annotations as properties of a unit. World: plan.
//!
//! What a file of the cgroup gets is told to systemd too where it has a property for it, so that systemd neither
//! puts its own value back nor shows another one. The files are written all the same: they have the exact value, and
//! the settings that systemd does not know. A value that systemd could not express is left to the file, where the
//! kernel judges it. Source: systemd.resource-control(5), org.freedesktop.systemd1(5).

use std::collections::{BTreeMap, HashMap};

use super::unit::Unit;
use super::value::Value;
use super::variant;
use crate::cgroup::limits::{IfMissing, Write};
use crate::error::{Code, Error, Result};
use crate::number_list;

/// A property that a unit gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// systemd's name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The first version of systemd that takes it; 0 for those that every systemd of a supported kernel takes.
    pub since: u32,
    /// The JSON path of an annotation; a property of tare's own has none.
    pub at: Option<String>,
}

impl Property {
    /// One of tare's own.
    pub fn new(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value, since: 0, at: None }
    }

    fn since(self, since: u32) -> Self {
        Self { since, ..self }
    }
}

/// "No limit" of the properties that are numbers.
const INFINITY: u64 = u64::MAX;
const SECOND: u64 = 1_000_000;
/// A percent of a processor, as time in a second.
const PERCENT: u64 = 10_000;

/// What every scope gets. systemd counts what a container uses, leaves what is below its cgroup to it, does not
/// stop it early in a shutdown that it cannot survive anyway. One that has failed stays to be looked at with `systemctl
/// status` until the container is deleted, as with runc.
#[must_use]
pub fn usual(id: &str, unit: &Unit) -> Vec<Property> {
    let mut properties = vec![Property::new("Description", Value::text(format!("tare container {id}")))];
    // The parent of a slice is in its name, and what is below it is systemd's.
    if !unit.is_slice() {
        properties.push(Property::new("Slice", Value::text(&unit.slice)));
        properties.push(Property::new("Delegate", Value::Bool(true)));
    }
    for name in ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"] {
        properties.push(Property::new(name, Value::Bool(true)));
    }
    properties.push(Property::new("DefaultDependencies", Value::Bool(false)));
    properties
}

/// Only a new unit takes it.
pub const OOM_POLICY: &str = "OOMPolicy";

/// The properties that say the same as `writes`.
#[must_use]
pub fn of_writes(writes: &[Write]) -> Vec<Property> {
    let mut properties: Vec<Property> = Vec::new();
    let mut devices: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
    for write in writes {
        let (file, value) = match &write.if_missing {
            IfMissing::Instead(file, value) => (*file, value),
            _ => (write.file.as_str(), &write.value),
        };
        match of_device(file, value) {
            Some(settings) => {
                settings.into_iter().for_each(|(name, entry)| devices.entry(name).or_default().push(entry))
            }
            None => properties.extend(of_file(file, value)),
        }
    }
    let lists = devices.into_iter().map(|(name, values)| Property::new(name, Value::array("(st)", values)));
    properties.extend(lists);
    last_of_each(properties)
}

/// A later write of the same file counts, and cpu.idle decides over the weight.
fn last_of_each(properties: Vec<Property>) -> Vec<Property> {
    let mut kept: Vec<Property> = Vec::new();
    for property in properties {
        kept.retain(|other| other.name != property.name);
        kept.push(property);
    }
    kept
}

fn of_file(file: &str, value: &str) -> Vec<Property> {
    let value = value.trim();
    let number = |name: &str| quantity(value).map(|number| Property::new(name, Value::U64(number)));
    let one = match file {
        "cpu.weight" => number("CPUWeight"),
        // 0 is systemd's number for "idle". Who is not idle any more has the usual weight.
        "cpu.idle" if value == "1" => Some(Property::new("CPUWeight", Value::U64(0)).since(252)),
        "cpu.idle" => Some(Property::new("CPUWeight", Value::U64(100))),
        "cpu.max" => return bandwidth(value),
        "memory.min" => number("MemoryMin"),
        "memory.low" => number("MemoryLow"),
        "memory.high" => number("MemoryHigh"),
        "memory.max" => number("MemoryMax"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => number("MemoryZSwapMax").map(|property| property.since(253)),
        // systemd writes the file as its policy has it, whenever another limit of memory changes.
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            Some(Property::new(OOM_POLICY, Value::text(policy)).since(253))
        }
        "pids.max" => number("TasksMax"),
        "cpuset.cpus" => set("AllowedCPUs", value),
        "cpuset.mems" => set("AllowedMemoryNodes", value),
        "io.weight" => number("IOWeight").or_else(|| {
            let weight = quantity(value.strip_prefix("default ")?)?;
            Some(Property::new("IOWeight", Value::U64(weight)))
        }),
        _ => None,
    };
    one.into_iter().collect()
}

/// A number as the kernel reads it for memory, or `max`.
fn quantity(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(INFINITY);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << unit)
}

/// `QUOTA PERIOD`, as time in a second of time; systemd takes 0 for an error, and a period of 1 ms to 1 s.
///
/// Rounded up to a percent of a processor, as with runc. systemd keeps the value in the unit's file as whole percents
/// (systemd 262: hundredths) and cuts off the rest, so the limit would shrink at the next `systemctl daemon-reload`, and
/// 0 % would be none. The cgroup's own file has the exact value until then.
fn bandwidth(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let quota = words.next();
    let Ok(period) = words.next().map_or(Ok(100_000), str::parse::<u64>) else { return Vec::new() };
    let each_second = match quota {
        Some("max") => Some(INFINITY),
        quota => quota
            .and_then(|quota| quota.parse::<u64>().ok())
            .and_then(|quota| quota.checked_mul(SECOND))
            .filter(|_| period > 0)
            .map(|product| product.div_ceil(period).div_ceil(PERCENT).saturating_mul(PERCENT)),
    };
    let Some(each_second) = each_second.filter(|time| *time > 0) else { return Vec::new() };
    vec![
        Property::new("CPUQuotaPerSecUSec", Value::U64(each_second)),
        Property::new("CPUQuotaPeriodUSec", Value::U64(period)),
    ]
}

/// `0-3,5` as the bits of bytes. The kernel and systemd take an empty list as no limit.
fn set(name: &str, list: &str) -> Option<Property> {
    let mut bits: Vec<u8> = Vec::new();
    for number in number_list::parse(list).ok()? {
        let byte = usize::try_from(number / 8).ok()?;
        // They are in order: the last byte is that of the highest number so far.
        bits.resize(byte + 1, 0);
        bits[byte] |= 1 << (number % 8);
    }
    Some(Property::new(name, Value::array("y", bits.into_iter().map(Value::Byte).collect())))
}

/// Settings of one device: for each a property's name and an entry of it; `None` for another file or no device.
fn of_device(file: &str, value: &str) -> Option<Vec<(&'static str, Value)>> {
    const RATES: [(&str, &str); 4] = [
        ("rbps", "IOReadBandwidthMax"),
        ("wbps", "IOWriteBandwidthMax"),
        ("riops", "IOReadIOPSMax"),
        ("wiops", "IOWriteIOPSMax"),
    ];
    let (device, rest) = value.split_once(' ').filter(|(device, _)| device.contains(':'))?;
    let entry = |number| Value::Struct(vec![Value::text(format!("/dev/block/{device}")), Value::U64(number)]);
    let rate = |word: &str| {
        let (key, rate) = word.split_once('=')?;
        let (_, name) = RATES.iter().find(|(known, _)| *known == key)?;
        Some((*name, entry(quantity(rate)?)))
    };
    match file {
        "io.weight" => {
            Some(quantity(rest.trim()).map(|weight| ("IODeviceWeight", entry(weight))).into_iter().collect())
        }
        "io.max" => Some(rest.split_whitespace().filter_map(rate).collect()),
        _ => None,
    }
}

/// The properties of the annotations `org.systemd.property.NAME`, whose values are GVariant's text.
///
/// # Errors
/// A name that no property has, or that is tare's own to set; a value that is none.
pub fn of_annotations(annotations: Option<&HashMap<String, String>>) -> Result<Vec<Property>> {
    const PREFIX: &str = "org.systemd.property.";
    /// They decide which processes are in the unit, and where it is.
    const OWN: [&str; 4] = ["PIDs", "PIDFDs", "Slice", "Delegate"];
    let mut properties = Vec::new();
    let sorted: BTreeMap<_, _> = annotations.into_iter().flatten().collect();
    for (key, text) in sorted {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let at = format!("annotations[{key:?}]");
        if name.len() < 3 || !name.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            return Err(Error::refused(Code::SystemdPropertyInvalid, at, "is not the name of a property of a unit"));
        }
        if OWN.contains(&name) {
            return Err(Error::refused(Code::SystemdPropertyInvalid, at, "only tare sets this property"));
        }
        let wrong = |why: String| {
            let error = Error::refused(Code::SystemdPropertyInvalid, &at, format!("{text:?} is not a value: {why}"));
            // Where the reason says itself what to write, another advice is in its way.
            if why.contains("write") || why.contains("in the range") {
                return error;
            }
            error.hint("write it in GVariant's text format, for example uint64 5, true or 'text'")
        };
        let property = match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            Some(stem) => Property::new(format!("{stem}USec"), Value::U64(microseconds(text).map_err(wrong)?)),
            None => Property::new(name, variant::parse(text).map_err(wrong)?),
        };
        properties.push(Property { at: Some(at), ..property });
    }
    Ok(properties)
}

/// Unit files have seconds where D-Bus has microseconds, and so do people: a number of any type, with a fraction or
/// without.
fn microseconds(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let (kind, number) = text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if number.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && digits(rest)) {
        return Err(match kind.trim() {
            unsigned @ ("byte" | "uint16" | "uint32" | "uint64") => {
                format!("{number} is negative, and {unsigned} has no negative numbers; {FOR_EVER}")
            }
            _ => format!("a time is not negative; {FOR_EVER}"),
        });
    }
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err("seconds are a number".to_owned());
    }
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let total = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(SECOND));
    total
        .zip(fraction.parse::<u64>().ok())
        .and_then(|(whole, fraction)| whole.checked_add(fraction))
        .ok_or_else(|| format!("that is too long a time; {FOR_EVER}"))
}

const FOR_EVER: &str = "for infinity write uint64 18446744073709551615 to the property that ends in USec";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, value: &str) -> Vec<(String, Value)> {
        let write = Write { file: file.into(), value: value.into(), at: String::new(), if_missing: IfMissing::Fail };
        of_writes(&[write]).into_iter().map(|property| (property.name, property.value)).collect()
    }

    fn numbers(file: &str, value: &str) -> String {
        let shown = |(name, value): (String, Value)| match value {
            Value::U64(INFINITY) => format!("{name}=infinity"),
            Value::U64(number) => format!("{name}={number}"),
            Value::Text(text) => format!("{name}={text}"),
            other => format!("{name}={other:?}"),
        };
        of(file, value).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn files_that_systemd_has_a_property_for() {
        for (file, value, expected) in [
            ("cpu.weight", "100", "CPUWeight=100"),
            ("cpu.idle", "1", "CPUWeight=0"),
            ("cpu.idle", "0", "CPUWeight=100"),
            ("cpu.max", "50000 100000", "CPUQuotaPerSecUSec=500000 CPUQuotaPeriodUSec=100000"),
            ("cpu.max", "1000 300000", "CPUQuotaPerSecUSec=10000 CPUQuotaPeriodUSec=300000"),
            ("cpu.max", "500000 900000", "CPUQuotaPerSecUSec=560000 CPUQuotaPeriodUSec=900000"),
            ("cpu.max", "20000", "CPUQuotaPerSecUSec=200000 CPUQuotaPeriodUSec=100000"),
            ("cpu.max", "max 100000", "CPUQuotaPerSecUSec=infinity CPUQuotaPeriodUSec=100000"),
            ("cpu.max", "0 0", ""),
            ("cpu.max", "x", ""),
            ("memory.max", "67108864", "MemoryMax=67108864"),
            ("memory.max", "max", "MemoryMax=infinity"),
            ("memory.high", "64M", "MemoryHigh=67108864"),
            ("memory.low", "1", "MemoryLow=1"),
            ("memory.min", "64%", ""),
            ("memory.swap.max", "0", "MemorySwapMax=0"),
            ("memory.zswap.max", "5k", "MemoryZSwapMax=5120"),
            ("memory.oom.group", "1", "OOMPolicy=kill"),
            ("memory.oom.group", "0", "OOMPolicy=continue"),
            ("pids.max", "max", "TasksMax=infinity"),
            ("io.weight", "default 200", "IOWeight=200"),
            ("io.weight", "200", "IOWeight=200"),
            ("hugetlb.2MB.max", "0", ""),
        ] {
            assert_eq!(numbers(file, value), expected, "{file} {value}");
        }
    }

    #[test]
    fn sets_of_processors_are_bits() {
        let bytes = |list: &str| match of("cpuset.cpus", list).pop() {
            Some((_, Value::Array(_, bytes))) => bytes,
            _ => Vec::new(),
        };
        assert_eq!(bytes("0-3,5"), [Value::Byte(0b10_1111)]);
        assert_eq!(bytes("9"), [Value::Byte(0), Value::Byte(2)]);
        for left_to_the_kernel in ["3-1", "0-7:2/4", "all", "70000"] {
            assert_eq!(bytes(left_to_the_kernel), [], "{left_to_the_kernel}");
        }
        assert_eq!(of("cpuset.mems", "0")[0].0, "AllowedMemoryNodes");
    }

    #[test]
    fn devices_are_collected_and_the_last_of_a_file_counts() {
        let write = |file: &str, value: &str| Write {
            file: file.into(),
            value: value.into(),
            at: String::new(),
            if_missing: IfMissing::Fail,
        };
        let writes = [
            write("io.max", "8:0 rbps=5 wiops=max"),
            write("io.max", "8:16 rbps=6"),
            write("memory.max", "1"),
            write("memory.max", "2"),
        ];
        let entry = |device: &str, number| Value::Struct(vec![Value::text(device), Value::U64(number)]);
        let expected = [
            Property::new("MemoryMax", Value::U64(2)),
            Property::new(
                "IOReadBandwidthMax",
                Value::array("(st)", vec![entry("/dev/block/8:0", 5), entry("/dev/block/8:16", 6)]),
            ),
            Property::new("IOWriteIOPSMax", Value::array("(st)", vec![entry("/dev/block/8:0", INFINITY)])),
        ];
        assert_eq!(of_writes(&writes), expected);
        let bfq = Write { if_missing: IfMissing::Instead("io.weight", "4950".into()), ..write("io.bfq.weight", "500") };
        assert_eq!(of_writes(&[bfq]), [Property::new("IOWeight", Value::U64(4950))]);
    }

    fn annotation(name: &str, value: &str) -> Result<Vec<Property>> {
        of_annotations(Some(&HashMap::from([(name.to_owned(), value.to_owned())])))
    }

    #[test]
    fn annotations_are_properties() {
        for (name, text, as_name, value) in [
            ("TimeoutStopUSec", "uint64 5", "TimeoutStopUSec", Value::U64(5)),
            ("TimeoutStopSec", "5", "TimeoutStopUSec", Value::U64(5_000_000)),
            ("TimeoutStopSec", "uint64 1", "TimeoutStopUSec", Value::U64(1_000_000)),
            ("TimeoutStopSec", "0.25", "TimeoutStopUSec", Value::U64(250_000)),
            ("KillSignal", "15", "KillSignal", Value::I32(15)),
            ("CollectMode", "'inactive'", "CollectMode", Value::text("inactive")),
        ] {
            let found = annotation(&format!("org.systemd.property.{name}"), text).unwrap();
            assert_eq!((found[0].name.as_str(), &found[0].value), (as_name, &value), "{name}");
        }
        assert_eq!(annotation("org.systemd.other", "x").unwrap(), []);
    }

    #[test]
    fn annotations_that_are_none_are_explained() {
        for (name, text, expected) in [
            ("TimeoutStopSec", "x", "\"x\" is not a value: seconds are a number"),
            ("TimeoutStopSec", "99999999999999999", "that is too long a time"),
            ("TimeoutStopSec", "-1", "a time is not negative; for infinity write uint64 18446744073709551615 to"),
            (
                "TimeoutStopSec",
                "uint64 -1",
                "-1 is negative, and uint64 has no negative numbers; for infinity write uint64 18446744073709551615 to",
            ),
            ("KillSignal", "SIGTERM", "\"SIGTERM\" is not a value: \"SIGTERM\" is not a value; write it in GVariant's"),
            ("PIDs", "[1]", "only tare sets this property"),
            ("Slice", "'a.slice'", "only tare sets this property"),
            ("Kill-Signal", "1", "is not the name of a property"),
            ("", "1", "is not the name of a property"),
        ] {
            let key = format!("org.systemd.property.{name}");
            let error = annotation(&key, text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("annotations[{key:?}]: ")) && error.contains(expected), "{error}");
        }
    }
}
