//! Text from the file on its way to a terminal: what could move the cursor or turn the writing around is escaped.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal would do something with the character instead of showing it: control characters, marks that turn
/// the direction of writing, and invisible ones.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

pub(crate) fn is_safe(text: &str) -> bool {
    !text.contains(is_hostile)
}

/// The text with hostile characters escaped as in Rust.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if is_safe(text) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_hostile(character) {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// A valid JSON text on one line, with hostile characters escaped as JSON escapes them: the same value.
pub(crate) fn safe_json(json: &str) -> Cow<'_, str> {
    if is_safe(json) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            // They cannot stand in a string, so they are white space.
            '\n' | '\r' | '\t' => safe.push(' '),
            _ if is_hostile(character) => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    // Writing to a string does not fail.
                    let _ = write!(safe, "\\u{unit:04x}");
                }
            }
            _ => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// The text in at most `width` columns, shortened in the middle: the ends of a name tell most.
pub(crate) fn shorten(text: &str, width: usize) -> Cow<'_, str> {
    if console::measure_text_width(text) <= width {
        return Cow::Borrowed(text);
    }
    let characters: Vec<char> = text.chars().collect();
    let (mut front, mut back) = (String::new(), String::new());
    let (mut left, mut right) = (characters.iter(), characters.iter().rev());
    let mut room = width.saturating_sub(1);
    // Two from the front for each from the back: what a text begins with says what it is.
    'full: loop {
        for step in 0..3 {
            let next = if step < 2 { left.next() } else { right.next() };
            let Some(character) = next else { break 'full };
            let wide = console::measure_text_width(character.encode_utf8(&mut [0; 4]));
            if wide > room {
                break 'full;
            }
            room -= wide;
            if step < 2 { front.push(*character) } else { back.insert(0, *character) }
        }
    }
    Cow::Owned(if width == 0 { String::new() } else { format!("{front}…{back}") })
}

/// A number with separators: `128,401`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `3 events`
pub(crate) fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{} {what}s", count(number)),
    }
}

/// `12.4 MB`
pub(crate) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["KB", "MB", "GB", "TB"] {
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let hostile = "a\u{1b}[31mred\r\n\u{9b}2J\u{202e}txt\u{7f}\u{200b}\u{e0041}ende";
        assert_eq!(safe(hostile), "a\\u{1b}[31mred\\r\\n\\u{9b}2J\\u{202e}txt\\u{7f}\\u{200b}\\u{e0041}ende");
        assert_eq!(safe("Ärger 👩‍👩‍👧 日本"), "Ärger 👩‍👩‍👧 日本");
    }

    #[test]
    fn json_keeps_its_value_on_one_line() {
        let text = "{\n\t\"a\": \"\u{9b}2J\u{202e}\u{7f}\u{e0041}\",\r\n \"b\": [1]}";
        let safe = safe_json(text);
        assert!(!safe.contains(is_hostile), "{safe}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(text));
    }

    #[test]
    fn long_text_is_shortened_in_the_middle() {
        for width in 0..30 {
            for text in ["abcdefghijklmnopqrstuvwxyz", "日本語日本語日本語", "short", ""] {
                assert!(console::measure_text_width(&shorten(text, width)) <= width, "{text} {width}");
            }
        }
        assert_eq!(shorten("abcdefghijklmnopqrstuvwxyz", 10), "abcdef…xyz");
        assert_eq!(shorten("short", 5), "short");
    }

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (999_999, "1.0 MB"), (12_400_000, "12.4 MB")] {
            assert_eq!(bytes(number), text);
        }
    }
}
