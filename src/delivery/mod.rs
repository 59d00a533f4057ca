//! Delivery: events on their way to handlers, read models and the outside world.

pub(crate) mod documents;
pub(crate) mod outbox;
pub(crate) mod projection;
pub(crate) mod runner;
pub(crate) mod subscription;
