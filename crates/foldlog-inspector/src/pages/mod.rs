//! The pages: which address is which, and what all of them carry.

mod aggregate;
mod aggregates;
mod changes;
mod delivery;
mod event;
mod log;
mod overview;
mod shell;
mod storage;

use std::sync::LazyLock;
use std::time::Duration;

use foldlog::{ErrorKind, EventId, Filter, Query, RecordedEvent};
use maud::html;
use xxhash_rust::xxh3::xxh3_64;

use crate::app::App;
use crate::http::{Answer, Request};
use crate::view::{link, text};

const STYLE: &str = include_str!("../../assets/app.css");
const SCRIPT: &str = include_str!("../../assets/app.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// The addresses of the files, which change with their content.
static STYLE_PATH: LazyLock<String> = LazyLock::new(|| format!("/assets/{:016x}.css", xxh3_64(STYLE.as_bytes())));
static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| format!("/assets/{:016x}.js", xxh3_64(SCRIPT.as_bytes())));
static ICON_PATH: LazyLock<String> = LazyLock::new(|| format!("/assets/{:016x}.svg", xxh3_64(ICON.as_bytes())));

/// One of the inspector's own files.
pub(crate) fn asset(path: &str) -> Option<Answer> {
    if path == *STYLE_PATH {
        Some(Answer::asset("text/css; charset=utf-8", STYLE))
    } else if path == *SCRIPT_PATH {
        Some(Answer::asset("text/javascript; charset=utf-8", SCRIPT))
    } else if path == *ICON_PATH {
        Some(Answer::asset("image/svg+xml", ICON))
    } else {
        None
    }
}

/// What is shown without the token.
pub(crate) fn locked(request: &Request) -> Answer {
    if request.path.ends_with(".json") || request.path == "/live" {
        return Answer::text(401, "the token is missing\n");
    }
    Answer::html(
        401,
        shell::bare(
            "Locked",
            &html! {
                div.head { div { h1 { "Locked" } } }
                p { "This page needs the token of the address that the inspector printed when it started. Open that address once; "
                    "after that, all addresses of this inspector work in this browser." }
                p.block { "If it was opened before and a link of another page led here: "
                    a href=(format!("/{}", request.path.replace('\\', "%5C").trim_start_matches('/'))) { "go on" } "." }
            },
        ),
    )
}

/// Why a page cannot be shown.
pub(crate) enum Failure {
    Store(foldlog::Error),
    /// What is missing, and what to do.
    NotFound(String, String),
    Refused(u16, String),
}

impl From<foldlog::Error> for Failure {
    fn from(error: foldlog::Error) -> Failure {
        Failure::Store(error)
    }
}

type Page = Result<Answer, Failure>;

pub(crate) fn answer(app: &App, request: &Request) -> Answer {
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let page = match request.method.as_str() {
        "POST" => changes::answer(app, request, &segments),
        _ => get(app, request, &segments),
    };
    page.unwrap_or_else(|failure| explain(app, request, &failure))
}

fn get(app: &App, request: &Request, segments: &[&str]) -> Page {
    match segments {
        [""] => overview::page(app, request),
        ["statistics.json"] => overview::json(app),
        ["aggregates"] => aggregates::page(app, request),
        ["aggregates.json"] => aggregates::json(app, request),
        ["a", tenant, aggregate_type, id] => aggregate::page(app, request, tenant, aggregate_type, id),
        ["state.json", tenant, aggregate_type, id] => aggregate::json(app, request, tenant, aggregate_type, id),
        ["e", "id", id] => event::by_id(app, id),
        ["e", place] => match place.strip_suffix(".json") {
            Some(place) => event::json(app, place),
            None => event::page(app, request, place),
        },
        ["log"] => log::page(app, request),
        ["log.json"] => log::json(app, request),
        ["delivery"] => delivery::page(app, request),
        ["delivery.json"] => delivery::json(app, request),
        ["delivery", name] => delivery::one(app, request, None, name),
        ["delivery", tenant, name] => delivery::one(app, request, Some(tenant), name),
        ["storage"] => storage::page(app, request),
        ["storage.json"] => storage::json(app, request),
        ["find"] => find(app, request),
        ["live"] => Ok(live(app)),
        _ => Err(Failure::NotFound("There is no such page".to_owned(), "The pages are in the bar above.".to_owned())),
    }
}

fn explain(app: &App, request: &Request, failure: &Failure) -> Answer {
    let (status, what, next) = match failure {
        Failure::Store(error) => {
            let status = if error.kind() == ErrorKind::NotFound { 404 } else { 500 };
            (status, error.to_string(), "The other pages still show what they can read.".to_owned())
        }
        Failure::NotFound(what, next) => (404, what.clone(), next.clone()),
        Failure::Refused(status, why) => (*status, why.clone(), String::new()),
    };
    if request.path.contains(".json") {
        return Answer::json(status, foldlog::serde_json::json!({ "error": what }).to_string());
    }
    let title = match status {
        404 => "Not found",
        403 => "Not allowed",
        _ => "This page cannot be shown",
    };
    let content = html! {
        div.head { div { h1 { (title) } } }
        div.err { h3 { (text::text(&what)) } @if !next.is_empty() { p { (next) } } }
    };
    Answer::html(status, shell::page(app, shell::Nav::None, title, &content))
}

/// Leads to what a person typed: a position, an event's id, or the beginning of an aggregate's id.
fn find(app: &App, request: &Request) -> Page {
    let Some(asked) = request.get("q").map(str::trim) else { return Ok(Answer::redirect("/aggregates")) };
    if let Ok(id) = asked.parse::<EventId>()
        && event_by_id(app, id)?.is_some()
    {
        return Ok(Answer::redirect(&format!("/e/id/{id}")));
    }
    if let Ok(position) = asked.replace(',', "").parse::<u64>()
        && event_at(app, position)?.is_some()
    {
        return Ok(Answer::redirect(&format!("/e/{position}")));
    }
    Ok(Answer::redirect(&link::url("/aggregates", &[("order", "id"), ("q", asked)])))
}

/// The event at a position, if its tenant is shown.
fn event_at(app: &App, position: u64) -> foldlog::Result<Option<RecordedEvent>> {
    let query = Query::matching(app.all(Filter::new()));
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    app.store.read(query.after_position(before).up_to_position(position).limit(1)).next().transpose()
}

fn event_by_id(app: &App, id: EventId) -> foldlog::Result<Option<RecordedEvent>> {
    for tenant in app.tenants()? {
        if let Some(event) = app.store.tenant(&tenant).event(id)? {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// News for pages that are open: the position of the newest event whenever it has moved.
fn live(app: &App) -> Answer {
    const LONGEST_SILENCE: Duration = Duration::from_secs(2);
    const LEAST_BETWEEN: Duration = Duration::from_millis(250);
    let store = app.store.clone();
    let mut told: Option<u64> = None;
    Answer::live(move || {
        let Ok(last) = store.last_position().map(|position| position.get()) else {
            std::thread::sleep(LONGEST_SILENCE);
            return ": the file cannot be read now\n\n".to_owned();
        };
        if told != Some(last) {
            if told.is_some() {
                // A busy writer must not make the page reload for each event.
                std::thread::sleep(LEAST_BETWEEN);
            }
            told = Some(last);
            return format!("data: {last}\n\n");
        }
        // A comment shows whether the browser is still there.
        match store.wait_for(last + 1, LONGEST_SILENCE) {
            Ok(_) => ": \n\n".to_owned(),
            Err(_) => {
                std::thread::sleep(LONGEST_SILENCE);
                ": \n\n".to_owned()
            }
        }
    })
}
