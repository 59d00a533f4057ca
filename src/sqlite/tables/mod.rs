//! One file for each table family: the row beside its SQL.

pub(crate) mod changes;
pub(crate) mod deliveries;
pub(crate) mod read_model;
pub(crate) mod subscriptions;
