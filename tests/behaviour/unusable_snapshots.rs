//! A snapshot that cannot be used is never an error: the result is right, it is said, and in time it is replaced.

use std::ops::ControlFlow::Continue;

use foldlog::{Aggregate, ErrorKind, Rejected, Replayed, SnapshotPolicy, SnapshotReason, Store};
use serde::{Deserialize, Serialize};

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, fast, noted, refused};

/// Ten deposits, a snapshot at version 4 and one at 8.
fn with_two_snapshots() -> Place {
    let place = Place::new();
    let store = open(&place);
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, deposits(4)).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append("a", 4, deposits(4)).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append("a", 8, deposits(2)).unwrap();
    place
}

fn open(place: &Place) -> Store {
    fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap()
}

#[track_caller]
fn is_right(replayed: &Replayed<Account>, from_snapshot: Option<u64>) {
    assert_eq!((replayed.state.cents, replayed.version.get()), (10, 10));
    assert_eq!(replayed.from_snapshot.map(|version| version.get()), from_snapshot);
}

#[test]
fn damage_in_any_column_is_noticed() {
    for change in [
        r#"state = replace(state, '"cents":8', '"cents":9')"#,
        "state = substr(state, 1, 10) || char(unicode(substr(state, 11, 1)) + 1) || substr(state, 12)",
        "latest_event_at = latest_event_at - 1",
        "reason = 'scheduled'",
        "event_count = event_count + 1",
        "created_by = 'eve'",
        "created_at = created_at + 1",
        "checksum = checksum + 1",
        "version = version + 1",
    ] {
        let place = with_two_snapshots();
        let changed = place.raw().execute(&format!("UPDATE snapshots SET {change} WHERE version = 8"), []).unwrap();
        assert_eq!(changed, 1);
        let accounts = open(&place).aggregates::<Account>();
        let replayed = accounts.replay("a").unwrap();
        is_right(&replayed, Some(4));
        assert_eq!(replayed.warnings.len(), 1, "{change}");
        assert_eq!(replayed.warnings[0].rejected, Rejected::Damaged, "{change}");
        assert!(replayed.warnings[0].to_string().contains("was not used: its checksum is wrong"));
        assert_eq!(accounts.latest_snapshot("a").unwrap().unwrap().version, 4, "a damaged one is not handed out");
    }
}

/// A snapshot whose damage gives it to another fold is passed over, as those of other folds are.
#[test]
fn damage_in_the_name_of_the_fold() {
    for change in ["fold_version = fold_version | 2", "fold_name = fold_name || 's'", "fingerprint = 1"] {
        let place = with_two_snapshots();
        place.raw().execute(&format!("UPDATE snapshots SET {change} WHERE version = 8"), []).unwrap();
        let store = open(&place);
        is_right(&store.aggregates::<Account>().replay("a").unwrap(), Some(4));
        assert!(!store.maintenance().verify(|_| Continue(())).unwrap().is_clean(), "{change}");
        place.raw().execute(&format!("UPDATE snapshots SET {change}"), []).unwrap();
        let replayed = store.aggregates::<Account>().replay("a").unwrap();
        is_right(&replayed, None);
        assert_eq!(replayed.warnings[0].rejected, Rejected::Damaged, "{change}");
    }
}

#[test]
fn when_all_are_damaged_every_event_is_folded() {
    let place = with_two_snapshots();
    place.raw().execute_batch("UPDATE snapshots SET state = '{'").unwrap();
    let accounts = open(&place).aggregates::<Account>();
    let replayed = accounts.replay("a").unwrap();
    is_right(&replayed, None);
    let versions: Vec<_> = replayed.warnings.iter().map(|warning| warning.version.get()).collect();
    assert_eq!(versions, [8, 4]);
    is_right(&accounts.without_snapshots().replay("a").unwrap(), None);
    assert_eq!(accounts.replay_to_version("a", 5).unwrap().state.cents, 5);
    assert_eq!(accounts.snapshots("a").unwrap(), []);
}

macro_rules! account_of {
    ($name:ident, $version:literal, { $($field:ident: $type:ty),* }) => {
        /// The account of another version of the program.
        #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
        struct $name { cents: u64, $($field: $type),* }

        impl Aggregate for $name {
            const TYPE: &'static str = Account::TYPE;
            const FOLD_VERSION: u32 = $version;
            type Event = AccountEvent;

            fn fold_name() -> &'static str {
                Account::fold_name()
            }

            fn apply(&mut self, event: AccountEvent) {
                if let AccountEvent::Deposited { cents } = event {
                    self.cents += cents;
                }
            }
        }
    };
}

