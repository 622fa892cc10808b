//! World: parent. The time of day as RFC 3339 text, which engines parse (go-runc, CRI-O).

/// Now, in UTC, with nanoseconds.
#[must_use]
pub fn now() -> String {
    let (seconds, nanoseconds) = crate::sys::clock::real();
    rfc3339(seconds, nanoseconds)
}

/// Seconds and nanoseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(seconds: i64, nanoseconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(86400));
    let second = seconds.rem_euclid(86400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// Days since 1970 to a date of the Gregorian calendar; years are counted from March, so that leap days come last.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_IN_400_YEARS);
    let day_of_era = days.rem_euclid(DAYS_IN_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
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
