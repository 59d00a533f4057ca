//! The right side: the state and what the event changed, the event, the snapshots, or two versions side by side.

use maud::{Markup, html};

use super::{Looked, Tab, snapshots};
use crate::json::{Comparison, Node, compare};
use crate::reading::window::Window;
use crate::view::number::count;
use crate::view::{json, link, text};

/// From this many lines on, what did not change is summed up unless asked for.
const MANY_LINES: usize = 24;

pub(super) fn view(looked: &Looked<'_>, window: &Window) -> foldlog::Result<Markup> {
    Ok(html! {
        section.right #view aria-label="State" data-after=(window.after) {
            @match looked.from {
                Some(from) => (sides(looked, from)?),
                None => (one(looked, window)?),
            }
        }
    })
}

fn one(looked: &Looked<'_>, window: &Window) -> foldlog::Result<Markup> {
    let after = looked.state(looked.at)?;
    let before = match looked.at > looked.lowest {
        true => looked.state(looked.at - 1)?.ok().flatten(),
        // Nothing is known of what the first state changed.
        false => after.clone().ok().flatten(),
    };
    let lines = after.as_ref().ok().and_then(Option::as_ref).map_or(0, Node::lines);
    let folded = looked.folded.unwrap_or(lines > MANY_LINES && looked.at > looked.lowest.max(1));
    let event = window.step(looked.at).map(|step| &step.event);
    let copied = match (looked.tab, event) {
        (Tab::Event, Some(event)) => Some(event.data.as_str().to_owned()),
        _ => window.state(looked.at).map(|state| state.as_str().to_owned()),
    };
    Ok(html! {
        div.tabs {
            nav.tl aria-label="What to show" {
                @for (tab, name, title) in Tab::ALL {
                    a href=(looked.url(&[("tab", name)])) aria-current=[(tab == looked.tab).then_some("true")] { (title)
                        @if tab == Tab::Snapshots && !looked.snapshots.is_empty() { " " span.muted { (looked.snapshots.len()) } } }
                }
            }
            div.end {
                @if let Some(event) = event { a.button.ghost.copy href=(link::event(event)) { "Open event" } }
                @if looked.tab == Tab::State { a.button.ghost.copy #fold href=(looked.url(&[("fold", if folded { "0" } else { "1" })])) aria-current=[folded.then_some("true")] { "Changed only " kbd { "f" } } }
                @if let Some(copied) = copied.filter(|_| looked.tab != Tab::Snapshots) { button.ghost.copy type="button" data-copy=(copied) { "Copy JSON" } }
            }
        }
        @match (looked.tab, after) {
            (Tab::Snapshots, _) => (snapshots(looked)),
            (Tab::Event, _) => @match event {
                Some(event) => {
                    div.json.wrap tabindex="0" role="group" aria-label="Data as JSON" { (json::stored(event.data.as_str())) }
                    @if let Some(metadata) = &event.metadata { h3.gap { "Metadata" } div.json.wrap tabindex="0" role="group" aria-label="Metadata as JSON" { (json::stored(metadata.as_str())) } }
                    @if !event.tags.is_empty() { h3.gap { "Tags" } p { @for tag in &event.tags { span.tag { (text::text_up_to(tag, 60)) } " " } } }
                }
                None => div.empty { h3 { @if looked.at == 0 { "Before the first event" } @else { "The event is not here any more" } } p { "There is no event at version " (looked.at) "." } }
            },
            (Tab::State, Err(reason)) => {
                div.err { h3 { "There is no state at version " (count(looked.at)) } p { (text::text(&reason)) }
                    p.small.muted { "The events themselves are there: see the tab Event. The application's own folds are used if the inspector is started by the application." } }
            }
            (Tab::State, Ok(None)) => {
                div.delta { span.muted { "No path changed" } }
                div.json.wrap #state tabindex="0" role="group" aria-label="State as JSON" { div.jl { i {} span { span.q { "null" } } } }
            }
            (Tab::State, Ok(Some(state))) => {
                @let found = compare(before.as_ref(), Some(&state), folded);
                div.delta { (json::chips(&found)) }
                div.json #state tabindex="0" role="group" aria-label="State as JSON" { (json::changed(&found)) }
            }
        }
    })
}

fn sides(looked: &Looked<'_>, from: u64) -> foldlog::Result<Markup> {
    let (before, after) = (looked.state(from)?, looked.state(looked.at)?);
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(reason), _) | (_, Err(reason)) => {
            return Ok(html! { div.err { h3 { "These versions cannot be compared" } p { (text::text(&reason)) } } });
        }
    };
    let lines = after.as_ref().map_or(0, Node::lines);
    let folded = looked.folded.unwrap_or(lines > 4 * MANY_LINES);
    let found = compare(before.as_ref(), after.as_ref(), folded);
    let between = looked.at - from;
    let title = format!(
        "Version {} against {}: {} {} between",
        count(from),
        count(looked.at),
        count(between),
        if between == 1 { "event" } else { "events" }
    );
    Ok(html! {
        div.bar-h {
            h2 { (title) }
            div.end {
                a.button.ghost.copy #fold href=(looked.url(&[("fold", if folded { "0" } else { "1" })])) aria-current=[folded.then_some("true")] { "Changed only " kbd { "f" } }
            }
        }
        div.delta { (json::chips(&found)) }
        div.side {
            (column("Version ", from, &found, true))
            (column("Version ", looked.at, &found, false))
        }
    })
}

fn column(title: &str, version: u64, found: &Comparison<'_>, left: bool) -> Markup {
    html! {
        div {
            h3 { (title) (count(version)) }
            div.json.cap data-sync tabindex="0" role="group" aria-label={ "State at version " (version) } { (json::side(found, left)) }
        }
    }
}
