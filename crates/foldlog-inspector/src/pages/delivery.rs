//! The readers of the log: how far they are, what stopped, and the dead letters.

use foldlog::{DeadLetter, serde_json};
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request, encode};
use crate::reading::health::{Condition, Reader, Readers};
use crate::view::number::{count, counted};
use crate::view::text::shell as quoted;
use crate::view::{chart, link, text, time};

/// Dead letters that are shown of one outbox.
const LETTERS: usize = 10;
/// The same, on the page of that outbox.
const LETTERS_OF_ONE: usize = 100;

/// What changes the file, as the forms name it.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    Retry,
    Discard,
    RetryFailed,
    SkipFailed,
}

impl Change {
    pub(crate) const ALL: [Change; 4] = [Change::Retry, Change::Discard, Change::RetryFailed, Change::SkipFailed];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Change::Retry => "retry",
            Change::Discard => "discard",
            Change::RetryFailed => "retry-failed",
            Change::SkipFailed => "skip-failed",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Change::Retry | Change::RetryFailed => "Retry",
            Change::Discard => "Discard",
            Change::SkipFailed => "Skip the event",
        }
    }
}

/// The address of a reader's page.
pub(crate) fn path(reader: &Reader) -> String {
    let name = encode(&reader.status.name);
    match &reader.tenant {
        Some(tenant) => format!("/delivery/{}/{name}", encode(tenant)),
        None => format!("/delivery/{name}"),
    }
}

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let readers = app.readers()?;
    let content = html! {
        div.head {
            div { h1 { "Delivery" } p.facts { span { "newest position " b { (count(readers.last)) } } } }
            div.end { span.chip.line #live data-live="page" { "Updates when the page is opened" } }
        }
        div #news {
            (done_notice(request))
            @if readers.all.is_empty() {
                div.empty { h3 { "Nobody reads the log" } p { "Subscriptions, projections and outboxes appear here when the application runs them:" }
                    pre { "store.subscription(\"mails\").run_to_end(|event| …)?;" } }
            } @else {
                (overview(app, &readers))
                @for reader in readers.all.iter().filter(|reader| reader.status.failure.is_some()) { (stopped(app, reader)) }
                @for reader in readers.all.iter().filter(|reader| reader.outbox.is_some()) { (outbox(app, reader, 0, LETTERS)?) }
            }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Delivery, "Delivery", &content)))
}

fn done_notice(request: &Request) -> Markup {
    let done = request.get("done").map(text::plain);
    html! { @if let Some(done) = done { p.notice.info role="status" { strong { "Done." } span { (done) } } } }
}

fn find<'a>(readers: &'a Readers, tenant: Option<&str>, name: &str) -> Result<&'a Reader, super::Failure> {
    let found = readers.all.iter().find(|reader| reader.tenant.as_deref() == tenant && reader.status.name == name);
    found.ok_or_else(|| {
        let what = format!("There is no reader {name:?}");
        super::Failure::NotFound(what, "The page Delivery lists them all.".to_owned())
    })
}

/// Dead letters after a position, `room` at most.
fn letters(app: &App, reader: &Reader, after: u64, room: usize) -> foldlog::Result<Vec<DeadLetter>> {
    if reader.dead() == 0 {
        return Ok(Vec::new());
    }
    let is_passed = |letter: &foldlog::Result<DeadLetter>| letter.as_ref().is_ok_and(|letter| letter.position <= after);
    reader.outbox(&app.store).dead_letters()?.iter().skip_while(is_passed).take(room).collect()
}

/// The page of one reader.
pub(crate) fn one(app: &App, request: &Request, tenant: Option<&str>, name: &str) -> Page {
    let readers = app.readers()?;
    let reader = find(&readers, tenant, name)?;
    let status = &reader.status;
    let (chip, sign, _) = look(reader);
    let content = html! {
        nav.crumbs aria-label="Place" { a href="/delivery" { "Delivery" } span { "/" } span { (text::text_up_to(tenant.unwrap_or("all tenants"), 60)) } }
        div.head {
            div {
                h1 { (text::text_up_to(name, 200)) }
                p.facts {
                    span { (reader.kind()) } span { span class=(chip) { (sign) (reader.state()) } }
                    span { "position " b { (count(status.position.get())) } " of " (count(readers.last)) }
                    span { b { (counted(status.lag, "event", "events")) } " behind" }
                    span { @if status.is_led { "a runner leads it" } @else { "no runner leads it" } }
                }
            }
            div.end { span.chip.line #live data-live="page" { "Updates when the page is opened" } }
        }
        div #news {
            (done_notice(request))
            (stopped(app, reader))
            (trend(app, reader))
            (outbox(app, reader, request.number("after").unwrap_or(0), LETTERS_OF_ONE)?)
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Delivery, name, &content)))
}

