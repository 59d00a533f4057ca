//! One event: its data, what it changed, why it happened and what followed.

use foldlog::{EventId, RecordedEvent, serde_json};
use maud::{Markup, html};

use super::shell::{self, Nav};
use super::{Failure, Page, event_at, event_by_id};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::json::{Node, compare};
use crate::reading::causes::{Effect, LOOKED_AT, Story};
use crate::reading::window::{Place, WINDOW};
use crate::view::number::{bytes, count, counted};
use crate::view::{json, link, text, time};

fn missing(what: String) -> Failure {
    Failure::NotFound(what, "It may have been purged, or it belongs to another tenant.".to_owned())
}

fn found(app: &App, place: &str) -> Result<RecordedEvent, Failure> {
    let position: u64 = place.parse().map_err(|_| missing(format!("{place:?} is no position")))?;
    event_at(app, position)?.ok_or_else(|| missing(format!("There is no event at position {}", count(position))))
}

pub(crate) fn by_id(app: &App, id: &str) -> Page {
    let parsed = id.parse::<EventId>().map_err(|_| missing(format!("{id:?} is no event id")))?;
    let event = event_by_id(app, parsed)?.ok_or_else(|| missing(format!("There is no event {parsed}")))?;
    Ok(Answer::redirect(&link::event(&event)))
}

pub(crate) fn json(app: &App, place: &str) -> Page {
    let event = found(app, place)?;
    Ok(Answer::json(200, serde_json::to_string(&event).unwrap_or_default()))
}

