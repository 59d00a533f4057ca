//! The slider over the versions, and the list of events beside the state.

use maud::{Markup, html};

use super::Looked;
use crate::reading::window::{Step, WINDOW, Window};
use crate::view::chart::{pc, px};
use crate::view::number::count;
use crate::view::{text, time};

/// The heights of the bars: the floor, the least and what the largest change adds.
const FLOOR: f64 = 44.0;
const LEAST: f64 = 6.0;
const MORE: f64 = 27.0;

fn icon(path: &str) -> Markup {
    html! { svg width="14" height="14" viewBox="0 0 14 14" fill="currentColor" aria-hidden="true" { path d=(path) {} } }
}

/// The buttons, the slider, and the bars over it.
pub(super) fn bar(looked: &Looked<'_>, window: &Window) -> Markup {
    let go = |version: u64| looked.version_url(version.clamp(looked.lowest, looked.version));
    let (lowest, newest, at) = (looked.lowest, looked.version, looked.at);
    let to_first = if lowest == 0 { "Before the first event" } else { "To the first version whose state is known" };
    let class = |more: &str| format!("button icon{more}");
    html! {
        section.replay aria-label="Replay" {
            div.deck {
                a class=(class("")) data-go="first" href=(go(lowest)) aria-label=(to_first) title={ (to_first) " (Home)" } { (icon("M2 2h2v10H2zM12 2v10L5 7z")) }
                a class=(class("")) data-go="-1" href=(go(at.saturating_sub(1))) aria-label="One version back" title="One version back (←)" { (icon("M10 2v10L3.5 7z")) }
                button.icon #play type="button" aria-label="Play" title="Play (Space)" hidden { (icon("M3.5 2v10L12 7z")) }
                a class=(class(" hide-s")) data-go="1" href=(go(at + 1)) aria-label="One version on" title="One version on (→)" { (icon("M4 2v10l6.5-5z")) }
                a class=(class("")) data-go="last" href=(go(newest)) aria-label="To the newest version" title="To the newest version (End)" { (icon("M10 2h2v10h-2zM2 2v10l7-5z")) }
                (label(looked, window))
                span.legend {
                    @if has_bars(looked) {
                        span { svg width="18" height="10" aria-hidden="true" { rect width="3" height="6" y="4" fill="currentColor" {} rect width="3" height="10" x="5" fill="currentColor" {} rect width="3" height="3" x="10" y="7" fill="currentColor" {} } "paths changed" }
                    }
                    @if !looked.snapshots.is_empty() {
                        span { svg width="10" height="10" aria-hidden="true" { path d="M5 0L10 5L5 10L0 5Z" fill="none" stroke="currentColor" {} } "snapshot" }
                    }
                }
                form.goto.hide-s action=(crate::view::link::aggregate_path(looked.store.tenant_name(), looked.aggregate_type, looked.aggregate_id)) {
                    label for="vbox" { "Go to" } input #vbox type="text" name="v" inputmode="numeric" size="7" value=(at) autocomplete="off";
                }
            }
            div class=(if looked.from.is_some() { "track two" } else { "track" }) {
                (strip(looked, window))
                input.a #va type="range" min=(lowest) max=(newest) value=(looked.from.unwrap_or(lowest)) aria-label="Compare from version" hidden[looked.from.is_none()];
                input.b #vb type="range" min=(lowest) max=(newest) value=(at) aria-label="Version" aria-valuetext=(spoken(looked, window));
            }
        }
    }
}

fn spoken(looked: &Looked<'_>, window: &Window) -> String {
    match window.step(looked.at) {
        Some(step) => format!("version {} of {}, {}", looked.at, looked.version, text::plain(&step.event.event_type)),
        None => without_event(looked).to_owned(),
    }
}

