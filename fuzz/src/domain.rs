//! An application: an enum with every form of variant, and a state that depends on all of it.

use std::collections::BTreeMap;

use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: i64,
    pub label: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Closed,
    Moved(Point),
    Counted(u64),
    Pair(i8, Option<String>),
    Drawn {
        width: f64,
        at: Option<Box<Event>>,
    },
    Empty {},
    Listed(Vec<Option<char>>),
    Mapped(BTreeMap<String, u128>),
    #[serde(alias = "old")]
    Renamed {
        #[serde(default)]
        text: String,
        #[serde(rename = "type")]
        kind: Option<bool>,
    },
}

/// Their names, and one that is none of them.
pub const EVENT_TYPES: [&str; 11] =
    ["closed", "moved", "counted", "pair", "drawn", "empty", "listed", "mapped", "renamed", "old", "Unknown"];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub events: Vec<Event>,
}

impl Aggregate for State {
    const TYPE: &'static str = "thing";
    type Event = Event;

    fn apply(&mut self, event: Event) {
        self.events.push(event);
    }
}
