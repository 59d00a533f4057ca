//! The log: filters, a histogram, and rows that open in place.

use chrono::NaiveDate;
use foldlog::{RecordedEvent, serde_json};
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::contents::Contents;
use crate::reading::days::{Days, midnight};
use crate::reading::search::{Found, Wanted};
use crate::view::number::{count, counted};
use crate::view::{chart, json, link, text, time};

/// Days in the histogram.
const DAYS: u64 = 60;
/// Bytes of an event that are shown in its row.
const MOST_BYTES: usize = 20_000;

/// This page's address with other values.
fn url(wanted: &Wanted, changed: &[(&str, &str)]) -> String {
    let day = |day: Option<NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
    let (from, to) = (day(wanted.from), day(wanted.to));
    let or = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let path = wanted.path.as_ref().map(|path| path.text.clone()).unwrap_or_default();
    let mut query = vec![
        ("path", path),
        ("type", or(&wanted.event_type)),
        ("atype", or(&wanted.aggregate_type)),
        ("tenant", or(&wanted.tenant)),
        ("tag", or(&wanted.tag)),
        ("meta", or(&wanted.meta)),
        ("from", from),
        ("to", to),
    ];
    for (name, value) in changed {
        query.retain(|(known, _)| known != name);
        query.push((name, (*value).to_owned()));
    }
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    link::url("/log", &query)
}

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let wanted = Wanted::of(request);
    let found = wanted.read(app)?;
    let in_place = wanted.before.is_some() || wanted.after.is_some();
    let is_newest = !in_place && wanted.from.is_none() && wanted.to.is_none();
    let content = html! {
        div.head {
            div { h1 { "Log" } }
            div.end {
                @if is_newest { span.chip.line #live data-live="log" { "Newest when opened" } }
                @else { span.chip.line { @if in_place { "Paused: an older page" } @else { "Paused: a range is set" } } a.button href=(url(&wanted, &[("from", ""), ("to", "")])) { "Follow live" } }
            }
        }
        (filters(app, &wanted)?)
        (histogram(app, &wanted)?)
        div #news {
            (active(app, &wanted, &found)?)
            (rows(&found.events, &wanted))
            (pager(&wanted, &found))
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Log, "Log", &content)))
}

