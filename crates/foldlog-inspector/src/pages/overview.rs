//! The overview: whether anything is stuck, how much there is, what happened last.

use foldlog::{Filter, Query, RecordedEvent, Verified, VerifyReport, serde_json};
use maud::{Markup, html};

use super::shell::{self, Nav};
use super::{Page, storage};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::contents::{Contents, Snapshots};
use crate::reading::days::Days;
use crate::reading::health::{Condition, Reader, Readers};
use crate::reading::verify::Verification;
use crate::view::number::{bytes, count, counted, percent};
use crate::view::{chart, link, text, time};

/// The newest events that are shown.
const NEWEST: u64 = 8;
/// Event types that are shown.
const MOST_TYPES: usize = 10;

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let days = request.number("days").unwrap_or(60).clamp(7, 366);
    let (contents, snapshots) = (Contents::of(app)?, Snapshots::of(app)?);
    let figures = Figures { contents: &contents, snapshots: &snapshots, days: Days::last(app, days)? };
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
                    @let tenants = contents.tenants().len();
                    @if tenants > 1 { span { (counted(tenants as u64, "tenant", "tenants")) } }
                }
            }
            div.end { span.chip.line #live data-live="page" { "Updates when the page is opened" } }
        }
        div #news {
        (notice(&readers))
        (summary(&figures, newest.first()))
        @match newest.first() {
            None => (empty()),
            Some(_) => (events(app, &figures, &newest, &readers)?),
        }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Overview, &name, &content)))
}

