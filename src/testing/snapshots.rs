//! States: does a replay from a snapshot give the same as one from the first event?

use std::fmt::Debug;

use super::unexpected;
use crate::{Aggregate, Expected, Options, SnapshotPolicy};

/// Folds the events one by one, with a snapshot after each. The test fails if a state gets no snapshot, because it does not
/// come back from JSON as it went in, or if a replay from the snapshot gives another state than a replay of all events.
///
/// Give it a history that uses every field of the state. Unlike the store, it compares the states with `PartialEq`, so it
/// also sees what JSON does not show.
///
/// ```
/// use foldlog::{Aggregate, testing::check_snapshots};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent { Deposited { cents: u64 } }
///
/// #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
/// struct Account { cents: u64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "account";
///     type Event = AccountEvent;
///     fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) { self.cents += cents }
/// }
///
/// check_snapshots::<Account>([AccountEvent::Deposited { cents: 5 }, AccountEvent::Deposited { cents: 7 }]);
/// ```
#[track_caller]
pub fn check_snapshots<A: Aggregate + PartialEq + Debug>(events: impl IntoIterator<Item = A::Event>) {
    const ID: &str = "checked";
    let aggregates = match Options::new().snapshots(SnapshotPolicy::every(1)).in_memory() {
        Ok(store) => store.aggregates::<A>(),
        Err(error) => unexpected("there is no store in memory", &error),
    };
    for event in events {
        let version = match aggregates.append(ID, Expected::Any, [event]) {
            Ok(appended) => appended.version,
            Err(error) => unexpected("an event cannot be appended", &error),
        };
        let (from_snapshot, folded) = match (aggregates.replay(ID), aggregates.without_snapshots().replay(ID)) {
            (Ok(from_snapshot), Ok(folded)) => (from_snapshot, folded),
            (Err(error), _) | (_, Err(error)) => unexpected("the events cannot be replayed", &error),
        };
        if let Some(warning) = from_snapshot.warnings.first() {
            panic!("after event {version}: {warning}");
        }
        if from_snapshot.state != folded.state {
            panic!(
                "after event {version} a replay from a snapshot gives another state (- all events, + snapshot):\n  - {:?}\n  + {:?}\n\
                 What serde skips, or writes less exactly than it is, does not come back from a snapshot.",
                folded.state, from_snapshot.state
            );
        }
    }
}
