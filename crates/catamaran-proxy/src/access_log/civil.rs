//! Dates of the proleptic Gregorian calendar, in UTC, from Unix time.

use super::padded;

/// A point in time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: u32,
    /// 1 to 12.
    month: u32,
    /// 1 to 31.
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
}

impl Civil {
    /// The date of `unix_us` microseconds since 1970; what lies past the year 9999 is cut to it.
    pub(super) fn from_unix_us(unix_us: u64) -> Self {
        let unix_us = unix_us.min(LAST_US);
        let part = |divisor: u64, modulus: u64| {
            u32::try_from(unix_us / divisor % modulus).expect("a modulus here is under 2^32")
        };
        // Howard Hinnant's civil_from_days: years begin in March, so that the leap day ends one,
        // and 400 of them, an era, have 146,097 days.
        let days = part(86_400_000_000, u64::from(u32::MAX)) + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let leaps = day_of_era / 1460 + day_of_era / 146_096 - day_of_era / 36_524;
        let year_of_era = (day_of_era - leaps) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: era * 400 + year_of_era + u32::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: part(3_600_000_000, 24),
            minute: part(60_000_000, 60),
            second: part(1_000_000, 60),
            micros: part(1, 1_000_000),
        }
    }

    /// Appends `21/Nov/2026:12:03:04`.
    pub(super) fn clf(self, out: &mut Vec<u8>) {
        padded(self.day, 2, out);
        out.push(b'/');
        out.extend_from_slice(self.month_name());
        out.push(b'/');
        padded(self.year, 4, out);
        out.push(b':');
        self.clock(out);
    }

    /// Appends `12:03:04`.
    pub(super) fn clock(self, out: &mut Vec<u8>) {
        padded(self.hour, 2, out);
        out.push(b':');
        padded(self.minute, 2, out);
        out.push(b':');
        padded(self.second, 2, out);
    }

    /// Appends the milliseconds, three digits.
    pub(super) fn millis(self, out: &mut Vec<u8>) {
        padded(self.micros / 1000, 3, out);
    }

    /// Appends `2026-11-21T12:03:04.123456Z` (RFC 3339).
    pub(super) fn rfc3339(self, out: &mut Vec<u8>) {
        padded(self.year, 4, out);
        out.push(b'-');
        padded(self.month, 2, out);
        out.push(b'-');
        padded(self.day, 2, out);
        out.push(b'T');
        self.clock(out);
        out.push(b'.');
        padded(self.micros, 6, out);
        out.push(b'Z');
    }

    /// Appends `Nov  1 12:03:04` (RFC 3164 §4.1.2).
    pub(super) fn syslog(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.month_name());
        out.push(b' ');
        if self.day < 10 {
            out.push(b' ');
            padded(self.day, 1, out);
        } else {
            padded(self.day, 2, out);
        }
        out.push(b' ');
        self.clock(out);
    }

    fn month_name(self) -> &'static [u8] {
        MONTHS[self.month as usize - 1]
    }
}

/// The last microsecond of the year 9999.
const LAST_US: u64 = 253_402_300_800_000_000 - 1;

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339(unix_us: u64) -> String {
        let mut out = Vec::new();
        Civil::from_unix_us(unix_us).rfc3339(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_dates_come_out_right() {
        // Each as `date -u -d @SECONDS` prints it.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_233_922_454, "2009-02-06T12:14:14.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000_000), date);
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut last = Civil::from_unix_us(0);
        for day in 1..150_000_u64 {
            let next = Civil::from_unix_us(day * 86_400_000_000);
            let same_month =
                (next.year, next.month, next.day) == (last.year, last.month, last.day + 1);
            let next_month = (next.year, next.month, next.day) == (last.year, last.month + 1, 1);
            let next_year = (next.year, next.month, next.day) == (last.year + 1, 1, 1);
            assert!(same_month || (next_month && last.day >= 28) || (next_year && last.day == 31));
            last = next;
        }
    }

    #[test]
    fn syslog_pads_the_day_with_a_space() {
        let mut out = Vec::new();
        Civil::from_unix_us(0).syslog(&mut out);
        assert_eq!(out, b"Jan  1 00:00:00");
    }
}
