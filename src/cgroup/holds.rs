//! Whether a file of a cgroup still says what was written to it. World: plan (pure).
//!
//! The kernel prints values in its own form: whole pages, `max`, lines of one device each. Promise: what cannot be
//! compared is `None`, never a guess. Source: cgroup-v2.rst.

use super::limits::Write;
use crate::number_list;

/// Whether `content` is what the kernel makes of `value` written to `file`; `None` if the form of the file is not known.
#[must_use]
pub fn holds(file: &str, value: &str, content: &str, page_size: u64) -> Option<bool> {
    let (value, content) = (value.trim(), content.trim());
    match file {
        "cpuset.cpus" | "cpuset.mems" => Some(number_list::parse(value).ok()? == number_list::parse(content).ok()?),
        // systemd keeps no period without a quota.
        "cpu.max" => Some(
            value.split_whitespace().eq(content.split_whitespace())
                || value.starts_with("max ") && content.starts_with("max "),
        ),
        "io.max" | "rdma.max" => keyed(value, content),
        "io.weight" | "io.bfq.weight" => weight(value, content),
        _ => {
            let unit = huge_page_size(file).or_else(|| file.starts_with("memory.").then_some(page_size)).unwrap_or(1);
            let (asked, kept) = (number(value)?, number(content)?);
            Some(asked.checked_div(unit)? == kept.checked_div(unit)? || asked == kept)
        }
    }
}

/// What the kernel has in a file that nobody has written; `None` for one that is not looked at without being asked.
#[must_use]
pub fn untouched(file: &str) -> Option<&'static str> {
    USUAL.iter().find(|(name, _)| *name == file).map(|(_, value)| *value)
}

/// The limits that are shown whether or not the config sets them, with the values of a new cgroup.
pub const USUAL: [(&str, &str); 13] = [
    ("memory.max", "max"),
    ("memory.high", "max"),
    ("memory.low", "0"),
    ("memory.min", "0"),
    ("memory.swap.max", "max"),
    ("pids.max", "max"),
    ("cpu.max", "max 100000"),
    ("cpu.weight", "100"),
    ("cpu.idle", "0"),
    ("cpuset.cpus", ""),
    ("cpuset.mems", ""),
    ("io.max", ""),
    ("io.weight", "default 100"),
];

/// Which of two writes to one file the kernel keeps: the later one, where they are not about different devices.
#[must_use]
pub fn replaces(later: &Write, earlier: &Write) -> bool {
    let first = |write: &Write| write.value.split_whitespace().next().map(str::to_owned);
    let is_set_later = |word: &str| {
        let name = word.split('=').next();
        later.value.split_whitespace().skip(1).any(|other| other.split('=').next() == name)
    };
    later.file == earlier.file
        && match later.file.as_str() {
            "io.max" | "rdma.max" => {
                first(later) == first(earlier) && earlier.value.split_whitespace().skip(1).all(is_set_later)
            }
            "io.weight" | "io.bfq.weight" => {
                let device = |write: &Write| first(write).filter(|word| word.contains(':'));
                device(later) == device(earlier)
            }
            _ => true,
        }
}

/// A number, as the kernel reads it: with K, M or G for some files; `max` is the highest.
fn number(text: &str) -> Option<u64> {
    let shift = match text.chars().last()?.to_ascii_lowercase() {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        _ => 0,
    };
    match text {
        "max" => Some(u64::MAX),
        _ if shift == 0 => text.parse().ok(),
        _ => text.get(..text.len() - 1)?.parse::<u64>().ok()?.checked_mul(1 << shift),
    }
}

/// The bytes of a page of `hugetlb.2MB.max`.
fn huge_page_size(file: &str) -> Option<u64> {
    let size = file.strip_prefix("hugetlb.")?.split('.').next()?;
    number(size.strip_suffix('B')?)
}

