//! Times as people read them.

use std::time::{SystemTime, UNIX_EPOCH};

/// The age of `then`, and its date: `3 h 12 min, since 2026-11-23T01:32:09Z`.
pub(crate) fn since(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    format!("{}, since {}", age(seconds), timestamp(then))
}

/// A length of time in seconds as people read it: `3 h 12 min`.
#[must_use]
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A time as RFC 3339 has it, in UTC.
fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = date(seconds / 86400);
    let hour = seconds / 3600 % 24;
    let minute = seconds / 60 % 60;
    let second = seconds % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date so many days after 1970-01-01, as year, month and day. Counted in years that start in
/// March, so that a leap day comes last, and in eras of 400 years, which all have 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_is_written_with_its_age() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (then, age, wanted) in [
            (0, 0, "0 s, since 1970-01-01T00:00:00Z"),
            (951_782_400, 59, "59 s, since 2000-02-29T00:00:00Z"),
            (4_107_542_399, 119, "1 min, since 2100-02-28T23:59:59Z"),
            (4_107_542_400, 7500, "2 h 5 min, since 2100-03-01T00:00:00Z"),
            (
                1_795_397_529,
                200_000,
                "2 d 7 h, since 2026-11-23T01:32:09Z",
            ),
        ] {
            assert_eq!(since(at(then), at(then + age)), wanted);
        }
        assert_eq!(
            since(at(60), at(0)),
            "0 s, since 1970-01-01T00:01:00Z",
            "a clock was set back"
        );
    }
}
