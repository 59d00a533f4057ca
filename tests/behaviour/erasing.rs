//! Erasure: what was erased is nowhere any more, and everything else is as it was.

use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::{
    Archive, Documents, Erase, ErrorKind, Expected, Filter, Import, Message, Metadata, NewEvent, PublishError, Purge, Query,
    SnapshotPolicy, SnapshotReason, StartFrom, Store,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Place, at, contents, fast, read, refused, says};

/// What must be gone. Long, so that it also lies on pages of its own.
const CANARY: &str = "canary-3f9b0d54-do-not-keep";
const USERS: u64 = 5;
const ROUNDS: u64 = 160;

/// How often the canary is in the files of a directory.
fn found(directory: &Path) -> usize {
    let find = |bytes: &[u8]| bytes.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count();
    contents(directory).values().map(|bytes| find(bytes)).sum()
}

fn event(user: u64, round: u64) -> NewEvent {
    let secret = if user == 1 { CANARY } else { "harmless" };
    let email = format!("{secret}{}@example.org", "x".repeat((round as usize * 977) % 6_000));
    let data = json!({"email": email, "round": round, "lines": [{"to": secret}, {"to": secret}]});
    NewEvent::new("Changed", &data)
        .unwrap()
        .metadata(&Metadata::new().ip_address(secret).user_id("u-0"))
        .unwrap()
        .tag(format!("mail:{secret}"))
        .tag(format!("round:{}", round % 7))
        .created_at(at(round as i64))
}

/// Five users whose events are mixed in the log, in several file pages; snapshots, an archive with events that came back, a
/// projection, a dead letter and a failed handler that quote the data. User 1 has the canary everywhere.
fn filled(place: &Place) -> Store {
    let store = fast().audit(true).snapshots(SnapshotPolicy::every(50)).open(place.file()).unwrap();
    let users = store.json_aggregates("user");
    for round in 0..ROUNDS {
        for user in 0..USERS {
            let id = Uuid::from_u128(u128::from(user << 32 | round) | 0x8000_4000_0000_0000 << 62);
            users.append(user, Expected::Any, [event(user, round).id(id)]).unwrap();
        }
    }
    users.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    let moved = store.maintenance().archive(Archive::all_but_newest(100)).unwrap();
    assert!(moved.events_archived > 0, "{moved:?}");
    store.maintenance().unarchive_aggregate("user", 1).unwrap();
    store.maintenance().archive(Archive::all_but_newest(120)).unwrap();
    documents(&store).run_to_end().unwrap();
    let refuse = |message: &Message<'_>| match &*message.event.aggregate_id {
        "1" => Err(PublishError::Reject(format!("cannot send to {}", message.event.data.as_str()))),
        _ => Ok(()),
    };
    store.outbox("mails").start_from(StartFrom::Beginning).publisher(refuse).run_to_end().unwrap();
    let handler = store.subscription("reads").start_from(StartFrom::Beginning);
    handler.run_to_end(|event| if &*event.aggregate_id == "1" { Err(event.data.as_str().into()) } else { Ok(()) }).unwrap_err();
    store
}

fn documents(store: &Store) -> foldlog::ProjectionRunner {
    let key = |event: &foldlog::RecordedEvent| Some(event.aggregate_id.to_string());
    store
        .projection(Documents::new("user_view", 1, key, |document, event| {
            *document = event.data.to_value()?;
            Ok(())
        }))
        .unwrap()
}

/// The events of all users but one.
fn others(store: &Store) -> Vec<foldlog::RecordedEvent> {
    read(store, Query::new()).into_iter().filter(|event| &*event.aggregate_id != "1").collect()
}

