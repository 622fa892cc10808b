//! Changes an input so that it stays near to what a parser takes: JSON by its tree, text by its words.
//!
//! Everything is decided by one number, so that proptest can leave out changes when it looks for the smallest input.

use serde_json::{Map, Value, json};

/// How an input is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Values are dropped, doubled, retyped, moved, taken from other inputs; now and then the text itself is changed.
    Json,
    /// Words and letters.
    Text,
    /// Bytes and little-endian numbers.
    Bytes,
}

/// Numbers from a seed. Source: SplitMix64, Steele et al. 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Strings that parsers stumble over.
const STRINGS: &[&str] = &[
    "",
    "\0",
    "/",
    "//",
    ".",
    "..",
    "../..",
    "/..",
    "a/../b",
    "a\nb",
    "\u{1b}[31m",
    "\u{e4}\u{20ac}",
    "\u{202e}",
    "-1",
    "0",
    "18446744073709551616",
    ":",
    "::",
    "a:b:c",
    "=",
    "=x",
    "x=",
    "true",
    "max",
    "host",
    "private",
    "rbind",
    "size=10%",
    "0-3,5",
    "3-1",
    "/proc/self/fd/3",
    "/dev/null",
    "/proc",
    "/sys/fs/cgroup",
    "{}",
    "%s%n",
    "\\",
    "\\x2d",
    "~",
    "*",
    "a",
    "A",
    "-",
    "--",
    "CAP_SYS_ADMIN",
    "RLIMIT_NOFILE",
    "SCMP_ACT_NOTIFY",
    "+",
    ",",
    " ",
    "tmpfs",
    "cgroup",
    "mqueue",
    "bind",
    "none",
    "remount",
];

const NUMBERS: &[i128] = &[
    0,
    1,
    -1,
    2,
    5,
    63,
    64,
    255,
    256,
    1023,
    4095,
    4096,
    65_535,
    65_536,
    262_144,
    i32::MAX as i128,
    i32::MIN as i128,
    u32::MAX as i128,
    1 << 32,
    i64::MAX as i128,
    i64::MIN as i128,
    1 << 63,
    u64::MAX as i128,
];

fn number(random: &mut Random) -> Value {
    let number = NUMBERS[random.below(NUMBERS.len())];
    let near = number + i128::try_from(random.below(3)).unwrap_or(0) - 1;
    match (i64::try_from(near), u64::try_from(near)) {
        (Ok(number), _) => json!(number),
        (_, Ok(number)) => json!(number),
        _ => json!(1.5e300),
    }
}

fn string(random: &mut Random) -> String {
    match random.below(12) {
        0 => "x".repeat(1 << random.below(14)),
        1 => STRINGS[random.below(STRINGS.len())].repeat(1 + random.below(40)),
        _ => STRINGS[random.below(STRINGS.len())].to_owned(),
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!([]),
        3 => json!({}),
        4 => json!(0.5),
        5 => string(random).into(),
        _ => number(random),
    }
}

/// Changes `input` as `seed` says; `others` lend parts.
#[must_use]
pub fn mutate(shape: Shape, input: &[u8], seed: u64, others: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random(seed);
    let empty = Vec::new();
    let other = others.get(random.below(others.len())).unwrap_or(&empty);
    match shape {
        Shape::Json if !random.one_in(24) => match serde_json::from_slice::<Value>(input) {
            Ok(mut value) => {
                let other = serde_json::from_slice(other).unwrap_or_default();
                for _ in 0..=random.below(3) {
                    change_value(&mut value, &other, &mut random);
                }
                serde_json::to_vec(&value).unwrap_or_default()
            }
            Err(_) => change_bytes(input, other, &mut random),
        },
        Shape::Text if !random.one_in(12) => {
            let text = String::from_utf8_lossy(input).into_owned();
            change_text(&text, &String::from_utf8_lossy(other), &mut random).into_bytes()
        }
        _ => change_bytes(input, other, &mut random),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(object) => object.values().map(count).sum(),
        _ => 0,
    }
}

/// The value of that number, counted from the root downwards.
fn nth(value: &mut Value, mut number: usize) -> Option<&mut Value> {
    if number == 0 {
        return Some(value);
    }
    number -= 1;
    let members: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(object) => object.values_mut().collect(),
        _ => Vec::new(),
    };
    for member in members {
        let here = count(member);
        if number < here {
            return nth(member, number);
        }
        number -= here;
    }
    None
}

