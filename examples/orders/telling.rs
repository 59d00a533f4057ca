//! Says what happens, and checks it.

use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Check {
    what: String,
    holds: bool,
    found: String,
}

/// The text as it goes along, or one JSON object at the end.
pub struct Telling {
    json: bool,
    told: Vec<String>,
    checks: Vec<Check>,
}

impl Telling {
    pub fn new(json: bool) -> Telling {
        Telling { json, told: Vec::new(), checks: Vec::new() }
    }

    pub fn part(&mut self, title: &str) {
        if !self.json {
            println!("\n{title}");
        }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.json {
            println!("  {text}");
        }
        self.told.push(text);
    }

    /// What must be found, and what was.
    pub fn check<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        let check = Check { what: what.to_owned(), holds: found == expected, found: format!("{found:?}") };
        if !self.json {
            match check.holds {
                true => println!("  [ok] {what}"),
                false => println!("  [VIOLATED] {what}: {found:?} instead of {expected:?}"),
            }
        }
        self.checks.push(check);
    }

    pub fn all_hold(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    pub fn end(&self) {
        if self.json {
            println!("{}", json!({ "told": self.told, "checks": self.checks, "all_hold": self.all_hold() }));
        }
    }
}