fn events(app: &App, figures: &Figures<'_>, newest: &[RecordedEvent], readers: &Readers) -> foldlog::Result<Markup> {
    let (days, types) = (&figures.days, figures.contents.event_types());
    let verified = app.store.maintenance().last_verified();
    Ok(html! {
        div.cols {
            div {
                section.block {
                    div.bar-h {
                        h2 { "Events per day" }
                        div.end { span { (count(days.total())) " in " (days.events.len()) " days" } }
                    }
                    (chart::days(days, 174.0, false, None))
                    (chart::days_table(days))
                }
                section.block data-rows {
                    div.bar-h { h2 { "Newest events" } div.end { a href="/log" { "The whole log" } } }
                    (table(newest))
                }
            }
            div {
                section.block { div.bar-h { h2 { "Health" } } (health(app, figures.snapshots, readers, verified.as_ref())) }
                section.block { div.bar-h { h2 { "Event types" } @if types.len() > MOST_TYPES { div.end { (types.len()) } } } (types_table(&types)) }
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

/// What the figures and the chart are made of.
struct Figures<'a> {
    contents: &'a Contents,
    snapshots: &'a Snapshots,
    days: Days,
}

fn summary(figures: &Figures<'_>, newest: Option<&RecordedEvent>) -> Markup {
    let Figures { contents, snapshots, days } = figures;
    let file = &contents.file;
    html! {
        dl.figures {
            div {
                dt { "Events" } dd { (count(contents.events())) }
                dd.note { @match days.each().next_back() { Some((day, events)) => { (count(events)) " on " (day.format("%-d %b")) }, None => "none yet" } }
            }
            div { dt { "Aggregates" } dd { (count(contents.aggregates())) } dd.note { "of " (counted(contents.aggregate_types(None).len() as u64, "type", "types")) } }
            div {
                dt { "Newest event" }
                dd { @match newest { Some(event) => (time::ago(event.created_at)), None => "none" } }
                dd.note { "position " (count(file.last_position.get())) }
            }
            div {
                dt { "Snapshots" } dd { (count(snapshots.count())) }
                dd.note { @match snapshots.state_bytes().checked_div(snapshots.count()) { Some(each) => { (bytes(each)) " each on average" }, None => "none yet" } }
            }
            div {
                dt { "File" } dd { (bytes(file.size_bytes)) }
                dd.note { @match file.size_bytes.checked_div(file.events) { Some(each) => { (count(each)) " bytes an event, all told" }, None => "no events" } }
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

fn health(app: &App, snapshots: &Snapshots, readers: &Readers, verified: Result<&Option<Verified>, &foldlog::Error>) -> Markup {
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
            @let others = snapshots.of_other_folds(app);
            (line(if others > 0 { "warn" } else { "ok" }, html! { a href="/storage#snapshots" { "Snapshots" } }, count(snapshots.count()), html! {
                @if others > 0 { (count(others)) " of another fold than today's: replays pass over them" }
                @else { @match snapshots.of_types.iter().map(|of_type| of_type.newest).max() { Some(newest) => { "the newest " (time::ago(newest)) }, None => "replays fold every event" } }
            }))
            @let wal = storage::wal_bytes(app);
            @let is_large = wal > storage::LARGE_WAL;
            (line(if is_large { "warn" } else { "ok" }, html! { "Write-ahead log" }, bytes(wal), html! {
                @if is_large { "larger than usual: a reader may hold an old page" } @else { "it is emptied into the file from time to time" }
            }))
            (verify_line(app, verified, line))
        }
    }
}

/// What the last verification found: this inspector's, or the one that was noted in the file.
fn verify_line(
    app: &App,
    noted: Result<&Option<Verified>, &foldlog::Error>,
    line: impl Fn(&str, Markup, String, Markup) -> Markup,
) -> Markup {
    let link = html! { a href="/storage#verify" { "Last verify" } };
    let found =
        |damages: u64| if damages == 0 { ("ok", "no damage".to_owned()) } else { ("bad", counted(damages, "damage", "damages")) };
    let of_report = |report: &VerifyReport| found(report.damage_count);
    match &*app.verification.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Verification::Running { .. } => line("warn", link, "running".to_owned(), html! { "reads the whole file" }),
        Verification::Done { at, took, result: Ok(report), .. } => {
            let (class, figure) = of_report(report);
            line(
                class,
                link,
                figure,
                html! { (count(report.events)) " events in " (format!("{:.1} s", took.as_secs_f64())) ", " (time::ago(*at)) },
            )
        }
        Verification::Done { result: Err(error), .. } => line("bad", link, "failed".to_owned(), text::text_up_to(error, 300)),
        Verification::None => match noted {
            Ok(Some(noted)) => {
                let (class, figure) = found(noted.damage_count);
                line(class, link, figure, html! { "up to position " (count(noted.position.get())) ", " (time::ago(noted.at)) })
            }
            Ok(None) => line("warn", link, "not run".to_owned(), html! { "no result is noted in the file" }),
            Err(error) => line("bad", link, "unreadable".to_owned(), text::text_up_to(&error.to_string(), 300)),
        },
    }
}

fn types_table(types: &[(&str, u64)]) -> Markup {
    let most = types.first().map_or(1, |(_, events)| *events);
    let all = types.iter().map(|(_, events)| events).sum();
    let rest = types.iter().skip(MOST_TYPES).map(|(_, events)| events).sum::<u64>();
    html! {
        table.types {
            thead.sr { tr { th { "Type" } th { "Share, as a bar" } th { "Events" } th { "Share" } } }
            tbody {
                @for (name, events) in types.iter().take(MOST_TYPES) {
                    tr {
                        td.clip { a href=(link::url("/log", &[("type", name)])) { (text::text_up_to(name, 60)) } }
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
    let (contents, snapshots) = (Contents::of(app)?, Snapshots::of(app)?);
    let last = app.store.read(Query::matching(app.all(Filter::new())).newest_first().limit(1)).next().transpose()?;
    let (states, kept) = (snapshots.state_bytes(), snapshots.count());
    let aggregate_types: Vec<_> = contents
        .types
        .iter()
        .map(|of| serde_json::json!({ "tenant": of.tenant, "aggregateType": of.aggregate_type, "aggregates": of.aggregates, "events": of.events }))
        .collect();
    let event_types: Vec<_> = contents
        .event_types()
        .into_iter()
        .map(|(event_type, events)| serde_json::json!({ "eventType": event_type, "events": events }))
        .collect();
    // The members of `foldlog stats --json`, of all tenants that are shown.
    let body = serde_json::json!({
        "file": app.name(),
        "tenants": contents.tenants().into_iter().map(|(tenant, _)| tenant).collect::<Vec<_>>(),
        "wholeFile": contents.file,
        "walBytes": storage::wal_bytes(app),
        "events": contents.events(),
        "aggregates": contents.aggregates(),
        "aggregateTypes": aggregate_types,
        "eventTypes": event_types,
        "lastEventAt": last.map(|event| event.created_at),
        "snapshots": { "count": kept, "averageBytes": states.checked_div(kept).unwrap_or(0) },
        "verified": app.store.maintenance().last_verified()?,
    });
    Ok(Answer::json(200, body.to_string()))
}
