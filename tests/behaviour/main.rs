//! What the library does, seen from outside: the public API on real files.

mod appending;
mod busy;
mod clean_up;
// mod damaged_indexes;
mod domain;
mod executing;
mod folding;
mod hostile_paths;
mod hostile_settings;
mod idempotency;
mod limits;
mod numbers;
mod opening;
mod paging;
mod purging;
mod read_only;
mod reading;
mod redaction;
mod refusing;
mod replaying;
mod snapshots;
mod support;
mod tenants;
mod threads;
mod unusable_snapshots;
