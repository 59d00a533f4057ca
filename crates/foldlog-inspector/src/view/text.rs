//! Text from the store: what cannot be seen is shown, what is long is cut, and its direction stays its own.

use maud::{Markup, html};

/// Characters of a text, at most.
const MOST: usize = 2_000;
/// Characters of an id in a list, at most.
const MOST_OF_ID: usize = 44;

/// A text of the store.
pub(crate) fn text(stored: &str) -> Markup {
    text_up_to(stored, MOST)
}

/// A text of the store, cut after a number of characters.
pub(crate) fn text_up_to(stored: &str, most: usize) -> Markup {
    let end = stored.char_indices().nth(most).map_or(stored.len(), |(end, _)| end);
    let (shown, cut) = stored.split_at_checked(end).unwrap_or((stored, ""));
    html! {
        bdi { (visible(shown)) }
        @if !cut.is_empty() { span.more { " … " (super::number::count(cut.chars().count() as u64)) " more characters" } }
    }
}

/// The beginning of a text whose whole is elsewhere.
pub(crate) fn beginning(stored: &str, most: usize) -> Markup {
    let end = stored.char_indices().nth(most).map_or(stored.len(), |(end, _)| end);
    let shown = stored.get(..end).unwrap_or_default();
    html! { bdi { (visible(shown)) @if shown.len() < stored.len() { "…" } } }
}

/// An id: both ends stay, because ids often begin alike.
pub(crate) fn id(stored: &str) -> Markup {
    let count = stored.chars().count();
    if count <= MOST_OF_ID {
        return html! { bdi { (visible(stored)) } };
    }
    let half = MOST_OF_ID / 2;
    let head: String = stored.chars().take(half).collect();
    let tail: String = stored.chars().skip(count - half).collect();
    html! { bdi title=(plain(stored)) { (visible(&head)) "…" (visible(&tail)) } }
}

/// For attributes, which cannot hold markup.
pub(crate) fn plain(stored: &str) -> String {
    let mut shown = String::with_capacity(stored.len());
    for c in stored.chars().take(MOST) {
        if is_unseen(c) { shown.push_str(&code(c)) } else { shown.push(c) }
    }
    shown
}

fn visible(stored: &str) -> Markup {
    let mut parts: Vec<(&str, Option<char>)> = Vec::new();
    let mut rest = stored;
    while let Some((place, c)) = rest.char_indices().find(|(_, c)| is_unseen(*c)) {
        let (run, from) = rest.split_at_checked(place).unwrap_or((rest, ""));
        parts.push((run, Some(c)));
        rest = from.get(c.len_utf8()..).unwrap_or_default();
    }
    html! {
        @for (run, unseen) in &parts {
            (run)
            @if let Some(c) = unseen { span.ctl { (code(*c)) } }
        }
        (rest)
    }
}

fn code(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
}

/// Control characters, those that change the direction of what follows, and those without width.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// One argument for a POSIX shell.
pub(crate) fn shell(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_and_markup_is_escaped() {
        let shown = text("a\u{202e}<b>\u{0}&\"'").into_string();
        assert_eq!(shown, "<bdi>a<span class=\"ctl\">U+202E</span>&lt;b&gt;<span class=\"ctl\">U+0000</span>&amp;&quot;'</bdi>");
        assert_eq!(text_up_to("ünïcode", 2).into_string(), "<bdi>ün</bdi><span class=\"more\"> … 5 more characters</span>");
        assert!(id(&format!("{}-end", "x".repeat(100))).into_string().ends_with("-end</bdi>"));
        assert_eq!(plain("a\nb"), "aU+000Ab");
    }

    #[test]
    fn shell_arguments_are_quoted() {
        assert_eq!(shell("order/4711"), "order/4711");
        assert_eq!(shell("a'b; rm"), r"'a'\''b; rm'");
        assert_eq!(shell(""), "''");
    }
}
