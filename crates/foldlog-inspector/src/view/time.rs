//! Times, in UTC, and how far they are apart.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

/// `2026-11-24 23:22:25`.
pub(crate) fn second(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time with its exact value as a hint.
pub(crate) fn at(time: DateTime<Utc>) -> Markup {
    html! { time datetime=(time.to_rfc3339()) title=(exact(time)) { (second(time)) } }
}

/// The time of day, for lists that say the day.
pub(crate) fn of_day(time: DateTime<Utc>) -> Markup {
    html! { time datetime=(time.to_rfc3339()) title=(exact(time)) { (time.format("%H:%M:%S")) } }
}

pub(crate) fn exact(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f UTC").to_string()
}

/// `Friday 06 November 2026`.
pub(crate) fn day(time: DateTime<Utc>) -> String {
    time.format("%A %d %B %Y").to_string()
}

/// `9 h ago`.
pub(crate) fn ago(time: DateTime<Utc>) -> String {
    let passed = Utc::now() - time;
    if passed < TimeDelta::zero() { format!("in {}", gap(-passed)) } else { format!("{} ago", gap(passed)) }
}

/// `48 µs`, `1.8 s`: how long something took.
pub(crate) fn short(took: std::time::Duration) -> String {
    let micros = took.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.1} ms", took.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}

/// `2 h 39 min`. Clocks may go backwards, so it may be negative.
pub(crate) fn gap(gap: TimeDelta) -> String {
    let millis = gap.num_milliseconds();
    if millis < 0 {
        return format!("−{}", self::gap(-gap));
    }
    let seconds = gap.num_seconds();
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..36_000 if seconds % 3_600 >= 60 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..5_184_000 => format!("{} d", seconds / 86_400),
        5_184_000..63_072_000 => format!("{} mo", seconds / 2_629_746),
        _ => format!("{} y", seconds / 31_556_952),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_that_fits() {
        let of = |micros| short(std::time::Duration::from_micros(micros));
        assert_eq!([48, 1_840, 12_345, 1_840_000].map(of), ["48 µs", "1.8 ms", "12 ms", "1.8 s"]);
    }

    #[test]
    fn gaps_are_short() {
        let of = |seconds| gap(TimeDelta::seconds(seconds));
        assert_eq!(
            [0, 59, 60, 9_540, 3_600, 86_399, 86_400 * 3].map(of),
            ["0 ms", "59 s", "1 min", "2 h 39 min", "1 h", "23 h", "3 d"]
        );
        assert_eq!((of(-5), gap(TimeDelta::milliseconds(12))), ("−5 s".to_owned(), "12 ms".to_owned()));
    }
}
