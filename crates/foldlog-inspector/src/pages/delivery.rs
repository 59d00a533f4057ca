//! The readers of the log: how far they are, what stopped, and the dead letters.

use foldlog::{DeadLetter, serde_json};
use maud::{Markup, html};

use super::Page;
use super::shell::{self, Nav};
use crate::app::App;
use crate::http::{Answer, Request};
use crate::reading::health::{Condition, Reader, Readers};
use crate::view::number::{count, counted};
use crate::view::text::shell as quoted;
use crate::view::{chart, link, text};

/// Dead letters that are shown of one outbox.
const LETTERS: usize = 50;

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

/// Where a reader is on the page.
pub(crate) fn anchor(reader: &Reader) -> String {
    crate::http::encode(&format!("{}-{}", reader.tenant.as_deref().unwrap_or("all"), reader.status.name)).replace('%', ".")
}

pub(crate) fn page(app: &App, request: &Request) -> Page {
    let readers = app.readers()?;
    let done = request.get("done").map(text::plain);
    let content = html! {
        div.head {
            div { h1 { "Delivery" } p.facts { span { "newest position " b { (count(readers.last)) } } } }
            div.end { span.chip.line #live data-live="page" { "Updates when the page is opened" } }
        }
        div #news {
            @if let Some(done) = done { p.notice.info role="status" { strong { "Done." } span { (done) } } }
            @if readers.all.is_empty() {
                div.empty { h3 { "Nobody reads the log" } p { "Subscriptions, projections and outboxes appear here when the application runs them:" }
                    pre { "store.subscription(\"mails\").run_to_end(|event| …)?;" } }
            } @else {
                (overview(&readers))
                @for reader in readers.all.iter().filter(|reader| reader.status.failure.is_some()) { (stopped(app, reader)) }
                @for reader in readers.all.iter().filter(|reader| reader.outbox.is_some()) { (outbox(app, reader)?) }
            }
        }
    };
    Ok(Answer::html(200, shell::page(app, Nav::Delivery, "Delivery", &content)))
}

fn overview(readers: &Readers) -> Markup {
    let slowest = readers.all.iter().map(|reader| reader.status.lag).max().unwrap_or(0);
    html! {
        section.block data-rows {
            div.bar-h { h2 { "Readers of the log" } div.end { span { (readers.all.len()) @if readers.all.len() > 1 { ", the worst first" } } } }
            table.cards {
                thead { tr { th { "Name" } th { "Kind" } th { "Tenant" } th { "State" } th.num { "Behind" } th { span.sr { "Behind, as a bar" } } th.num { "Position" } } }
                tbody {
                    @for reader in &readers.all {
                        @let (chip, sign, fill) = match reader.condition() {
                            Condition::Stopped | Condition::HasDeadLetters => ("chip bad", "✕ ", "bad"),
                            Condition::Paused | Condition::NotLed => ("chip warn", "! ", "warn"),
                            Condition::Behind => ("chip on", "", "soft"),
                            Condition::UpToDate => ("chip ok", "✓ ", "soft"),
                        };
                        tr {
                            td.nowrap { a href={ "#" (anchor(reader)) } { (text::text_up_to(&reader.status.name, 60)) } }
                            td.muted.nowrap { (reader.kind()) }
                            td.muted.nowrap.skip-s { @match &reader.tenant { Some(tenant) => (text::text_up_to(tenant, 40)), None => "all" } }
                            td.nowrap { span class=(chip) { (sign) (reader.state()) } }
                            td.num data-l="behind" { (count(reader.status.lag)) }
                            td.full.barcell { (chart::meter(reader.status.lag, slowest, fill)) }
                            td.num.muted.skip-s { (count(reader.status.position.get())) }
                        }
                    }
                }
            }
            // The targets of the names, for readers without a section of their own below.
            @for reader in readers.all.iter().filter(|reader| reader.status.failure.is_none() && reader.outbox.is_none()) { span id=(anchor(reader)) {} }
        }
    }
}

fn tenant_argument(reader: &Reader) -> String {
    match reader.tenant.as_deref() {
        None => " --all-tenants".to_owned(),
        Some(foldlog::DEFAULT_TENANT) => String::new(),
        Some(tenant) => format!(" --tenant {}", quoted(tenant)),
    }
}