#[test]
fn an_erased_aggregate_is_in_none_of_the_files() {
    let place = Place::new();
    let store = filled(&place);
    let users = store.json_aggregates("user");
    let before = others(&store);
    store.maintenance().checkpoint().unwrap();
    assert!(found(place.directory()) > 100, "the canary sings");

    let plan = Erase::aggregate("user", 1).by("operator").reason("asked for it");
    let dry = store.maintenance().erase(plan.clone().dry_run()).unwrap();
    assert_eq!((dry.events, dry.aggregates, dry.wiped), (ROUNDS, 1, false));
    assert_eq!(store.erasures(0).unwrap(), []);
    assert_eq!(users.replay(1).unwrap().version, ROUNDS, "a dry run changes nothing");

    let report = store.maintenance().erase(plan.clone().without_wiping()).unwrap();
    assert_eq!((report.events, report.aggregates, report.finished, report.wiped), (ROUNDS, 1, true, false));
    assert!(report.snapshots > 0 && report.deliveries > 0, "{report:?}");
    assert_eq!(report.projections.iter().map(|found| &*found.projection).collect::<Vec<_>>(), ["user_view"]);
    store.maintenance().checkpoint().unwrap();
    assert!(found(place.directory()) > 0, "only a wipe reaches the pages");

    // The projection is the application's to rebuild; until then the wipe is not complete.
    let wiped = store.maintenance().wipe().unwrap();
    assert_eq!((wiped.left, wiped.projections.len(), wiped.log_is_empty), (1, 1, true));
    assert!(wiped.archived_rows > 0);
    assert!(!store.erasures(0).unwrap()[0].is_wiped);
    documents(&store).rebuild(|_| Continue(())).unwrap();
    let wiped = store.maintenance().wipe().unwrap();
    assert_eq!((wiped.left, wiped.projections.len()), (0, 0));
    assert_eq!(found(place.directory()), 0);
    assert_eq!(store.maintenance().wipe().unwrap().archived_rows, 0, "nothing left to do");

    assert_eq!(others(&store), before);
    let erasures = store.erasures(0).unwrap();
    let [erasure] = &erasures[..] else { panic!("{erasures:?}") };
    assert_eq!((erasure.through.get(), erasure.events, erasure.fields.clone(), erasure.is_wiped), (ROUNDS, ROUNDS, None, true));
    assert_eq!((erasure.erased_by.as_deref(), erasure.reason.as_deref()), (Some("operator"), Some("asked for it")));
    assert_eq!(&*erasure.aggregate.aggregate_id, "1");
    assert_eq!(store.erasures(erasure.number).unwrap(), []);
    assert_eq!(store.tenant("other").erasures(0).unwrap(), []);
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    // Again: there is nothing to do.
    let again = store.maintenance().erase(plan).unwrap();
    assert_eq!((again.events, again.finished, again.wiped, again.erasures.len()), (0, true, true, 0));
    drop((users, store));
    assert_eq!(found(place.directory()), 0, "nor after it is closed");
    assert_eq!(others(&place.open()), before);
}

#[test]
fn an_erased_aggregate_can_neither_be_loaded_nor_appended_to_until_its_name_is_free() {
    let place = Place::new();
    let store = filled(&place);
    let users = store.json_aggregates("user");
    let position = store.last_position().unwrap();
    refused(store.maintenance().forget_name("user", 1), ErrorKind::InvalidInput);
    refused(store.maintenance().erase(Erase::aggregate("user", "nobody")), ErrorKind::NotFound);
    let plan = Erase::aggregate("user", 1).without_wiping();
    // Stopped in the middle, which is where a process may die.
    users.append(1, Expected::Any, (0..1_500).map(|n| NewEvent::new("More", &n).unwrap())).unwrap();
    let stopped = store.maintenance().erase_by_steps(plan.clone(), |_| Break(())).unwrap();
    assert!(!stopped.finished && stopped.events < ROUNDS + 1_500);
    assert_eq!(store.erasures(0).unwrap(), [], "it is told when it is finished");
    for round in 0..2 {
        let error = refused(users.replay(1), ErrorKind::Erased);
        says(&error, &["forget_name"]);
        refused(users.clone().without_snapshots().replay(1), ErrorKind::Erased);
        refused(users.replay_to_version(1, 3), ErrorKind::Erased);
        refused(users.append(1, Expected::Any, [event(1, 0)]), ErrorKind::Erased);
        refused(users.append(1, ROUNDS + 1_500, [event(1, 0)]), ErrorKind::Erased);
        let done = users.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
        assert_eq!((done.failed, round), (0, round), "{:?}", done.failures);
        if round == 0 {
            store.maintenance().erase(plan.clone()).unwrap();
        }
    }
    assert!(users.snapshots(1).unwrap().is_empty());
    assert_eq!(store.version("user", 1).unwrap(), ROUNDS + 1_500);
    assert_eq!(store.last_position().unwrap(), position + 1_500, "positions are never used again");

    store.maintenance().forget_name("user", 1).unwrap();
    refused(store.maintenance().forget_name("user", 1), ErrorKind::NotFound);
    refused(users.replay(1), ErrorKind::NotFound);
    assert!(store.erasures(0).unwrap()[0].aggregate.aggregate_id.starts_with("erased-"));
    let first = users.append(1, Expected::New, [NewEvent::new("Anew", &json!({"email": "b"})).unwrap()]).unwrap();
    assert_eq!((first.version.get(), first.position), (1, position + 1_501));
    assert_eq!(users.replay(1).unwrap().state, json!({"email": "b"}));
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
}

