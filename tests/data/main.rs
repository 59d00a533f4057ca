//! Real event streams through the public API into real files, compared with what others say about them.
//!
//! One binary, so that it links once; a module for each source of data, and three for what all sources share: times,
//! queries and tenants.

#[path = "../support/random.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod random;
#[path = "../common/streams.rs"]
mod streams;
mod support;

mod chess;
mod editing;
mod git;
mod github;
mod process;
mod queries;
mod repairing;
mod stackexchange;
mod tenants;
mod text;
mod times;
mod wikipedia;
mod windows;
