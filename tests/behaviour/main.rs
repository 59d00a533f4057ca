//! What the library does, seen from outside: the public API on real files.

mod appending;
mod domain;
mod idempotency;
mod limits;
mod opening;
mod read_only;
mod redaction;
mod refusing;
mod support;