#[test]
fn erased_fields_are_in_none_of_the_files_and_everything_else_stays() {
    let place = Place::new();
    let store = filled(&place);
    let users = store.json_aggregates("user");
    let before = read(&store, Query::new());
    let tagged = store.count(Filter::new().tag("round:3")).unwrap();
    let plan = || {
        Erase::fields_of("user", 1)
            .field_as("/email", "nobody@example.org")
            .field("/lines/*/to")
            .field("/not/there")
            .metadata_field("/ipAddress")
            .tag(format!("mail:{CANARY}"))
    };
    refused(store.maintenance().erase(Erase::fields_of("user", 1)), ErrorKind::InvalidInput);
    refused(store.maintenance().erase(Erase::fields_of("user", 1).field("email")), ErrorKind::InvalidInput);
    refused(store.maintenance().erase(Erase::aggregate("user", 1).field("/email")), ErrorKind::InvalidInput);
    let report = store.maintenance().erase(plan()).unwrap();
    assert_eq!((report.events, report.aggregates, report.projections.len()), (ROUNDS, 1, 1));
    documents(&store).rebuild(|_| Continue(())).unwrap();
    assert_eq!(store.maintenance().wipe().unwrap().left, 0);
    assert_eq!(found(place.directory()), 0);

    let after = read(&store, Query::new());
    assert_eq!(after.len(), before.len());
    for (old, new) in before.iter().zip(&after) {
        if &*old.aggregate_id != "1" {
            assert_eq!(old, new);
            assert!(new.erased_fields().is_empty());
            continue;
        }
        assert_eq!((old.position, old.version, old.id, old.created_at), (new.position, new.version, new.id, new.created_at));
        let round = old.data.to_value().unwrap()["round"].clone();
        let expected = json!({"email": "nobody@example.org", "round": round, "lines": [{"to": ""}, {"to": ""}]});
        assert_eq!(new.data.to_value().unwrap(), expected);
        assert_eq!(new.metadata().unwrap().user_id.as_deref(), Some("u-0"));
        assert_eq!(new.metadata().unwrap().ip_address.as_deref(), Some(""));
        assert_eq!(new.tags, old.tags[1..]);
        assert_eq!(new.erased_fields(), ["/data/email", "/data/lines/*/to", "/metadata/ipAddress", "/tags"]);
        assert_eq!(store.event(old.id).unwrap().as_ref(), Some(new));
    }
    assert_eq!(store.count(Filter::new().tag("round:3")).unwrap(), tagged);
    let state = users.replay(1).unwrap().state;
    assert_eq!(state["email"], "nobody@example.org");
    assert_eq!(users.clone().without_snapshots().replay(1).unwrap().state, state);
    users.append(1, ROUNDS, [event(2, 0)]).unwrap();
    let erasure = &store.erasures(0).unwrap()[0];
    let fields = ["/data/email", "/data/lines/*/to", "/data/not/there", "/metadata/ipAddress", "/tags"];
    assert_eq!(erasure.fields.as_ref().unwrap(), &fields);
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
}

#[test]
fn fields_of_the_events_of_a_filter_are_erased_in_every_aggregate() {
    let place = Place::new();
    let store = filled(&place);
    let plan = Erase::fields_where(Filter::new().tag("round:3")).field("/email").without_wiping();
    let dry_of_one = store.count(Filter::new().tag("round:3")).unwrap();
    store.maintenance().unarchive().unwrap();
    assert_eq!(store.maintenance().erase(plan.clone().dry_run()).unwrap().events, dry_of_one);
    let report = store.maintenance().erase(plan.clone()).unwrap();
    assert_eq!((report.events, report.aggregates), (dry_of_one, USERS));
    for event in read(&store, Query::new()) {
        let is_of_filter = event.tags.contains(&"round:3".to_owned());
        assert_eq!(event.data.to_value().unwrap()["email"] == "", is_of_filter, "{event:?}");
        assert_eq!(event.erased_fields().is_empty(), !is_of_filter);
    }
    assert_eq!(store.maintenance().erase(plan).unwrap().events, 0, "nothing is left to erase");
    let everybody = Filter::new().all_tenants();
    refused(store.maintenance().erase(Erase::fields_where(everybody).field("/email")), ErrorKind::InvalidInput);
}

