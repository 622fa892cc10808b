//! World: parent. The time of day as RFC 3339 text, which engines parse (go-runc, CRI-O).

use chrono::{DateTime, SecondsFormat};

/// Now, in UTC, with nanoseconds.
#[must_use]
pub fn now() -> String {
    let (seconds, nanoseconds) = crate::sys::clock::real();
    rfc3339(seconds, nanoseconds)
}

/// Seconds and nanoseconds since 1970 as RFC 3339 in UTC.
fn rfc3339(seconds: i64, nanoseconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, u32::try_from(nanoseconds).unwrap_or(0)).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 1), "2000-02-28T23:59:59.000000001Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_795_359_600, 5), "2026-11-22T15:00:00.000000005Z");
    }
}
