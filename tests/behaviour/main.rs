//! What the library does, seen from outside: the public API on real files.

mod appending;
mod domain;
mod folding;
mod idempotency;
mod limits;
mod opening;
mod paging;
mod purging;
mod read_only;
mod reading;
mod redaction;
mod refusing;
mod replaying;
mod support;
mod tenants;
mod unusable_snapshots;
