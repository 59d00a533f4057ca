//! JSON in lines, with marks for what changed.

use maud::{Markup, html};

use super::text::{text, text_up_to};
use crate::json::{Comparison, Mark, Node, Row, Side, compare};

/// Lines that a page shows of one JSON text.
const MOST_LINES: usize = 3_000;

/// A JSON text as it is stored, with line breaks.
pub(crate) fn stored(json: &str) -> Markup {
    let node = Node::parse(json);
    plain(&node)
}

pub(crate) fn plain(node: &Node) -> Markup {
    let found = compare(Some(node), Some(node), false);
    lines(&found.rows)
}

/// A state and what it changed, in one column.
pub(crate) fn changed(found: &Comparison<'_>) -> Markup {
    lines(&found.rows)
}

fn lines(rows: &[Row<'_>]) -> Markup {
    html! {
        @for row in rows.iter().take(MOST_LINES) { (line(row, None)) }
        @if rows.len() > MOST_LINES { div.jl.rest { i {} span { "… " (super::number::count((rows.len() - MOST_LINES) as u64)) " more lines" } } }
    }
}

/// One side of a comparison; what only the other has is a hole.
pub(crate) fn side(found: &Comparison<'_>, left: bool) -> Markup {
    html! { @for row in found.rows.iter().take(MOST_LINES) { (line(row, Some(left))) } }
}

/// `left`: only that side; `None`: both in one line.
fn line(row: &Row<'_>, left: Option<bool>) -> Markup {
    let indent = "  ".repeat(row.depth);
    if row.unchanged > 0 {
        return html! { div.jl.rest { i aria-hidden="true" {} span { (indent) "… " (row.unchanged) " unchanged" } } };
    }
    let side = match left {
        Some(true) => row.left,
        Some(false) => row.right,
        None => row.right.or(row.left),
    };
    let Some(shown) = side else { return html! { div.jl.hole { i aria-hidden="true" {} span {} } } };
    let (class, sign, word) = match row.mark {
        Mark::Same => ("jl", "", ""),
        Mark::Added => ("jl add", "+", "added: "),
        Mark::Removed => ("jl del", "−", "removed: "),
        Mark::Changed => ("jl chg", "~", "changed: "),
    };
    html! {
        div class=(class) {
            i aria-hidden="true" { (sign) }
            span {
                @if !word.is_empty() { span.sr { (word) } }
                (indent)
                @if let Some(key) = row.key { span.k { (quoted(key)) } span.q { ": " } }
                @match (left, row.mark, row.left) {
                    (None, Mark::Changed, Some(old)) => { span.was { (value(old)) } span.arr { "→" } (value(shown)) }
                    _ => (value(shown)),
                }
                @if shown.comma { span.q { "," } }
            }
        }
    }
}

fn quoted(key: &str) -> Markup {
    text_up_to(&foldlog::serde_json::to_string(key).unwrap_or_default(), 200)
}

fn value(side: Side<'_>) -> Markup {
    html! { span class=(Node::class(side.text)) { (text(side.text)) } }
}

/// The paths that changed, as links to the state.
pub(crate) fn chips(found: &Comparison<'_>) -> Markup {
    const MOST: usize = 5;
    let [changed, added, removed] = crate::reading::window::counts(&found.changes);
    html! {
        @if found.changes.is_empty() { span.muted { "No path changed" } }
        @else {
            span.muted { (changed) " changed, " (added) " added, " (removed) " removed" }
            @for change in found.changes.iter().take(MOST) {
                @let (class, sign) = match change.mark {
                    Mark::Added => ("p add", "+ "),
                    Mark::Removed => ("p del", "− "),
                    _ => ("p chg", "~ "),
                };
                span class=(class) { (sign) (text_up_to(if change.path.is_empty() { "/" } else { &change.path }, 60)) }
            }
            @if found.changes.len() > MOST { span.muted { "and " (found.changes.len() - MOST) " more" } }
        }
    }
}

/// What changed, path by path.
pub(crate) fn changes(found: &Comparison<'_>) -> Markup {
    const MOST: usize = 60;
    let leaf = |node: Option<&Node>| match node {
        Some(Node::Leaf(leaf)) => html! { span class=(Node::class(leaf)) { (text_up_to(leaf, 300)) } },
        Some(node) => html! { span.q { (text_up_to(&node.summary(), 120)) } },
        None => html! {},
    };
    html! {
        @for change in found.changes.iter().take(MOST) {
            @let name = change.path.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~");
            @let (class, sign, word) = match change.mark {
                Mark::Added => ("jl add", "+", "added: "),
                Mark::Removed => ("jl del", "−", "removed: "),
                _ => ("jl chg", "~", "changed: "),
            };
            div class=(class) {
                i aria-hidden="true" { (sign) }
                span {
                    span.sr { (word) }
                    span.k { (text_up_to(if name.is_empty() { "state" } else { &name }, 200)) } span.q { ": " }
                    @if change.mark == Mark::Changed { span.was { (leaf(change.before)) } span.arr { "→" } }
                    @if change.mark == Mark::Removed { (leaf(change.before)) } @else { (leaf(change.after)) }
                }
            }
        }
        @if found.changes.len() > MOST { div.jl.rest { i {} span { "… " (found.changes.len() - MOST) " more" } } }
    }
}
