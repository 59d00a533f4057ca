//! A purge takes nothing that somebody has not passed yet.

use std::ops::ControlFlow;

use chrono::{TimeDelta, Utc};
use foldlog::{
    DeadLetterPolicy, Expected, Filter, Message, PublishError, Purge, PurgeReport, Query, SnapshotReason, StartFrom, Store,
};

use super::outbox::eager;
use super::projections::Sums;
use super::{count, count_at_once, event, store};

/// Whatever is in the log, whether a snapshot stands in for it or not.
pub fn everything() -> Purge {
    Purge::created_before(Utc::now() + TimeDelta::days(1)).even_if_replay_breaks()
}

/// Events removed, held back, and by whom how many.
fn figures(report: &PurgeReport) -> (u64, u64, Vec<(&str, u64)>) {
    let by = report.held_back_by.iter().map(|held| (held.subscription.as_str(), held.events)).collect();
    (report.events_removed, report.events_held_back, by)
}

fn positions(store: &Store) -> Vec<u64> {
    store.read(Query::new()).map(|event| event.unwrap().position.get()).collect()
}

/// Lets a subscription come as far as `position`.
fn run_through(store: &Store, name: &str, filter: Filter, position: u64) {
    let stopped = store.subscription(name).filter(filter).run_to_end(|event| match event.position == position + 1 {
        true => Err("no further".into()),
        false => Ok(()),
    });
    assert_eq!(stopped.is_err(), position < store.last_position().unwrap().get());
}

#[test]
fn it_stops_before_what_a_subscription_has_not_passed() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    run_through(&store, "slow", Filter::new(), 14);
    run_through(&store, "slower", Filter::new(), 12);
    let tried = store.maintenance().purge(everything().dry_run()).unwrap();
    let done = store.maintenance().purge(everything()).unwrap();
    assert_eq!(tried, done);
    assert_eq!(figures(&done), (12, 18, vec![("slow", 16), ("slower", 18)]));
    assert_eq!((done.events_kept, done.aggregates_purged, done.broken.len()), (0, 10, 10));
    assert_eq!(positions(&store), (13..=30).collect::<Vec<_>>());
    assert_eq!(store.subscription("slower").run_to_end(|_| Ok(())).unwrap(), 18, "it saw every event");
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (2, 16, vec![("slow", 16)]));
    store.subscription("slow").remove().unwrap();
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (16, 0, vec![]));
}

#[test]
fn one_aggregate_is_treated_as_all_are() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    run_through(&store, "slow", Filter::new(), 14);
    let done = store.maintenance().purge(everything().aggregate("counter", "c-3")).unwrap();
    assert_eq!(figures(&done), (2, 1, vec![("slow", 1)]), "4 and 14 of 4, 14, 24");
    assert_eq!(figures(&store.maintenance().purge(everything().aggregate("counter", "c-4")).unwrap()), (1, 2, vec![("slow", 2)]));
}

#[test]
fn it_can_be_told_to_go_on() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    run_through(&store, "slow", Filter::new(), 14);
    assert_eq!(figures(&store.maintenance().purge(everything().even_if_undelivered()).unwrap()), (30, 0, vec![]));
}

#[test]
fn what_no_snapshot_stands_in_for_is_counted_apart() {
    let (_directory, store) = store();
    for n in 0..10 {
        store.append("counter", "c", Expected::Any, [event(n)]).unwrap();
        if n == 6 {
            store.json_aggregates("counter").create_snapshot("c", SnapshotReason::Manual).unwrap();
        }
    }
    run_through(&store, "slow", Filter::new(), 4);
    let careful = Purge::created_before(Utc::now() + TimeDelta::days(1)).fold(&store.json_aggregates("counter"));
    let done = store.maintenance().purge(careful.clone()).unwrap();
    assert_eq!((figures(&done), done.events_kept), ((4, 3, vec![("slow", 3)]), 3));
    run_through(&store, "slow", Filter::new(), 10);
    let done = store.maintenance().purge(careful).unwrap();
    assert_eq!((figures(&done), done.events_kept), ((3, 0, vec![]), 3));
}