/// Which version is shown, and its event. Announced when it changes.
pub(super) fn label(looked: &Looked<'_>, window: &Window) -> Markup {
    let step = window.step(looked.at);
    html! {
        span.at-what #label data-spoken=(spoken(looked, window)) {
            span.at {
                output #vnow { @match looked.from { Some(from) => { "v" (count(from)) " → v" (count(looked.at)) }, None => { "v" (count(looked.at)) } } }
                " " span { "of " (count(looked.version)) }
            }
            span.what aria-live="polite" {
                @match (looked.from, step) {
                    (Some(from), _) => (apart(looked, from)),
                    (None, Some(step)) => {
                        b { (text::text_up_to(&step.event.event_type, 80)) } " " (time::at(step.event.created_at)) ", "
                        a href=(crate::view::link::event(&step.event)) { "position " (count(step.event.position.get())) }
                    }
                    (None, None) => (without_event(looked)),
                }
            }
        }
    }
}

/// What the lowest version is.
fn without_event(looked: &Looked<'_>) -> &'static str {
    if looked.at == 0 { "before the first event" } else { "the state of a snapshot: its events are not here any more" }
}

fn apart(looked: &Looked<'_>, from: u64) -> Markup {
    let at = |version: u64| {
        let window = looked.window(version.max(1)).ok()?;
        Some(window.step(version.max(1))?.event.created_at)
    };
    html! { @if let (Some(first), Some(last)) = (at(from), at(looked.at)) { (time::gap(last - first)) " apart" } }
}

/// Bars are drawn as long as there is a pixel for each.
fn has_bars(looked: &Looked<'_>) -> bool {
    looked.version - looked.lowest <= WINDOW
}

fn strip(looked: &Looked<'_>, window: &Window) -> Markup {
    let all = (looked.version - looked.lowest).max(1) as f64;
    let x = |version: f64| (version - looked.lowest as f64) * 100.0 / all;
    let most = window.steps.iter().map(changed).max().unwrap_or(1).max(1) as f64;
    let span = looked.from.map(|from| (x(from as f64), x(looked.at as f64)));
    // Of few versions, narrow enough that the last bar stays inside.
    let wide = (76.0 / all).min(1.5);
    let is_past = |version: u64| version <= looked.at && looked.from.is_none_or(|from| version > from);
    html! {
        svg aria-hidden="true" {
            @if let Some((from, to)) = span { rect.span x=(pc(from)) width=(pc(to - from)) y="0" height="60" {} }
            @else { rect.span x="0" width="0" y="0" height="60" {} }
            @for version in looked.snapshots.iter().map(|snapshot| snapshot.version.get()).filter(|version| *version >= looked.lowest) {
                line.snapline x1=(pc(x(version as f64))) x2=(pc(x(version as f64))) y1="4" y2=(px(FLOOR + 8.0)) {}
            }
            @if has_bars(looked) {
                @for step in &window.steps {
                    @let version = step.event.version.get();
                    @let tall = LEAST + MORE * changed(step) as f64 / most;
                    rect class=(if is_past(version) { "bar past" } else { "bar" }) data-v=(version) x=(pc(x(version as f64) - wide / 2.0)) width=(pc(wide)) y=(px(FLOOR - tall)) height=(px(tall)) rx="1" {
                        title { "v" (version) " " (text::plain(&step.event.event_type)) ": " (changed(step)) " paths" }
                    }
                }
            } @else {
                // More versions than pixels: where the listed stretch lies among all.
                @let (first, last) = (window.after, window.after + window.steps.len() as u64);
                rect.rest x="0" width="100%" y=(px(FLOOR - 12.0)) height="12" rx="2" {}
                rect.listed x=(pc(x(first as f64))) width=(pc((x(last as f64) - x(first as f64)).max(0.5))) y=(px(FLOOR - 12.0)) height="12" rx="1" {
                    title { "listed below: v" (first + 1) " to v" (last) }
                }
            }
            @for version in looked.snapshots.iter().map(|snapshot| snapshot.version.get()).filter(|version| *version >= looked.lowest) {
                svg x=(pc(x(version as f64))) overflow="visible" { path.snap d="M0 -1L4.5 3.5L0 8L-4.5 3.5Z" { title { "snapshot at v" (version) } } }
            }
        }
    }
}

fn changed(step: &Step) -> usize {
    step.counts.iter().sum()
}

/// A run of events in the compact list: the first version, the last one, and the number.
struct Run<'w> {
    first: u64,
    last: u64,
    step: &'w Step,
    gap: Option<chrono::TimeDelta>,
}

