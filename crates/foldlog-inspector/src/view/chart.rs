//! Charts, as SVG whose geometry is in percent, and the same numbers as tables.

use chrono::{Datelike, NaiveDate, Weekday};
use maud::{Markup, html};

use super::number::{count, counted};
use crate::reading::days::{Days, midnight};

/// Room for the labels above and below the bars.
const TOP: f64 = 14.0;
const BOTTOM: f64 = 24.0;

/// Events for each day as bars. `selected`: the days that are chosen, for the brush.
pub(crate) fn days(days: &Days, height: f64, brush: bool, selected: Option<(NaiveDate, NaiveDate)>) -> Markup {
    let most = days.events.iter().copied().max().unwrap_or(0);
    let step = step(most);
    let top = step.saturating_mul(most.div_ceil(step).max(1));
    let (n, floor) = (days.events.len().max(1) as f64, height - BOTTOM);
    let y = |events: u64| floor - (floor - TOP) * events as f64 / top as f64;
    let x = |day: usize| day as f64 * 100.0 / n;
    let lines: Vec<u64> = (0..=top / step).map(|line| line * step).collect();
    let is_selected = |day: NaiveDate| selected.is_some_and(|(from, to)| day >= from && day <= to);
    let range = range_of(days, selected);
    let first = midnight(days.first).timestamp_millis();
    html! {
        figure {
            svg class=(if brush { "chart brush" } else { "chart" }) width="100%" height=(height) role="img" aria-label=(label(days))
                data-n=[brush.then_some(days.events.len())] data-t0=[brush.then_some(first)] {
                @for line in &lines { line.grid x1="0" x2="100%" y1=(px(y(*line))) y2=(px(y(*line))) {} }
                @if brush {
                    @let (from, to) = range.unwrap_or((0, 0));
                    rect.sel x=(pc(x(from))) width=(pc(x(to) - x(from))) y="0" height=(px(floor)) {}
                    line class=(if range.is_some() { "edge e0" } else { "edge e0 none" }) x1=(pc(x(from))) x2=(pc(x(from))) y1="0" y2=(px(floor)) {}
                    line class=(if range.is_some() { "edge e1" } else { "edge e1 none" }) x1=(pc(x(to))) x2=(pc(x(to))) y1="0" y2=(px(floor)) {}
                }
                @for (place, (day, events)) in days.each().enumerate() {
                    @let tall = if events == 0 { 0.0 } else { (floor - y(events)).max(1.2) };
                    rect class=(if is_selected(day) { "bar hot" } else { "bar" }) x=(pc(x(place) + 10.0 / n)) width=(pc(80.0 / n))
                        y=(px(floor - tall)) height=(px(tall)) rx="1" { title { (day.format("%a %d %b %Y")) ": " (counted(events, "event", "events")) } }
                }
                @for line in lines.iter().skip(1) { text.ylab x="0" y=(px(y(*line) - 4.0)) { (short(*line)) } }
                @for (number, (place, day)) in mondays(days).into_iter().enumerate() {
                    text class=[(number % 2 == 1).then_some("alt")] x=(pc(x(place) + 50.0 / n)) y=(px(height - 7.0)) text-anchor="middle" { (day.format("%-d %b")) }
                }
            }
        }
    }
}

/// The same numbers as a table, newest first.
pub(crate) fn days_table(days: &Days) -> Markup {
    html! {
        details.asTable {
            summary { "Show as table" }
            div.scroll tabindex="0" {
                table {
                    thead { tr { th { "Day" } th.num { "Events" } } }
                    tbody { @for (day, events) in days.each().rev() { tr { td { (day) } td.num { (count(events)) } } } }
                }
            }
        }
    }
}

fn label(days: &Days) -> String {
    let Some((last, _)) = days.each().next_back() else { return "No events".to_owned() };
    let (day, most) = days.each().max_by_key(|(_, events)| *events).unwrap_or((last, 0));
    let range = format!("{} to {}", days.first.format("%-d %b"), last.format("%-d %b %Y"));
    format!("Events per day, {range}; most on {}: {}", day.format("%-d %b"), count(most))
}

/// The places of the first and the end of the last selected day.
fn range_of(days: &Days, selected: Option<(NaiveDate, NaiveDate)>) -> Option<(usize, usize)> {
    let (from, to) = selected?;
    let first = days.each().position(|(day, _)| day >= from)?;
    let last = days.each().rposition(|(day, _)| day <= to)?;
    (first <= last).then_some((first, last + 1))
}

fn mondays(days: &Days) -> Vec<(usize, NaiveDate)> {
    let all = days.each().enumerate().filter(|(_, (day, _))| day.weekday() == Weekday::Mon);
    all.map(|(place, (day, _))| (place, day)).filter(|(place, _)| *place + 1 < days.events.len()).collect()
}

/// The distance between two lines: 1, 2, 3, 4, 5 or 6 of some power of ten, so that there are at most four.
fn step(most: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        if let Some(step) = (1..=6).map(|n| n * unit).find(|step| step * 3 >= most) {
            return step;
        }
        unit = unit.saturating_mul(10);
    }
}

fn short(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{}k", number as f64 / 1_000.0),
        _ => format!("{}M", number as f64 / 1_000_000.0),
    }
}

pub(crate) fn pc(percent: f64) -> String {
    format!("{percent:.3}%")
}

pub(crate) fn px(pixels: f64) -> String {
    format!("{pixels:.1}")
}

/// A line over time: how the values went, the oldest first.
pub(crate) fn line(values: &[u64], label: &str) -> Markup {
    const HEIGHT: f64 = 56.0;
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = 1_000.0 / values.len().saturating_sub(1).max(1) as f64;
    let y = |value: u64| HEIGHT - 4.0 - (HEIGHT - 8.0) * value as f64 / most;
    let points: Vec<String> =
        values.iter().enumerate().map(|(place, value)| format!("{},{}", px(place as f64 * step), px(y(*value)))).collect();
    html! {
        svg.chart.trend viewBox="0 0 1000 56" preserveAspectRatio="none" height="56" role="img" aria-label=(label) {
            line.grid x1="0" x2="1000" y1="52" y2="52" {}
            polyline points=(points.join(" ")) {}
        }
    }
}

/// A bar that shows a share.
pub(crate) fn meter(part: u64, whole: u64, class: &str) -> Markup {
    let width = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    html! {
        svg.meter viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.rail width="100" height="6" {}
            rect class={ "fill " (class) } width=(format!("{width:.2}")) height="6" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_few_round_lines() {
        assert_eq!([0, 1, 3, 4, 10, 11_434, 999].map(step), [1, 1, 1, 2, 4, 4_000, 400]);
        assert_eq!([4_000, 12_000, 999, 1_500, 2_000_000].map(short), ["4k", "12k", "999", "1.5k", "2M"]);
    }
}