#[test]
fn only_those_who_read_the_tenant_count() {
    let (_directory, store) = store();
    let acme = store.tenant("acme");
    count(&store, 0, 10);
    count(&acme, 0, 10);
    store.subscription("of acme").run_to_end(|_| Ok(())).unwrap();
    acme.projection(Sums::new(1)).unwrap();
    run_through(&acme, "of acme", Filter::new(), 12);
    run_through(&acme, "of all", Filter::new().all_tenants(), 17);
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (10, 0, vec![]));
    let done = acme.maintenance().purge(everything()).unwrap();
    assert_eq!(figures(&done), (0, 10, vec![("of acme", 8), ("of all", 3), ("sums", 10)]));
    assert_eq!(done.held_back_by.iter().map(|held| held.all_tenants).collect::<Vec<_>>(), [false, true, false]);
    acme.subscription("sums").remove().unwrap();
    assert_eq!(figures(&acme.maintenance().purge(everything()).unwrap()), (2, 8, vec![("of acme", 8), ("of all", 3)]));
}

#[test]
fn an_outbox_holds_what_it_has_not_delivered_and_no_other_aggregate() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    let refuse = |message: &Message<'_>| match message.event.position.get() {
        3 => Err(PublishError::Reject("no".into())),
        15 => Err(PublishError::Retry("later".into())),
        _ => Ok(()),
    };
    let mut outbox = eager(&store).publisher(refuse);
    outbox.run_to_end().unwrap();
    let done = store.maintenance().purge(everything()).unwrap();
    assert_eq!(figures(&done), (25, 5, vec![("out", 5)]));
    assert_eq!(positions(&store), [3, 13, 15, 23, 25], "dead, behind it, given up, behind them");

    let letters = store.outbox("out").dead_letters().unwrap();
    assert!(letters.iter().all(|letter| letter.unwrap().event.is_some()));
    letters.retry_all().unwrap();
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 5, "nothing was lost");
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (5, 0, vec![]));
}

#[test]
fn a_dead_letter_that_was_passed_by_still_needs_its_event() {
    let (_directory, store) = store();
    count(&store, 0, 21);
    let refuse = |message: &Message<'_>| match message.event.position.get() {
        11 => Err(PublishError::Reject("no".into())),
        _ => Ok(()),
    };
    eager(&store).on_dead_letter(DeadLetterPolicy::PassOn).publisher(refuse).run_to_end().unwrap();
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (19, 2, vec![("out", 2)]));
    assert_eq!(positions(&store), [11, 21]);
    store.outbox("out").dead_letters().unwrap().discard_all().unwrap();
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (2, 0, vec![]));
}

#[test]
fn a_dead_letter_without_an_event_holds_nothing() {
    let (_directory, store) = store();
    count(&store, 0, 1);
    let refuse = |_: &Message<'_>| Err(PublishError::Reject("no".into()));
    eager(&store).on_dead_letter(DeadLetterPolicy::PassOn).publisher(refuse).run_to_end().unwrap();
    store.maintenance().purge(everything().even_if_undelivered()).unwrap();
    store.append("counter", "c-0", 1, [event(1)]).unwrap();
    let publish = |_: &Message<'_>| Ok(());
    eager(&store).on_dead_letter(DeadLetterPolicy::PassOn).publisher(publish).run_to_end().unwrap();
    assert_eq!(store.outbox("out").dead_letters().unwrap().count().unwrap(), 1);
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (1, 0, vec![]));
}

#[test]
fn an_outbox_that_starts_later_needs_nothing_from_before() {
    let (_directory, store) = store();
    count(&store, 0, 10);
    eager(&store).start_from(StartFrom::Now).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
    count(&store, 10, 20);
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (10, 10, vec![("out", 10)]));
}

#[test]
fn projections_count_and_the_tables_that_are_being_built() {
    let (_directory, store) = store();
    count_at_once(&store, 0, 5_000);
    store.projection(Sums::new(1)).unwrap();
    assert_eq!(figures(&store.maintenance().purge(everything().dry_run()).unwrap()), (0, 5_000, vec![("sums", 5_000)]));
    store.projection(Sums::new(1)).unwrap().run_to_end().unwrap();
    assert_eq!(figures(&store.maintenance().purge(everything().dry_run()).unwrap()), (5_000, 0, vec![]));

    let begun = store.projection(Sums::new(2)).unwrap().rebuild(|_| ControlFlow::Break(())).unwrap();
    assert!(!begun.finished);
    let (built, left) = (begun.position.get(), 5_000 - begun.position.get());
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (built, left, vec![("sums", left)]));
    let done = store.projection(Sums::new(2)).unwrap().rebuild(|_| ControlFlow::Continue(())).unwrap();
    assert!(done.finished && done.events == left);
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (left, 0, vec![]));
}

#[test]
fn an_inline_projection_is_never_behind_its_appends() {
    let (_directory, store) = store();
    store.project_inline(Sums::new(1)).unwrap();
    count(&store, 0, 20);
    assert_eq!(figures(&store.maintenance().purge(everything()).unwrap()), (20, 0, vec![]));
}
