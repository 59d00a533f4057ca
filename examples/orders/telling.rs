//! Says what happens, and checks it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

/// A chapter of the story.
#[derive(Serialize)]
struct Part {
    title: String,
    told: Vec<String>,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    what: String,
    holds: bool,
    found: Value,
    expected: Value,
}

/// The text as it goes along, or one JSON object at the end.
pub struct Telling {
    json: bool,
    parts: Vec<Part>,
    /// The first line that could not be written: nobody listens any more, but the story goes on to its end.
    unwritten: io::Result<()>,
}

impl Telling {
    pub fn new(json: bool) -> Telling {
        Telling { json, parts: Vec::new(), unwritten: Ok(()) }
    }

    pub fn part(&mut self, title: &str) {
        let number = self.parts.len() + 1;
        self.line(&format!("{}{number}. {title}", if number > 1 { "\n" } else { "" }));
        self.parts.push(Part { title: title.to_owned(), told: Vec::new(), checks: Vec::new() });
    }

    pub fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.line(&format!("   {text}"));
        if let Some(part) = self.parts.last_mut() {
            part.told.push(text.trim().to_owned());
        }
    }

    /// What must be found, and what was.
    pub fn check<T: PartialEq + Serialize>(&mut self, what: &str, found: T, expected: T) {
        let holds = found == expected;
        let (found, expected) = (json!(found), json!(expected));
        match holds {
            true => self.line(&format!("   [ok] {what}")),
            false => self.line(&format!("   [VIOLATED] {what}: {found} in place of {expected}")),
        }
        if let Some(part) = self.parts.last_mut() {
            part.checks.push(Check { what: what.to_owned(), holds, found, expected });
        }
    }

    /// The end of the text, or the whole object; returns whether all checks hold.
    pub fn end(mut self) -> io::Result<bool> {
        let checks = || self.parts.iter().flat_map(|part| &part.checks);
        let (all, violated) = (checks().count(), checks().filter(|check| !check.holds).count());
        if self.json {
            writeln!(io::stdout(), "{}", json!({ "all_hold": violated == 0, "parts": self.parts }))?;
        } else if violated == 0 {
            self.line(&format!("\nAll {all} checks hold."));
        } else {
            self.line(&format!("\n{violated} of {all} checks do not hold."));
        }
        self.unwritten.map(|()| violated == 0)
    }

    fn line(&mut self, text: &str) {
        if !self.json && self.unwritten.is_ok() {
            self.unwritten = writeln!(io::stdout(), "{text}");
        }
    }
}
