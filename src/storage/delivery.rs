//! What delivery asks of the engine, and what it answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model::error::{Error, ErrorKind};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::json::Json;
use crate::model::place::Position;

/// So often a runner may die with the same event noted as in hand; then the event is taken for the cause.
pub(crate) const MOST_DEATHS: u32 = 2;

/// What a subscription does with its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SubscriptionKind {
    /// Hands them to a handler: [`Subscription`](crate::Subscription).
    Handler,
    /// Takes them into tables: [`Projection`](crate::Projection).
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

/// Where a subscription begins when it is made. Later the checkpoint counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the first event of the log.
    #[default]
    Beginning,
    /// After the newest event that is in the log when the subscription is made.
    Now,
    /// After this position, which the log must have reached.
    After(Position),
}

/// What to do when a subscription exists and has another filter than the one it is given now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterChange {
    /// The new filter counts from the checkpoint on. Events before it that only the new filter wants are never handled.
    FromNow,
    /// Begin anew: every event that the new filter wants is handled, also those that were handled before.
    FromBeginning,
}

/// Which subscription of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `""` for one that reads the events of all tenants.
    pub(crate) tenant: String,
    pub(crate) name: String,
}

impl Identity {
    pub(crate) fn new(tenant: &str, name: &str, filter: &Filter) -> Identity {
        let tenant = if filter.all_tenants { "" } else { tenant };
        Identity { tenant: tenant.to_owned(), name: name.to_owned() }
    }
}

/// There is no subscription of this name.
pub(crate) fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no subscription {name:?}"))
}

/// A subscription that is to exist.
#[derive(Clone, Debug)]
pub(crate) struct NewSubscription<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) kind: SubscriptionKind,
    pub(crate) filter: &'a Filter,
    pub(crate) start: StartFrom,
    pub(crate) on_filter_change: Option<FilterChange>,
}

/// A subscription: how far it has come and who leads it.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) id: i64,
    pub(crate) identity: Identity,
    pub(crate) kind: SubscriptionKind,
    /// JSON.
    pub(crate) filter: String,
    pub(crate) position: u64,
    pub(crate) leader: Option<[u8; 16]>,
    pub(crate) fence: i64,
    /// Even: written by the leader. Odd: somebody asks whether the leader lives.
    pub(crate) heartbeat: i64,
    pub(crate) lease_millis: u32,
    /// The event that a runner has begun to handle, if it noted that.
    pub(crate) in_hand: Option<u64>,
    /// How many runners died with it in hand.
    pub(crate) deaths: u32,
    pub(crate) failed_position: Option<u64>,
    pub(crate) failure: Option<String>,
    pub(crate) version: u32,
    pub(crate) generation: u64,
    pub(crate) rebuild_version: Option<u32>,
    pub(crate) rebuild_position: Option<u64>,
    /// How many deliveries an outbox has.
    pub(crate) deliveries: u64,
}

impl Checkpoint {
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse {
            is_led: self.leader.is_some(),
            fence: self.fence,
            heartbeat: self.heartbeat,
            lease: Duration::from_millis(u64::from(self.lease_millis)),
        }
    }

    /// The event that killed its runners so often that it is not tried again by itself.
    pub(crate) fn deadly(&self) -> Option<u64> {
        self.in_hand.filter(|_| self.deaths >= MOST_DEATHS)
    }
}

/// What others see of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) is_led: bool,
    pub(crate) fence: i64,
    pub(crate) heartbeat: i64,
    pub(crate) lease: Duration,
}

impl Pulse {
    /// Whether somebody asked and the leader has not answered yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.heartbeat % 2 != 0
    }
}

/// The right to work for a subscription. Every write names the fence, so a runner that lost the lead changes nothing.
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
    /// The leader with this pulse is dead.
    pub(crate) dead: Option<Pulse>,
    /// Take over although the leader may have waited for the file just now: it was given the time of another lease.
    pub(crate) is_sure: bool,
}

