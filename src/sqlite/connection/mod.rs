//! Connections to the file: how it is opened, who may write when, what a failure means.

mod backup;
mod busy;
mod copy;
pub(super) mod database;
pub(super) mod failure;
mod files;
pub(super) mod fresh;
mod group;
mod guard;
mod open;
pub(in crate::sqlite) mod paths;
pub(super) mod queue;
mod reason;
mod reserve;
mod rewrite;
mod settled;
mod throttle;
mod turn;
