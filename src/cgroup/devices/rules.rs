//! The rule list, read and tabulated: for each device the accesses that stay allowed. World: plan.
//!
//! Order rule: the default devices are allowed right after the last rule that speaks about all
//! devices, so that Docker's leading "deny all" does not take /dev/null away, while a rule that
//! denies one default device by number is obeyed. Source: runtime-spec config-linux.md, "Allowed
//! Device list"; the defaults are the ones that runc and crun share.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::{Code, Error, Result};

/// Accesses as the kernel numbers them (BPF_DEVCG_ACC_*): mknod 1, read 2, write 4.
pub type Mask = u8;
/// mknod(2).
pub const MKNOD: Mask = 1;
/// open(2) for reading.
pub const READ: Mask = 2;
/// open(2) for writing.
pub const WRITE: Mask = 4;
/// All three.
pub const ALL: Mask = 7;

/// More rules than any host has devices; tabulating costs the square.
const MAX_RULES: usize = 4096;
/// Rules for one minor of every major repeat in every row of the table.
const MAX_ANY_MAJOR: usize = 64;
/// The kernel's dev_t has 12 bits of major and 20 of minor. Source: linux/kdev_t.h.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    pub block: bool,
    pub character: bool,
    /// `None` is any.
    pub major: Option<u32>,
    /// `None` is any.
    pub minor: Option<u32>,
    pub access: Mask,
}

const fn default(character: bool, major: Option<u32>, minor: Option<u32>, access: Mask) -> Rule {
    Rule { allow: true, block: !character, character, major, minor, access }
}

/// mknod of anything; null, zero, full, random, urandom; tty, ptmx; pty slaves; net/tun (runc 1.2
/// left it out once and broke users who cannot add rules).
const DEFAULTS: [Rule; 11] = [
    default(true, None, None, MKNOD),
    default(false, None, None, MKNOD),
    default(true, Some(1), Some(3), ALL),
    default(true, Some(1), Some(5), ALL),
    default(true, Some(1), Some(7), ALL),
    default(true, Some(1), Some(8), ALL),
    default(true, Some(1), Some(9), ALL),
    default(true, Some(5), Some(0), ALL),
    default(true, Some(5), Some(2), ALL),
    default(true, Some(136), None, ALL),
    default(true, Some(10), Some(200), ALL),
];

/// Reads the rules of the config and puts the defaults in their place.
///
/// # Errors
/// A rule with a type, number or access that does not exist, or too many rules.
pub fn parse(rules: &[LinuxDeviceCgroup], at: &str) -> Result<Vec<Rule>> {
    if rules.len() > MAX_RULES {
        return Err(Error::refused(
            Code::CgroupDeviceRuleInvalid,
            at,
            format!("{} device rules, more than {MAX_RULES}", rules.len()),
        ));
    }
    let mut parsed = Vec::with_capacity(rules.len() + DEFAULTS.len());
    for (i, rule) in rules.iter().enumerate() {
        parsed.push(parse_one(rule, &format!("{at}[{i}]"))?);
    }
    let any_major = parsed.iter().filter(|rule| rule.major.is_none() && rule.minor.is_some()).count();
    if any_major > MAX_ANY_MAJOR {
        return Err(Error::refused(
            Code::CgroupDeviceRuleInvalid,
            at,
            format!("{any_major} rules for any major with one minor, more than {MAX_ANY_MAJOR}"),
        ));
    }
    let after = parsed.iter().rposition(|rule| rule.major.is_none() && rule.minor.is_none()).map_or(0, |i| i + 1);
    parsed.splice(after..after, DEFAULTS);
    Ok(parsed)
}

fn parse_one(rule: &LinuxDeviceCgroup, at: &str) -> Result<Rule> {
    let (block, character) = match rule.typ() {
        None | Some(LinuxDeviceType::A) => (true, true),
        Some(LinuxDeviceType::B) => (true, false),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => (false, true),
        Some(LinuxDeviceType::P) => {
            return Err(Error::refused(
                Code::CgroupDeviceRuleInvalid,
                format!("{at}.type"),
                "\"p\" is a FIFO, which device rules do not cover",
            )
            .hint("use a, b or c"));
        }
    };
    Ok(Rule {
        allow: rule.allow(),
        block,
        character,
        major: parse_number(rule.major(), MAX_MAJOR, || format!("{at}.major"))?,
        minor: parse_number(rule.minor(), MAX_MINOR, || format!("{at}.minor"))?,
        access: parse_access(rule.access().as_deref(), rule.allow(), at)?,
    })
}