pub(crate) fn page(app: &App, _request: &Request, place: &str) -> Page {
    let event = found(app, place)?;
    let story = Story::of(app, &event)?;
    let neighbour = |version: u64| -> foldlog::Result<Option<RecordedEvent>> {
        let query = foldlog::Query::aggregate(&*event.aggregate_type, &event.aggregate_id);
        let Some(before) = version.checked_sub(1) else { return Ok(None) };
        app.store.tenant(&event.tenant).read(query.after_version(before).up_to_version(version)).next().transpose()
    };
    let (previous, next) = (neighbour(event.version.get() - 1)?, neighbour(event.version.get() + 1)?);
    let content = html! {
        nav.crumbs aria-label="Place" { a href="/log" { "Log" } span { "/" } span { "position " (count(event.position.get())) } }
        div.head {
            div {
                h1 { (text::text_up_to(&event.event_type, 200)) }
                p.facts {
                    span { "version " b { (count(event.version.get())) } " of " (link::aggregate(&event)) }
                    span { b { (time::at(event.created_at)) } ", " (time::ago(event.created_at)) }
                    span { "tenant " b { (text::text_up_to(&event.tenant, 60)) } }
                }
            }
            div.end {
                @if let Some(previous) = &previous { a.button #older rel="prev" href=(link::event(previous)) { "← v" (previous.version) " " (text::text_up_to(&previous.event_type, 24)) } }
                @if let Some(next) = &next { a.button #newer rel="next" href=(link::event(next)) { "v" (next.version) " " (text::text_up_to(&next.event_type, 24)) " →" } }
            }
        }
        div.cols.even {
            div {
                section.block {
                    div.bar-h {
                        h2 { "Data" }
                        div.end { span { (bytes(event.data.as_str().len() as u64)) ", schema " (event.schema_version) ", formatted" } button.ghost.copy type="button" data-copy=(event.data.as_str()) { "Copy" } }
                    }
                    div.json.wrap.cap tabindex="0" role="group" aria-label="Data as JSON" { (json::stored(event.data.as_str())) }
                }
                section.block {
                    div.bar-h { h2 { "What it changed" } div.end { a href=(link::state_of(&event)) { "State at version " (count(event.version.get())) } } }
                    (changed(app, &event)?)
                }
            }
            div {
                section.block { div.bar-h { h2 { "Cause and effect" } @if let Some(url) = correlated(&event) { div.end { a href=(url) { "All of this correlation" } } } } (tree(&event, &story)) }
                section.block { div.bar-h { h2 { "Metadata" } } (metadata(app, &event)?) }
            }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Log, &format!("{} at {}", event.event_type, event.position), &content)))
}

/// The changes of the state by this event.
fn changed(app: &App, event: &RecordedEvent) -> foldlog::Result<Markup> {
    let store = app.store.tenant(&event.tenant);
    let fold = app.folds.of(&event.aggregate_type);
    let version = event.version.get();
    let place = Place {
        aggregate_type: &event.aggregate_type,
        aggregate_id: &event.aggregate_id,
        after: (version - 1) / WINDOW * WINDOW,
        version: store.version(&event.aggregate_type, &event.aggregate_id)?.get(),
    };
    let unknown = |reason: &str| html! { div.err { h3 { "Not known" } p { (text::text(reason)) } } };
    let window = match app.windows.get(&store, &fold, &place) {
        Ok(window) => window,
        // The events before may have been purged; the event itself is right.
        Err(error) => return Ok(unknown(&error.to_string())),
    };
    let Some(after) = window.state(version) else {
        return Ok(unknown(window.failure.as_deref().unwrap_or("there is no state at this version")));
    };
    let (before, after) = (window.state(version - 1).map(|state| Node::parse(state.as_str())), Node::parse(after.as_str()));
    let found = compare(before.as_ref(), Some(&after), true);
    Ok(html! {
        @if found.changes.is_empty() { p.muted { "Nothing in the state." } }
        @else { div.json.wrap { (json::changes(&found)) } }
        @if !fold.is_the_applications { p.small.muted.gap { "By JSON Merge Patch; the application may fold otherwise." } }
    })
}

fn node(event: &RecordedEvent, is_this: bool) -> Markup {
    let inner = html! {
        b { (text::text_up_to(&event.event_type, 60)) }
        span.w { "v" (event.version) ", " (time::of_day(event.created_at)) }
        small { (text::text_up_to(&event.aggregate_type, 40)) " " (text::id(&event.aggregate_id)) ", " (text::beginning(&Node::parse(event.data.as_str()).summary(), 60)) }
    };
    html! {
        @if is_this { div.node.me aria-current="true" { (inner) } }
        @else { a.node href=(link::event(event)) { (inner) } }
    }
}

fn tree(event: &RecordedEvent, story: &Story) -> Markup {
    let nothing = story.causes.is_empty() && story.effects.is_empty() && story.broken.is_none();
    html! {
        div.tree {
            @if let Some(broken) = &story.broken { p.muted.small { (text::text(broken)) } }
            @if let Some((more, first)) = &story.earlier {
                p.muted.small { (counted(*more as u64, "earlier cause", "earlier causes")) ", back to " a href=(link::event(first)) { "v" (first.version) " " (text::text_up_to(&first.event_type, 60)) } }
            }
            @if nothing { p.muted.small { "It names no cause, and no event names it as the cause." } }
            (nested(event, &story.causes, story))
            p.muted.small.gap { "Effects: of the next " (count(LOOKED_AT)) " positions and of the same aggregate." }
        }
    }
}

/// The causes around each other, and inside of them the event with what followed.
fn nested(event: &RecordedEvent, causes: &[RecordedEvent], story: &Story) -> Markup {
    html! {
        ol {
            li {
                @match causes.split_first() {
                    Some((cause, rest)) => { (node(cause, false)) (nested(event, rest, story)) }
                    None => { (node(event, true)) (effects(&story.effects, story.more)) }
                }
            }
        }
    }
}

fn effects(list: &[Effect], more: usize) -> Markup {
    html! {
        @if !list.is_empty() {
            ol {
                @for effect in list { li { (node(&effect.event, false)) (effects(&effect.effects, effect.more)) } }
            }
        }
        @if more > 0 { p.muted.small.more-of { (more) " more followed" } }
    }
}

/// The events of the same correlation, as the log shows them from a little before this one on.
fn correlated(event: &RecordedEvent) -> Option<String> {
    let id = event.metadata().ok()?.correlation_id?;
    let after = event.position.get().saturating_sub(5_000).to_string();
    Some(link::url("/log", &[("meta", &id), ("after", &after), ("tenant", &event.tenant)]))
}

fn metadata(app: &App, event: &RecordedEvent) -> foldlog::Result<Markup> {
    let node = event.metadata.as_ref().map(|metadata| Node::parse(metadata.as_str()));
    let members = match &node {
        Some(Node::Object(members)) => members.as_slice(),
        _ => &[],
    };
    let together = app.store.read(
        foldlog::Query::matching(app.all(foldlog::Filter::new()))
            .after_position(event.commit_id.get().saturating_sub(1))
            .up_to_position(event.position + 200)
            .limit(400),
    );
    let together: Vec<RecordedEvent> = together
        .filter(|other| other.as_ref().is_ok_and(|other| other.commit_id == event.commit_id))
        .collect::<Result<_, _>>()?;
    let name = |key: &str| match key {
        "correlationId" => "Correlation".to_owned(),
        "causationId" => "Caused by".to_owned(),
        key => key.to_owned(),
    };
    let waiting: Vec<String> = app
        .readers()?
        .all
        .iter()
        .filter(|reader| {
            reader.status.position < event.position && reader.tenant.as_deref().is_none_or(|tenant| tenant == &*event.tenant)
        })
        .map(|reader| reader.status.name.clone())
        .collect();
    Ok(html! {
        dl.kv {
            dt { "Event id" } dd { span.mono { (event.id) } }
            dt { "Position" }
            dd {
                (count(event.position.get()))
                @if together.len() <= 1 { ", alone in its append" }
                @else {
                    ", with " (counted(together.len() as u64 - 1, "other event", "other events")) " in its append: "
                    @for other in together.iter().filter(|other| other.position != event.position).take(8) {
                        a href=(link::event(other)) title=(text::plain(&other.event_type)) { (count(other.position.get())) } " "
                    }
                    @if together.len() > 9 { "…" }
                }
            }
            @for (key, value) in members {
                dt { (text::text_up_to(&name(key), 60)) }
                dd {
                    @let shown = value.as_text();
                    @match (&**key, &shown) {
                        ("causationId", Some(id)) if id.parse::<EventId>().is_ok() => a.mono href={ "/e/id/" (crate::http::encode(id)) } { (text::text_up_to(id, 200)) },
                        ("correlationId", Some(id)) => @match correlated(event) { Some(url) => a.mono href=(url) { (text::text_up_to(id, 200)) }, None => span.mono { (text::text_up_to(id, 200)) } },
                        (_, Some(shown)) => span.mono { (text::text_up_to(shown, 1_000)) },
                        (_, None) => div.json.wrap { (json::plain(value)) },
                    }
                }
            }
            @if !event.tags.is_empty() {
                dt { "Tags" }
                dd { @for tag in &event.tags { a.tag href=(link::url("/log", &[("tenant", &event.tenant), ("tag", tag)])) { (text::text_up_to(tag, 80)) } " " } }
            }
            dt { "Checksum" } dd { span.mark.ok { "✓" } " right" }
            dt { "Not yet passed by" } dd { @if waiting.is_empty() { "nobody: every reader has passed it" } @else { (text::text_up_to(&waiting.join(", "), 200)) } }
        }
    })
}