fn file(app: &App) -> String {
    app.store.path().map_or("FILE".to_owned(), |path| quoted(&path.to_string_lossy()))
}

fn stopped(app: &App, reader: &Reader) -> Markup {
    let Some(failure) = &reader.status.failure else { return html! {} };
    html! {
        section.block.err id=(anchor(reader)) {
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
                (link::command(&format!("foldlog subscriptions {} {}{}", file(app), quoted(&reader.status.name), tenant_argument(reader))))
            }
        }
    }
}

fn outbox(app: &App, reader: &Reader) -> foldlog::Result<Markup> {
    let Some(status) = &reader.outbox else { return Ok(html! {}) };
    let name = &reader.status.name;
    let letters: Vec<DeadLetter> = match status.dead {
        0 => Vec::new(),
        _ => reader.outbox(&app.store).dead_letters()?.iter().take(LETTERS).collect::<Result<_, _>>()?,
    };
    Ok(html! {
        section.block id=[reader.status.failure.is_none().then(|| anchor(reader))] {
            div.bar-h { h2 { "Outbox " (text::text_up_to(name, 60)) } div.end { span { @if status.is_led { "a runner leads it" } @else { "no runner leads it" } } } }
            dl.figures.four {
                div { dt { "Position" } dd { (count(status.position.get())) } dd.note { (counted(status.lag, "event", "events")) " behind the log" } }
                div { dt { "To try again" } dd { (count(status.to_retry)) } dd.note { "leased, or failed before" } }
                div { dt { "Waiting" } dd { (count(status.waiting)) } dd.note { "behind one of their aggregate" } }
                div { dt { "Dead" } dd { (count(status.dead)) } dd.note { "given up" } }
            }
            @if status.dead > 0 { (dead(app, reader, &letters, status.dead)) }
        }
    })
}

fn dead(app: &App, reader: &Reader, letters: &[DeadLetter], all: u64) -> Markup {
    let number = reader.status.name.as_str();
    let note = format!("ro-{}", anchor(reader));
    let total = count(all);
    html! {
        div.bar-h {
            h2 { "Dead letters" } @if letters.len() < usize::try_from(all).unwrap_or(usize::MAX) { span.muted.small { "the first " (letters.len()) " of " (total) } }
            div.end { (act(app, reader, Change::Retry, "", &format!("Retry all {total}"), &format!("Try all {total} dead letters of {number} again?"), &note)) }
        }
        table.cards {
            thead { tr { th { "Event" } th { "Aggregate" } th { "Last error" } th.num { "Attempts" } th.num { "Position" } th { span.sr { "Actions" } } } }
            tbody {
                @for letter in letters {
                    @let position = letter.position.to_string();
                    tr {
                        td.c-type.nowrap { a href=(format!("/e/{position}")) { @match &letter.event { Some(event) => (text::text_up_to(&event.event_type, 60)), None => "removed" } } }
                        td.c-agg.nowrap { @if let Some(event) = &letter.event { (link::aggregate(event)) } }
                        td.full.muted.clip { span title=(text::plain(&letter.last_error)) { (text::text_up_to(&letter.last_error, 300)) } }
                        td.num data-l="attempts" { (letter.attempts) }
                        td.num.muted.skip-s { (count(letter.position.get())) }
                        td.num.nowrap.acts {
                            (act(app, reader, Change::Retry, &position, "Retry", &format!("Try the event at position {} again?", count(letter.position.get())), &note)) " "
                            (act(app, reader, Change::Discard, &position, "Discard", &format!("Discard the dead letter at position {}? Its event stays in the log, but it will never be delivered.", count(letter.position.get())), &note))
                        }
                    }
                }
            }
        }
        @if app.writer.is_none() {
            p.notice.info id=(note) {
                strong { "Read-only." } span { "Retry and discard need an inspector started with " code { "--allow-writes" } ". From a shell:" }
                (link::command(&format!("foldlog dead-letters retry {} {} --all{}", file(app), quoted(number), tenant_argument(reader))))
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

pub(crate) fn json(app: &App) -> Page {
    let readers = app.readers()?;
    let one = |reader: &Reader| serde_json::json!({ "tenant": reader.tenant, "status": reader.status, "outbox": reader.outbox });
    let all: Vec<_> = readers.all.iter().map(one).collect();
    Ok(Answer::json(200, serde_json::json!({ "lastPosition": readers.last, "readers": all }).to_string()))
}
