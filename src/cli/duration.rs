//! Durations as Go writes them: `5s`, `1m30s`, `1.5h`, `500ms`; a number alone is seconds.
//!
//! World: parent.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `None` if the text is not a duration, or is longer than 292 years (an `i64` of nanoseconds).
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if let Ok(seconds) = rest.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit)?;
        total = total.checked_add(times(number, *factor)?)?;
        rest = behind;
    }
    (!text.is_empty() && i64::try_from(total).is_ok()).then(|| Duration::from_nanos(total))
}

/// `1.5` times a factor, rounded down.
fn times(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = whole.checked_mul(factor)?;
    let mut unit = factor;
    for digit in part.chars() {
        unit /= 10;
        nanoseconds = nanoseconds.checked_add(unit.checked_mul(digit.to_digit(10)?.into())?)?;
    }
    Some(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn anything_is_a_duration_or_none(text in "[0-9.+]{0,22}([a-z\u{b5}]{0,2}[0-9.]{0,22}){0,3}|.{0,20}") {
            if let Some(duration) = parse(&text) {
                assert!(i64::try_from(duration.as_nanos()).is_ok() || text.parse::<f64>().is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn as_go_writes_them() {
        let good = [
            ("5s", 5_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("+2s", 2_000),
            ("1500us", 1),
            ("0s", 0),
            ("0", 0),
            ("7", 7_000),
            ("24h", 86_400_000),
        ];
        for (text, milliseconds) in good {
            assert_eq!(parse(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        assert_eq!(parse("1.25us").unwrap(), Duration::from_nanos(1250));
        for text in ["", "s", ".", ".s", "5x", "-5s", "5 s", "1s5", "1..5s", "999999999h", "5.s.", "five"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
