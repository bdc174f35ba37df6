//! Times as JSON writes them: `2026-11-22T17:00:00.5Z` and `1.5s`.

/// A time since 1970 as text.
pub(super) fn timestamp(seconds: i64, nanos: i32) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = fraction(nanos);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// A length of time as text.
pub(super) fn duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction(nanos.saturating_abs())
    )
}

/// Three, six or nine digits behind a point; nothing of a whole second.
fn fraction(nanos: i32) -> String {
    match nanos {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        nanos => format!(".{nanos:09}"),
    }
}

/// Seconds since 1970 and nanoseconds.
pub(super) fn timestamp_parts(text: &str) -> Result<(i64, i32), String> {
    read_timestamp(text).ok_or_else(|| format!("`{text}` is no time such as 2026-11-22T17:00:00Z"))
}

fn read_timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, time) = text.split_once(['T', 't'])?;
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(at);
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let (second, nanos) = read_seconds(second)?;
    let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
    let is_real =
        (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_real || hour > 23 || minute > 59 || !(0..=60).contains(&second) {
        return None;
    }
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if zone.starts_with('-') {
                -minutes
            } else {
                minutes
            }
        }
    };
    let days = days(year, month, day);
    Some((
        days * DAY + hour * 3600 + (minute - offset) * 60 + second,
        nanos,
    ))
}

/// Seconds and nanoseconds.
pub(super) fn duration_parts(text: &str) -> Result<(i64, i32), String> {
    let is_negative = text.starts_with('-');
    let digits = text.strip_prefix('-').unwrap_or(text).strip_suffix('s');
    let parts = digits
        .and_then(read_seconds)
        .filter(|(seconds, _)| *seconds >= 0);
    let (seconds, nanos) = parts.ok_or_else(|| format!("`{text}` is no duration such as 1.5s"))?;
    Ok(if is_negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

fn read_seconds(text: &str) -> Option<(i64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Days since 1970 of a date; years begin in March, so that February ends them.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
        - 1
        - 719_468
}

/// The date of a day since 1970.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + era * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_written() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-22T17:38:16.123Z",
            "2000-02-29T23:59:59.000001Z",
            "1969-12-31T23:59:59.999999999Z",
            "0001-01-01T00:00:00Z",
        ] {
            let (seconds, nanos) = timestamp_parts(text).unwrap();
            assert_eq!(timestamp(seconds, nanos), text);
        }
        assert_eq!(
            timestamp_parts("2026-01-01T01:00:00+01:00"),
            Ok((1_767_225_600, 0))
        );
        for text in ["0s", "1.500s", "-0.000000001s", "-3s"] {
            let (seconds, nanos) = duration_parts(text).unwrap();
            assert_eq!(duration(seconds, nanos), text);
        }
        for wrong in [
            "",
            "x",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00Z",
        ] {
            assert!(timestamp_parts(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "1", "s", "--1s", "1.0000000001s"] {
            assert!(duration_parts(wrong).is_err(), "{wrong}");
        }
    }
}
