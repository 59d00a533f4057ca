//! State equals replay, always: a state that does not come back from JSON gets no snapshot, no fold takes another one's
//! snapshot, and a purge relies only on snapshots that were compared with the events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::ops::ControlFlow::Continue;

use foldlog::testing::check_snapshots;
use foldlog::{Aggregate, Aggregates, ErrorKind, Expected, Purge, Rejected, Snapshot, SnapshotPolicy, SnapshotReason, Store};
use serde::{Deserialize, Serialize};

use crate::support::{Place, fast, refused, says};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    In { n: u64 },
    Out { n: u64 },
    Noted,
}

use Event::{In, Noted, Out};

macro_rules! fold {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty = $initial:expr),* } $version:literal $is_same:expr, |$state:ident, $event:ident| $apply:expr) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct $name { $($(#[$meta])* $field: $type),* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $initial),* }
            }
        }

        impl Aggregate for $name {
            const TYPE: &'static str = "stock";
            const FOLD_VERSION: u32 = $version;
            type Event = Event;

            fn is_same(&self, other: &$name) -> bool {
                let is_same: fn(&$name, &$name) -> bool = $is_same;
                is_same(self, other)
            }

            fn apply(&mut self, $event: Event) {
                let $state = self;
                $apply
            }
        }
    };
}

fold!(Least { least: f64 = f64::INFINITY } 1 |_, _| true, |state, event| if let In { n } | Out { n } = event {
    state.least = state.least.min(n as f64);
});
fold!(MaybeLeast { least: Option<f64> = Some(f64::INFINITY) } 1 |one, other| one == other, |state, event| if let In { n } = event {
    state.least = state.least.map(|least| least.min(n as f64));
});
fold!(ByPair { pairs: BTreeMap<(u64, u64), u64> = BTreeMap::new() } 1 |_, _| true, |state, event| if let In { n } = event {
    *state.pairs.entry((n, n)).or_default() += 1;
});
// An Out sets the rate for every In after it.
fold!(Rated { total: u64 = 0, #[serde(skip)] rate: u64 = 0 } 1 |_, _| true, |state, event| match event {
    In { n } => state.total += n * state.rate,
    Out { n } => state.rate = n,
    Noted => {}
});
fold!(Compared { total: u64 = 0, #[serde(skip)] rate: u64 = 0 } 1 |one, other| one == other, |state, event| match event {
    In { n } => state.total += n * state.rate,
    Out { n } => state.rate = n,
    Noted => {}
});
// Written in tens, as a time may be written in whole seconds.
fold!(Rounded { #[serde(with = "tens")] units: u64 = 0 } 1 |_, _| true, |state, event| if let In { n } = event {
    state.units += n;
});
fold!(Sets { seen: HashSet<String> = HashSet::new(), counts: HashMap<u64, f64> = HashMap::new() } 1 |_, _| true, |state, event| match event {
    In { n } | Out { n } => {
        state.seen.insert(n.to_string());
        *state.counts.entry(n % 7).or_default() += 0.1;
    }
    Noted => {}
});
fold!(Ins { count: u64 = 0 } 1 |_, _| true, |state, event| if let In { .. } = event { state.count += 1 });
fold!(Outs { count: u64 = 0 } 1 |_, _| true, |state, event| if let Out { .. } = event { state.count += 1 });
fold!(Balance { units: u64 = 0 } 1 |_, _| true, |state, event| if let In { n } = event { state.units += n });
fold!(NextBalance { milli_units: u64 = 0 } 2 |_, _| true, |state, event| if let In { n } = event { state.milli_units += n * 1_000 });

mod tens {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(units: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(units / 10)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        u64::deserialize(deserializer).map(|tens| tens * 10)
    }
}

fn store(place: &Place, policy: SnapshotPolicy) -> Store {
    fast().snapshots(policy).open(place.file()).unwrap()
}

fn everything() -> Purge {
    Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1))
}

fn versions<A: Aggregate>(handle: &Aggregates<A>) -> Vec<u64> {
    handle.snapshots("a").unwrap().iter().map(|snapshot| snapshot.version.get()).collect()
}

