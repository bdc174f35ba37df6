//! What an agent beside a server says of it, in the words of HAProxy's `agent-check`.
//!
//! One line of words, parted by spaces, tabs or commas: `up 75%`, `drain`, `down # disk full`. Words
//! that are not known are passed over, so that a newer agent does no harm.

/// What one line says; what is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it may take traffic as far as the operator is concerned.
    pub duty: Option<Duty>,
    /// Whether it is well.
    pub is_up: Option<bool>,
    /// Share of its configured weight, in percent, 0 to 256 times.
    pub weight_percent: Option<u32>,
    /// Why, as it says; without control characters.
    pub reason: String,
}

/// What a server is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Take traffic.
    Ready,
    /// Finish what it has.
    Drain,
    /// Nothing.
    Maintenance,
}

impl Report {
    /// Reads a line; `None` if no word of it is known.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let line = line.lines().next()?;
        let (words, reason) = line.split_once('#').unwrap_or((line, ""));
        let mut report = Self {
            reason: reason
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
            ..Self::default()
        };
        report.reason = report.reason.trim().to_owned();
        let mut is_known = false;
        for word in words
            .split([' ', '\t', ',', '\r'])
            .filter(|word| !word.is_empty())
        {
            is_known |= report.take(&word.to_ascii_lowercase());
        }
        is_known.then_some(report)
    }

    fn take(&mut self, word: &str) -> bool {
        if let Some(percent) = word.strip_suffix('%') {
            let percent: Option<u32> = percent.parse().ok();
            self.weight_percent = percent.filter(|percent| *percent <= 25_600);
            return self.weight_percent.is_some();
        }
        match word {
            "ready" => self.duty = Some(Duty::Ready),
            "drain" => self.duty = Some(Duty::Drain),
            "maint" => self.duty = Some(Duty::Maintenance),
            "up" => self.is_up = Some(true),
            "down" | "failed" | "fail" | "stopped" => self.is_up = Some(false),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_says_and_no_more() {
        let parse = |line: &str| Report::parse(line.as_bytes());
        let up = parse("up 75%\r\n").unwrap();
        assert_eq!(
            (up.is_up, up.weight_percent, up.duty),
            (Some(true), Some(75), None)
        );
        let down = parse("DOWN,drain # disk\x07 full\n").unwrap();
        assert_eq!((down.is_up, down.duty), (Some(false), Some(Duty::Drain)));
        assert_eq!(down.reason, "disk full");
        assert_eq!(parse("ready maxconn:30").unwrap().duty, Some(Duty::Ready));
        assert_eq!(parse("0%").unwrap().weight_percent, Some(0));
        for line in ["", "\n", "hello", "-5%", "99999%", "# up"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