#[test]
fn a_snapshot_that_was_loaded_before_is_not_saved_after() {
    let place = Place::new();
    let store = place.open();
    let users = store.json_aggregates("user").fold_with("secrets", 1, {
        let (store, is_erased) = (store.clone(), AtomicBool::new(false));
        move |state, _, _| {
            // Erases in the middle of a fold that has read the event already.
            if !is_erased.swap(true, Ordering::Relaxed) {
                store.maintenance().erase(Erase::fields_of("user", 1).field("/email").without_wiping()).unwrap();
                *state = json!(CANARY);
            }
            Ok(())
        }
    });
    store.append("user", 1, Expected::New, [event(1, 0), event(1, 1)]).unwrap();
    users.create_snapshot(1, SnapshotReason::Manual).unwrap();
    assert_eq!((users.snapshots(1).unwrap().len(), store.erasures(0).unwrap().len()), (0, 1));
    users.create_snapshot(1, SnapshotReason::Manual).unwrap();
    assert_eq!(users.snapshots(1).unwrap().len(), 1, "one that was loaded after it is");
}

#[test]
fn fields_behind_purged_events_are_erased_only_if_replay_may_break() {
    let place = Place::new();
    let store = place.open();
    let users = store.json_aggregates("user");
    users.append(1, Expected::New, [event(1, 0), event(1, 1), event(1, 2)]).unwrap();
    users.create_snapshot_at(1, 2, SnapshotReason::Manual).unwrap();
    let purged = store.maintenance().purge(Purge::created_before(at(1)).fold(&users)).unwrap();
    assert_eq!(purged.events_removed, 1);
    let plan =
        Erase::fields_of("user", 1).field("/email").field("/lines").metadata_field("/ipAddress").tag(format!("mail:{CANARY}"));
    let error = refused(store.maintenance().erase(plan.clone()), ErrorKind::HistoryRemoved);
    says(&error, &["even_if_replay_breaks"]);
    assert_eq!(users.replay(1).unwrap().version, 3);
    let report = store.maintenance().erase(plan.even_if_replay_breaks()).unwrap();
    assert_eq!((report.events, report.snapshots, report.wiped), (2, 1, true));
    refused(users.replay(1), ErrorKind::HistoryRemoved);
    drop((users, store));
    assert_eq!(found(place.directory()), 0);
}

#[test]
fn a_reader_that_holds_an_old_state_keeps_a_wipe_from_being_complete() {
    let place = Place::new();
    let store = place.open();
    store.append("user", 1, Expected::New, [event(1, 0)]).unwrap();
    let reader = place.raw();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events;").unwrap();
    let count: i64 = reader.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
    let quick = fast().busy_timeout(std::time::Duration::from_millis(20)).open(place.file()).unwrap();
    let report = quick.maintenance().erase(Erase::aggregate("user", 1)).unwrap();
    assert!(report.finished && !report.wiped, "{report:?}");
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(quick.maintenance().wipe().unwrap().left, 0);
    assert_eq!(found(place.directory()), 0);
}

#[test]
fn what_is_erased_in_memory_is_gone_at_once() {
    let store = Store::in_memory().unwrap();
    store.append("user", 1, Expected::New, [event(1, 0)]).unwrap();
    let report = store.maintenance().erase(Erase::aggregate("user", 1)).unwrap();
    assert!(report.wiped);
    assert_eq!(read(&store, Query::new()), []);
}

#[test]
fn the_ids_of_purged_events_are_forgotten_with_their_aggregate() {
    let place = Place::new();
    let store = place.open();
    let users = store.json_aggregates("user");
    let id = |n: u128| Uuid::from_u128(0x8000_4000_0000_0000 << 62 | n);
    for user in [1, 2] {
        let events = (0..3).map(|n| event(user, n).id(id(u128::from(user * 10 + n))));
        users.append(user, Expected::New, events.collect::<Vec<_>>()).unwrap();
        users.create_snapshot(user, SnapshotReason::Manual).unwrap();
    }
    store.maintenance().purge(Purge::created_before(at(2)).fold(&users)).unwrap();
    let count = |sql: &str| place.raw().query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!((count("SELECT count(*) FROM removed_ids"), count("SELECT count(*) FROM event_ids")), (4, 6));
    store.maintenance().erase(Erase::aggregate("user", 1)).unwrap();
    assert_eq!((count("SELECT count(*) FROM removed_ids"), count("SELECT count(*) FROM event_ids")), (2, 3));
    store.maintenance().forget_name("user", 1).unwrap();
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    refused(users.append(1, Expected::New, [event(1, 0).id(id(20))]), ErrorKind::DuplicateEventId);
    users.append(1, Expected::New, [event(1, 0).id(id(10))]).unwrap();
}