/// Appends these events with a snapshot due after every third; no snapshot is made, and everybody is told.
fn gets_no_snapshot<A: Aggregate<Event = Event> + Debug + PartialEq>(events: &[Event], why: &str) {
    let place = Place::new();
    let handle = store(&place, SnapshotPolicy::every(3)).aggregates::<A>();
    for event in events {
        handle.append("a", Expected::Any, [event.clone()]).unwrap();
    }
    let replayed = handle.replay("a").unwrap();
    assert_eq!(replayed.events_folded, events.len() as u64, "{why}");
    let [warning] = &replayed.warnings[..] else { panic!("{why}: {:?}", replayed.warnings) };
    let Rejected::NotRestorable(reason) = &warning.rejected else { panic!("{warning}") };
    assert!(reason.contains(why), "{reason}");
    assert!(warning.to_string().contains("no snapshot was made at version"), "{warning}");
    let executed = handle.execute("a", |_| [Noted]).unwrap();
    assert!(matches!(&executed.warnings[..], [warning] if warning.version == executed.version), "{:?}", executed.warnings);
    let error = refused(handle.create_snapshot("a", SnapshotReason::Manual), ErrorKind::Codec);
    says(&error, &["create snapshot", "does not come back from JSON", why, "stock \"a\"", "check_snapshots"]);
    let each = handle.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    assert_eq!((each.succeeded, each.failed), (0, 1));
    assert_eq!(versions(&handle), [0; 0]);
    assert_eq!(
        store(&place, SnapshotPolicy::manual()).maintenance().purge(everything().fold(&handle)).unwrap().events_removed,
        0
    );
    assert_eq!(handle.replay("a").unwrap().state, handle.without_snapshots().replay("a").unwrap().state);
    let checked = std::panic::catch_unwind(|| check_snapshots::<A>(events.to_vec()));
    let panic = *checked.unwrap_err().downcast::<String>().unwrap();
    assert!(panic.contains("no snapshot was made"), "{panic}");
}

#[test]
fn a_state_that_json_cannot_hold_gets_no_snapshot() {
    gets_no_snapshot::<Least>(&vec![Noted; 12], "cannot be read");
    gets_no_snapshot::<MaybeLeast>(&vec![Noted; 12], "written as null");
    gets_no_snapshot::<ByPair>(&vec![In { n: 1 }; 30], "cannot be written");
    gets_no_snapshot::<Compared>(&[Out { n: 5 }, In { n: 1 }, In { n: 1 }], "is skipped");
}

/// Only some states cannot be held: the others get theirs.
#[test]
fn a_state_that_json_can_hold_later_gets_one_then() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(3));
    let least = store.aggregates::<Least>();
    least.append("a", 0, vec![Noted; 12]).unwrap();
    assert_eq!(versions(&least), [0; 0]);
    least.execute("a", |_| [In { n: 7 }]).unwrap();
    assert_eq!(versions(&least), [13]);
    assert!(least.replay("a").unwrap().warnings.is_empty());
    assert_eq!(store.maintenance().purge(everything().fold(&least)).unwrap().events_removed, 13);
    least.append("a", 13, [In { n: 9 }]).unwrap();
    assert_eq!(least.replay("a").unwrap().state.least, 7.0);
}

/// What cannot be seen in the JSON is seen in what becomes of it.
#[test]
fn what_is_lost_without_a_trace_in_json_is_found_by_folding_on() {
    fn is_found<A: Aggregate<Event = Event> + Debug + PartialEq>(events: &[Event], wrong: usize) {
        let place = Place::new();
        let store = store(&place, SnapshotPolicy::every(2));
        let handle = store.aggregates::<A>();
        for event in events {
            handle.append("a", Expected::Any, [event.clone()]).unwrap();
        }
        let made = versions(&handle).len() as u64;
        let report = handle.verify_snapshots(|_| Continue(())).unwrap();
        assert_eq!((report.snapshots, report.snapshots_not_compared), (made, 0));
        assert!(report.damage_count >= wrong as u64, "{:?}", report.damages);
        assert!(report.damages.iter().all(|damage| damage.to_string().contains("keep everything that later events need")));
        let report = store.maintenance().purge(everything().fold(&handle)).unwrap();
        assert_eq!((report.events_removed, report.events_kept), (0, events.len() as u64));
        assert!(report.kept[0].reason.contains("cannot be trusted"), "{}", report.kept[0]);
        assert_eq!(handle.without_snapshots().replay("a").unwrap().version.get(), events.len() as u64);
        assert!(std::panic::catch_unwind(|| check_snapshots::<A>(events.to_vec())).is_err());
    }
    is_found::<Rated>(&[Out { n: 5 }, In { n: 1 }, In { n: 1 }, In { n: 1 }], 1);
    is_found::<Rounded>(&[In { n: 13 }, In { n: 13 }, In { n: 13 }, In { n: 13 }], 1);
}

/// The newest snapshot may look right, with no event after it: the way to it tells.
#[test]
fn a_snapshot_of_the_last_event_is_not_trusted_by_its_looks() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::manual());
    let rated = store.aggregates::<Rated>();
    rated.append("a", 0, [Out { n: 5 }, In { n: 1 }, In { n: 1 }]).unwrap();
    rated.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let report = store.maintenance().purge(everything().fold(&rated)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (0, 3));
    assert!(report.kept[0].reason.contains("sent through JSON on the way"), "{}", report.kept[0]);
    rated.append("a", 3, [In { n: 1 }]).unwrap();
    let report = rated.verify_snapshots(|_| Continue(())).unwrap();
    assert!(report.damages[0].to_string().contains("later events give another state"), "{:?}", report.damages);
}

