//! What the library does, seen from outside: the public API on real files.

mod domain;
mod opening;
mod read_only;
mod refusing;
mod support;
