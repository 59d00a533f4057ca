//! One aggregate: its events, its state at any version, and two versions side by side.

mod replay;
mod state;

use std::sync::Arc;

use foldlog::{ErrorKind, RecordedEvent, Removed, Snapshot, Store, serde_json};
use maud::{Markup, html};

use super::shell::{self, Nav};
use super::{Failure, Page};
use crate::app::App;
use crate::folds::Fold;
use crate::http::{Answer, Request};
use crate::json::Node;
use crate::reading::window::{Place, WINDOW, Window};
use crate::view::number::{bytes, count, counted};
use crate::view::text::shell as quoted;
use crate::view::{link, text, time};

/// An aggregate, and what of it is looked at.
struct Looked<'a> {
    app: &'a App,
    store: Store,
    fold: Fold,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    /// Its newest version.
    version: u64,
    /// The lowest version whose state can be shown: 0, or a snapshot's if events were purged.
    lowest: u64,
    removed: Removed,
    snapshots: Vec<Snapshot>,
    at: u64,
    /// The version that `at` is compared with.
    from: Option<u64>,
    tab: Tab,
    compact: bool,
    /// `None`: as the size of the state suggests.
    folded: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tab {
    State,
    Event,
    Snapshots,
}

impl Tab {
    const ALL: [(Tab, &'static str, &'static str); 3] =
        [(Tab::State, "", "State"), (Tab::Event, "event", "Event"), (Tab::Snapshots, "snapshots", "Snapshots")];

    fn of(request: &Request) -> Tab {
        let asked = request.get("tab").unwrap_or_default();
        Tab::ALL.iter().find(|(_, name, _)| *name == asked).map_or(Tab::State, |(tab, ..)| *tab)
    }

    fn name(self) -> &'static str {
        Tab::ALL.iter().find(|(tab, ..)| *tab == self).map_or("", |(_, name, _)| name)
    }
}

impl<'a> Looked<'a> {
    fn of(app: &'a App, request: &Request, names: [&'a str; 3]) -> Result<Looked<'a>, Failure> {
        let [tenant, aggregate_type, aggregate_id] = names;
        let missing = || {
            let what = format!("There is no {aggregate_type} {aggregate_id:?} in tenant {tenant:?}");
            Failure::NotFound(what, "Look for it on the page of aggregates.".to_owned())
        };
        let store = app.tenant(tenant).ok_or_else(missing)?;
        let version = store.version(aggregate_type, aggregate_id)?.get();
        if version == 0 {
            return Err(missing());
        }
        let fold = app.folds.of(aggregate_type);
        let handle = store.json_aggregates(aggregate_type);
        let mut snapshots = handle.snapshots(aggregate_id)?;
        snapshots.sort_by_key(|snapshot| snapshot.version);
        let removed = store.removed(aggregate_type, aggregate_id)?;
        let first = removed.purged_through.get();
        let lowest = match first.max(removed.archived_through.get()) {
            0 => 0,
            // The state is known from the first snapshot on that the fold can start from; without the archive, from one
            // after the archived events.
            _ => std::iter::once(first)
                .chain(snapshots.iter().map(|snapshot| snapshot.version.get()).filter(|version| *version > first))
                .find(|version| match fold.steps(&store, aggregate_id, *version) {
                    Ok((_, mut steps)) => !matches!(steps.next(), Some(Err(error)) if error.kind() == ErrorKind::ArchiveMissing),
                    Err(_) => false,
                })
                .unwrap_or(first),
        };
        let within = |asked: Option<u64>| asked.map(|asked| asked.clamp(lowest, version));
        let at = within(request.number("to").or(request.number("v"))).unwrap_or(version);
        let from = within(request.number("from")).map(|from| from.min(at));
        let compact = request.get("list") == Some("compact");
        let folded = request.get("fold").map(|fold| fold == "1");
        let tab = Tab::of(request);
        Ok(Looked {
            app,
            store,
            fold,
            aggregate_type,
            aggregate_id,
            version,
            lowest,
            removed,
            snapshots,
            at,
            from,
            tab,
            compact,
            folded,
        })
    }

    /// The window that a version belongs to.
    fn window(&self, version: u64) -> foldlog::Result<Arc<Window>> {
        let after = (version.saturating_sub(1) / WINDOW * WINDOW).max(self.lowest);
        let place = Place { aggregate_type: self.aggregate_type, aggregate_id: self.aggregate_id, after, version: self.version };
        self.app.windows.get(&self.store, &self.fold, &place)
    }

    /// The state at a version, and why there is none.
    fn state(&self, version: u64) -> foldlog::Result<Result<Option<Node>, String>> {
        let window = self.window(version)?;
        Ok(match window.state(version) {
            Some(state) => Ok(Some(Node::parse(state.as_str()))),
            None if version == 0 => Ok(None),
            None => Err(window.failure.clone().unwrap_or_else(|| "there is no state at this version".to_owned())),
        })
    }

    /// This page's address with other values.
    fn url(&self, changed: &[(&str, &str)]) -> String {
        let (at, from) = (self.at.to_string(), self.from.map(|from| from.to_string()));
        let fold = self.folded.map(|folded| if folded { "1" } else { "0" });
        let mut query = match &from {
            Some(from) => vec![("from", from.as_str()), ("to", at.as_str())],
            None => vec![("v", at.as_str())],
        };
        let list = if self.compact { "compact" } else { "" };
        query.extend([("tab", self.tab.name()), ("list", list), ("fold", fold.unwrap_or_default())]);
        for (name, value) in changed {
            query.retain(|(known, _)| known != name);
            query.push((name, value));
        }
        let path = link::aggregate_path(self.store.tenant_name(), self.aggregate_type, self.aggregate_id);
        link::url(&path, &query)
    }

    /// The address of a version.
    fn version_url(&self, version: u64) -> String {
        self.url(&[("v", &*version.to_string()), ("from", ""), ("to", "")])
    }

    /// Arguments that name the aggregate on the command line.
    fn arguments(&self) -> String {
        let file = self.store.path().map_or("FILE".into(), |path| path.to_string_lossy());
        let plain = format!("{}/{}", self.aggregate_type, self.aggregate_id);
        // What the command line could not divide or show is named in JSON.
        let is_plain = !self.aggregate_type.contains('/') && !plain.starts_with(['[', '-']) && text::plain(&plain) == plain;
        let name = if is_plain { plain } else { serde_json::json!([self.aggregate_type, self.aggregate_id]).to_string() };
        let tenant = match self.store.tenant_name() {
            foldlog::DEFAULT_TENANT => String::new(),
            tenant => format!(" --tenant {}", quoted(tenant)),
        };
        format!("{} {}{tenant}", quoted(&file), quoted(&name))
    }
}

