//! Damage: what a check of the file finds.

use std::fmt;

use serde::Serialize;

use crate::model::place::{AggregateRef, Position, Version};

/// Copy first, because every repair changes the file, and so does SQLite's own recovery at the next open.
const RESTORE: &str = "copy the file before anything else, then restore a backup";

/// One damaged place in the file. Says where, never what an event holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Damage {
    /// What is wrong.
    pub what: String,
    /// The aggregate of the event or snapshot, if known.
    pub aggregate: Option<AggregateRef>,
    /// The version in the aggregate.
    pub version: Option<Version>,
    /// The position in the log.
    pub position: Option<Position>,
    /// What to do.
    pub advice: &'static str,
}

impl Damage {
    pub(crate) fn new(what: impl Into<String>) -> Damage {
        Damage { what: what.into(), aggregate: None, version: None, position: None, advice: RESTORE }
    }

    pub(crate) fn of(mut self, aggregate: AggregateRef) -> Damage {
        self.aggregate = Some(aggregate);
        self
    }

    pub(crate) fn at_version(mut self, version: u64) -> Damage {
        self.version = Some(Version::new(version));
        self
    }

    pub(crate) fn at_position(mut self, position: u64) -> Damage {
        self.position = Some(Position::new(position));
        self
    }

    pub(crate) fn advice(mut self, advice: &'static str) -> Damage {
        self.advice = advice;
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(aggregate) = &self.aggregate {
            write!(f, ", {aggregate}")?;
        }
        if let Some(version) = self.version {
            write!(f, ", version {version}")?;
        }
        if let Some(position) = self.position {
            write!(f, ", position {position}")?;
        }
        write!(f, "; {}", self.advice)
    }
}

/// Collects damage: counts all of it and keeps the first findings.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) damages: Vec<Damage>,
    pub(crate) count: u64,
}

impl Found {
    /// The most findings that are kept; a longer list would help nobody.
    pub(crate) const KEPT: usize = 1_000;

    pub(crate) fn add(&mut self, damage: Damage) {
        self.count += 1;
        if self.damages.len() < Found::KEPT {
            self.damages.push(damage);
        }
    }
}