fn trend(app: &App, reader: &Reader) -> Markup {
    let trend = app.trends.of(reader);
    let most = trend.lags.iter().copied().max().unwrap_or(0);
    let since = time::gap(chrono::TimeDelta::from_std(trend.span()).unwrap_or_default());
    html! {
        section.block {
            div.bar-h {
                h2 { "Events behind" }
                div.end { span { "now " b { (count(reader.status.lag)) } @if let Some(direction) = trend.direction() { " " (direction) } ", at most " (count(most)) " in the last " (since) } }
            }
            @if trend.lags.len() > 1 {
                figure { (chart::line(&trend.lags, &format!("Events behind over the last {since}; at most {}, now {}", count(most), count(reader.status.lag)))) }
                p.small.muted { "Since this inspector started; a look every " (time::gap(chrono::TimeDelta::from_std(trend.step).unwrap_or_default())) "." }
            } @else { p.muted { "The line begins with this inspector: it needs two looks, five seconds apart." } }
        }
    }
}

/// The chip, the sign before its text, and the colour of its bar.
fn look(reader: &Reader) -> (&'static str, &'static str, &'static str) {
    match reader.condition() {
        Condition::Stopped | Condition::HasDeadLetters => ("chip bad", "✕ ", "bad"),
        Condition::Paused | Condition::NotLed => ("chip warn", "! ", "warn"),
        Condition::Behind => ("chip on", "", "soft"),
        Condition::UpToDate => ("chip ok", "✓ ", "soft"),
    }
}

fn overview(app: &App, readers: &Readers) -> Markup {
    let slowest = readers.all.iter().map(|reader| reader.status.lag).max().unwrap_or(0);
    html! {
        section.block data-rows {
            div.bar-h { h2 { "Readers of the log" } div.end { span { (readers.all.len()) @if readers.all.len() > 1 { ", the worst first" } } } }
            table.cards {
                thead { tr { th { "Name" } th { "Kind" } th { "Tenant" } th { "State" } th.num { "Behind" } th { span.sr { "Behind, as a bar" } } th.num { "Position" } } }
                tbody {
                    @for reader in &readers.all {
                        @let (chip, sign, fill) = look(reader);
                        tr {
                            td.nowrap { a href=(path(reader)) { (text::text_up_to(&reader.status.name, 60)) } }
                            td.muted.nowrap { (reader.kind()) }
                            td.muted.nowrap.skip-s { @match &reader.tenant { Some(tenant) => (text::text_up_to(tenant, 40)), None => "all" } }
                            td.nowrap { span class=(chip) { (sign) (reader.state()) } }
                            td.num data-l="behind" { @if let Some(direction) = app.trends.of(reader).direction() { span.small.muted { (direction) } " " } (count(reader.status.lag)) }
                            td.full.barcell { (chart::meter(reader.status.lag, slowest, fill)) }
                            td.num.muted.skip-s { (count(reader.status.position.get())) }
                        }
                    }
                }
            }
        }
    }
}

/// The arguments of a command that name a reader, behind those of the file.
fn arguments(reader: &Reader, options: &str) -> String {
    let name = &reader.status.name;
    let end_of_options = if name.starts_with('-') { " --" } else { "" };
    format!("{options}{}{end_of_options} {}", tenant_argument(reader), quoted(name))
}

fn tenant_argument(reader: &Reader) -> String {
    match reader.tenant.as_deref() {
        // The command lists these for every tenant.
        None | Some(foldlog::DEFAULT_TENANT) => String::new(),
        Some(tenant) => format!(" --tenant {}", quoted(tenant)),
    }
}

fn file(app: &App) -> String {
    app.store.path().map_or("FILE".to_owned(), |path| quoted(&path.to_string_lossy()))
}

