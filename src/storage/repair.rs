//! Repair: what was salvaged from a damaged file, and what was lost.

use std::path::PathBuf;

use serde::Serialize;

use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::place::{AggregateRef, Position, Version};

/// A step of a repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RepairStep {
    /// The damaged file is copied, so that it stays as it is.
    #[default]
    Copy,
    /// Names, snapshots, subscriptions and other small tables are read.
    Tables,
    /// Events are read through SQLite, as far as it finds them.
    Events,
    /// Pages are searched for what SQLite does not find any more.
    Pages,
    /// Aggregates are searched for gaps.
    Gaps,
    /// Indexes are made anew.
    Indexes,
    /// The new file is verified.
    Verify,
}

/// The progress of a repair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepairProgress {
    /// The current step.
    pub step: RepairStep,
    /// Events, pages or rows done in this step.
    pub done: u64,
    /// How many there are; 0 if not known beforehand.
    pub total: u64,
}

/// Events of an aggregate that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Lost {
    /// The aggregate.
    pub aggregate: AggregateRef,
    /// The first version that is lost.
    pub first: Version,
    /// The last version that is lost.
    pub last: Version,
    /// Whether they are the aggregate's last ones and those before are left. It is not replayed to the present until
    /// [`Maintenance::accept_losses`](crate::Maintenance::accept_losses).
    pub is_end: bool,
}

/// The result of a repair. Each list names the first 1,000; the numbers count all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepairReport {
    /// Whether it finished; `false` if it was stopped, and then there is no new file.
    pub finished: bool,
    /// Events in the new file.
    pub events: u64,
    /// Of those, events that SQLite did not find any more.
    pub found_on_pages: u64,
    /// Aggregates in the new file.
    pub aggregates: u64,
    /// Snapshots in the new file.
    pub snapshots: u64,
    /// Events that are known to be lost.
    pub events_lost: u64,
    /// Which they are. If others are behind them, the aggregate is loaded only from a snapshot behind the last lost one.
    pub lost: Vec<Lost>,
    /// Positions of events of which nothing else is known any more.
    pub positions_lost: u64,
    /// Which they are: first and last of each range.
    pub positions: Vec<(Position, Position)>,
    /// Aggregates whose last events are known to be lost: see [`Lost::is_end`].
    pub ends_lost: u64,
    /// Events that could be read, but stand before lost ones of their aggregate. They are not in the new file.
    pub unplaced: u64,
    /// The file that holds them, as lines of JSON; `None` if there are none.
    pub unplaced_file: Option<PathBuf>,
    /// What else is not in the new file, such as tables of projections, which are to be rebuilt.
    pub left_out: Vec<String>,
}

/// Whom a repair tells what it does.
pub(crate) trait Witness {
    /// Returns whether to go on.
    fn reached(&mut self, progress: RepairProgress) -> bool;
    /// Takes an event that is left out of the new file, because later ones of its aggregate are lost.
    fn unplaced(&mut self, event: RecordedEvent) -> Result<()>;
}
