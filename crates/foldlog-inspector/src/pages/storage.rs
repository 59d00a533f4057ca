//! Storage: the file, snapshots, and a verification on request.

use std::sync::PoisonError;

use foldlog::{FileStatistics, SnapshotsOfType, SubscriptionKind, TableSize, VerifyReport, VerifyStep, serde_json};
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::contents::{Contents, Snapshots};
use crate::reading::verify::{Taken, Verification};
use crate::view::number::{bytes, count, counted, percent};
use crate::view::{chart, link, text, time};

/// A write-ahead log above this size is worth a look.
pub(crate) const LARGE_WAL: u64 = 64_000_000;

/// The size of the write-ahead log; 0 in memory, or if there is none.
pub(crate) fn wal_bytes(app: &App) -> u64 {
    let Some(path) = app.store.path() else { return 0 };
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |wal| wal.len())
}

/// A file above this size is read for the table of tables only on request.
const SMALL_FILE: u64 = 100_000_000;
/// Tables that are shown by name.
const MOST_TABLES: usize = 14;

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let file = app.store.file_statistics()?;
    let is_verifying = matches!(&*app.verification.lock().unwrap_or_else(PoisonError::into_inner), Verification::Running { .. });
    let content = html! {
        div.head {
            div {
                h1 { "Storage" }
                p.facts {
                    span { "file " b { (bytes(file.size_bytes)) } } span { "write-ahead log " b { (bytes(wal_bytes(app))) } }
                    span { "free pages " b { (bytes(file.free_bytes)) } } span { "format " b { (file.format) } }
                    @if let Some(each) = file.size_bytes.checked_div(file.events) { span { b { (count(each)) } " bytes an event, all told" } }
                }
            }
            @if is_verifying { div.end { span.chip.line #live data-live="poll" { "Verifying" } } }
        }
        div #news {
            (tables(app, request, &file)?)
            (types(app)?)
            (snapshots(app)?)
            (archive(app, &file))
            (verification(app))
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Storage, "Storage", &content)))
}

/// What each table and index takes, with the words for it.
fn sizes(app: &App) -> foldlog::Result<Vec<(String, TableSize)>> {
    let mut models = std::collections::BTreeSet::new();
    for reader in &app.readers()?.all {
        if reader.status.kind == SubscriptionKind::Projection {
            models.insert(reader.status.name.clone());
        }
    }
    let word = |size: &TableSize| match size.name.as_str() {
        "sqlite_autoindex_aggregates_1" => "index: aggregates by id".to_owned(),
        "sqlite_autoindex_events_1" => "index: events by position".to_owned(),
        name if name != size.table => format!("index: {}", name.strip_prefix("sqlite_autoindex_").unwrap_or(name)),
        name if models.iter().any(|model| name.starts_with(model.as_str())) => format!("{name} (read model)"),
        name => name.to_owned(),
    };
    Ok(app.store.table_sizes()?.into_iter().map(|size| (word(&size), size)).collect())
}