fn stopped(app: &App, reader: &Reader) -> Markup {
    let Some(failure) = &reader.status.failure else { return html! {} };
    html! {
        section.block.err {
            h3 { (text::text_up_to(&reader.status.name, 60)) " stopped at position " (count(failure.position.get())) }
            p.mono { (text::text(&failure.reason)) }
            p.small.muted {
                "It stays there until the code for this event succeeds, or the event is skipped. " (counted(reader.status.lag, "event waits", "events wait")) ". "
                @if failure.deaths > 0 { (counted(u64::from(failure.deaths), "process", "processes")) " died with it in hand. " }
                a href=(format!("/e/{}", failure.position)) { "Open the event" }
            }
            @if app.writer.is_some() {
                p.gap { (form(app, reader, Change::RetryFailed, "", "Retry", "Handle this event again from now on?")) " "
                    (form(app, reader, Change::SkipFailed, "", "Skip the event", &format!("Skip the event at position {}? This reader will never handle it.", count(failure.position.get())))) }
            } @else {
                (link::command(&format!("foldlog subscriptions {}{}", file(app), arguments(reader, ""))))
            }
        }
    }
}

/// `after`: shows the dead letters after this position, `room` at most.
fn outbox(app: &App, reader: &Reader, after: u64, room: usize) -> foldlog::Result<Markup> {
    let Some(status) = &reader.outbox else { return Ok(html! {}) };
    let name = &reader.status.name;
    let letters = letters(app, reader, after, room)?;
    Ok(html! {
        section.block {
            div.bar-h { h2 { "Outbox " a href=(path(reader)) { (text::text_up_to(name, 60)) } } div.end { span { @if status.is_led { "a runner leads it" } @else { "no runner leads it" } } } }
            dl.figures {
                div { dt { "Position" } dd { (count(status.position.get())) } dd.note { (counted(status.lag, "event", "events")) " behind the log" } }
                div { dt { "In hand" } dd { (count(status.leased)) } dd.note { "leased by a runner" } }
                div { dt { "To try again" } dd { (count(status.to_retry - status.leased)) } dd.note { "failed before" } }
                div { dt { "Waiting" } dd { (count(status.waiting)) } dd.note { "behind one of their aggregate" } }
                div { dt { "Dead" } dd { (count(status.dead)) } dd.note { "given up" } }
            }
            @if status.dead > 0 { (dead(app, reader, &letters, status.dead, after)) }
        }
    })
}

fn dead(app: &App, reader: &Reader, letters: &[DeadLetter], all: u64, after: u64) -> Markup {
    let number = reader.status.name.as_str();
    let note = format!("ro{}", path(reader).replace(['/', '%'], "."));
    let total = count(all);
    html! {
        div.bar-h {
            h2 { "Dead letters" } @if letters.len() < usize::try_from(all).unwrap_or(usize::MAX) { span.muted.small { (letters.len()) " of " (total) } }
            div.end { (act(app, reader, Change::Retry, "", &format!("Retry all {total}"), &format!("Try all {total} dead letters of {number} again?"), &note)) }
        }
        table.cards {
            thead { tr { th { "Event" } th { "Aggregate" } th { "Last error" } th.num { "Attempts" } th.num { "Held behind" } th.num { "Position" } th { span.sr { "Actions" } } } }
            tbody {
                @for letter in letters {
                    @let position = letter.position.to_string();
                    tr {
                        td.c-type.nowrap { a href=(format!("/e/{position}")) { @match &letter.event { Some(event) => (text::text_up_to(&event.event_type, 60)), None => "removed" } } }
                        td.c-agg.nowrap { @if let Some(event) = &letter.event { (link::aggregate(event)) } }
                        td.full.muted.clip { span title=(text::plain(&letter.last_error)) { (text::text_up_to(&letter.last_error, 300)) } }
                        td.num data-l="attempts" { (letter.attempts) }
                        td.num data-l="held behind" { (count(letter.waiting)) }
                        td.num.muted.skip-s { (count(letter.position.get())) }
                        td.num.nowrap.acts {
                            (act(app, reader, Change::Retry, &position, "Retry", &format!("Try the event at position {} again?", count(letter.position.get())), &note)) " "
                            (act(app, reader, Change::Discard, &position, "Discard", &format!("Discard the dead letter at position {}? Its event stays in the log, but it will never be delivered.", count(letter.position.get())), &note))
                        }
                    }
                }
            }
        }
        @if let Some(last) = letters.last().filter(|_| letters.len() < usize::try_from(all).unwrap_or(usize::MAX)) {
            div.pager { div.end {
                @if after > 0 { a.button href=(path(reader)) { "First" } }
                a.button rel="next" href=(link::url(&path(reader), &[("after", &last.position.to_string())])) { "Next" }
            } }
        }
        @if app.writer.is_none() {
            p.notice.info id=(note) {
                strong { "Read-only." } span { "Retry and discard need an inspector started with " code { "--allow-writes" } ". From a shell:" }
                (link::command(&format!("foldlog dead-letters retry {}{}", file(app), arguments(reader, " --all"))))
            }
        }
    }
}

