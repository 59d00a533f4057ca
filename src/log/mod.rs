//! The log: appending, reading and counting events.

pub(crate) mod append;
pub(crate) mod gauges;
pub(crate) mod pages;
pub(crate) mod query;
pub(crate) mod scope;
pub(crate) mod signal;
pub(crate) mod wait;
pub(crate) mod watch;
