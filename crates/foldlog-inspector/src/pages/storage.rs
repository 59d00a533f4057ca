//! Storage: the file, snapshots, and a verification on request.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use foldlog::VerifyReport;
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

pub(crate) fn page(app: &App, _request: &Request) -> Page {
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
            (types(app)?)
            (snapshots(app)?)
            (verification(app))
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Storage, "Storage", &content)))
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
    let class = |number: usize| format!("c{}", number.min(5));
    let width = |events: u64| events as f64 * 1_000.0 / all.max(1) as f64;
    let mut before = 0.0;
    let parts: Vec<(String, f64, f64, String)> = types
        .iter()
        .enumerate()
        .map(|(number, (name, (events, _)))| {
            let part = (class(number), before, width(*events), format!("{}: {} events", text::plain(name), count(*events)));
            before += width(*events);
            part
        })
        .collect();
    Ok(html! {
        section.block {
            div.bar-h { h2 { "Events by aggregate type" } div.end { span { (counted(all, "event", "events")) " of " (counted(types.len() as u64, "type", "types")) } } }
            @if types.is_empty() { div.empty { h3 { "Nothing stored yet" } p { "The first append fills this page." } } }
            @else {
                svg.chart.stack viewBox="0 0 1000 28" preserveAspectRatio="none" height="28" role="img" aria-label="Events by aggregate type; the table below says the same" {
                    @for (class, x, width, title) in &parts { rect class=(class) x=(chart::px(*x)) width=(chart::px(*width)) height="28" { title { (title) } } }
                }
                table.plain {
                    thead { tr { th { "Aggregate type" } th.num { "Events" } th.num { "Share" } th.num.skip-s { "Aggregates" } th.num.skip-s { "Events of each" } } }
                    tbody {
                        @for (number, (name, (events, aggregates))) in types.iter().enumerate() {
                            tr {
                                td { svg.inline.stack width="10" height="10" aria-hidden="true" { rect class=(class(number)) width="10" height="10" rx="2" {} } " "
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