/// Lines `KEY name=value name=value`; a value that is not in the file is `max`.
fn keyed(value: &str, content: &str) -> Option<bool> {
    let (key, settings) = value.split_once(' ')?;
    let line = content.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let kept = |name: &str| {
        let mut words = line?.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(other, _)| *other == name).map(|(_, value)| value)
    };
    let mut settings = settings.split_whitespace().map(|word| word.split_once('='));
    settings.try_fold(true, |all, setting| {
        let (name, value) = setting?;
        Some(all && number(kept(name).unwrap_or("max"))? == number(value)?)
    })
}

/// `100`, `default 100` or `8:0 100`.
fn weight(value: &str, content: &str) -> Option<bool> {
    let (key, weight) = value.split_once(' ').unwrap_or(("default", value));
    let line = content.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let whole = || (content.split_whitespace().count() == 1).then_some(content);
    Some(number(line.or_else(whole)?)? == number(weight)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_forms_are_understood() {
        let same = |file: &str, value: &str, content: &str| holds(file, value, content, 4096);
        for (file, value, content) in [
            ("memory.max", "134217728", "134217728\n"),
            ("memory.max", "134217729", "134217728\n"),
            ("memory.high", "64M", "67108864\n"),
            ("memory.max", "max", "max\n"),
            ("pids.max", "10", "10\n"),
            ("cpu.max", "max 50000", "max 100000\n"),
            ("cpu.max", "20000 50000", "20000 50000\n"),
            ("cpuset.cpus", "0,1,2", "0-2\n"),
            ("hugetlb.2MB.max", "3145728", "2097152\n"),
            ("io.max", "8:0 rbps=5", "8:16 rbps=7 wbps=max riops=max wiops=max\n8:0 rbps=5 wbps=max\n"),
            ("io.max", "8:0 rbps=max", ""),
            ("io.weight", "50", "default 50\n"),
            ("io.weight", "8:0 50", "default 100\n8:0 50\n"),
            ("io.bfq.weight", "50", "50\n"),
            ("rdma.max", "mlx hca_handle=2", "mlx hca_handle=2 hca_object=max\n"),
        ] {
            assert_eq!(same(file, value, content), Some(true), "{file} {value} {content}");
        }
        for (file, value, content) in [
            ("memory.max", "134217728", "67108864\n"),
            ("pids.max", "10", "max\n"),
            ("pids.max", "10", "11\n"),
            ("cpu.max", "50000 100000", "max 100000\n"),
            ("cpuset.cpus", "0", ""),
            ("io.max", "8:0 rbps=5", ""),
            ("io.weight", "50", "default 100\n"),
        ] {
            assert_eq!(same(file, value, content), Some(false), "{file} {value} {content}");
        }
        for (file, value, content) in [
            ("memory.pressure", "some 150000 1000000", "some avg10=0\n"),
            ("x.y", "a", "b"),
            ("io.weight", "8:0 50", "default 100\n"),
        ] {
            assert_eq!(same(file, value, content), None, "{file} {value} {content}");
        }
    }

    #[test]
    fn a_later_write_about_the_same_thing_replaces_an_earlier_one() {
        let write = |file: &str, value: &str| Write {
            file: file.to_owned(),
            value: value.to_owned(),
            at: String::new(),
            if_missing: super::super::limits::IfMissing::Fail,
        };
        assert!(replaces(&write("memory.max", "1"), &write("memory.max", "2")));
        assert!(!replaces(&write("memory.max", "1"), &write("memory.low", "2")));
        assert!(!replaces(&write("io.max", "8:0 rbps=1"), &write("io.max", "8:0 wbps=1")));
        assert!(replaces(&write("io.max", "8:0 rbps=1"), &write("io.max", "8:0 rbps=2")));
        assert!(replaces(&write("io.max", "8:0 wbps=1 rbps=1"), &write("io.max", "8:0 rbps=2")));
        assert!(!replaces(&write("io.max", "8:0 rbps=2"), &write("io.max", "8:0 rbps=1 wbps=1")));
        assert!(!replaces(&write("io.weight", "8:0 1"), &write("io.weight", "1")));
    }
}
