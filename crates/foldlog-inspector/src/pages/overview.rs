//! The overview: whether anything is stuck, how much there is, what happened last.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use foldlog::{FileStatistics, Filter, Query, RecordedEvent, serde_json};
use maud::{Markup, html};

use super::shell::{self, Nav};
use super::{Page, storage};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::days::Days;
use crate::reading::health::{Condition, Reader, Readers};
use crate::reading::verify::Verification;
use crate::view::number::{bytes, count, counted, percent};
use crate::view::{chart, link, text, time};

/// The newest events that are shown.
const NEWEST: u64 = 8;
/// Event types that are shown.
const MOST_TYPES: usize = 10;

/// What the file holds, over all tenants that are shown.
struct Figures {
    file: FileStatistics,
    by_type: BTreeMap<String, u64>,
    aggregates: u64,
    aggregate_types: usize,
    snapshots: u64,
    snapshot_size: u64,
    newest_snapshot: Option<DateTime<Utc>>,
    tenants: usize,
}

impl Figures {
    fn read(app: &App) -> foldlog::Result<Figures> {
        let tenants = app.tenants()?;
        let mut figures = Figures {
            file: app.store.file_statistics()?,
            by_type: BTreeMap::new(),
            aggregates: 0,
            aggregate_types: 0,
            snapshots: 0,
            snapshot_size: 0,
            newest_snapshot: None,
            tenants: tenants.len(),
        };
        let mut snapshot_bytes = 0;
        for tenant in &tenants {
            let store = app.store.tenant(tenant);
            let statistics = store.statistics()?;
            figures.aggregates += statistics.aggregates;
            for (event_type, events) in statistics.events_by_type {
                *figures.by_type.entry(event_type).or_default() += events;
            }
            figures.aggregate_types += store.aggregate_types()?.len();
            let snapshots = store.snapshot_statistics()?;
            figures.snapshots += snapshots.total_snapshots;
            snapshot_bytes += snapshots.average_snapshot_size * snapshots.total_snapshots;
            figures.newest_snapshot = figures.newest_snapshot.max(snapshots.newest_snapshot);
        }
        figures.snapshot_size = snapshot_bytes.checked_div(figures.snapshots).unwrap_or(0);
        Ok(figures)
    }

    fn events(&self) -> u64 {
        self.by_type.values().sum()
    }
}

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let days = request.number("days").unwrap_or(60).clamp(7, 366);
    let figures = Figures::read(app)?;
    let newest: Vec<RecordedEvent> =
        app.store.read(Query::matching(app.all(Filter::new())).newest_first().limit(NEWEST)).collect::<Result<_, _>>()?;
    let readers = app.readers()?;
    let name = app.name();
    let content = html! {
        div.head {
            div {
                h1 { (text::text_up_to(&name, 200)) }
                p.facts {
                    @if let Some(path) = app.store.path() { span.mono { (text::text(&path.to_string_lossy())) } }
                    @if figures.tenants > 1 { span { (counted(figures.tenants as u64, "tenant", "tenants")) } }
                }
            }
            div.end { span.chip.line #live data-live="page" { "Updates when the page is opened" } }
        }
        div #news {
        (notice(&readers))
        (summary(&figures, newest.first()))
        @match newest.first() {
            None => (empty()),
            Some(_) => (events(app, &figures, &newest, &readers, days)?),
        }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Overview, &name, &content)))
}

fn events(app: &App, figures: &Figures, newest: &[RecordedEvent], readers: &Readers, days: u64) -> foldlog::Result<Markup> {
    let days = Days::last(app, days)?;
    Ok(html! {
        div.cols {
            div {
                section.block {
                    div.bar-h {
                        h2 { "Events per day" }
                        div.end { span { (count(days.total())) " in " (days.events.len()) " days" } }
                    }
                    (chart::days(&days, 174.0, false, None))
                    (chart::days_table(&days))
                }
                section.block data-rows {
                    div.bar-h { h2 { "Newest events" } div.end { a href="/log" { "The whole log" } } }
                    (table(newest))
                }
            }
            div {
                section.block { div.bar-h { h2 { "Health" } } (health(app, figures, readers)) }
                section.block { div.bar-h { h2 { "Event types" } @if figures.by_type.len() > MOST_TYPES { div.end { (figures.by_type.len()) } } } (types(figures)) }
            }
        }
    })
}

