//! Quantities with units: durations, sizes, percentages.

use std::time::Duration;

/// Parses a duration such as `2s`, `1.5s` or `500ms`. `None` for anything else.
///
/// Units are `us`, `ms`, `s`, `m` (minutes), `h` and `d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let nanos: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    scaled(number, nanos).map(Duration::from_nanos)
}

/// Parses a size such as `64KiB` or `1MB`, in bytes. `None` for anything else.
///
/// Units are `B`, `kB`, `MB`, `GB` (powers of 1,000) and `KiB`, `MiB`, `GiB` (powers of 1,024).
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    scaled(number, bytes)
}

/// Parses a whole percentage such as `50%`.
pub(crate) fn percent(text: &str) -> Option<u64> {
    match split(text)? {
        (number, "%") => number.parse().ok(),
        _ => None,
    }
}

/// Parses a percentage with up to four decimals such as `0.5%`, in millionths.
pub(crate) fn share(text: &str) -> Option<u64> {
    match split(text)? {
        (number, "%") => scaled(number, 10_000),
        _ => None,
    }
}

/// Writes millionths as a percentage.
pub(crate) fn share_text(millionths: u64) -> String {
    let (whole, rest) = (millionths / 10_000, millionths % 10_000);
    match rest {
        0 => format!("{whole}%"),
        rest => format!("{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
    }
}

/// Writes a duration in the largest unit that keeps it whole.
pub(crate) fn duration_text(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros == 0 {
        return "0s".to_owned();
    }
    for (unit, factor) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
    ] {
        if micros >= factor && micros.is_multiple_of(factor) {
            return format!("{}{unit}", micros / factor);
        }
    }
    format!("{micros}us")
}

/// Writes a size in the largest power of 1,024 that keeps it whole.
pub(crate) fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// Splits `1.5s` into `1.5` and `s`; a space between them is allowed.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim_start_matches(' ')))
}

/// `number`, with at most nine decimals, times `factor`. `None` if it overflows or is no number.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, decimals) = match number.split_once('.') {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return None,
        None => (number, ""),
    };
    if decimals.len() > 9 || decimals.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = match decimals {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let digits = u32::try_from(decimals.len()).ok()?;
    let part = u128::from(fraction) * u128::from(factor) / 10_u128.pow(digits);
    whole
        .checked_mul(factor)?
        .checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_every_unit_and_decimals() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(duration("1 h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(duration("250us"), Some(Duration::from_micros(250)));
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in [
            "", "5", "s", "-1s", "1.s", ".5s", "1..5s", "1min", "1h30m", "1 ",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("99999999999999d"), None);
        assert_eq!(duration("1.0123456789s"), None);
    }

    #[test]
    fn sizes_are_powers_of_1000_or_1024_as_written() {
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("1MB"), Some(1_000_000));
        assert_eq!(size("1.5KiB"), Some(1536));
        assert_eq!(size("1"), None);
        assert_eq!(size("1M"), None);
    }

    #[test]
    fn shares_are_counted_in_millionths() {
        for (text, millionths) in [("1%", 10_000), ("0.5%", 5_000), ("100 %", 1_000_000)] {
            assert_eq!(share(text), Some(millionths));
        }
        for (millionths, text) in [(0, "0%"), (1, "0.0001%"), (12_500, "1.25%")] {
            assert_eq!(share_text(millionths), text);
        }
        assert_eq!((share("1"), share("%"), share("1%%")), (None, None, None));
    }

    #[test]
    fn text_of_a_quantity_is_its_shortest_form() {
        assert_eq!(duration_text(Duration::from_millis(3500)), "3500ms");
        assert_eq!(duration_text(Duration::from_secs(86_400)), "1d");
        assert_eq!(duration_text(Duration::from_micros(7)), "7us");
        assert_eq!(size_text(60 * 1024), "60KiB");
        assert_eq!(size_text(1000), "1000B");
        assert_eq!(percent("50%"), Some(50));
        assert_eq!(percent("50"), None);
    }
}