#[test]
fn sets_and_maps_in_any_order_are_fine() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(4));
    let sets = store.aggregates::<Sets>();
    let events: Vec<Event> = (0..40).map(|n| In { n }).collect();
    for event in &events {
        assert!(sets.execute("a", |_| [event.clone()]).unwrap().warnings.is_empty());
    }
    assert_eq!(versions(&sets).len(), 5);
    check_snapshots::<Sets>(events);
    let report = sets.verify_snapshots(|_| Continue(())).unwrap();
    assert!(report.is_clean() && report.snapshots_not_compared == 0, "{:?}", report.damages);
    let before = sets.replay("a").unwrap().state;
    assert_eq!(store.maintenance().purge(everything().fold(&sets)).unwrap().events_removed, 40);
    assert_eq!(sets.replay("a").unwrap().state, before);
    // The events are gone: the oldest snapshot that is left of them is what the others are compared with.
    sets.append("a", 40, [Out { n: 1 }]).unwrap();
    sets.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let report = sets.verify_snapshots(|_| Continue(())).unwrap();
    assert!(report.is_clean() && (report.snapshots, report.snapshots_not_compared) == (5, 4), "{report:?}");
    assert_eq!(store.maintenance().purge(everything().fold(&sets)).unwrap().events_removed, 1);
    assert_eq!(sets.replay("a").unwrap().events_folded, 0);
}

/// Two views of one aggregate, with the same fields and the default version.
#[test]
fn two_types_never_share_a_snapshot() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(10));
    let (ins, outs) = (store.aggregates::<Ins>(), store.aggregates::<Outs>());
    for n in 0..150 {
        let event = if n % 3 == 0 { Out { n } } else { In { n } };
        ins.append("a", n, [event]).unwrap();
        if n % 20 == 0 {
            outs.replay("a").unwrap();
        }
    }
    let replayed = outs.replay("a").unwrap();
    assert_eq!((replayed.state.count, replayed.warnings.len()), (50, 0));
    assert_eq!(ins.replay("a").unwrap().state.count, 100);
    assert!(ins.replay("a").unwrap().events_folded < 10 && outs.replay("a").unwrap().events_folded < 10);
    let folds: HashSet<String> = ins.snapshots("a").unwrap().into_iter().map(|snapshot| snapshot.fold_name).collect();
    assert_eq!(folds, [Ins::fold_name(), Outs::fold_name()].map(str::to_owned).into());

    // One alone does not decide for both.
    outs.create_snapshot("a", SnapshotReason::Manual).unwrap();
    ins.append("a", 150, vec![In { n: 1 }; 10]).unwrap();
    let report = store.maintenance().purge(everything().fold(&ins)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (150, 10));
    assert!(report.kept[0].reason.contains(Outs::fold_name()), "{}", report.kept[0]);
    assert_eq!(outs.replay("a").unwrap().state.count, 50);
    let report = store.maintenance().purge(everything().fold(&ins).fold(&outs)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (10, 0));
    assert_eq!((ins.replay("a").unwrap().state.count, outs.replay("a").unwrap().state.count), (110, 50));
}

#[test]
fn without_the_fold_of_its_type_a_purge_keeps_everything() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(2));
    let ins = store.aggregates::<Ins>();
    ins.append("a", 0, vec![In { n: 1 }; 4]).unwrap();
    for plan in [everything(), everything().fold(&store.json_aggregates("other"))] {
        let report = store.maintenance().purge(plan).unwrap();
        assert_eq!((report.events_removed, report.events_kept), (0, 4));
        assert!(report.kept[0].reason.contains("was given no fold for the type \"stock\""), "{}", report.kept[0]);
    }
    assert_eq!(store.maintenance().purge(everything().fold(&ins)).unwrap().events_removed, 4);
}

/// Two versions of the program on one file.
#[test]
fn two_fold_versions_live_beside_each_other() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(4).retain(2));
    let (old, new) = (store.aggregates::<Balance>(), store.aggregates::<NextBalance>());
    for n in 0..24 {
        if n % 2 == 0 { old.append("a", n, [In { n: 1 }]) } else { new.append("a", n, [In { n: 1 }]) }.unwrap();
    }
    let (old_state, new_state) = (old.replay("a").unwrap(), new.replay("a").unwrap());
    assert_eq!((old_state.state.units, new_state.state.milli_units), (24, 24_000));
    assert!(old_state.events_folded < 4 && new_state.events_folded < 4);
    assert_eq!((old_state.warnings.len(), new_state.warnings.len()), (0, 0), "a neighbour is nothing to warn of");
    assert_eq!(versions(&old).len(), 4, "two of each");

    new.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let report = store.maintenance().purge(everything().fold(&new)).unwrap();
    assert!(report.events_kept > 0, "the older program still needs the last ones");
    assert_eq!(old.replay("a").unwrap().state.units, 24);
    let report = store.maintenance().purge(everything().fold(&new).even_if_other_folds_break()).unwrap();
    assert!(report.events_kept == 0 && report.events_removed > 0);
    assert_eq!(new.replay("a").unwrap().state.milli_units, 24_000);
    let error = refused(old.replay("a"), ErrorKind::HistoryRemoved);
    says(&error, &["no usable snapshot of this fold", "version 2", "at version 24", "migrate_snapshots"]);
}

