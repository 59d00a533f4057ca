//! Delivery: brings events to handlers, read models and the outside world.

pub(crate) mod control;
pub(crate) mod documents;
mod lead;
pub(crate) mod outbox;
pub(crate) mod projection;
pub(crate) mod runner;
pub(crate) mod subscription;