/// The answer to a [`Claim`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Claimed {
    /// The caller leads. `after_death`: the leader before did not resign.
    Led { lead: Lead, after_death: bool },
    /// Another runner leads, and has been asked whether it lives.
    Other(Pulse),
    /// An event kills its runners.
    Deadly { position: u64, deaths: u32 },
}

/// The next events of a subscription.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// What the events come after: the checkpoint.
    pub(crate) after: u64,
    pub(crate) events: VecDeque<RecordedEvent>,
    /// How far the log was looked at for them.
    pub(crate) scanned: u64,
    /// The last position of the log.
    pub(crate) last: u64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryState {
    /// A runner has it in hand, or died with it.
    Leased,
    /// To be tried, again or for the first time, when it is due.
    Retry,
    /// Behind another delivery of its aggregate.
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
    /// Microseconds; 0 = at once.
    pub(crate) due_at: i64,
    pub(crate) last_error: Option<String>,
}

/// The rules of an outbox at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether a dead letter holds its aggregate.
    pub(crate) holds: bool,
    pub(crate) max_attempts: u32,
    /// Events in a batch.
    pub(crate) batch: usize,
    /// The outbox's time, in microseconds.
    pub(crate) now: i64,
}

/// Events that are leased: in order within each aggregate.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Leased>,
    /// Where the checkpoint is to be when all of it was tried.
    pub(crate) reached: u64,
    pub(crate) source: Source,
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Read from the log just now.
    New,
    /// Had a row.
    Due,
    /// Had a row, left by a runner that died: alone in its batch, for it may be why.
    Orphan,
}

/// A leased event.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) position: u64,
    pub(crate) aggregate: i64,
    pub(crate) attempt: u32,
    /// Its row before the lease, if it had one.
    pub(crate) before: Option<Delivery>,
    /// Or why it cannot be published.
    pub(crate) event: Result<RecordedEvent, String>,
}

/// What became of a leased event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Retry {
        due_at: i64,
        reason: String,
    },
    Dead(String),
    /// One before it in its aggregate has failed.
    Held,
}

/// How many deliveries are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryCounts {
    /// To be tried, or in hand.
    pub(crate) to_retry: u64,
    pub(crate) waiting: u64,
    pub(crate) dead: u64,
}

/// What happens to a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterChange {
    /// It is due now and has all its attempts before it.
    Revive,
    /// It is forgotten; what waited behind it goes on.
    Discard,
}

/// A projection as the engine knows it.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionSpec {
    pub(crate) identity: Identity,
    pub(crate) version: u32,
    pub(crate) tables: Arc<[String]>,
    pub(crate) filter: Filter,
}

/// What one transaction of a projection took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The tables stand here now.
    pub(crate) reached: u64,
    pub(crate) events: usize,
}

/// How a page of events went into a projection's tables.
pub(crate) enum Applied<T> {
    Taken(T),
    /// Somebody moved the projection since the events were read; nothing was taken.
    Moved,
    LeadLost,
    /// Nothing was taken: an event failed, after so many that went well.
    Failed {
        before: usize,
        error: Error,
    },
}

/// How far a rebuild came in one transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebuilt {
    pub(crate) taken: Taken,
    /// Events that were appended meanwhile and taken, too.
    pub(crate) more: u64,
    pub(crate) last: u64,
    pub(crate) finished: bool,
}

/// What would happen to one row of a read model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RowChange {
    /// The table.
    pub table: String,
    /// What would happen to the row.
    pub kind: ChangeKind,
    /// The row as it is, as a JSON object of its columns; `None` for an insert. A blob is the text of its SQL literal.
    pub before: Option<Json>,
    /// The row as it would be; `None` for a delete.
    pub after: Option<Json>,
}

/// What would happen to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// It would be there.
    Insert,
    /// It would be another.
    Update,
    /// It would be gone.
    Delete,
}