account_of!(NextAccount, 2, {});
account_of!(ReshapedAccount, 1, { must_be_there: bool });

#[test]
fn of_another_fold_version() {
    let place = with_two_snapshots();
    let replayed = open(&place).aggregates::<NextAccount>().replay("a").unwrap();
    assert_eq!((replayed.state.cents, replayed.from_snapshot), (10, None));
    assert_eq!(replayed.warnings.len(), 2);
    assert_eq!(replayed.warnings[0].rejected, Rejected::OtherFold { name: Account::fold_name().into(), version: 1 });
}

#[test]
fn of_another_fold() {
    let place = with_two_snapshots();
    let lists = open(&place).json_aggregates("account");
    let replayed = lists.replay("a").unwrap();
    assert_eq!((replayed.version.get(), replayed.from_snapshot, replayed.warnings.len()), (10, None, 0));
    let counted = lists.fold_with("count", 1, |state, _, _| {
        *state = (state.as_u64().unwrap_or(0) + 1).into();
        Ok(())
    });
    counted.create_snapshot("a", SnapshotReason::Manual).unwrap();
    assert_eq!(counted.replay("a").unwrap().from_snapshot, Some(10.into()));
    let again = open(&place).json_aggregates("account").fold_with("count", 2, |_, _, _| Ok(()));
    assert_eq!(again.replay("a").unwrap().warnings[0].rejected, Rejected::OtherFold { name: "fn:count".into(), version: 1 });
    is_right(&open(&place).aggregates::<Account>().replay("a").unwrap(), Some(8));
}

#[test]
fn of_a_shape_that_does_not_fit() {
    let place = with_two_snapshots();
    let replayed = open(&place).aggregates::<ReshapedAccount>().replay("a").unwrap();
    assert_eq!((replayed.state.cents, replayed.from_snapshot, replayed.warnings.len()), (10, None, 2));
    let Rejected::Undecodable(reason) = &replayed.warnings[0].rejected else { panic!("{:?}", replayed.warnings) };
    assert!(reason.contains("missing field `must_be_there`"), "{reason}");
}

#[test]
fn it_is_replaced_in_time() {
    let place = with_two_snapshots();
    let store = fast().snapshots(SnapshotPolicy::every(10)).open(place.file()).unwrap();
    let next = store.aggregates::<NextAccount>();
    assert_eq!(next.replay("a").unwrap().warnings.len(), 2);
    let replayed = next.replay("a").unwrap();
    assert_eq!((replayed.from_snapshot, replayed.events_folded), (Some(10.into()), 0));
    assert!(replayed.warnings.is_empty());

    place.raw().execute_batch("UPDATE snapshots SET state = '{}' WHERE version = 10").unwrap();
    assert_eq!(next.replay("a").unwrap().warnings[0].rejected, Rejected::Damaged);
    assert!(next.replay("a").unwrap().warnings.is_empty(), "also one at the same version");
    assert_eq!(store.file_statistics().unwrap().snapshots, 3);
}

#[test]
fn execute_goes_on_and_replaces_it() {
    let place = with_two_snapshots();
    place.raw().execute_batch("UPDATE snapshots SET state = '{}'").unwrap();
    let store = fast().snapshots(SnapshotPolicy::every(10)).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    let executed = accounts.execute("a", |account| {
        assert_eq!(account.cents, 10);
        deposits(1)
    });
    assert_eq!(executed.unwrap().state.cents, 11);
    assert!(accounts.replay("a").unwrap().warnings.is_empty());
}

#[test]
fn after_a_purge_an_unusable_one_is_an_error() {
    let place = with_two_snapshots();
    let store = open(&place);
    let all = foldlog::Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1));
    store.maintenance().purge(all.fold(&store.aggregates::<Account>())).unwrap();
    refused(store.aggregates::<NextAccount>().replay("a"), ErrorKind::HistoryRemoved);
    is_right(&store.aggregates::<Account>().replay("a").unwrap(), Some(8));
}

/// Its events say when they were, not the last one alone.
#[test]
fn the_latest_time_of_a_snapshot_is_that_of_its_events() {
    let place = Place::new();
    let times = [10, 30, 20].map(|second| noted(1).created_at(at(second)));
    open(&place).append("list", "a", 0, times).unwrap();
    let lists = open(&place).json_aggregates("list");
    assert_eq!(lists.create_snapshot("a", SnapshotReason::Manual).unwrap(), 3);
    assert_eq!(lists.replay_to_time("a", at(15)).unwrap().version, 1);
    assert_eq!(lists.replay_to_time("a", at(29)).unwrap().version, 3);
}
