//! A text that is edited at positions counted in Unicode code points, fast where the last edit was: a gap buffer.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text {
    before: Vec<char>,
    // Last character first, so that the gap is at the end of both.
    after: Vec<char>,
}

impl Text {
    /// Replaces `count` characters at `position`.
    pub fn replace(&mut self, position: usize, count: usize, text: &str) {
        assert!(position + count <= self.len(), "an edit beyond the end of the text");
        if position < self.before.len() {
            self.after.extend(self.before.drain(position..).rev());
        } else {
            let moved = self.after.len() - (position - self.before.len());
            self.before.extend(self.after.drain(moved..).rev());
        }
        self.after.truncate(self.after.len() - count);
        self.before.extend(text.chars());
    }

    /// Characters in it.
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text { before: text.chars().collect(), after: Vec::new() }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.before.iter().chain(text.after.iter().rev()).collect()
    }
}

#[test]
fn it_edits_as_a_plain_string_does() {
    let mut text = Text::default();
    for (position, count, inserted, expected) in
        [(0, 0, "añb", "añb"), (1, 1, "€", "a€b"), (3, 0, "!", "a€b!"), (0, 2, "", "b!"), (1, 1, "?", "b?")]
    {
        text.replace(position, count, inserted);
        assert_eq!(String::from(text.clone()), expected);
        assert_eq!(text.len(), expected.chars().count());
    }
}
