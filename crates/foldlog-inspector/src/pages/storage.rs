//! Storage: the file, snapshots, and a verification on request.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use foldlog::{FileStatistics, SubscriptionKind, TableSize, VerifyReport, serde_json};
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::verify::Verification;
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
    let mut rows: Vec<(String, u64, u64)> = shown.iter().map(|(word, size)| (word.clone(), size.bytes, size.unused)).collect();
    if !small.is_empty() {
        rows.push((format!("{} small tables and indexes", small.len()), sum(|size| size.bytes), sum(|size| size.unused)));
    }
    let parts: Vec<(String, u64)> = rows.iter().map(|(word, bytes, _)| (word.clone(), *bytes)).collect();
    Ok(html! {
        section.block #tables {
            div.bar-h { h2 { "Bytes by table" } div.end { span { (bytes(all)) " in " (counted(sizes.len() as u64, "table or index", "tables and indexes")) } } }
            @if sizes.is_empty() { p.muted { "The SQLite that is linked cannot tell: it was built without dbstat." } }
            @else {
                (stack(&parts, "Bytes by table", bytes))
                table.plain {
                    thead { tr { th { "Table" } th.num { "Bytes" } th.num { "Share" } th.num.skip-s { "Unused" } } }
                    tbody { @for (number, (word, taken, unused)) in rows.iter().enumerate() {
                        tr {
                            td { (swatch(number)) " " (text::text_up_to(word, 80)) }
                            td.num { (bytes(*taken)) } td.num.muted { (percent(*taken, all)) } td.num.muted.skip-s { (percent(*unused, *taken)) }
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
    let mut types: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for tenant in app.tenants()? {
        let store = app.store.tenant(&tenant);
        for name in store.aggregate_types()? {
            let events = store.count(foldlog::Filter::new().aggregate_type(&name))?;
            let aggregates = store.json_aggregates(&name).count()?;
            let sum = types.entry(name).or_default();
            *sum = (sum.0 + events, sum.1 + aggregates);
        }
    }
    let mut types: Vec<(String, (u64, u64))> = types.into_iter().collect();
    types.sort_by_key(|(_, (events, _))| std::cmp::Reverse(*events));
    let all: u64 = types.iter().map(|(_, (events, _))| events).sum();
    let parts: Vec<(String, u64)> = types.iter().map(|(name, (events, _))| (name.clone(), *events)).collect();
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
    const MOST: usize = 20;
    let (mut total, mut size, mut oldest, mut newest) = (0, 0, None, None);
    let mut of = Vec::new();
    for tenant in app.tenants()? {
        let statistics = app.store.tenant(&tenant).snapshot_statistics()?;
        total += statistics.total_snapshots;
        size += statistics.average_snapshot_size * statistics.total_snapshots;
        oldest = [oldest, statistics.oldest_snapshot].into_iter().flatten().min();
        newest = newest.max(statistics.newest_snapshot);
        of.extend(statistics.snapshots_by_aggregate.into_iter().take(MOST).map(|of| (tenant.clone(), of)));
    }
    of.sort_by_key(|(_, of)| std::cmp::Reverse(of.snapshots));
    Ok(html! {
        section.block #snapshots {
            div.bar-h { h2 { "Snapshots" } div.end { span { (count(total)) ", " (bytes(size)) } } }
            @if total == 0 { div.empty { h3 { "No snapshots" } p { "Replays fold every event. By default one is made every 100 events of an aggregate." } } }
            @else {
                dl.figures.four {
                    div { dt { "Snapshots" } dd { (count(total)) } dd.note { "a cache, never the truth" } }
                    div { dt { "Each on average" } dd { (bytes(u64::checked_div(size, total).unwrap_or(0))) } dd.note { "of JSON" } }
                    div { dt { "Oldest" } dd { @if let Some(oldest) = oldest { (time::ago(oldest)) } } dd.note { "made" } }
                    div { dt { "Newest" } dd { @if let Some(newest) = newest { (time::ago(newest)) } } dd.note { "made" } }
                }
                table.plain {
                    thead { tr { th { "Aggregate" } th.num { "Snapshots" } } }
                    tbody { @for (tenant, of) in of.iter().take(MOST) {
                        tr {
                            td { span.muted { (text::text_up_to(&of.aggregate_type, 60)) } " " a.mono href={ (link::aggregate_path(tenant, &of.aggregate_type, &of.aggregate_id)) "?tab=snapshots" } { (text::id(&of.aggregate_id)) } }
                            td.num { (count(of.snapshots)) }
                        }
                    } }
                }
                @if of.len() > MOST { p.small.muted { "The " (MOST) " with most snapshots." } }
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
            div.bar-h { h2 { "Verify" } div.end { span { "reads the whole file, changes nothing" } } }
            @match &*state {
                Verification::None => { p { "Checks every page, every event with its checksum, and every index against the events." } p.gap { (start("Verify now")) } }
                Verification::Running { since, progress } => {
                    p role="status" { strong { "Running" } " for " (format!("{:.1} s", since.elapsed().as_secs_f64()))
                        @if let Some(progress) = progress { ": " (format!("{:?}", progress.step).to_lowercase()) ", " (count(progress.done)) @if progress.total > 0 { " of " (count(progress.total)) } ", " (counted(progress.damages, "damage", "damages")) }
                    }
                    @if let Some(progress) = progress.filter(|progress| progress.total > 0) { p.gap { (chart::meter(progress.done.min(progress.total), progress.total, "")) } }
                }
                Verification::Done { at, took, result } => {
                    @match result {
                        Ok(report) => (report_of(report, &format!("{:.1} s", took.as_secs_f64()), &time::ago(*at))),
                        Err(error) => div.err { h3 { "The file could not be verified" } p { (text::text(error)) } },
                    }
                    p.gap { (start("Verify again")) }
                }
            }
            @if let Some(path) = app.store.path() { p.gap { (link::command(&format!("foldlog verify {}", text::shell(&path.to_string_lossy())))) } }
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