#[test]
fn an_older_export_does_not_bring_back_what_was_erased() {
    let place = Place::new();
    let store = place.open();
    let id = |n: u128| Uuid::from_u128(0x8000_4000_0000_0000 << 62 | n);
    for user in [1_u64, 2] {
        store.append("user", user, Expected::New, [event(1, 0).id(id(u128::from(user)))]).unwrap();
    }
    let export = |store: &Store| {
        let mut lines = Vec::new();
        store.export(Filter::new(), &mut lines, |_| Continue(())).unwrap();
        lines
    };
    let before = export(&store);
    store.maintenance().erase(Erase::aggregate("user", 1)).unwrap();
    store.maintenance().erase(Erase::fields_of("user", 2).field("/email").field("/lines")).unwrap();
    let after = export(&store);
    assert!(String::from_utf8(after.clone()).unwrap().contains("erasedFields"));
    let import = |lines: &[u8]| store.import(&Import::new(), lines, |_| Continue(()));
    refused(import(&before), ErrorKind::Erased);
    let of_the_other = String::from_utf8(before).unwrap().lines().last().unwrap().to_owned();
    refused(import(of_the_other.as_bytes()), ErrorKind::DuplicateEventId);
    assert_eq!(export(&store), after);
    // Its own export is the same again.
    assert_eq!(import(&after).unwrap().appended, 0);
}

/// More events than one transaction erases; stopped after the first one, as by a death.
#[test]
fn what_was_begun_is_finished_by_a_wipe_and_by_the_next_erasure() {
    let begun = |plan: Erase| {
        let place = Place::new();
        let store = place.open();
        for user in [1, 2] {
            let email = if user == 1 { CANARY } else { "harmless" };
            let events = (0..2_500).map(|round| NewEvent::new("Noted", &json!({"email": email, "round": round})).unwrap());
            store.append("user", user, Expected::New, events).unwrap();
        }
        let part = store.maintenance().erase_by_steps(plan, |_| Break(())).unwrap();
        assert_eq!((part.finished, part.events, part.erasures.len()), (false, 1_024, 0));
        assert!(store.erasures(0).unwrap().is_empty());
        (place, store)
    };
    let plans = || [Erase::aggregate("user", 1), Erase::fields_of("user", 1).field("/email")];
    for (plan, whole) in plans().into_iter().zip([true, false]) {
        let (place, store) = begun(plan);
        let users = store.json_aggregates("user");
        match whole {
            true => {
                refused(users.replay(1), ErrorKind::Erased);
                refused(users.append(1, Expected::Any, [event(1, 0)]), ErrorKind::Erased);
            }
            // It has all its versions.
            false => assert_eq!(users.replay(1).unwrap().version, 2_500),
        }
        assert_eq!(store.maintenance().wipe().unwrap().left, 0);
        let erasures = store.erasures(0).unwrap();
        assert_eq!((erasures.len(), erasures[0].events, erasures[0].is_wiped), (1, 2_500, true));
        match whole {
            true => drop(refused(users.replay(1), ErrorKind::Erased)),
            false => assert_eq!(users.replay(1).unwrap().state, json!({"email": "", "round": 2_499})),
        }
        assert_eq!(found(place.directory()), 0);
        assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    }
    // By an erasure of fields of a filter, which is asked after each step too.
    for stopped_again in [false, true] {
        let (place, store) = begun(Erase::aggregate("user", 1));
        let others = || Erase::fields_where(Filter::new().event_type("Noted")).field("/email");
        if stopped_again {
            let part = store.maintenance().erase_by_steps(others(), |_| Break(())).unwrap();
            assert_eq!((part.finished, part.events, part.erasures.len()), (false, 1_024, 0));
        }
        let report = store.maintenance().erase(others()).unwrap();
        let left = if stopped_again { 2_500 - 2_048 } else { 2_500 - 1_024 };
        assert_eq!((report.finished, report.events, report.erasures.len(), report.wiped), (true, left + 2_500, 2, true));
        assert_eq!(store.erasures(0).unwrap().iter().map(|erasure| erasure.events).collect::<Vec<_>>(), [2_500, 2_500]);
        assert_eq!(found(place.directory()), 0);
    }
}