fn tables(app: &App, request: &Request, file: &FileStatistics) -> foldlog::Result<Markup> {
    if file.size_bytes > SMALL_FILE && request.get("tables").is_none() {
        return Ok(html! {
            section.block #tables {
                div.bar-h { h2 { "Bytes by table" } }
                p { "This reads every page of the file, " (bytes(file.size_bytes)) ". " a.button.copy href="/storage?tables=1#tables" { "Read them" } }
            }
        });
    }
    let sizes = sizes(app)?;
    let all: u64 = sizes.iter().map(|(_, size)| size.bytes).sum();
    let (shown, small) = sizes.split_at(sizes.len().min(MOST_TABLES));
    let sum = |of: fn(&TableSize) -> u64| small.iter().map(|(_, size)| of(size)).sum::<u64>();
    let mut rows: Vec<(String, [u64; 3])> =
        shown.iter().map(|(word, size)| (word.clone(), [size.bytes, size.unused, size.rows])).collect();
    if !small.is_empty() {
        let name = format!("{} small tables and indexes", small.len());
        rows.push((name, [sum(|size| size.bytes), sum(|size| size.unused), sum(|size| size.rows)]));
    }
    let parts: Vec<(String, u64)> = rows.iter().map(|(word, [bytes, ..])| (word.clone(), *bytes)).collect();
    Ok(html! {
        section.block #tables {
            div.bar-h { h2 { "Bytes by table" } div.end { span { (bytes(all)) " in " (counted(sizes.len() as u64, "table or index", "tables and indexes")) } } }
            @if sizes.is_empty() { p.muted { "The SQLite that is linked cannot tell: it was built without dbstat." } }
            @else {
                (stack(&parts, "Bytes by table", bytes))
                table.plain {
                    thead { tr { th { "Table" } th.num { "Bytes" } th.num { "Share" } th.num.skip-s { "Rows" } th.num.skip-s { "Bytes a row" } th.num.skip-s { "Unused" } } }
                    tbody { @for (number, (word, [taken, unused, rows])) in rows.iter().enumerate() {
                        tr {
                            td { (swatch(number)) " " (text::text_up_to(word, 80)) }
                            td.num { (bytes(*taken)) } td.num.muted { (percent(*taken, all)) }
                            td.num.skip-s { (count(*rows)) } td.num.muted.skip-s { @if let Some(each) = (taken - unused).checked_div(*rows) { (count(each)) } }
                            td.num.muted.skip-s { (percent(*unused, *taken)) }
                        }
                    } }
                }
            }
        }
    })
}

fn shade(number: usize) -> String {
    format!("c{}", number.min(5))
}

fn swatch(number: usize) -> Markup {
    html! { svg.inline.stack width="10" height="10" aria-hidden="true" { rect class=(shade(number)) width="10" height="10" rx="2" {} } }
}

/// Parts of a whole as one bar.
fn stack(parts: &[(String, u64)], what: &str, show: impl Fn(u64) -> String) -> Markup {
    let all = parts.iter().map(|(_, part)| part).sum::<u64>().max(1);
    let widths = parts.iter().map(|(_, part)| *part as f64 * 1_000.0 / all as f64);
    let edges: Vec<(f64, f64)> = widths.scan(0.0, |end, width| Some((std::mem::replace(end, *end + width), width))).collect();
    html! {
        svg.chart.stack viewBox="0 0 1000 28" preserveAspectRatio="none" height="28" role="img" aria-label={ (what) "; the table below says the same" } {
            @for (number, ((name, part), (x, width))) in parts.iter().zip(&edges).enumerate() {
                rect class=(shade(number)) x=(chart::px(*x)) width=(chart::px(*width)) height="28" {
                    title { (text::plain(name)) ": " (show(*part)) }
                }
            }
        }
    }
}

/// The archive, or how to make one.
fn archive(app: &App, file: &FileStatistics) -> Markup {
    let path = app.store.path().map(|path| path.to_string_lossy().into_owned());
    let size = path.as_ref().and_then(|path| std::fs::metadata(format!("{path}.archive")).ok()).map(|archive| archive.len());
    let quoted = path.as_deref().map_or("FILE".to_owned(), text::shell);
    html! {
        section.block #archive {
            div.bar-h { h2 { "Archive" } @if file.archived_events > 0 { div.end { span { (counted(file.archived_events, "event", "events")) } } } }
            @match (file.archived_events, size) {
                (0, _) => div.empty {
                    h3 { "Nothing is archived" }
                    p { "Old events can move to a second file, behind a snapshot; replays, queries and exports read them there." }
                    p.gap { (link::command(&format!("foldlog archive {quoted} --before 730d --dry-run"))) }
                },
                (events, Some(size)) => p { b { (percent(events, file.events)) } " of the events are in " code { (text::plain(&format!("{}.archive", app.name()))) } ", " (bytes(size)) ". Keep the two files together." },
                (_, None) => div.err { h3 { "The archive is not there" } p { "Put " code { (text::plain(&format!("{}.archive", app.name()))) } " back beside the file. Without it newest states still load from snapshots; older events cannot be read." } },
            }
        }
    }
}