#[test]
fn a_state_is_carried_over_after_a_purge() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::manual());
    let (old, new) = (store.aggregates::<Balance>(), store.aggregates::<NextBalance>());
    for id in ["a", "b", "c", "whole"] {
        old.append(id, 0, vec![In { n: 2 }; 5]).unwrap();
        old.create_snapshot(id, SnapshotReason::Manual).unwrap();
        if id != "whole" {
            store.maintenance().purge(everything().aggregate("stock", id).fold(&old)).unwrap();
        }
        old.append(id, 5, [In { n: 1 }]).unwrap();
    }
    let carry = |snapshot: &Snapshot| {
        assert_eq!((snapshot.fold_name.as_str(), snapshot.fold_version), (Balance::fold_name(), 1));
        let old: Balance = snapshot.state.parse().map_err(|error| error.to_string())?;
        match &*snapshot.aggregate.aggregate_id {
            "a" => Ok(Some(NextBalance { milli_units: old.units * 1_000 })),
            "b" => Ok(None),
            _ => Err("not this one".to_owned()),
        }
    };
    let done = new.migrate_snapshots(carry, |_| Continue(())).unwrap();
    assert_eq!((done.succeeded, done.skipped, done.failed, done.finished), (1, 1, 2, true));
    assert!(
        done.failures[0].1.contains("no other fold's snapshot") && done.failures[1].1 == "not this one",
        "{:?}",
        done.failures
    );
    let replayed = new.replay("a").unwrap();
    assert_eq!((replayed.state.milli_units, replayed.from_snapshot, replayed.events_folded), (11_000, Some(5.into()), 1));
    assert_eq!(new.replay("whole").unwrap().from_snapshot, None, "its events are the truth");
    assert_eq!(old.replay("a").unwrap().state.units, 11, "the old version goes on");
    let again = new.migrate_snapshots(|_| Ok::<_, String>(None), |_| Continue(())).unwrap();
    assert_eq!((again.succeeded, again.skipped, again.failed), (0, 2, 2));
}

/// 100 replays made 100 snapshots.
#[test]
fn replays_write_no_snapshot_again_and_again() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::every(3));
    let ins = store.aggregates::<Ins>();
    ins.append("a", 0, vec![In { n: 1 }; 3]).unwrap();
    let outside = place.raw();
    let commits = || outside.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    // A damaged one is replaced once.
    outside.execute("UPDATE snapshots SET state = '{}'", []).unwrap();
    let before = commits();
    assert_eq!(ins.replay("a").unwrap().warnings.len(), 1);
    let replaced = commits();
    assert_ne!(replaced, before);
    (0..100).for_each(|_| assert_eq!(ins.replay("a").unwrap().events_folded, 0));
    // One that cannot be made is not written.
    let by_pair = store.aggregates::<ByPair>();
    (0..100).for_each(|_| assert_eq!(by_pair.replay("a").unwrap().warnings.len(), 1));
    assert_eq!(commits(), replaced);
    // Many of other folds in front of one's own hide nothing.
    for version in 0..50 {
        let counted = store.json_aggregates("stock").fold_with("count", version, |_, _, _| Ok(()));
        counted.create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    let before = commits();
    (0..100).for_each(|_| assert_eq!(ins.replay("a").unwrap().events_folded, 0));
    assert_eq!(commits(), before);
}

/// A process that was slow saves an early snapshot late. A purge may have relied on the later one.
#[test]
fn a_snapshot_that_is_saved_late_pushes_out_no_later_one() {
    let place = Place::new();
    let store = store(&place, SnapshotPolicy::manual().retain(1));
    let both = fast().snapshots(SnapshotPolicy::manual().retain(2)).open(place.file()).unwrap().aggregates::<Ins>();
    for n in [0, 5] {
        both.append("a", n, vec![In { n: 1 }; 5]).unwrap();
        both.create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    assert_eq!(place.raw().execute("UPDATE snapshots SET key = key + 7 WHERE version = 5", []).unwrap(), 1);
    let ins = store.aggregates::<Ins>();
    assert_eq!(ins.prune_snapshots("a").unwrap(), 1);
    assert_eq!(versions(&ins), [10]);
}