/// A button that changes something; without leave to write, one that says why not.
fn act(app: &App, reader: &Reader, change: Change, position: &str, word: &str, question: &str, note: &str) -> Markup {
    match app.writer {
        Some(_) => form(app, reader, change, position, word, question),
        None => html! { button.copy type="button" disabled aria-describedby=(note) { (word) } },
    }
}

/// Asks first: the page that answers has the button that does it.
fn form(app: &App, reader: &Reader, change: Change, position: &str, word: &str, question: &str) -> Markup {
    html! {
        form.act method="post" action={ "/change/" (change.path()) } {
            (fields(app, &Target { tenant: reader.tenant.clone(), name: reader.status.name.clone() }, position))
            input type="hidden" name="question" value=(question);
            button.copy type="submit" { (word) }
        }
    }
}

/// Which reader a form is about.
pub(crate) struct Target {
    pub(crate) tenant: Option<String>,
    pub(crate) name: String,
}

fn fields(app: &App, target: &Target, position: &str) -> Markup {
    html! {
        input type="hidden" name="secret" value=(app.form_secret);
        @if let Some(tenant) = &target.tenant { input type="hidden" name="tenant" value=(tenant); }
        input type="hidden" name="name" value=(target.name);
        @if !position.is_empty() { input type="hidden" name="position" value=(position); }
    }
}

/// The question before a change.
pub(crate) fn confirm(app: &App, change: Change, target: &Target, position: &str, question: &str) -> String {
    let content = html! {
        nav.crumbs aria-label="Place" { a href="/delivery" { "Delivery" } span { "/" } span { (text::text_up_to(&target.name, 60)) } }
        div.head { div { h1 { (change.word()) "?" } } }
        div.notice { strong { (text::text_up_to(question, 300)) } span { "Reader " b { (text::text_up_to(&target.name, 60)) } @if let Some(tenant) = &target.tenant { " of tenant " b { (text::text_up_to(tenant, 60)) } } "." } }
        form.act method="post" action={ "/change/" (change.path()) } {
            (fields(app, target, position))
            input type="hidden" name="confirmed" value="yes";
            button type="submit" autofocus { "Yes, " (change.word().to_lowercase()) } " "
            a.button href="/delivery" { "Cancel" }
        }
    };
    shell::page(app, Nav::Delivery, change.word(), &content)
}

/// All readers; with `name` and, unless it reads all tenants, `tenant`, one of them and its dead letters.
pub(crate) fn json(app: &App, request: &Request) -> Page {
    let readers = app.readers()?;
    if let Some(name) = request.get("name") {
        let reader = find(&readers, request.get("tenant"), name)?;
        let letters = letters(app, reader, request.number("after").unwrap_or(0), LETTERS_OF_ONE)?;
        let body = serde_json::json!({ "tenant": reader.tenant, "status": reader.status, "outbox": reader.outbox, "deadLetters": letters });
        return Ok(Answer::json(200, body.to_string()));
    }
    let one = |reader: &Reader| serde_json::json!({ "tenant": reader.tenant, "status": reader.status, "outbox": reader.outbox });
    let all: Vec<_> = readers.all.iter().map(one).collect();
    Ok(Answer::json(200, serde_json::json!({ "lastPosition": readers.last, "readers": all }).to_string()))
}