pub(crate) fn page(app: &App, request: &Request, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Page {
    let looked = Looked::of(app, request, [tenant, aggregate_type, aggregate_id])?;
    let window = looked.window(looked.at)?;
    if request.get("part").is_some() {
        // What changes when the slider is moved; the script puts it in the place of what is there.
        let part = html! { (replay::label(&looked, &window)) (state::view(&looked, &window)?) };
        return Ok(Answer::html(200, part.into_string()));
    }
    let content = html! {
        nav.crumbs aria-label="Place" {
            a href=(link::url("/aggregates", &[("tenant", tenant)])) { (text::text_up_to(tenant, 60)) } span { "/" }
            a href=(link::url("/aggregates", &[("tenant", tenant), ("type", aggregate_type)])) { (text::text_up_to(aggregate_type, 60)) }
        }
        (head(&looked, &window)?)
        (notices(&looked))
        div #replay data-url=(looked.url(&[("v", ""), ("from", ""), ("to", "")])) data-v=(looked.at) data-from=[looked.from] data-lowest=(looked.lowest)
            data-version=(looked.version) data-after=(window.after) data-window=(WINDOW)
            data-snapshots=(looked.snapshots.iter().map(|snapshot| snapshot.version.to_string()).collect::<Vec<_>>().join(",")) {
            (replay::bar(&looked, &window))
            div.split {
                (replay::list(&looked, &window))
                (state::view(&looked, &window)?)
            }
        }
    };
    let title = format!("{aggregate_type} {aggregate_id}");
    Ok(Answer::html(200, shell::page(app, Nav::Aggregates, &title, &content)))
}

fn head(looked: &Looked<'_>, window: &Window) -> foldlog::Result<Markup> {
    let edge = |newest: bool| -> foldlog::Result<Option<RecordedEvent>> {
        let query = foldlog::Query::aggregate(looked.aggregate_type, looked.aggregate_id).limit(1);
        looked.store.read(if newest { query.newest_first() } else { query }).next().transpose()
    };
    let first = match edge(false) {
        // The notice says so.
        Err(error) if error.kind() == ErrorKind::ArchiveMissing => None,
        first => first?,
    };
    let last = match edge(true) {
        Err(error) if error.kind() == ErrorKind::ArchiveMissing => None,
        last => last?,
    };
    let size: usize = window.steps.iter().map(|step| step.event.data.as_str().len()).sum();
    let (fold, fold_version) = looked.fold.id(&looked.store);
    let from = looked.from.unwrap_or_else(|| looked.at.saturating_sub(10).max(looked.lowest)).to_string();
    let compare = match looked.from {
        Some(_) => looked.version_url(looked.at),
        None => looked.url(&[("v", ""), ("tab", ""), ("from", &from), ("to", &looked.at.to_string())]),
    };
    Ok(html! {
        div.head {
            div {
                h1 { (text::text_up_to(looked.aggregate_id, 300)) }
                p.facts {
                    span { "version " b { (count(looked.version)) } }
                    @if let Some(first) = first { span { @if first.version == 1 { "first event " } @else { "first event left " } b { (time::at(first.created_at)) } } }
                    @if let Some(last) = last { span { "last " b title=(time::exact(last.created_at)) { (time::ago(last.created_at)) } } }
                    @if looked.version <= WINDOW && !window.steps.is_empty() { span { b { (bytes(size as u64)) } " of JSON" } }
                    span { "fold " b.mono { (text::text_up_to(&fold, 60)) " " (fold_version) } }
                }
            }
            div.end {
                a.button #cmp href=(compare) aria-current=[looked.from.map(|_| "true")] { "Compare versions " kbd { "c" } }
                button type="button" data-copy=(format!("foldlog replay {} --version {}", looked.arguments(), looked.at)) { "Copy command" }
                span.chip.line #live data-live="chip" hidden {}
            }
        }
    })
}

fn notices(looked: &Looked<'_>) -> Markup {
    let foreign = looked.snapshots.iter().rev().find(|snapshot| snapshot.fold_name != "merge-patch");
    html! {
        @if let Some(snapshot) = foreign.filter(|_| !looked.fold.is_the_applications) {
            p.notice.info {
                strong { "State by JSON Merge Patch." }
                span { "The application folds otherwise: its fold " code { (text::text_up_to(&snapshot.fold_name, 60)) " " (snapshot.fold_version) } " made the snapshots. "
                    a href=(looked.url(&[("tab", "snapshots"), ("from", ""), ("to", "")])) { "See what it saw" } }
            }
        }
        @let (purged, archived) = (looked.removed.purged_through.get(), looked.removed.archived_through.get());
        @if purged > 0 {
            p.notice.info {
                strong { @if purged == looked.version { "All events were purged." } @else { "The first " (counted(purged, "event was", "events were")) " purged." } }
                span { "The state is known from version " (count(looked.lowest)) " on" @if looked.lowest > 0 { ", which a snapshot stands in for" } "." }
            }
        }
        @if archived > purged {
            @let is_missing = looked.lowest > purged;
            p.notice.info[!is_missing] {
                strong { "Versions " (count(purged + 1)) " to " (count(archived)) " are in the archive." }
                @if is_missing { span { "It is not beside the file, so the state is known from version " (count(looked.lowest)) " on. Put " code { (text::plain(&archive_name(looked.app))) } " back to see them." } }
                @else { span { "They are read from " code { (text::plain(&archive_name(looked.app))) } ", beside the file." } }
            }
        }
    }
}

/// The name of the archive's file.
fn archive_name(app: &App) -> String {
    format!("{}.archive", app.name())
}

/// The snapshots as a table, each with its state.
fn snapshots(looked: &Looked<'_>) -> Markup {
    const SHOWN: u64 = 200_000;
    html! {
        @if looked.snapshots.is_empty() {
            div.empty { h3 { "No snapshots" } p { "Replays of this aggregate fold every event. One is made every 100 events, or by:" }
                pre { "store.aggregates::<T>().create_snapshot(id, SnapshotReason::Manual)?;" } }
        } @else {
            p.muted.small { (counted(looked.snapshots.len() as u64, "snapshot", "snapshots")) ", a cache: a replay without them gives the same." }
            @for snapshot in looked.snapshots.iter().rev() {
                details.snap {
                    summary {
                        b { "v" (count(snapshot.version.get())) } " by " span.mono { (text::text_up_to(&snapshot.fold_name, 60)) " " (snapshot.fold_version) }
                        ", " (bytes(snapshot.snapshot_size)) ", " (snapshot.reason) ", " (time::at(snapshot.created_at))
                        @if let Some(by) = &snapshot.created_by { " for " (text::text_up_to(by, 60)) }
                    }
                    p.small.muted { (counted(snapshot.event_count, "event", "events")) " folded to make it. "
                        a href=(looked.version_url(snapshot.version.get())) { "The state at this version by this page's fold" } }
                    @if snapshot.snapshot_size <= SHOWN {
                        div.json.wrap.cap tabindex="0" role="group" aria-label="The snapshot's state" { (crate::view::json::stored(snapshot.state.as_str())) }
                    } @else { p.muted { "Too large to show here: " (bytes(snapshot.snapshot_size)) "." } }
                }
            }
        }
    }
}

pub(crate) fn json(app: &App, request: &Request, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Page {
    let looked = Looked::of(app, request, [tenant, aggregate_type, aggregate_id])?;
    let window = looked.window(looked.at)?;
    let state = match window.state(looked.at) {
        Some(state) => serde_json::to_value(state).ok(),
        None => None,
    };
    let (fold, fold_version) = looked.fold.id(&looked.store);
    let body = serde_json::json!({
        "tenant": tenant, "aggregateType": aggregate_type, "aggregateId": aggregate_id, "version": looked.at,
        "newestVersion": looked.version, "fold": fold, "foldVersion": fold_version, "state": state, "error": window.failure,
    });
    Ok(Answer::json(200, body.to_string()))
}
