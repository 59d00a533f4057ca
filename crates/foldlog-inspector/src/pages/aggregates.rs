//! The list of aggregates.

use foldlog::serde_json;
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::aggregates::{self, Choice, Row, Size, Wanted};
use crate::reading::contents::Contents;
use crate::view::number::{bytes, count, counted};
use crate::view::{link, text, time};

/// Tenants and types that are listed beside the table.
const MOST_OF_FACET: usize = 50;

/// What the page was asked for.
struct Asked<'a> {
    wanted: Wanted<'a>,
    by_id: bool,
    choice: Option<Choice>,
    request: &'a Request,
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request) -> Asked<'a> {
        let prefix = request.get("q").unwrap_or_default();
        let wanted = Wanted { tenant: request.get("tenant"), aggregate_type: request.get("type"), prefix };
        // A prefix is found quickly only in the order of ids.
        let by_id = match request.get("order") {
            Some(order) => order == "id",
            None => !prefix.is_empty(),
        };
        let choice = request.get("show").and_then(Choice::of);
        Asked { wanted, by_id: by_id && choice.is_none(), choice, request }
    }

    fn read(&self, app: &App) -> foldlog::Result<aggregates::Page> {
        let mut page = self.find(app)?;
        page.measure(app)?;
        Ok(page)
    }

    fn find(&self, app: &App) -> foldlog::Result<aggregates::Page> {
        if let Some(choice) = self.choice {
            return aggregates::chosen(app, &self.wanted, choice);
        }
        if self.by_id {
            let after = (self.request.get("after"), self.request.get("after-tenant"), self.request.get("after-type"));
            let after = match after {
                (Some(id), Some(tenant), Some(aggregate_type)) => Some([tenant, aggregate_type, id]),
                _ => None,
            };
            return aggregates::by_id(app, &self.wanted, after);
        }
        match (self.request.number("after"), self.request.number("before")) {
            (Some(after), _) => aggregates::newer(app, &self.wanted, after),
            (None, before) => aggregates::recent(app, &self.wanted, before),
        }
    }

    /// This page's address with other values.
    fn url(&self, changed: &[(&str, &str)]) -> String {
        let mut query = vec![
            ("tenant", self.wanted.tenant.unwrap_or_default()),
            ("type", self.wanted.aggregate_type.unwrap_or_default()),
            ("q", self.wanted.prefix),
            ("show", self.choice.map_or("", Choice::name)),
            ("order", if self.by_id { "id" } else { "recent" }),
        ];
        for (name, value) in changed {
            query.retain(|(known, _)| known != name);
            query.push((name, value));
        }
        link::url("/aggregates", &query)
    }
}

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let asked = Asked::of(request);
    let found = asked.read(app)?;
    let contents = Contents::of(app)?;
    let mut tenants = contents.tenants();
    let total: u64 = tenants.iter().map(|(_, aggregates)| aggregates).sum();
    tenants.truncate(MOST_OF_FACET);
    let of_types = contents.aggregate_types(asked.wanted.tenant);
    let mut types: Vec<(String, u64)> =
        of_types.into_iter().map(|(name, (_, aggregates))| (name.to_owned(), aggregates)).collect();
    types.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let (of_types, type_count) = (types.iter().map(|(_, aggregates)| aggregates).sum(), types.len());
    types.truncate(MOST_OF_FACET);
    let choices = Choice::ALL
        .iter()
        .map(|(choice, name, title)| choice.count(app, &asked.wanted).map(|found| (*choice, *name, *title, found)));
    let choices: Vec<_> = choices.collect::<foldlog::Result<_>>()?;
    let content = html! {
        div.head {
            div { h1 { "Aggregates" } p.facts { span { b { (count(of_types)) } " in " (counted(type_count as u64, "type", "types")) } } }
            div.end {
                span.seg role="group" aria-label="Order" {
                    a.button href=(asked.url(&[("order", "recent")])) aria-current=[(!asked.by_id).then_some("true")] { "By last event" }
                    a.button href=(asked.url(&[("order", "id")])) aria-current=[asked.by_id.then_some("true")] { "By id" }
                }
            }
        }
        div.cols.left {
            div.facets {
                @if tenants.len() > 1 { (facet("Tenant", "tenant", asked.wanted.tenant, total, &tenants, &asked)) }
                (facet("Type", "type", asked.wanted.aggregate_type, of_types, &types, &asked))
                section.facet {
                    h2 { "Show" }
                    ul {
                        @for (choice, name, title, found) in choices {
                            @let is_chosen = asked.choice == Some(choice);
                            li { a href=(asked.url(&[("show", if is_chosen { "" } else { name })])) aria-current=[is_chosen.then_some("true")] { span { (title) } span { @if let Some((found, is_all)) = found { (count(found)) @if !is_all { "+" } } } } }
                        }
                    }
                }
            }
            section data-rows {
                form.find.wide action="/aggregates" role="search" {
                    @for (name, value) in [("tenant", asked.wanted.tenant), ("type", asked.wanted.aggregate_type)] {
                        @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
                    }
                    label.sr for="q" { "Beginning of the id" }
                    input #q type="search" name="q" value=(asked.wanted.prefix) placeholder="The id begins with" autocomplete="off" spellcheck="false";
                    kbd { "/" }
                }
                (list(&found.rows, &asked, total))
                @if found.left_out > 0 { p.small.muted { (count(found.left_out as u64)) " more are not listed here: search by the beginning of the id, or choose a type." } }
                (pager(&found, &asked))
            }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Aggregates, "Aggregates", &content)))
}

