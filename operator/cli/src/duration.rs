//! Times as people write them: `90s`, `5m`, `1h30m`, `2d`.

use std::time::Duration;

/// A length of time in whole seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(u32);

impl Span {
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_secs(span.0.into())
    }
}

/// The time `text` says.
///
/// # Errors
/// What is wrong with it, with an example.
pub fn parse(text: &str) -> Result<Span, String> {
    let bad = || format!("`{text}` is not a time: write 90s, 5m, 1h30m or 2d");
    let mut seconds: u32 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u32 = rest[..end].parse().map_err(|_| bad())?;
        let unit = match rest.as_bytes()[end] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return Err(bad()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = &rest[end + 1..];
    }
    if seconds == 0 { Err(bad()) } else { Ok(Span(seconds)) }
}

/// `seconds` in the two largest units that say something: `1h30m`, `2d`, `45s`.
pub fn text(seconds: u32) -> String {
    let parts = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, letter) in parts {
        if rest >= unit {
            words.push(format!("{}{letter}", rest / unit));
            rest %= unit;
        }
    }
    words.truncate(2);
    if words.is_empty() { "0s".to_owned() } else { words.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(parse(text).unwrap().seconds(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "10", "h", "0s", "-1s", "1w", "1é", "99999999999s", "4294967295d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_in_their_largest_units() {
        for (seconds, expected) in [(0, "0s"), (45, "45s"), (5_400, "1h30m"), (172_800, "2d"), (90_061, "1d1h")] {
            assert_eq!(text(seconds), expected);
        }
    }
}
