//! Delivery: the engine's requests and results.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::json::Json;
use crate::model::place::Position;

/// After this many noted deaths with the same event in hand, the event is taken for the cause.
pub(crate) const MOST_DEATHS: u32 = 2;

/// What a subscription does with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SubscriptionKind {
    /// Passes them to a handler: [`Subscription`](crate::Subscription).
    Handler,
    /// Applies them to tables: [`Projection`](crate::Projection).
    Projection,
    /// Publishes them: [`Outbox`](crate::Outbox).
    Outbox,
}

impl SubscriptionKind {
    /// Its name: `handler`, `projection` or `outbox`.
    pub fn as_str(self) -> &'static str {
        match self {
            SubscriptionKind::Handler => "handler",
            SubscriptionKind::Projection => "projection",
            SubscriptionKind::Outbox => "outbox",
        }
    }

    pub(crate) fn named(name: &str) -> Option<SubscriptionKind> {
        [SubscriptionKind::Handler, SubscriptionKind::Projection, SubscriptionKind::Outbox]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for SubscriptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a new subscription begins. Later only its checkpoint matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFrom {
    /// At the first event of the log.
    #[default]
    Beginning,
    /// After the newest event in the log at the time the subscription is made.
    Now,
    /// After this position, which the log must have reached.
    After(Position),
}

/// What to do when a subscription exists with another filter than the one given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterChange {
    /// The new filter applies from the checkpoint on. Earlier events that only the new filter wants are never handled.
    FromNow,
    /// Start over: every event that the new filter wants is handled, also those that were handled before.
    FromBeginning,
}

/// A subscription's name and tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `""` if it reads the events of all tenants.
    pub(crate) tenant: String,
    pub(crate) name: String,
}

impl Identity {
    pub(crate) fn new(tenant: &str, name: &str, filter: &Filter) -> Identity {
        let tenant = if filter.all_tenants { "" } else { tenant };
        Identity { tenant: tenant.to_owned(), name: name.to_owned() }
    }
}

/// The error for a name without a subscription.
pub(crate) fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no subscription {name:?}"))
        .advice("check the name and the tenant; its first run makes it")
}

/// A subscription to create unless it exists.
#[derive(Clone, Debug)]
pub(crate) struct NewSubscription<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) kind: SubscriptionKind,
    pub(crate) filter: &'a Filter,
    pub(crate) start: StartFrom,
    pub(crate) on_filter_change: Option<FilterChange>,
}

/// A subscription's row: its checkpoint and its leader.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) id: i64,
    pub(crate) identity: Identity,
    pub(crate) kind: SubscriptionKind,
    /// JSON.
    pub(crate) filter: String,
    /// JSON: the names of a projection's tables.
    pub(crate) tables: String,
    /// No runner takes the lead until it is resumed.
    pub(crate) paused: bool,
    pub(crate) position: u64,
    pub(crate) leader: Option<[u8; 16]>,
    pub(crate) fence: i64,
    /// Even: written by the leader. Odd: another runner asks whether the leader is alive.
    pub(crate) heartbeat: i64,
    pub(crate) lease_millis: u32,
    /// The event that a runner has begun to handle, if it was noted.
    pub(crate) in_hand: Option<u64>,
    /// How many runners died with this event in hand.
    pub(crate) deaths: u32,
    pub(crate) failed_position: Option<u64>,
    pub(crate) failure: Option<String>,
    pub(crate) version: u32,
    pub(crate) generation: u64,
    pub(crate) rebuild_version: Option<u32>,
    pub(crate) rebuild_position: Option<u64>,
    /// The number of an outbox's deliveries.
    pub(crate) deliveries: u64,
}

impl Checkpoint {
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            is_led: self.leader.is_some(),
            is_paused: self.paused,
            fence: self.fence,
            heartbeat: self.heartbeat,
            lease: Duration::from_millis(u64::from(self.lease_millis)),
        }
    }

    /// The event that has killed so many runners that it is not tried again by itself.
    pub(crate) fn deadly(&self) -> Option<u64> {
        self.in_hand.filter(|_| self.deaths >= MOST_DEATHS)
    }
}

/// What other runners see of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) is_led: bool,
    pub(crate) is_paused: bool,
    pub(crate) fence: i64,
    pub(crate) heartbeat: i64,
    pub(crate) lease: Duration,
}

impl Pulse {
    /// Whether there is an unanswered question.
    pub(crate) fn is_asked(&self) -> bool {
        self.heartbeat % 2 != 0
    }
}

/// The right to work for a subscription. Every write names the fence, so a runner that lost the lead can no longer
/// write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) id: i64,
    pub(crate) fence: i64,
}

/// A request for the lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) runner: [u8; 16],
    pub(crate) lease: Duration,
    /// The leader with this pulse did not answer and is dead.
    pub(crate) dead: Option<Pulse>,
    /// Take over even if the leader may just have waited for the file: it already got the time of another lease.
    pub(crate) is_sure: bool,
}

/// The answer to a [`Claim`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claimed {
    /// The caller leads. `after_death`: the previous leader did not resign.
    Led { lead: Lead, after_death: bool },
    /// Another runner leads, and has been asked whether it is alive.
    Other(Pulse),
    /// Nobody leads until it is resumed.
    Paused,
    /// An event keeps killing its runners.
    Deadly { position: u64, deaths: u32 },
}