pub(crate) fn json(app: &App, request: &Request) -> Page {
    let file = app.store.file_statistics()?;
    let reads_tables = file.size_bytes <= SMALL_FILE || request.get("tables").is_some();
    let tables = if reads_tables { Some(app.store.table_sizes()?) } else { None };
    let body = serde_json::json!({ "file": file, "walBytes": wal_bytes(app), "tables": tables });
    Ok(Answer::json(200, body.to_string()))
}

/// Events by aggregate type, as a bar and a table.
fn types(app: &App) -> foldlog::Result<Markup> {
    let contents = Contents::of(app)?;
    let mut types: Vec<(&str, (u64, u64))> = contents.aggregate_types(None).into_iter().collect();
    types.sort_by_key(|(_, (events, _))| std::cmp::Reverse(*events));
    let all: u64 = types.iter().map(|(_, (events, _))| events).sum();
    let parts: Vec<(String, u64)> = types.iter().map(|(name, (events, _))| ((*name).to_owned(), *events)).collect();
    Ok(html! {
        section.block {
            div.bar-h { h2 { "Events by aggregate type" } div.end { span { (counted(all, "event", "events")) " of " (counted(types.len() as u64, "type", "types")) } } }
            @if types.is_empty() { div.empty { h3 { "Nothing stored yet" } p { "The first append fills this page." } } }
            @else {
                (stack(&parts, "Events by aggregate type", |events| counted(events, "event", "events")))
                table.plain {
                    thead { tr { th { "Aggregate type" } th.num { "Events" } th.num { "Share" } th.num.skip-s { "Aggregates" } th.num.skip-s { "Events of each" } } }
                    tbody {
                        @for (number, (name, (events, aggregates))) in types.iter().enumerate() {
                            tr {
                                td { (swatch(number)) " "
                                    a href=(link::url("/aggregates", &[("type", name)])) { (text::text_up_to(name, 60)) } }
                                td.num { (count(*events)) }
                                td.num.muted { (percent(*events, all)) }
                                td.num.skip-s { (count(*aggregates)) }
                                td.num.muted.skip-s { (format!("{:.1}", *events as f64 / (*aggregates).max(1) as f64)) }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn snapshots(app: &App) -> foldlog::Result<Markup> {
    const MOST: usize = 50;
    let snapshots = Snapshots::of(app)?;
    let (total, size) = (snapshots.count(), snapshots.state_bytes());
    let many_tenants = app.tenants()?.len() > 1;
    let mut of_types: Vec<&SnapshotsOfType> = snapshots.of_types.iter().collect();
    of_types.sort_by_key(|of_type| std::cmp::Reverse(of_type.snapshots));
    let oldest = of_types.iter().map(|of_type| of_type.oldest).min();
    let newest = of_types.iter().map(|of_type| of_type.newest).max();
    Ok(html! {
        section.block #snapshots {
            div.bar-h { h2 { "Snapshots" } div.end { span { (count(total)) ", " (bytes(size)) " of JSON" } } }
            @if total == 0 { div.empty { h3 { "No snapshots" } p { "Replays fold every event. By default one is made every 100 events of an aggregate." } } }
            @else {
                table.plain {
                    thead { tr { th { "Type" } th.skip-s { "Fold" } th.num { "Snapshots" } th.num { "Aggregates" } th.num.skip-s { "Average" } } }
                    tbody { @for of_type in of_types.iter().take(MOST) {
                        tr {
                            td { a href=(link::url("/aggregates", &[("tenant", &of_type.tenant), ("type", &of_type.aggregate_type), ("show", "snapshot")])) { (text::text_up_to(&of_type.aggregate_type, 60)) }
                                @if many_tenants { " " span.muted { (text::text_up_to(&of_type.tenant, 40)) } } }
                            td.mono.nowrap.skip-s { (text::text_up_to(&of_type.fold_name, 60)) " " (of_type.fold_version) }
                            td.num { (count(of_type.snapshots)) }
                            td.num { (count(of_type.aggregates)) }
                            td.num.muted.skip-s { (bytes(of_type.state_bytes.checked_div(of_type.snapshots).unwrap_or(0))) }
                        }
                    } }
                }
                @if of_types.len() > MOST { p.small.muted { "The " (MOST) " types and folds with most snapshots, of " (count(of_types.len() as u64)) "." } }
                p.pager {
                    @if let (Some(oldest), Some(newest)) = (oldest, newest) { span { "The oldest was made " (time::ago(oldest)) ", the newest " (time::ago(newest)) ". A cache, never the truth." } }
                    @if let Some(replay) = &snapshots.replay {
                        span { "Replay of " (text::text_up_to(&replay.aggregate_type, 40)) " "
                            a.mono href=(link::aggregate_path(&replay.tenant, &replay.aggregate_type, &replay.aggregate_id)) { (text::id(&replay.aggregate_id)) }
                            ", " (counted(replay.events, "event", "events")) ": " b { (time::short(replay.with)) } " from its snapshot, " b { (time::short(replay.without)) } " without" }
                    }
                }
            }
        }
    })
}

fn verification(app: &App) -> Markup {
    let state = app.verification.lock().unwrap_or_else(PoisonError::into_inner);
    let start = |word: &str| {
        html! {
            form.act method="post" action="/storage/verify" { input type="hidden" name="secret" value=(app.form_secret); button type="submit" { (word) } }
        }
    };
    html! {
        section.block #verify {
            div.bar-h { h2 { "Verify" } div.end { span { "reads the whole file" @if app.writer.is_some() { ", and notes the result in it" } @else { ", changes nothing" } } } }
            @match &*state {
                Verification::None => { (noted_before(app)) p { "Checks every page, every event with its checksum, and every index against the events." } p.gap { (start("Verify now")) } }
                Verification::Running { since, progress } => {
                    p role="status" { strong { "Running" } " for " (format!("{:.1} s", since.elapsed().as_secs_f64()))
                        @if let Some(progress) = progress { ": " (name_of(progress.step).0) ", " (count(progress.done)) @if progress.total > 0 { " of " (count(progress.total)) } ", " (counted(progress.damages, "damage", "damages")) }
                    }
                    @if let Some(progress) = progress.filter(|progress| progress.total > 0) { p.gap { (chart::meter(progress.done.min(progress.total), progress.total, "")) } }
                }
                Verification::Done { at, took, result, steps, noted } => {
                    @match result {
                        Ok(report) => (report_of(report, &format!("{:.1} s", took.as_secs_f64()), &time::ago(*at))),
                        Err(error) => div.err { h3 { "The file could not be verified" } p { (text::text(error)) } },
                    }
                    (taken(steps))
                    @if let Some(Err(error)) = noted { p.small.muted { "The result is not noted in the file: " (text::text(error)) } }
                    p.gap { (start("Verify again")) }
                }
            }
            @if let Some(path) = app.store.path() { p.gap { (link::command(&format!("foldlog verify {}", text::shell(&path.to_string_lossy())))) } }
        }
    }
}

/// What an earlier verification noted in the file.
fn noted_before(app: &App) -> Markup {
    html! {
        @match app.store.maintenance().last_verified() {
            Ok(Some(noted)) => p.gap {
                @if noted.damage_count == 0 { span.mark.ok { "✓" } " " strong { "No damage" } } @else { span.mark.bad { "✕" } " " strong { (counted(noted.damage_count, "damage", "damages")) } }
                " when it was verified last: " (counted(noted.events, "event", "events")) " up to position " (count(noted.position.get())) ", " (time::ago(noted.at)) ", by foldlog " (text::text_up_to(&noted.foldlog_version, 40)) "."
            },
            Ok(None) => {},
            Err(error) => p.gap { span.mark.bad { "✕" } " " (text::text(&error.to_string())) },
        }
    }
}

/// A step in words: its name, and what it looks at.
fn name_of(step: VerifyStep) -> (&'static str, &'static str) {
    match step {
        VerifyStep::Structure => ("Structure", "pages, by SQLite’s own check"),
        VerifyStep::Totals => ("Totals", "the stored counters"),
        VerifyStep::Names => ("Names", "tenants, types, replicas"),
        VerifyStep::Aggregates => ("Aggregates", "against their events and the index of their names"),
        VerifyStep::Events => ("Events", "every checksum, and the entries in the indexes"),
        VerifyStep::Archive => ("Archive", "the events in the second file"),
        VerifyStep::Positions => ("Positions", "in order, and the holes that removals made"),
        VerifyStep::Chain => ("Audit chain", "link by link"),
        VerifyStep::Erasures => ("Erasures", "the records of what was erased"),
        VerifyStep::Ids => ("Ids", "the index of event ids"),
        VerifyStep::Tags => ("Tags", "the index of tags"),
        VerifyStep::Summaries => ("Summaries", "by which queries skip and statistics count"),
        VerifyStep::Snapshots => ("Snapshots", "every checksum"),
        VerifyStep::Subscriptions => ("Subscriptions", "every checkpoint"),
        VerifyStep::Deliveries => ("Deliveries", "what outboxes have left to do"),
        _ => ("Other", ""),
    }
}

/// The steps of a verification, with their times.
fn taken(steps: &[Taken]) -> Markup {
    html! {
        table.plain.gap {
            thead { tr { th { "Step" } th.skip-s { "Looks at" } th.num { "Rows" } th.num { "Time" } } }
            tbody { @for step in steps {
                @let (name, looks_at) = name_of(step.step);
                tr {
                    td.nowrap { @if step.damages == 0 { span.mark.ok { "✓" } } @else { span.mark.bad { "✕" } } " " (name) @if step.damages > 0 { " " span.chip.bad { (counted(step.damages, "damage", "damages")) } } }
                    td.muted.skip-s { (looks_at) }
                    td.num { @if step.rows > 1 { (count(step.rows)) } }
                    td.num.muted { (time::short(step.took)) }
                }
            } }
        }
    }
}

fn report_of(report: &VerifyReport, took: &str, when: &str) -> Markup {
    html! {
        @if report.is_clean() {
            p role="status" { span.mark.ok { "✓" } " " strong { "No damage." } " " (counted(report.events, "event", "events")) ", " (counted(report.aggregates, "aggregate", "aggregates")) " and " (counted(report.snapshots, "snapshot", "snapshots")) " in " (took) ", " (when) "." }
        } @else {
            div.err role="status" {
                h3 { (counted(report.damage_count, "damage", "damages")) " found" }
                p.small.muted { (counted(report.events, "event", "events")) " checked in " (took) ", " (when) "." }
            }
            table.cards {
                thead { tr { th { "What" } th { "Where" } th { "What to do" } } }
                tbody { @for damage in report.damages.iter().take(100) {
                    tr {
                        td.c-type { (text::text(&damage.what)) }
                        td.nowrap {
                            @if let Some(aggregate) = &damage.aggregate { a href=(link::aggregate_path(&aggregate.tenant, &aggregate.aggregate_type, &aggregate.aggregate_id)) { (text::text_up_to(&aggregate.aggregate_type, 40)) " " (text::id(&aggregate.aggregate_id)) } " " }
                            @if let Some(version) = damage.version { "v" (version) " " }
                            @if let Some(position) = damage.position { a href=(format!("/e/{position}")) { "position " (count(position.get())) } }
                        }
                        td.full.muted { (damage.advice) }
                    }
                } }
            }
        }
    }
}