fn parse_number(number: Option<i64>, max: u32, at: impl FnOnce() -> String) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n <= max => Ok(Some(n)),
            _ => Err(Error::refused(
                Code::CgroupDeviceRuleInvalid,
                at(),
                format!("{n} is not a device number (0 to {max}, or -1 for any)"),
            )),
        },
    }
}

/// runc and crun ignore other letters than these three, and configs have them. A letter that does not exist allows
/// nothing, and denies everything.
fn parse_access(access: Option<&str>, allow: bool, at: &str) -> Result<Mask> {
    let access = access.unwrap_or_default();
    if access.is_empty() {
        return Err(Error::refused(Code::CgroupDeviceRuleInvalid, format!("{at}.access"), "is empty")
            .hint("use letters of rwm"));
    }
    let mask = |letter| match letter {
        'r' => READ,
        'w' => WRITE,
        'm' => MKNOD,
        _ if allow => 0,
        _ => ALL,
    };
    Ok(access.chars().fold(0, |all, letter| all | mask(letter)))
}

/// The accesses that `rules` leave for one device: each rule sets or clears its own, in order.
pub fn evaluate<'a>(rules: impl IntoIterator<Item = &'a Rule>, character: bool, major: u32, minor: u32) -> Mask {
    rules
        .into_iter()
        .filter(|rule| rule.speaks_of(character, major, minor))
        .fold(0, |mask, rule| if rule.allow { mask | rule.access } else { mask & !rule.access })
}

impl Rule {
    fn speaks_of(&self, character: bool, major: u32, minor: u32) -> bool {
        self.is_for(character)
            && self.major.is_none_or(|number| number == major)
            && self.minor.is_none_or(|number| number == minor)
    }

    fn is_for(&self, character: bool) -> bool {
        if character { self.character } else { self.block }
    }
}

/// Accesses by minor number, for the devices of one major.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Minors that differ from `otherwise`.
    pub minors: BTreeMap<u32, Mask>,
    pub otherwise: Mask,
}

/// Accesses by major number, for one type of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Majors {
    /// Majors that differ from `otherwise`.
    pub majors: BTreeMap<u32, Row>,
    pub otherwise: Row,
}

/// The whole rule list as a table without order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub character: Majors,
    pub block: Majors,
}

/// A number that no rule can name.
const OTHER: u32 = u32::MAX;

impl Table {
    /// Tabulates an ordered list.
    pub fn new(rules: &[Rule]) -> Self {
        Self { character: Majors::new(rules, true), block: Majors::new(rules, false) }
    }

    /// Whether there is nothing to deny.
    pub fn allows_all(&self) -> bool {
        self.masks().all(|mask| mask == ALL)
    }

    /// The accesses that every device has.
    pub fn common(&self) -> Mask {
        self.masks().fold(ALL, |common, mask| common & mask)
    }

    fn masks(&self) -> impl Iterator<Item = Mask> {
        [&self.character, &self.block]
            .into_iter()
            .flat_map(|majors| majors.majors.values().chain([&majors.otherwise]))
            .flat_map(|row| row.minors.values().copied().chain([row.otherwise]))
    }
}

impl Majors {
    fn new(rules: &[Rule], character: bool) -> Self {
        let rules: Vec<&Rule> = rules.iter().filter(|rule| rule.is_for(character)).collect();
        let otherwise = Row::new(&rules, character, OTHER);
        let named: BTreeSet<u32> = rules.iter().filter_map(|rule| rule.major).collect();
        let rows = named.into_iter().map(|major| (major, Row::new(&rules, character, major)));
        Self { majors: rows.filter(|(_, row)| *row != otherwise).collect(), otherwise }
    }
}

impl Row {
    fn new(rules: &[&Rule], character: bool, major: u32) -> Self {
        let rules: Vec<&Rule> =
            rules.iter().copied().filter(|rule| rule.major.is_none_or(|number| number == major)).collect();
        let mask = |minor| evaluate(rules.iter().copied(), character, major, minor);
        let otherwise = mask(OTHER);
        let named: BTreeSet<u32> = rules.iter().filter_map(|rule| rule.minor).collect();
        let minors = named.into_iter().map(|minor| (minor, mask(minor)));
        Self { minors: minors.filter(|(_, mask)| *mask != otherwise).collect(), otherwise }
    }
}
