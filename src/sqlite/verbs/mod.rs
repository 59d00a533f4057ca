//! What the engine can do: each verb is a whole operation in one transaction.

pub(crate) mod deliveries;
pub(crate) mod projections;
pub(crate) mod readers;
mod rehearse;
pub(crate) mod scan;
mod subscriptions;