fn filters(app: &App, wanted: &Wanted) -> foldlog::Result<Markup> {
    let tenants = app.tenants()?;
    let contents = Contents::of(app)?;
    let types: Vec<String> = contents.aggregate_types(None).into_keys().map(str::to_owned).collect();
    let event_types: Vec<String> = contents.event_types().into_iter().take(300).map(|(name, _)| name.to_owned()).collect();
    let options = |all: &str, values: &[String], chosen: &Option<String>| {
        html! {
            option value="" { (all) }
            @for value in values { option value=(value) selected[chosen.as_ref() == Some(value)] { (text::plain(value)) } }
            @if let Some(chosen) = chosen { @if !values.contains(chosen) { option value=(chosen) selected { (text::plain(chosen)) } } }
        }
    };
    let day = |day: Option<NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
    let path = wanted.path.as_ref().map(|path| path.text.clone()).or(wanted.wrong_path.clone()).unwrap_or_default();
    Ok(html! {
        form.filters #filters action="/log" aria-label="Filters" {
            label { span { "JSON path" } input type="text" name="path" value=(path) placeholder="$.customer.name = \"Ada\"" spellcheck="false" autocomplete="off"; }
            label { span { "Event type" } select name="type" { (options("any", &event_types, &wanted.event_type)) } }
            label { span { "Aggregate type" } select name="atype" { (options("any", &types, &wanted.aggregate_type)) } }
            label { span { "Tenant" } select name="tenant" { (options(if app.one_tenant { "this" } else { "all" }, &tenants, &wanted.tenant)) } }
            label { span { "Tag" } input type="text" name="tag" value=(wanted.tag.as_deref().unwrap_or_default()) placeholder="customer:c-1" spellcheck="false" autocomplete="off"; }
            label { span { "Between" } input #from type="text" name="from" value=(day(wanted.from)) size="10" placeholder="2026-01-31" autocomplete="off"; }
            label { span { "and" } input #to type="text" name="to" value=(day(wanted.to)) size="10" placeholder="2026-02-28" autocomplete="off"; }
            button type="submit" { "Apply" }
        }
        @if let Some(wrong) = &wanted.wrong_path {
            p.notice { strong { "Not a path:" } span { (text::text_up_to(wrong, 100)) } span { "Write " code { "$.a.b" } ", " code { "$.a.b = \"text\"" } " or " code { "$.items.0.price > 5" } "." } }
        }
    })
}

fn histogram(app: &App, wanted: &Wanted) -> foldlog::Result<Markup> {
    let days = Days::last(app, DAYS)?;
    let chosen = match (wanted.from, wanted.to) {
        (None, None) => None,
        (from, to) => Some((from.unwrap_or(NaiveDate::MIN), to.unwrap_or(NaiveDate::MAX))),
    };
    Ok(html! {
        @if !days.events.is_empty() { (chart::days(&days, 104.0, true, chosen)) }
    })
}

/// What is set, and how many events it leaves.
fn active(app: &App, wanted: &Wanted, found: &Found) -> foldlog::Result<Markup> {
    let chip = |name: &str, shown: &str| {
        html! { span.chip.on { (text::text_up_to(shown, 40)) a.x href=(url(wanted, &[(name, "")])) aria-label={ "Remove " (text::plain(shown)) } { "×" } } }
    };
    let range = match (wanted.from, wanted.to) {
        (None, None) => None,
        (Some(from), None) => Some(format!("since {from}")),
        (None, Some(to)) => Some(format!("until {to}")),
        (Some(from), Some(to)) => Some(format!("{from} to {to}")),
    };
    let path = wanted.path.as_ref().map(|path| path.text.clone());
    let all = [
        ("path", &path),
        ("type", &wanted.event_type),
        ("atype", &wanted.aggregate_type),
        ("tenant", &wanted.tenant),
        ("tag", &wanted.tag),
        ("meta", &wanted.meta),
    ];
    Ok(html! {
        div.active {
            @for (name, value) in all { @if let Some(value) = value { (chip(name, value)) } }
            @if let Some(range) = range { span.chip.on { (range) a.x href=(url(wanted, &[("from", ""), ("to", "")])) aria-label="Remove the range" { "×" } } }
            @if wanted.is_filtered() { a href="/log" { "Clear all" } }
            span { (how_many(app, wanted, found)?) }
        }
    })
}

fn how_many(app: &App, wanted: &Wanted, found: &Found) -> foldlog::Result<Markup> {
    if wanted.path.is_some() || wanted.meta.is_some() {
        return Ok(html! {
            (counted(found.events.len() as u64, "event", "events")) " on this page; the JSON of " (counted(found.read, "event", "events")) " read"
        });
    }
    if wanted.tag.is_some() {
        return Ok(html! { (counted(found.events.len() as u64, "event", "events")) " on this page" });
    }
    let (store, filter) = app.scope(wanted.tenant.as_deref(), wanted.filter());
    // One span over all of time, so that only the blocks at the edges of a range are read.
    let always = std::time::Duration::from_secs(60 * 60 * 24 * 365 * 16_000);
    let counted_events =
        store.count_by_time(&filter, midnight(NaiveDate::from_ymd_opt(-8_000, 1, 1).unwrap_or_default()), always, 1)?;
    Ok(html! { (counted(counted_events.iter().sum(), "event", "events")) })
}

fn rows(events: &[RecordedEvent], wanted: &Wanted) -> Markup {
    let mut day = None;
    html! {
        @if events.is_empty() {
            div.empty {
                @if wanted.is_filtered() || wanted.meta.is_some() { h3 { "No event matches" } p { a href="/log" { "Clear all filters" } } }
                @else { h3 { "No events here" } p { a href="/log" { "To the newest" } } }
            }
        } @else {
            div data-rows {
                table.cards.logt {
                    thead { tr { th { span.sr { "Open" } } th { "Time" } th { "Type" } th { "Aggregate" } th { "Data" } th { "Tags" } th.num { "Position ↓" } } }
                    tbody {
                        @for event in events {
                            @let today = event.created_at.date_naive();
                            @if day.replace(today) != Some(today) { tr.day { td colspan="7" { (time::day(event.created_at)) } } }
                            (row(event))
                        }
                    }
                }
            }
        }
    }
}

fn row(event: &RecordedEvent) -> Markup {
    let body = format!("x{}", event.position);
    let data = event.data.as_str();
    html! {
        tr data-position=(event.position) {
            td.c-tw { button.twist type="button" aria-expanded="false" aria-controls=(body) aria-label={ "Show the data of position " (event.position) } { "▸" } }
            td.c-time.nowrap.muted { (time::of_day(event.created_at)) }
            td.c-type.nowrap { a href=(link::event(event)) { (text::text_up_to(&event.event_type, 60)) } }
            td.c-agg.nowrap { (link::aggregate(event)) }
            td.clip.wide.full.muted.mono { (link::summary(event)) }
            td.nowrap.skip-s { @for tag in event.tags.iter().take(2) { span.tag { (text::text_up_to(tag, 24)) } " " } @if event.tags.len() > 2 { span.muted { "+" (event.tags.len() - 2) } } }
            td.num.muted.skip-s { (count(event.position.get())) }
        }
        tr.body id=(body) hidden {
            td colspan="7" {
                @if data.len() <= MOST_BYTES { div.json.wrap { (json::stored(data)) } }
                @else { p.muted { (crate::view::number::bytes(data.len() as u64)) " of JSON: " a href=(link::event(event)) { "open the event" } } }
            }
        }
    }
}

fn pager(wanted: &Wanted, found: &Found) -> Markup {
    let (first, last) = (found.events.first(), found.events.last());
    let upward = wanted.after.is_some();
    let has_older = if upward { !found.events.is_empty() } else { found.has_more };
    let has_newer = if upward { found.has_more } else { wanted.before.is_some() };
    html! {
        div.pager {
            @if let Some(position) = found.cut_at {
                span { "Stopped after 2 s at position " (count(position)) ", having read the JSON of " (counted(found.read, "event", "events")) ". " }
                a.button href=(if upward { url(wanted, &[("after", &position.to_string())]) } else { url(wanted, &[("before", &(position + 1).to_string())]) }) { "Go on" }
            }
            div.end {
                @if wanted.before.is_some() || upward { a.button href=(url(wanted, &[])) { "Newest" } }
                @if let Some(event) = first.filter(|_| has_newer) { a.button rel="prev" href=(url(wanted, &[("after", &event.position.to_string())])) { "Newer" } }
                @if let Some(event) = last.filter(|_| has_older) { a.button rel="next" href=(url(wanted, &[("before", &event.position.to_string())])) { "Older" } }
                @if found.has_more || wanted.before.is_some() || upward { a.button href=(url(wanted, &[("after", "0")])) { "Oldest" } }
            }
        }
    }
}

pub(crate) fn json(app: &App, request: &Request) -> Page {
    let wanted = Wanted::of(request);
    let found = wanted.read(app)?;
    let body = serde_json::json!({ "events": found.events, "hasMore": found.has_more, "cutAt": found.cut_at });
    Ok(Answer::json(200, body.to_string()))
}
