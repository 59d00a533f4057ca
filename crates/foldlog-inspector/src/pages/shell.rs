//! What is around every page.

use chrono::Utc;
use maud::{DOCTYPE, Markup, html};

use super::{ICON_PATH, SCRIPT_PATH, STYLE_PATH};
use crate::app::App;
use crate::view::{number::count, text};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nav {
    Overview,
    Aggregates,
    Log,
    Delivery,
    Storage,
    None,
}

const PAGES: [(Nav, &str, &str); 5] = [
    (Nav::Overview, "/", "Overview"),
    (Nav::Aggregates, "/aggregates", "Aggregates"),
    (Nav::Log, "/log", "Log"),
    (Nav::Delivery, "/delivery", "Delivery"),
    (Nav::Storage, "/storage", "Storage"),
];

const KEYS: [(&[&str], &str); 16] = [
    (&["/"], "Search"),
    (&["?"], "This help"),
    (&["j", "k"], "Next, previous row or version"),
    (&["Enter"], "Open the row"),
    (&["←", "→"], "One version back, on"),
    (&["Home", "End"], "Before the first, newest"),
    (&["[", "]"], "To the snapshot before, after"),
    (&["Space"], "Play, pause"),
    (&["c"], "Compare two versions"),
    (&["f"], "Fold what did not change"),
    (&["g", "o"], "Overview"),
    (&["g", "a"], "Aggregates"),
    (&["g", "l"], "Log"),
    (&["g", "d"], "Delivery"),
    (&["g", "s"], "Storage"),
    (&["Esc"], "Leave a field, close"),
];

/// A page of the store.
pub(crate) fn page(app: &App, nav: Nav, title: &str, content: &Markup) -> String {
    // The pages must come even if the readers cannot be read.
    let readers = app.readers().ok();
    let troubled = readers.as_ref().map_or(0, |readers| readers.troubled().map(|reader| reader.dead().max(1)).sum::<u64>());
    let last = app.store.last_position().map_or(0, |position| position.get());
    let body = html! {
        a.skip href="#main" { "Skip to content" }
        header.top {
            a.brand href="/" { (logo()) span { "foldlog" } }
            nav aria-label="Pages" {
                @for (page, href, name) in PAGES {
                    a href=(href) aria-current=[(page == nav).then_some("page")] {
                        (name)
                        @if page == Nav::Delivery && troubled > 0 { " " span.chip.bad title="what stopped, and dead letters" { (count(troubled)) } }
                    }
                }
            }
            div.end {
                form.find action="/find" role="search" {
                    label.sr for="find" { "Find an aggregate id, an event id or a position" }
                    input #find type="search" name="q" placeholder="Id, event id or position" autocomplete="off" spellcheck="false";
                    kbd { "/" }
                }
                @if app.writer.is_none() { span.chip.line.hide title="Started without leave to write" { "Read-only" } }
                @else { span.chip.warn.hide title="Retry and discard are offered" { "Writes allowed" } }
                button.ghost.icon.hide #open-help type="button" aria-label="Keyboard shortcuts" { "?" }
            }
        }
        main.page #main {
            (content)
            footer.foot {
                span { (text::plain(&app.name())) @if let Ok(file) = app.store.file_statistics() { ", format " (file.format) } }
                span { "Times in UTC, as the events carry them; the order is the position" }
                span { "As of position " (count(last)) ", " (Utc::now().format("%H:%M:%S")) }
            }
        }
        dialog #help aria-labelledby="help-h" {
            h2 #help-h { "Keyboard" }
            dl { @for (keys, does) in KEYS { dt { @for key in keys { kbd { (key) } " " } } dd { (does) } } }
            form method="dialog" { p.num { button autofocus { "Close" } } }
        }
    };
    document(title, &body, Some(last))
}

/// A page without a store behind it.
pub(crate) fn bare(title: &str, content: &Markup) -> String {
    let body = html! {
        header.top { span.brand { (logo()) span { "foldlog" } } }
        main.page #main { (content) }
    };
    document(title, &body, None)
}

fn document(title: &str, body: &Markup, last: Option<u64>) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (text::plain(title)) " · foldlog" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" type="image/svg+xml" href=(*ICON_PATH);
                link rel="stylesheet" href=(*STYLE_PATH);
                script src=(*SCRIPT_PATH) defer {}
            }
            body data-last=[last] { (body) }
        }
    }
    .into_string()
}

fn logo() -> Markup {
    html! {
        svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" {
            path d="M3 5h12.5a1.5 1.5 0 0 1 0 5H4.5a1.5 1.5 0 0 0 0 5H17" {}
        }
    }
}
