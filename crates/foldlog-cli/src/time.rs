//! Times: read in several forms, shown in one.

use chrono::{DateTime, Days, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};

/// How times are shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Zone {
    pub(crate) is_local: bool,
}

impl Zone {
    /// `2026-11-02 10:14:07`
    pub(crate) fn show(self, time: DateTime<Utc>) -> String {
        let text = match self.is_local {
            true => time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string(),
            false => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        };
        // Years of more than four digits have a sign.
        text.trim_start_matches('+').to_owned()
    }

    pub(crate) fn name(self) -> String {
        if self.is_local { Local::now().format("%:z").to_string() } else { "UTC".to_owned() }
    }
}

/// `3 minutes ago`
pub(crate) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = now.signed_duration_since(time).num_seconds();
    let (what, is_past) = (seconds.unsigned_abs(), seconds >= 0);
    let (count, unit) = match what {
        0..=1 => return "just now".to_owned(),
        2..=119 => (what, "seconds"),
        120..=7_199 => (what / 60, "minutes"),
        7_200..=172_799 => (what / 3_600, "hours"),
        172_800..=63_071_999 => (what / 86_400, "days"),
        _ => (what / 31_536_000, "years"),
    };
    if is_past { format!("{count} {unit} ago") } else { format!("in {count} {unit}") }
}

/// Reads a time: RFC 3339, a date with or without a time (UTC), `now`, `today`, `yesterday`, or how long ago: `90s`, `15m`,
/// `2h`, `7d`, `2w`, also together as in `1d12h`.
pub(crate) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    parse_at(text, Utc::now())
}

fn parse_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    match text {
        "now" => return Ok(now),
        "today" => return Ok(midnight(now.date_naive())),
        "yesterday" => return Ok(midnight(now.date_naive().checked_sub_days(Days::new(1)).unwrap_or_default())),
        _ => {}
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            return Ok(time.and_utc());
        }
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(midnight(date));
    }
    if let Some(ago) = duration(text) {
        return now.checked_sub_signed(ago).ok_or_else(|| format!("{text:?} is too long ago"));
    }
    Err(format!("{text:?} is not a time: give one like 2026-11-02T12:00:00Z, 2026-11-02, yesterday, 7d or 2h30m"))
}

/// Reads a length of time as [`parse`] does: `90d`, `1d12h`.
pub(crate) fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let read = duration(text.trim()).and_then(|duration| duration.to_std().ok());
    read.ok_or_else(|| format!("{text:?} is not a length of time: give one like 90d, 12h or 1d12h"))
}

fn duration(text: &str) -> Option<TimeDelta> {
    let (mut sum, mut digits) = (TimeDelta::zero(), String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let seconds = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let count: i64 = digits.parse().ok()?;
        sum = sum.checked_add(&TimeDelta::try_seconds(count.checked_mul(seconds)?)?)?;
        digits.clear();
    }
    (digits.is_empty() && !text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let now: DateTime<Utc> = "2026-11-27T14:03:00Z".parse().unwrap();
        for (text, time) in [
            ("2026-11-02T12:00:00Z", "2026-11-02T12:00:00Z"),
            ("2026-11-02T12:00:00.25+02:00", "2026-11-02T10:00:00.25Z"),
            ("2026-11-02 12:30", "2026-11-02T12:30:00Z"),
            ("2026-11-02", "2026-11-02T00:00:00Z"),
            ("yesterday", "2026-11-26T00:00:00Z"),
            ("today", "2026-11-27T00:00:00Z"),
            ("7d", "2026-11-20T14:03:00Z"),
            ("1d2h30m", "2026-11-26T11:33:00Z"),
        ] {
            assert_eq!(parse_at(text, now).unwrap(), time.parse::<DateTime<Utc>>().unwrap(), "{text}");
        }
        for text in ["", "7", "d", "7y", "-1d", "99999999999999999999d", "9223372036854775807w", "2026-13-01", "soon"] {
            assert!(parse_at(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_long_ago_is_said_in_large_units() {
        let now: DateTime<Utc> = "2026-11-27T14:03:00Z".parse().unwrap();
        for (time, said) in [
            ("2026-11-27T14:02:59Z", "just now"),
            ("2026-11-27T14:02:00Z", "60 seconds ago"),
            ("2026-11-27T14:00:00Z", "3 minutes ago"),
            ("2026-11-26T14:03:00Z", "24 hours ago"),
            ("2026-01-01T00:00:00Z", "330 days ago"),
            ("1970-01-01T00:00:00Z", "56 years ago"),
            ("2026-11-27T14:08:00Z", "in 5 minutes"),
        ] {
            assert_eq!(ago(time.parse().unwrap(), now), said, "{time}");
        }
    }
}
