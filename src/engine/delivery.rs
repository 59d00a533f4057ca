//! The verbs of delivery.

use std::collections::VecDeque;

use super::Engine;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::storage::delivery::{
    Applied, Batch, Checkpoint, Claim, Claimed, Delivery, DeliveryCounts, Identity, Lead, LetterChange, NewSubscription, Outcome,
    Page, ProjectionSpec, Pulse, Rebuilt, Rules, Taken,
};

// A projection's statements are the application's own, in SQLite's language: here the engine shows on purpose.
pub(crate) use crate::sqlite::DocumentTable;
pub use crate::sqlite::ReadModel;
pub(crate) use crate::sqlite::{Apply, Create, InlineProjection};

/// Tells whether anybody, in whatever process, has committed.
pub(crate) enum Watcher {
    Sqlite(crate::sqlite::Watcher),
}

impl Watcher {
    /// A number that changes with each commit of others.
    pub(crate) fn version(&self) -> Result<i64> {
        match self {
            Watcher::Sqlite(watcher) => watcher.version(),
        }
    }
}

verbs! {
    /// Makes a subscription unless there is one of this name, which must then have the same kind and filter.
    fn make_subscription(&self, new: &NewSubscription<'_>) -> Result<()>;
    /// A subscription and the last position of the log.
    fn subscription(&self, identity: &Identity) -> Result<(Checkpoint, u64)>;
    /// Every subscription of a tenant, by name, and behind them those that read all tenants; with the last position.
    fn subscriptions(&self, tenant: &str) -> Result<(Vec<Checkpoint>, u64)>;
    /// Takes the lead, or asks the one who has it whether it lives.
    fn lead(&self, claim: &Claim<'_>) -> Result<Claimed>;
    /// What can be seen of the leader.
    fn pulse(&self, identity: &Identity) -> Result<Pulse>;
    /// As `pulse`, for the leader itself; `None` if it leads no longer.
    fn own_pulse(&self, lead: Lead) -> Result<Option<Pulse>>;
    /// Says that the leader lives; `None` if it leads no longer.
    fn beat(&self, lead: Lead) -> Result<Option<Pulse>>;
    /// Gives the lead away, so that the next one need not wait.
    fn resign(&self, lead: Lead) -> Result<()>;
    /// The next events for the one who leads; `None` if another leads by now.
    fn next_page(&self, lead: Lead, tenant: &str, filter: &Filter, limit: usize) -> Result<Option<Page>>;
    /// Moves the checkpoint, and notes which event is handled next if that is worth it; `false` if another leads by now.
    fn advance(&self, lead: Lead, position: u64, in_hand: Option<u64>) -> Result<bool>;
    /// Notes at which event it stopped, and why.
    fn note_failure(&self, lead: Lead, position: u64, failure: &str) -> Result<()>;
    /// Passes over the event at which it stopped or died; `None` if there is none.
    fn skip(&self, identity: &Identity) -> Result<Option<u64>>;
    /// Lets the event be tried again at which it stopped or died; `None` if there is none.
    fn forgive(&self, identity: &Identity) -> Result<Option<u64>>;
    /// Takes the lead away from whoever has it; returns whether somebody had.
    fn break_lease(&self, identity: &Identity) -> Result<bool>;
    /// Moves a checkpoint on purpose. Puts a damaged row right, too.
    fn seek(&self, identity: &Identity, position: u64) -> Result<()>;
    /// Begins anew: a projection must then be rebuilt. Puts a damaged row right, too.
    fn reset(&self, identity: &Identity) -> Result<()>;
    /// Forgets a subscription and its deliveries, also a damaged one; `false` if there is none of this name.
    fn remove_subscription(&self, identity: &Identity) -> Result<bool>;
    /// Positions between a subscription's checkpoint and the end of the log.
    fn lag(&self, lead: Lead) -> Result<u64>;

    /// Leases the next events of the log, durably. A batch of nothing if there is nothing new; `None` if another leads.
    fn lease_new(&self, lead: Lead, tenant: &str, filter: &Filter, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Leases what is due to be tried again, and what waits directly behind it.
    fn lease_due(&self, lead: Lead, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Leases the first delivery that a runner died with.
    fn lease_orphan(&self, lead: Lead, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Writes down what became of a batch; `false` if another runner leads by now.
    fn mark(&self, lead: Lead, batch: &Batch, outcomes: &[Outcome], rules: &Rules) -> Result<bool>;
    /// Puts right what another policy or clock left; again until it returns `false`.
    fn tidy_deliveries(&self, lead: Lead, rules: &Rules, latest: i64) -> Result<bool>;
    /// When the next delivery falls due; `None` if nothing is to be tried again.
    fn next_due(&self, lead: Lead, rules: &Rules) -> Result<Option<i64>>;
    /// How many deliveries of an outbox are in which state.
    fn count_deliveries(&self, outbox: i64) -> Result<DeliveryCounts>;
    /// Dead letters after a position, each with its event if that can be read.
    fn dead_letters(&self, outbox: i64, after: u64, limit: usize) -> Result<VecDeque<(Delivery, Option<RecordedEvent>)>>;
    /// Changes the dead letter at a position, or the first ones of all; returns how many.
    fn change_letters(&self, outbox: i64, position: Option<u64>, change: LetterChange) -> Result<u64>;

    /// Makes the row and the tables of a projection if there are none; returns the row's number.
    fn ensure_projection(&self, spec: &ProjectionSpec, create: &Create) -> Result<i64>;
    /// Whether the tables are of another definition.
    fn is_outdated(&self, spec: &ProjectionSpec) -> Result<bool>;
    /// The next events of a projection for the one who leads; `None` if another leads by now.
    fn next_for_tables(&self, lead: Lead, spec: &ProjectionSpec, limit: usize) -> Result<Option<Page>>;
    /// Takes events into the tables and moves the checkpoint, in one transaction.
    fn apply_page(&self, lead: Lead, spec: &ProjectionSpec, page: &Page, limit: usize, apply: &Apply) -> Result<Applied<Taken>>;
    /// The events that come next for the tables that are being built.
    fn next_for_rebuild(&self, spec: &ProjectionSpec, limit: usize) -> Result<Page>;
    /// Takes events into the tables that are being built. The part that comes to the end puts them in place.
    fn rebuild_page(
        &self,
        spec: &ProjectionSpec,
        page: &Page,
        limit: usize,
        create: &Create,
        apply: &Apply,
    ) -> Result<Applied<Rebuilt>>;
    /// Forgets a projection and drops its tables; `false` if there is no such projection.
    fn drop_projection(&self, spec: &ProjectionSpec) -> Result<bool>;
    /// A tenant's document: its JSON text.
    fn document(&self, name: &str, tenant: &str, key: &str) -> Result<Option<String>>;
    /// A tenant's documents in the order of their keys, after the key `after`.
    fn documents(&self, name: &str, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, String)>>;
}

impl Engine {
    /// See [`Watcher`].
    pub(crate) fn watcher(&self) -> Result<Watcher> {
        match self {
            Engine::Sqlite(database) => database.watcher().map(Watcher::Sqlite),
        }
    }

    /// Every row of the application's own query; it cannot write.
    pub(crate) fn query_read_model<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Engine::Sqlite(database) => database.query_read_model(sql, params, row),
        }
    }
}