fn facet(title: &str, name: &str, chosen: Option<&str>, all: u64, values: &[(String, u64)], asked: &Asked<'_>) -> Markup {
    let one = |value: &str, shown: Markup, aggregates: u64, is_chosen: bool| {
        html! {
            li { a href=(asked.url(&[(name, value)])) aria-current=[is_chosen.then_some("true")] { span { (shown) } span { (count(aggregates)) } } }
        }
    };
    html! {
        section.facet {
            h2 { (title) }
            ul {
                (one("", html! { "all" }, all, chosen.is_none()))
                @for (value, aggregates) in values { (one(value, text::text_up_to(value, 40), *aggregates, chosen == Some(value))) }
            }
        }
    }
}

fn list(rows: &[Row], asked: &Asked<'_>, total: u64) -> Markup {
    html! {
        @if rows.is_empty() {
            div.empty {
                @if total == 0 { h3 { "No aggregates yet" } p { "An aggregate is there with its first event." } }
                @else if asked.wanted.prefix.is_empty() { h3 { "None here" } p { a href=(asked.url(&[("type", ""), ("tenant", ""), ("show", "")])) { "Show all" } } }
                @else { h3 { "No id begins with " (text::text_up_to(asked.wanted.prefix, 60)) } p { "The search is by the beginning of the id, with upper and lower case. " a href="/aggregates" { "Show all" } } }
            }
        } @else {
            table.cards {
                thead { tr { th { "Type" } th { "Id" } th.num { "Version" } th { "Last event" } th.skip-m { "What it says" } th { "When" } th.num { span.sr { "Age" } } th.num { "Size" } th.num { "Snapshot" } } }
                tbody { @for row in rows { (row_of(row)) } }
            }
        }
    }
}

fn row_of(row: &Row) -> Markup {
    let of = &row.aggregate;
    html! {
        tr {
            td.nowrap.muted { (text::text_up_to(&of.aggregate_type, 40)) }
            td.c-id.nowrap { a.mono href=(link::aggregate_path(&of.tenant, &of.aggregate_type, &of.aggregate_id)) { (text::id(&of.aggregate_id)) } }
            td.num data-l="version" { (count(row.version)) }
            @match &row.last {
                Some(event) => {
                    td.nowrap { a href=(link::event(event)) { (text::text_up_to(&event.event_type, 40)) } }
                    td.clip.full.muted.skip-m { (link::summary(event)) }
                    td.nowrap.muted.skip-s { (time::at(event.created_at)) }
                    td.c-time.num.nowrap.muted title=(time::exact(event.created_at)) { (time::ago(event.created_at)) }
                }
                None => {
                    td.nowrap { span.chip { "purged" } }
                    td.clip.full.muted.skip-m { "every event was purged; a snapshot may have the state" }
                    td.skip-s {} td.c-time {}
                }
            }
            td.num.nowrap.skip-s title=[row.size.title()] { @match row.size { Size::Bytes(size) => (bytes(size)), Size::Long => "…", Size::Unknown => "" } }
            td.num.nowrap.muted.skip-s { @match row.snapshot { Some(version) => { "v" (count(version)) }, None => "none" } }
        }
    }
}

fn pager(found: &aggregates::Page, asked: &Asked<'_>) -> Markup {
    let position = |row: &Row| row.last.as_ref().map(|event| event.position.to_string());
    let first = found.rows.first().and_then(position);
    let last = found.rows.last();
    let has_place = ["after", "before"].iter().any(|name| asked.request.get(name).is_some());
    let upward = !asked.by_id && asked.request.get("after").is_some();
    let older = match last {
        Some(row) if asked.by_id && found.has_more => Some(asked.url(&[
            ("after", &*row.aggregate.aggregate_id),
            ("after-tenant", &*row.aggregate.tenant),
            ("after-type", &*row.aggregate.aggregate_type),
        ])),
        Some(row) if !asked.by_id && (found.has_more || upward || found.cut_at.is_some()) => {
            position(row).map(|position| asked.url(&[("before", position.as_str())]))
        }
        _ => None,
    };
    let newer = first.filter(|_| !asked.by_id && (if upward { found.has_more } else { has_place }));
    html! {
        div.pager {
            span { (counted(found.rows.len() as u64, "aggregate", "aggregates")) " on this page" }
            @if let Some(position) = found.cut_at {
                span { "The search stopped after 1.5 s at position " (count(position.get())) ". "
                    a href=(asked.url(&[(if upward { "after" } else { "before" }, &*(position.get() - u64::from(upward)).to_string())])) { "Go on" } }
            }
            div.end {
                @if has_place { a.button href=(asked.url(&[])) { @if asked.by_id { "First" } @else { "Newest" } } }
                @if let Some(first) = newer { a.button href=(asked.url(&[("after", first.as_str())])) { "Newer" } }
                @if let Some(older) = older { a.button rel="next" href=(older) { @if asked.by_id { "Next" } @else { "Older" } } }
                @if !asked.by_id && (found.has_more || has_place) { a.button href=(asked.url(&[("after", "0")])) { "Oldest" } }
            }
        }
    }
}

pub(crate) fn json(app: &App, request: &Request) -> Page {
    let found = Asked::of(request).read(app)?;
    let row = |row: &Row| {
        let (of, last) = (&row.aggregate, row.last.as_ref());
        serde_json::json!({
            "tenant": of.tenant, "aggregateType": of.aggregate_type, "aggregateId": of.aggregate_id, "version": row.version,
            "lastEvent": last.map(|event| &event.event_type), "lastEventAt": last.map(|event| event.created_at),
            "lastPosition": last.map(|event| event.position), "dataBytes": row.size.bytes(), "newestSnapshot": row.snapshot,
        })
    };
    let rows: Vec<_> = found.rows.iter().map(row).collect();
    Ok(Answer::json(200, serde_json::json!({ "aggregates": rows, "hasMore": found.has_more }).to_string()))
}
