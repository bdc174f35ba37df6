//! Times as scripts and options write them, and as the summary prints them.
//!
//! What is read follows Go's `time.ParseDuration` with `d` for days besides, what is printed follows
//! Go's `Duration.String`, since that is what k6's users know from their scripts and their logs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no time; write a number and ns, us, ms, s, m, h or d, such as 1m30s")]
pub struct DurationError {
    text: String,
}

/// Reads a time such as `30s`, `1m30s` or `1.5h`. A bare number counts milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError {
        text: text.to_owned(),
    };
    if let Ok(millis) = text.parse::<f64>() {
        return from_nanos(millis * 1e6).ok_or_else(error);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let number: f64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let (unit, factor) = UNITS
            .iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(error)?;
        rest = &rest[unit.len()..];
        nanos += number * factor;
    }
    if text.is_empty() {
        return Err(error());
    }
    from_nanos(nanos).ok_or_else(error)
}

/// A unit that all times are printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

impl TimeUnit {
    /// Reads one; other words stand for the unit that fits each time, as in k6.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let all = [Self::Seconds, Self::Millis, Self::Micros];
        all.into_iter().find(|unit| unit.as_str() == text)
    }

    /// As options have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Millis => "ms",
            Self::Micros => "us",
        }
    }

    /// Prints milliseconds with two decimals.
    #[must_use]
    pub fn print(self, millis: f64) -> String {
        match self {
            Self::Seconds => format!("{:.2}s", millis / 1e3),
            Self::Millis => format!("{millis:.2}ms"),
            Self::Micros => format!("{:.2}µs", millis * 1e3),
        }
    }
}

/// Prints a time exactly, in the largest unit that leaves no leading zero: `1m30s`, `2.5s`, `30µs`.
#[must_use]
pub fn exact(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, size) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, size));
    }
    let seconds = duration.as_secs();
    let part = decimal(
        u128::from(seconds % 60) * 1_000_000_000 + nanos % 1_000_000_000,
        1_000_000_000,
    );
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{part}s"),
        (0, minutes) => format!("{minutes}m{part}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{part}s"),
    }
}

/// Prints milliseconds for people: two decimals of a fitting unit, cut off rather than rounded.
#[must_use]
pub fn humanized(millis: f64) -> String {
    if !millis.is_finite() {
        return "0s".to_owned();
    }
    let sign = if millis < 0.0 { "-" } else { "" };
    // Cut to nanoseconds too, but not for what floating point lost of a whole one.
    let Some(duration) = from_nanos((millis.abs() * 1e6 + 1e-3).floor()) else {
        return format!("{millis:.0}ms");
    };
    let nanos = duration.as_nanos();
    let step = match nanos {
        0..1_000 => 1,
        1_000..1_000_000 => 10,
        1_000_000..1_000_000_000 => 10_000,
        1_000_000_000..60_000_000_000 => 10_000_000,
        _ => 1_000_000_000,
    };
    let cut = u64::try_from(nanos - nanos % step).unwrap_or(u64::MAX);
    format!("{sign}{}", exact(Duration::from_nanos(cut)))
}

/// Milliseconds of a time, with all decimals: the unit of every trend of times.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A time since 1970 as `2026-11-21T21:19:53.985854612Z`.
#[must_use]
pub fn rfc3339_nanos(nanos: u64) -> String {
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil date of a number of days, with years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// A time as `2026-11-21T21:19:53Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = rfc3339_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

fn from_nanos(nanos: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(nanos.round() / 1e9)
        .ok()
        .filter(|duration| duration.as_secs() <= MAX_SECONDS)
}

/// `number / unit` with its decimals and no zeros at the end.
fn decimal(number: u128, unit: u128) -> String {
    let whole = number / unit;
    let rest = number % unit;
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let decimals = format!("{rest:0width$}");
    format!("{whole}.{}", decimals.trim_end_matches('0'))
}

/// The units and their nanoseconds; a longer name before one that it begins with.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
];

/// A hundred years: nobody waits longer, and sums of a few of them cannot overflow.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_nanosecond() {
        assert_eq!(rfc3339_nanos(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            rfc3339_nanos(1_795_295_993_985_854_612),
            "2026-11-21T21:19:53.985854612Z"
        );
        assert_eq!(
            rfc3339_nanos(951_825_600_000_000_001),
            "2000-02-29T12:00:00.000000001Z"
        );
    }

    #[test]
    fn times_are_read_as_in_scripts() {
        let read = |text| parse_duration(text).unwrap();
        assert_eq!(read("30s"), Duration::from_secs(30));
        assert_eq!(read("1m30s"), Duration::from_secs(90));
        assert_eq!(read("1.5h"), Duration::from_secs(5400));
        assert_eq!(read("1d"), Duration::from_secs(86_400));
        assert_eq!(read("250ms"), Duration::from_millis(250));
        assert_eq!(read("10µs"), Duration::from_micros(10));
        assert_eq!(read("1500"), Duration::from_millis(1500));
        for text in [
            "",
            "s",
            "5 s",
            "-1s",
            "1x",
            "1s5",
            "inf",
            "9999999h9999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_printed_exactly() {
        let millis = Duration::from_millis;
        assert_eq!(exact(millis(2000)), "2s");
        assert_eq!(exact(millis(631_000)), "10m31s");
        assert_eq!(exact(millis(600_000)), "10m0s");
        assert_eq!(exact(millis(3_600_000)), "1h0m0s");
        assert_eq!(exact(millis(1500)), "1.5s");
        assert_eq!(exact(Duration::from_nanos(1_050)), "1.05µs");
        assert_eq!(exact(Duration::ZERO), "0s");
    }

    #[test]
    fn times_for_people_are_cut_to_two_decimals() {
        // Values and texts of one run of k6 v2.2.
        assert_eq!(humanized(0.583_698), "583.69µs");
        assert_eq!(humanized(0.147_419), "147.41µs");
        assert_eq!(humanized(0.254_889_5), "254.88µs");
        assert_eq!(humanized(201.907_545_8), "201.9ms");
        assert_eq!(humanized(0.273_700_391), "273.7µs");
        assert_eq!(humanized(0.0), "0s");
        assert_eq!(humanized(2345.6), "2.34s");
        assert_eq!(humanized(63_900.0), "1m3s");
        assert_eq!(humanized(0.000_5), "500ns");
        assert_eq!(humanized(-1.5), "-1.5ms");
        assert_eq!(humanized(f64::NAN), "0s");
    }
}