fn empty() -> Markup {
    html! {
        div.empty {
            h3 { "No events yet" }
            p { "The first append fills this page; it follows what is written." }
            pre { "store.append(\"order\", \"o-1\", Expected::New, [NewEvent::new(\"Placed\", &data)?])?;" }
        }
    }
}

fn notice(readers: &Readers) -> Markup {
    let troubled: Vec<&Reader> = readers.troubled().collect();
    html! {
        @if !troubled.is_empty() {
            p.notice.bad {
                strong { (counted(troubled.len() as u64, "thing", "things")) " stopped." }
                span {
                    @for reader in troubled.iter().take(4) {
                        @let href = super::delivery::path(reader);
                        (capital(reader.status.kind.as_str())) " " a href=(href) { (text::text_up_to(&reader.status.name, 60)) }
                        @match &reader.status.failure {
                            Some(failure) => { " failed at position " (count(failure.position.get())) ". " }
                            None => { " has " (counted(reader.dead(), "dead letter", "dead letters")) ". " }
                        }
                    }
                    @if troubled.len() > 4 { "And " a href="/delivery" { (troubled.len() - 4) " more" } "." }
                }
            }
        }
    }
}

pub(crate) fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

fn summary(figures: &Figures, newest: Option<&RecordedEvent>) -> Markup {
    let events = figures.events();
    html! {
        dl.figures {
            div { dt { "Events" } dd { (count(events)) } dd.note { "of " (counted(figures.by_type.len() as u64, "type", "types")) } }
            div { dt { "Aggregates" } dd { (count(figures.aggregates)) } dd.note { "of " (counted(figures.aggregate_types as u64, "type", "types")) } }
            div {
                dt { "Newest event" }
                dd { @match newest { Some(event) => (time::ago(event.created_at)), None => "none" } }
                dd.note { "position " (count(figures.file.last_position.get())) }
            }
            div {
                dt { "Snapshots" } dd { (count(figures.snapshots)) }
                dd.note { @if figures.snapshots > 0 { (bytes(figures.snapshot_size)) " each on average" } @else { "none yet" } }
            }
            div {
                dt { "File" } dd { (bytes(figures.file.size_bytes)) }
                dd.note { @match figures.file.size_bytes.checked_div(figures.file.events) { Some(each) => { (count(each)) " bytes an event, all told" }, None => "no events" } }
            }
        }
    }
}

/// Events in a table: also on the log's page without its opened rows.
fn table(events: &[RecordedEvent]) -> Markup {
    html! {
        table.cards {
            thead { tr { th { "Time" } th { "Type" } th { "Aggregate" } th { "Data" } th.num { "Position" } } }
            tbody {
                @for event in events {
                    tr {
                        td.c-time.nowrap.muted { (time::of_day(event.created_at)) }
                        td.c-type.nowrap { a href=(link::event(event)) { (text::text_up_to(&event.event_type, 60)) } }
                        td.c-agg.nowrap { (link::aggregate(event)) }
                        td.clip.full.muted { (link::summary(event)) }
                        td.num.muted.skip-s { (count(event.position.get())) }
                    }
                }
            }
        }
    }
}

