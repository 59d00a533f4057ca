//! The words: events, aggregates, places, errors. No I/O.

pub(crate) mod aggregate;
pub(crate) mod annotated;
pub(crate) mod audit_digest;
pub(crate) mod blank;
pub(crate) mod clock;
pub(crate) mod codec;
pub(crate) mod damage;
pub(crate) mod decision;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod expected;
pub(crate) mod filter;
pub(crate) mod fold;
pub(crate) mod ids;
pub(crate) mod json;
pub(crate) mod metadata;
pub(crate) mod place;
pub(crate) mod redacted;
pub(crate) mod same_json;
pub(crate) mod trace_context;
pub(crate) mod upcast;
