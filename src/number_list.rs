//! Lists of processors and memory nodes such as `0-3,7`, as cpuset(7) has them.
//!
//! World: plan. Spaces around a number and empty elements are permitted, as the kernel and runc permit them. The kernel's
//! rarer forms (`all`, `0-6:2/3`) are errors.

use std::collections::BTreeSet;

/// Far above the kernel's NR_CPUS (8192) and MAX_NUMNODES (1024): a list must not be a way to use up memory.
const HIGHEST: u32 = 65_535;

/// The numbers of a list; none for an empty one.
///
/// # Errors
/// What is wrong, for an error that names the place of the list.
pub fn parse(list: &str) -> Result<BTreeSet<u32>, String> {
    let mut numbers = BTreeSet::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(format!("{list:?} is not a list like 0-3,7: {range:?} is not a number or a range"));
        };
        if first > last {
            return Err(format!("{list:?} is not a list like 0-3,7: {range:?} runs backwards"));
        }
        if last > HIGHEST {
            return Err(format!("{list:?}: {last} is above {HIGHEST}"));
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

fn number(word: &str) -> Option<u32> {
    let word = word.trim();
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}

/// The numbers as the bits of whole words, as system calls take them.
#[must_use]
pub fn mask(numbers: &BTreeSet<u32>) -> Vec<u64> {
    let mut words = Vec::new();
    for number in numbers {
        let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
        // They are in order: the last word is that of the highest number so far.
        words.resize(word + 1, 0_u64);
        words[word] |= 1 << (number % 64);
    }
    words
}

/// The list of the numbers, with ranges where there are any.
#[must_use]
pub fn format(numbers: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let shown = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, normal) in [
            ("0", "0"),
            ("0-1", "0-1"),
            ("3,0-1,2", "0-3"),
            ("0,2,4-5", "0,2,4-5"),
            ("", ""),
            (" 0 - 1, ,3\n", "0-1,3"),
            ("1023-1025,8192", "1023-1025,8192"),
            ("65535", "65535"),
        ] {
            assert_eq!(format(&parse(text).unwrap()), normal);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let cases = [
            ("a", "\"a\" is not a list like 0-3,7: \"a\" is not a number or a range"),
            ("0,1-", "\"0,1-\" is not a list like 0-3,7: \"1-\" is not a number or a range"),
            ("3-1", "\"3-1\" is not a list like 0-3,7: \"3-1\" runs backwards"),
            ("0-65536", "\"0-65536\": 65536 is above 65535"),
        ];
        for (list, expected) in cases {
            assert_eq!(parse(list).unwrap_err(), expected);
        }
        for list in ["-1", "0-4294967296", "0-18446744073709551615", "+1", "0-6:2/3", "all", "1 2"] {
            assert!(parse(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn lists_become_masks() {
        let mask = |list| mask(&parse(list).unwrap());
        assert_eq!(mask(""), [0_u64; 0]);
        assert_eq!(mask("0-3,7"), [0x8f]);
        assert_eq!(mask("64,1"), [2, 1]);
        assert_eq!((mask("127").len(), mask("1024").len(), mask("1024").pop()), (2, 17, Some(1)));
    }
}