fn health(app: &App, figures: &Figures, readers: &Readers) -> Markup {
    let line = |class: &str, what: Markup, figure: String, more: Markup| {
        let sign = match class {
            "bad" => "✕",
            "warn" => "!",
            _ => "✓",
        };
        html! { li { span class={ "mark " (class) } { (sign) } span { (what) } b { (figure) } p { (more) } } }
    };
    let troubled: Vec<&Reader> = readers.all.iter().filter(|reader| reader.condition() < Condition::Behind).collect();
    let fine = readers.all.len() - troubled.len();
    html! {
        ul.health {
            @for reader in troubled.iter().take(6) {
                @let class = if reader.condition() <= Condition::HasDeadLetters { "bad" } else { "warn" };
                @let href = super::delivery::path(reader);
                @let figure = if reader.condition() == Condition::HasDeadLetters { reader.state() } else { format!("{} behind", count(reader.status.lag)) };
                (line(class, html! { (capital(reader.status.kind.as_str())) " " a href=(href) { (text::text_up_to(&reader.status.name, 40)) } @if reader.condition() == Condition::Stopped { " stopped" } }, figure, html! {
                    @match (&reader.status.failure, &reader.outbox) {
                        (Some(failure), _) => { "position " (count(failure.position.get())) ": " (text::text_up_to(&failure.reason, 200)) }
                        (None, Some(outbox)) if outbox.dead > 0 => { (counted(outbox.waiting, "event waits", "events wait")) " behind them" }
                        _ if reader.condition() == Condition::Paused => "it is paused",
                        _ => "no runner leads it"
                    }
                }))
            }
            @if readers.all.is_empty() {
                (line("ok", html! { "Readers" }, "none".to_owned(), html! { "no subscription, projection or outbox in this file" }))
            } @else if fine > 0 {
                (line("ok", html! { a href="/delivery" { "Readers" } }, format!("{} of {}", fine, readers.all.len()), html! { "follow the log" }))
            }
            (line("ok", html! { "Snapshots" }, count(figures.snapshots), html! {
                @match figures.newest_snapshot { Some(newest) => { "the newest " (time::ago(newest)) }, None => "replays fold every event" }
            }))
            @let wal = storage::wal_bytes(app);
            @let is_large = wal > storage::LARGE_WAL;
            (line(if is_large { "warn" } else { "ok" }, html! { "Write-ahead log" }, bytes(wal), html! {
                @if is_large { "larger than usual: a reader may hold an old page" } @else { "it is emptied into the file from time to time" }
            }))
            @match &*app.verification.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
                Verification::None => (line("warn", html! { a href="/storage#verify" { "Verify" } }, "not run".to_owned(), html! { "not since this inspector started" })),
                Verification::Running { .. } => (line("warn", html! { a href="/storage#verify" { "Verify" } }, "running".to_owned(), html! { "reads the whole file" })),
                Verification::Done { at, took, result } => @match result {
                    Ok(report) if report.is_clean() => (line("ok", html! { a href="/storage#verify" { "Last verify" } }, "no damage".to_owned(), html! { (count(report.events)) " events in " (format!("{:.1} s", took.as_secs_f64())) ", " (time::ago(*at)) })),
                    Ok(report) => (line("bad", html! { a href="/storage#verify" { "Last verify" } }, format!("{} damages", count(report.damage_count)), html! { (time::ago(*at)) })),
                    Err(error) => (line("bad", html! { a href="/storage#verify" { "Last verify" } }, "failed".to_owned(), text::text_up_to(error, 300))),
                }
            }
        }
    }
}

fn types(figures: &Figures) -> Markup {
    let mut types: Vec<(&String, u64)> = figures.by_type.iter().map(|(name, events)| (name, *events)).collect();
    types.sort_by_key(|(name, events)| (std::cmp::Reverse(*events), (*name).clone()));
    let most = types.first().map_or(1, |(_, events)| *events);
    let (all, rest) = (figures.events(), types.iter().skip(MOST_TYPES).map(|(_, events)| events).sum::<u64>());
    html! {
        table.types {
            thead.sr { tr { th { "Type" } th { "Share, as a bar" } th { "Events" } th { "Share" } } }
            tbody {
                @for (name, events) in types.iter().take(MOST_TYPES) {
                    tr {
                        td.clip { a href=(link::url("/log", &[("type", name.as_str())])) { (text::text_up_to(name, 60)) } }
                        td { (chart::meter(*events, most, "soft")) }
                        td.num { (count(*events)) }
                        td.num.muted { (percent(*events, all)) }
                    }
                }
                @if rest > 0 { tr { td.muted { (types.len() - MOST_TYPES) " more" } td {} td.num { (count(rest)) } td.num.muted { (percent(rest, all)) } } }
            }
        }
    }
}

pub(crate) fn json(app: &App) -> Page {
    let figures = Figures::read(app)?;
    let body = serde_json::json!({
        "events": figures.events(),
        "eventsByType": figures.by_type,
        "aggregates": figures.aggregates,
        "tenants": figures.tenants,
        "snapshots": figures.snapshots,
        "lastPosition": figures.file.last_position,
        "sizeBytes": figures.file.size_bytes,
    });
    Ok(Answer::json(200, body.to_string()))
}