fn runs<'w>(window: &'w Window, compact: bool) -> Vec<Run<'w>> {
    let mut runs: Vec<Run<'w>> = Vec::new();
    let mut before = None;
    for step in &window.steps {
        let version = step.event.version.get();
        let gap = before.map(|before| step.event.created_at - before);
        before = Some(step.event.created_at);
        match runs.last_mut() {
            Some(run) if compact && run.step.event.event_type == step.event.event_type => {
                *run = Run { last: version, step, gap: run.gap.zip(gap).map(|(one, other)| one + other), first: run.first };
            }
            _ => runs.push(Run { first: version, last: version, step, gap }),
        }
    }
    runs
}

pub(super) fn list(looked: &Looked<'_>, window: &Window) -> Markup {
    let (first, last) = (window.after + 1, window.after + window.steps.len() as u64);
    let is_all = window.after == looked.lowest && last == looked.version;
    html! {
        section.events aria-label="Events" {
            div.bar-h {
                h2 { "Events" }
                @if !is_all { span.small.muted { (count(first)) "–" (count(last)) " of " (count(looked.version)) } }
                div.end {
                    span.seg role="group" aria-label="List" {
                        a.button href=(looked.url(&[("list", "")])) aria-current=[(!looked.compact).then_some("true")] { "Full" }
                        a.button href=(looked.url(&[("list", "compact")])) aria-current=[looked.compact.then_some("true")] { "Compact" }
                    }
                }
            }
            ol.steps data-list {
                @for run in runs(window, looked.compact) { (row(looked, &run)) }
                @if window.steps.is_empty() && window.failure.is_none() { li.failed { p.muted { "No events are left: " (count(looked.removed.purged_through.get())) " were purged." } } }
                @if let Some(failure) = &window.failure { li.failed { div.err { h3 { "The fold stops here" } p { (text::text(failure)) } } } }
            }
            @if !is_all {
                div.pager {
                    @if window.after > looked.lowest { a.button href=(looked.version_url(window.after)) { "Earlier" } }
                    @if last < looked.version { a.button href=(looked.version_url(last + 1)) { "Later" } }
                }
            }
        }
    }
}

fn row(looked: &Looked<'_>, run: &Run<'_>) -> Markup {
    let is_current = (run.first..=run.last).contains(&looked.at);
    let class = [
        (run.first > looked.at).then_some("later"),
        (looked.from.is_some_and(|from| run.first > from && run.first <= looked.at) && !is_current).then_some("within"),
    ];
    let is_snapshot = looked.snapshots.iter().any(|snapshot| (run.first..=run.last).contains(&snapshot.version.get()));
    let run_length = run.last - run.first + 1;
    html! {
        li class=[is_snapshot.then_some("snapat")] data-from=(run.first) data-v=(run.last) {
            a class=(class.into_iter().flatten().collect::<Vec<_>>().join(" ")) href=(looked.version_url(run.last)) aria-current=[is_current.then_some("step")] {
                span.v { @if run_length > 1 { (run.first) "–" } (run.last) }
                span { (text::text_up_to(&run.step.event.event_type, 60)) @if run_length > 1 { " " span.run { "×" (run_length) } } }
                span.d { @if let Some(gap) = run.gap { "+" (time::gap(gap)) } }
                span.c { (text::beginning(&run.step.summary, 160)) }
            }
        }
    }
}