/// Any value in a tree.
fn any(value: &Value, random: &mut Random) -> Value {
    let number = random.below(count(value));
    nth(&mut value.clone(), number).map(|found| found.take()).unwrap_or_default()
}

fn change_value(root: &mut Value, other: &Value, random: &mut Random) {
    let whole = root.clone();
    let number = random.below(count(root));
    let Some(value) = nth(root, number) else { return };
    match random.below(10) {
        0 => *value = scalar(random),
        1 => *value = any(&whole, random),
        2 => *value = any(other, random),
        _ => match value {
            Value::Object(object) => change_object(object, other, random),
            Value::Array(list) => change_list(list, random),
            Value::String(text) => *text = change_text(text, &string(random), random),
            Value::Number(_) => *value = self::number(random),
            other => *other = scalar(random),
        },
    }
}

fn change_object(object: &mut Map<String, Value>, other: &Value, random: &mut Random) {
    let keys: Vec<String> = object.keys().cloned().collect();
    let key = keys.get(random.below(keys.len())).cloned().unwrap_or_default();
    match random.below(6) {
        0 | 1 => {
            object.remove(&key);
        }
        2 => {
            let member = object.remove(&key).unwrap_or_default();
            object.insert(change_text(&key, &string(random), random), member);
        }
        3 => {
            object.insert(string(random), scalar(random));
        }
        4 => {
            object.insert(key, scalar(random));
        }
        // What another input has under the same key, or all of its members.
        _ => match lookup(other, &key) {
            Some(member) => drop(object.insert(key, member)),
            None => object.extend(other.as_object().cloned().unwrap_or_default()),
        },
    }
}

fn lookup(value: &Value, key: &str) -> Option<Value> {
    match value {
        Value::Object(object) => object.get(key).cloned().or_else(|| object.values().find_map(|v| lookup(v, key))),
        Value::Array(list) => list.iter().find_map(|value| lookup(value, key)),
        _ => None,
    }
}

fn change_list(list: &mut Vec<Value>, random: &mut Random) {
    let (at, to) = (random.below(list.len()), random.below(list.len()));
    match random.below(6) {
        0 if !list.is_empty() => drop(list.remove(at)),
        1 if !list.is_empty() => list.swap(at, to),
        2 => list.clear(),
        3 => list.insert(at, scalar(random)),
        4 if list.len() < 200 => {
            let more: Vec<Value> = list.iter().cycle().take(list.len() * (1 + random.below(3))).cloned().collect();
            list.extend(more);
        }
        _ => list.extend(list.get(at).cloned()),
    }
}

fn change_text(text: &str, other: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let (start, end) = (random.below(letters.len() + 1), random.below(letters.len() + 1));
    let (start, end) = (start.min(end), start.max(end));
    match random.below(9) {
        0 => return string(random),
        1 => drop(letters.drain(start..end)),
        2 => drop(letters.splice(start..end, string(random).chars())),
        3 => drop(letters.splice(start..start, string(random).chars())),
        4 => drop(letters.splice(start..end, other.chars().take(200).collect::<Vec<_>>())),
        5 if letters.len() < 4096 => {
            let part = letters[start..end].to_vec();
            drop(letters.splice(end..end, part));
        }
        6 => letters.extend(string(random).chars()),
        7 => {
            // A word of the other input in place of one of this.
            let words: Vec<&str> = other.split_inclusive([' ', '\n', ',', ':', '/']).collect();
            let word = if words.is_empty() { "" } else { random.pick(&words) };
            drop(letters.splice(start..end, word.chars()));
        }
        _ => match letters.get_mut(start) {
            Some(letter) => *letter = char::from_u32(u32::from(*letter) ^ (1 << random.below(8))).unwrap_or('\0'),
            None => letters.push(' '),
        },
    }
    letters.into_iter().collect()
}

fn change_bytes(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (start, end) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
    let (start, end) = (start.min(end), start.max(end));
    match random.below(8) {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end.min(start + 8))),
        2 => {
            let from = random.below(other.len() + 1);
            drop(bytes.splice(start..end, other[from..].iter().copied()));
        }
        3 => drop(bytes.splice(start..start, string(random).into_bytes())),
        4 if bytes.len() < 1 << 16 => {
            let part = bytes[start..end].to_vec();
            drop(bytes.splice(end..end, part));
        }
        5 => {
            // A length that lies.
            let number = u32::try_from(random.next() >> (32 + random.below(32))).unwrap_or(0);
            let at = start - start % 4;
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(start) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
    bytes
}
