//! What can be called, and how it can end.

use foldlog::{ErrorKind, EventId};
use proptest::prelude::*;

use crate::support::model::{Account, AccountEvent, Name, Planned, Row};

/// Stores that are open on the one file.
pub const HANDLES: usize = 2;
pub const TENANTS: [&str; 2] = ["default", "acme"];
pub const IDS: [&str; 3] = ["a", "b", "c"];

/// Which aggregate: an index into [`TENANTS`] and one into [`IDS`].
pub type Which = (usize, usize);

pub fn name((tenant, id): Which) -> Name {
    (TENANTS[tenant].to_owned(), IDS[id].to_owned())
}

#[derive(Clone, Copy, Debug)]
pub enum Belief {
    Any,
    New,
    Existing,
    /// The true version, and this much more: 0 is right.
    Off(i64),
}

/// A call. The first number is the handle.
#[derive(Clone, Debug)]
pub enum Call {
    Append(usize, Which, Belief, Vec<u32>),
    /// Appends under event ids, which may have been used before.
    AppendAs(usize, Which, Vec<(u8, u32)>),
    Commit(usize, usize, Vec<(usize, Belief, Vec<u32>)>),
    Execute(usize, Which, Vec<u32>),
    /// The decision is an error.
    Refuse(usize, Which),
    Snapshot(usize, Which),
    DeleteSnapshots(usize, Which),
    Purge(usize, Which),
    Replay(usize, Which),
    ReplayTo(usize, Which, u64),
    Read(usize, Reading),
    Reopen(usize),
    ReadOnly(Which),
}

#[derive(Clone, Copy, Debug)]
pub enum Reading {
    After(u64),
    Newest(u64),
    Tagged(u8),
    OfType(u8),
    OfAggregate(Which, u64),
}

pub const TYPES: [&str; 4] = ["Deposited", "Withdrawn", "Closed", "Never"];

/// How a call must end.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    Done,
    /// Version and position of the last event, and whether it was there already.
    Appended(u64, u64, bool),
    Fails(ErrorKind),
    Refused,
    State(u64, Account),
    Rows(Vec<Row>),
}

pub fn event(number: u32) -> Planned {
    let event = match number % 3 {
        0 => AccountEvent::Deposited { cents: number.into(), note: "n".repeat(number as usize % 50) },
        1 => AccountEvent::Withdrawn { cents: number.into() },
        _ => AccountEvent::Closed,
    };
    let tags = if number.is_multiple_of(4) { vec![format!("tag-{}", number % 3)] } else { Vec::new() };
    Planned { event, id: None, metadata: None, tags }
}

pub fn events(numbers: &[u32]) -> Vec<Planned> {
    numbers.iter().copied().map(event).collect()
}

/// As a decision gives them: it knows no tags.
pub fn untagged(numbers: &[u32]) -> Vec<Planned> {
    events(numbers).into_iter().map(|planned| Planned { tags: Vec::new(), ..planned }).collect()
}

pub fn event_id(number: u8) -> EventId {
    EventId::from_u128(0x1000 + u128::from(number))
}

pub fn which() -> impl Strategy<Value = Which> {
    (0..TENANTS.len(), 0..IDS.len())
}

pub fn belief() -> impl Strategy<Value = Belief> {
    prop_oneof![
        4 => Just(Belief::Any),
        1 => Just(Belief::New),
        1 => Just(Belief::Existing),
        3 => Just(Belief::Off(0)),
        1 => (-2i64..3).prop_map(Belief::Off),
    ]
}

pub fn numbers() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(any::<u32>().prop_map(|number| number % 1_000), 1..5)
}

pub fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        (0u64..40).prop_map(Reading::After),
        (0u64..10).prop_map(Reading::Newest),
        (0u8..4).prop_map(Reading::Tagged),
        (0u8..4).prop_map(Reading::OfType),
        (which(), 0u64..6).prop_map(|(which, version)| Reading::OfAggregate(which, version)),
    ]
}
