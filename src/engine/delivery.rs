//! The verbs of delivery.

use std::collections::VecDeque;

use super::Engine;
use crate::model::error::Result;
use crate::model::filter::Filter;
use crate::storage::delivery::{
    Applied, Batch, Checkpoint, Claim, Claimed, DeliveryCounts, Identity, Lead, Letter, LetterChange, NewSubscription, Outcome,
    Page, ProjectionSpec, Pulse, Rebuilt, Rules, Taken,
};

// A projection's statements are written by the application in SQLite's SQL, so the engine is visible here on purpose.
pub(crate) use crate::sqlite::DocumentTable;
pub use crate::sqlite::ReadModel;
pub(crate) use crate::sqlite::{Apply, Create, InlineProjection};

/// Notices commits of any process.
pub(crate) enum Watcher {
    Sqlite(crate::sqlite::Watcher),
}

impl Watcher {
    /// A number that changes with each commit of another connection.
    pub(crate) fn version(&self) -> Result<i64> {
        match self {
            Watcher::Sqlite(watcher) => watcher.version(),
        }
    }
}

verbs! {
    /// Creates a subscription. If one of this name exists, it must have the same kind and filter.
    fn make_subscription(&self, new: &NewSubscription<'_>) -> Result<()>;
    /// A subscription and the last position of the log.
    fn subscription(&self, identity: &Identity) -> Result<(Checkpoint, u64)>;
    /// All subscriptions of a tenant by name, then those that read all tenants; and the last position.
    fn subscriptions(&self, tenant: &str) -> Result<(Vec<Checkpoint>, u64)>;
    /// Takes the lead, or asks the leader whether it is alive.
    fn lead(&self, claim: &Claim<'_>) -> Result<Claimed>;
    /// The leader's heartbeat, as other runners see it.
    fn pulse(&self, identity: &Identity) -> Result<Pulse>;
    /// As `pulse`, for the leader itself; `None` if it no longer leads.
    fn own_pulse(&self, lead: Lead) -> Result<Option<Pulse>>;
    /// Records that the leader is alive; `None` if it no longer leads.
    fn beat(&self, lead: Lead) -> Result<Option<Pulse>>;
    /// Gives up the lead, so that the next runner need not wait.
    fn resign(&self, lead: Lead) -> Result<()>;
    /// The next events for the leader; `None` if another runner leads now.
    fn next_page(&self, lead: Lead, tenant: &str, filter: &Filter, limit: usize) -> Result<Option<Page>>;
    /// Moves the checkpoint, and notes the next event if asked to; `false` if another runner leads now.
    fn advance(&self, lead: Lead, position: u64, in_hand: Option<u64>) -> Result<bool>;
    /// Records the event at which it stopped, and why.
    fn note_failure(&self, lead: Lead, position: u64, failure: &str) -> Result<()>;
    /// Skips the event at which it stopped or died; `None` if there is none.
    fn skip(&self, identity: &Identity) -> Result<Option<u64>>;
    /// Clears the failure so that the event is tried again; `None` if there is none.
    fn forgive(&self, identity: &Identity) -> Result<Option<u64>>;
    /// Takes the lead from the runner that has it; returns whether there was one.
    fn break_lease(&self, identity: &Identity) -> Result<bool>;
    /// Moves a checkpoint on request. Also repairs a damaged row.
    fn seek(&self, identity: &Identity, position: u64) -> Result<()>;
    /// Starts over; a projection must then be rebuilt. Also repairs a damaged row.
    fn reset(&self, identity: &Identity) -> Result<()>;
    /// Deletes a subscription, its deliveries and its tables, damaged or not; `false` if there is none of this name. The
    /// tables of a damaged one stay, because its row cannot say which they are.
    fn remove_subscription(&self, identity: &Identity) -> Result<bool>;
    /// Pauses a subscription, or resumes it; returns whether that changed anything. The leader can still write what it
    /// has done.
    fn set_paused(&self, identity: &Identity, paused: bool) -> Result<bool>;
    /// Positions between a subscription's checkpoint and the end of the log.
    fn lag(&self, lead: Lead) -> Result<u64>;

    /// Leases the next events of the log, durably. The batch is empty if there are none; `None` if another runner
    /// leads.
    fn lease_new(&self, lead: Lead, tenant: &str, filter: &Filter, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Leases deliveries that are due again, and those that wait directly behind them.
    fn lease_due(&self, lead: Lead, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Leases the first delivery that a dead runner left leased.
    fn lease_orphan(&self, lead: Lead, rules: &Rules) -> Result<Option<Option<Batch>>>;
    /// Records the outcomes of a batch; `false` if another runner leads now.
    fn mark(&self, lead: Lead, batch: &Batch, outcomes: &[Outcome], rules: &Rules) -> Result<bool>;
    /// Corrects deliveries left by another policy or clock. To be called until it returns `false`.
    fn tidy_deliveries(&self, lead: Lead, rules: &Rules, latest: i64) -> Result<bool>;
    /// When the next delivery falls due; `None` if there is none.
    fn next_due(&self, lead: Lead, rules: &Rules) -> Result<Option<i64>>;
    /// The number of an outbox's deliveries by state.
    fn count_deliveries(&self, outbox: i64) -> Result<DeliveryCounts>;
    /// Dead letters after a position, each with what its event is read as, if that can be read.
    fn dead_letters(&self, outbox: i64, after: u64, limit: usize) -> Result<VecDeque<Letter>>;
    /// Changes the dead letter at a position, or else the first ones of all; returns how many.
    fn change_letters(&self, outbox: i64, position: Option<u64>, change: LetterChange) -> Result<u64>;

    /// Creates a projection's row and tables if there are none; returns the row's number.
    fn ensure_projection(&self, spec: &ProjectionSpec, create: &Create) -> Result<i64>;
    /// Whether the tables are older than the definition. An error if they are newer.
    fn is_outdated(&self, spec: &ProjectionSpec) -> Result<bool>;
    /// The next events for a projection's leader; `None` if another runner leads now.
    fn next_for_tables(&self, lead: Lead, spec: &ProjectionSpec, limit: usize) -> Result<Option<Page>>;
    /// Applies events to the tables and moves the checkpoint, in one transaction.
    fn apply_page(&self, lead: Lead, spec: &ProjectionSpec, page: &Page, limit: usize, apply: &Apply) -> Result<Applied<Taken>>;
    /// The next events for the tables that are being rebuilt.
    fn next_for_rebuild(&self, spec: &ProjectionSpec, limit: usize) -> Result<Page>;
    /// Applies events to the tables that are being rebuilt. The page that reaches the end puts them in place.
    fn rebuild_page(
        &self,
        spec: &ProjectionSpec,
        page: &Page,
        limit: usize,
        create: &Create,
        apply: &Apply,
    ) -> Result<Applied<Rebuilt>>;
    /// Deletes a projection and its tables; `false` if there is none.
    fn drop_projection(&self, spec: &ProjectionSpec) -> Result<bool>;
    /// A tenant's document, as JSON text.
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

    /// All rows of a query that the application wrote; it cannot write.
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