/// The next events of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The checkpoint, after which the events come.
    pub(crate) after: u64,
    pub(crate) events: VecDeque<RecordedEvent>,
    /// The position up to which the log was read for them.
    pub(crate) scanned: u64,
    /// The last position of the log.
    pub(crate) last: u64,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// A runner is working on it, or died with it.
    Leased,
    /// To be tried when it is due, again or for the first time.
    Retry,
    /// Waits for an earlier delivery of its aggregate.
    Waiting,
    /// Given up: a dead letter.
    Dead,
}

impl DeliveryState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Leased => "leased",
            DeliveryState::Retry => "retry",
            DeliveryState::Waiting => "waiting",
            DeliveryState::Dead => "dead",
        }
    }

    pub(crate) fn named(name: &str) -> Option<DeliveryState> {
        [DeliveryState::Leased, DeliveryState::Retry, DeliveryState::Waiting, DeliveryState::Dead]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// An event of an outbox that is not simply delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) subscription: i64,
    pub(crate) position: u64,
    pub(crate) aggregate: i64,
    pub(crate) state: DeliveryState,
    pub(crate) attempts: u32,
    /// In microseconds; 0 means at once.
    pub(crate) due_at: i64,
    pub(crate) last_error: Option<String>,
}

/// The rules of an outbox at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether a dead letter holds its aggregate.
    pub(crate) holds: bool,
    pub(crate) max_attempts: u32,
    /// Events in a batch.
    pub(crate) batch: usize,
    /// The current time of the outbox, in microseconds.
    pub(crate) now: i64,
}

/// Leased events, in order within each aggregate.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Leased>,
    /// The checkpoint after all of them were tried.
    pub(crate) reached: u64,
    pub(crate) source: Source,
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Newly read from the log.
    New,
    /// Retried: they had rows.
    Due,
    /// Left by a runner that died. Alone in its batch, because it may be the cause.
    Orphan,
}

/// A leased event.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) position: u64,
    pub(crate) aggregate: i64,
    pub(crate) attempt: u32,
    /// Its row before the lease, if there was one.
    pub(crate) before: Option<Delivery>,
    /// What the stored event is read as, mostly one event; or why it cannot be published.
    pub(crate) events: Result<Vec<RecordedEvent>, String>,
}

/// The outcome for a leased event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Retry {
        due_at: i64,
        reason: String,
    },
    Dead(String),
    /// An earlier event of its aggregate failed.
    Held,
}

/// The number of deliveries by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryCounts {
    /// To be tried, or leased.
    pub(crate) to_retry: u64,
    /// Those of them that are leased.
    pub(crate) leased: u64,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
}

/// A dead letter, as it is read.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) delivery: Delivery,
    /// What the event is read as; empty if it is not there or cannot be read.
    pub(crate) events: Vec<RecordedEvent>,
    /// Deliveries of its aggregate that wait behind it.
    pub(crate) waiting: u64,
}

/// How a dead letter is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterChange {
    /// It is due now and has all its attempts again.
    Revive,
    /// It is deleted; events that waited for it go on.
    Discard,
}

/// A projection as the engine knows it.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionSpec {
    pub(crate) identity: Identity,
    pub(crate) version: u32,
    pub(crate) tables: Arc<[String]>,
    pub(crate) filter: Filter,
    /// The filter and the names of the tables, as they are kept in the file.
    texts: Arc<(String, String)>,
}

impl ProjectionSpec {
    pub(crate) fn new(identity: Identity, version: u32, tables: Vec<String>, filter: Filter) -> Result<ProjectionSpec> {
        let names = serde_json::to_string(&tables)
            .map_err(|error| Error::new(ErrorKind::Codec, "the names of the tables are not JSON").caused_by(error))?;
        let texts = Arc::new((filter.to_text()?, names));
        Ok(ProjectionSpec { identity, version, tables: tables.into(), filter, texts })
    }

    /// The filter as it is kept in the file.
    pub(crate) fn filter_text(&self) -> &str {
        &self.texts.0
    }

    /// The names of the tables as they are kept in the file.
    pub(crate) fn tables_text(&self) -> &str {
        &self.texts.1
    }
}

/// What one transaction of a projection applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The position that the tables have reached.
    pub(crate) reached: u64,
    pub(crate) events: usize,
}

/// How a page of events was applied to a projection's tables.
pub(crate) enum Applied<T> {
    Taken(T),
    /// The checkpoint was moved since the events were read; nothing was applied.
    Moved,
    LeadLost,
    /// Nothing was applied: an event failed, after this many that did not.
    Failed {
        before: usize,
        error: Error,
    },
}

/// What one transaction of a rebuild did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebuilt {
    pub(crate) taken: Taken,
    /// Events that were appended meanwhile and applied too.
    pub(crate) more: u64,
    pub(crate) last: u64,
    pub(crate) finished: bool,
}

/// A change to one row of a read model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RowChange {
    /// The table's name.
    pub table: String,
    /// The kind of the change.
    pub kind: ChangeKind,
    /// The row before the change, as a JSON object of its columns; `None` for an insert. A blob is the text of its SQL
    /// literal.
    pub before: Option<Json>,
    /// The row after the change; `None` for a delete.
    pub after: Option<Json>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum ChangeKind {
    /// The row is new.
    Insert,
    /// The row has other values.
    Update,
    /// The row is deleted.
    Delete,
}
