//! Each setting, default and bound of delivery that the docs name, told from one that is ignored, doubled, or applied to
//! another reader of the same tenant. Times go by a clock that only the tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{
    Clock, DeadLetterPolicy, Durability, ErrorKind, Expected, Filter, Message, Options, Outbox, PublishError, StartFrom, Store,
};

use super::outbox::{Seen, noting, retry, seen, standing, until};
use super::projections::Sums;
use super::{count, event, store};

/// A store whose clock stands, and the time that it shows.
fn store_at_noon() -> (Store, Clock, DateTime<Utc>) {
    let noon: DateTime<Utc> = "2026-06-01T12:00:00Z".parse().unwrap();
    let clock = Clock::fixed(noon);
    (Options::new().clock(clock.clone()).in_memory().unwrap(), clock, noon)
}

/// How long after a failed attempt the next one comes: the greatest time at which nothing was tried, and the smallest at
/// which something was. Looks in steps of a hundredth of `whole`.
fn pause_after(failed: DateTime<Utc>, clock: &Clock, whole: Duration, mut try_it: impl FnMut() -> bool) -> f64 {
    for hundredth in 0..=110u32 {
        clock.set(failed + TimeDelta::from_std(whole * hundredth / 100).unwrap());
        if try_it() {
            return f64::from(hundredth) / 100.0;
        }
    }
    panic!("not tried after {whole:?}");
}

fn pauses(set: impl Fn(Outbox) -> Outbox, wholes: &[Duration], refuse: impl Fn() -> PublishError + Send + Clone + 'static) {
    let (store, clock, noon) = store_at_noon();
    count(&store, 0, 1);
    let attempts = Arc::new(AtomicU64::new(0));
    let tried = attempts.clone();
    let mut outbox = set(store.outbox("out")).max_attempts(100).publisher(move |_: &Message<'_>| {
        tried.fetch_add(1, Ordering::Relaxed);
        Err(refuse())
    });
    outbox.run_to_end().unwrap();
    let mut failed = noon;
    for (at, whole) in wholes.iter().enumerate() {
        let before = attempts.load(Ordering::Relaxed);
        let share = pause_after(failed, &clock, *whole, || {
            outbox.run_to_end().unwrap();
            attempts.load(Ordering::Relaxed) > before
        });
        assert!((0.49..=1.03).contains(&share), "pause {at} of {whole:?}: {share}");
        failed += TimeDelta::from_std(whole.mul_f64(share)).unwrap();
    }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

#[test]
fn the_pauses_of_an_outbox_double_up_to_the_cap() {
    let down = || PublishError::Retry("down".into());
    let set = |outbox: Outbox| outbox.backoff(hours(2), hours(7));
    pauses(set, &[hours(2), hours(4), hours(7), hours(7)], down);
    // The default, from where it is long enough to be measured: a second, doubled up to five minutes.
    let wholes: Vec<Duration> = (3..12).map(|doubled| Duration::from_secs((1 << doubled).min(300))).collect();
    let (store, clock, noon) = store_at_noon();
    count(&store, 0, 1);
    let mut outbox = store.outbox("out").max_attempts(100).publisher(|_: &Message<'_>| retry());
    let mut failed = noon;
    for attempt in 0..3 {
        clock.set(failed);
        outbox.run_to_end().unwrap();
        assert_eq!(standing(&store), (1, 1, 0, 0), "{attempt}");
        failed += TimeDelta::seconds(1 << attempt);
    }
    clock.set(failed);
    outbox.run_to_end().unwrap();
    let out = Seen::default();
    let mut next = store.outbox("out").max_attempts(100).publisher(noting(&out, |_| retry()));
    for whole in wholes {
        let share = pause_after(failed, &clock, whole, || {
            next.run_to_end().unwrap();
            !seen(&out).is_empty()
        });
        assert!((0.45..=1.05).contains(&share), "{whole:?}: {share}");
        failed += TimeDelta::from_std(whole.mul_f64(share)).unwrap();
    }
}

#[test]
fn a_receiver_can_ask_for_a_day_and_no_more_and_a_cap_is_a_day_too() {
    let asks = |hours: u64| move || PublishError::RetryAfter("later".into(), Duration::from_secs(hours * 3_600));
    let (store, clock, noon) = store_at_noon();
    count(&store, 0, 1);
    for (asked, waits) in [(5, 5), (48, 24), (1 << 40, 24)] {
        store
            .outbox("out")
            .backoff(Duration::ZERO, Duration::ZERO)
            .publisher({
                let asks = asks(asked);
                move |_: &Message<'_>| Err(asks())
            })
            .run_to_end()
            .unwrap();
        let out = Seen::default();
        let mut up =
            store.outbox("out").backoff(Duration::ZERO, Duration::ZERO).max_attempts(9).publisher(noting(&out, |_| retry()));
        clock.set(noon + TimeDelta::hours(waits) - TimeDelta::minutes(1));
        up.run_to_end().unwrap();
        assert!(seen(&out).is_empty(), "asked for {asked} h");
        clock.set(noon + TimeDelta::hours(waits) + TimeDelta::minutes(1));
        up.run_to_end().unwrap();
        assert!(!seen(&out).is_empty(), "asked for {asked} h");
        store.outbox("out").reset().unwrap();
        clock.set(noon);
    }
    pauses(|outbox| outbox.backoff(hours(999), Duration::MAX), &[hours(24), hours(24)], || PublishError::Retry("down".into()));
}

#[test]
fn an_event_is_tried_as_often_as_the_setting_says() {
    for (attempts, expected) in [(None, 3), (Some(1), 1), (Some(0), 1), (Some(5), 5)] {
        let (_directory, store) = store();
        count(&store, 0, 1);
        let out = Seen::default();
        let outbox = super::outbox::eager(&store);
        let outbox = match attempts {
            Some(attempts) => outbox.max_attempts(attempts),
            None => outbox,
        };
        outbox.publisher(noting(&out, |_| retry())).run_to_end().unwrap();
        assert_eq!(seen(&out), (1..=expected).map(|attempt| (1, attempt)).collect::<Vec<_>>());
        assert_eq!(standing(&store).3, 1);
    }
}

/// What a lease is set to, as it is kept in the file for the others.
#[test]
fn the_lease_is_half_a_second_or_what_is_set_between_a_tenth_and_a_day() {
    let settings = [
        (None, 500),
        (Some(Duration::from_millis(1_234)), 1_234),
        (Some(Duration::ZERO), 100),
        (Some(Duration::from_millis(101)), 101),
        (Some(Duration::MAX), 86_400_000),
    ];
    for (lease, expected) in settings {
        let (directory, store) = store();
        count(&store, 0, 1);
        let with = |lease: Option<Duration>| lease.unwrap_or(Duration::from_millis(500));
        match lease {
            None => {
                store.subscription("handler").run_to_end(|_| Ok(())).unwrap();
                store.projection(Sums::new(1)).unwrap().run_to_end().unwrap();
                store.outbox("out").publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
            }
            Some(_) => {
                store.subscription("handler").lease(with(lease)).run_to_end(|_| Ok(())).unwrap();
                store.projection(Sums::new(1)).unwrap().lease(with(lease)).run_to_end().unwrap();
                store.outbox("out").lease(with(lease)).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
            }
        }
        let file = foldlog::rusqlite::Connection::open(directory.path().join("events.db")).unwrap();
        let mut query = file.prepare("SELECT lease_millis FROM subscriptions ORDER BY id").unwrap();
        let leases: Vec<u64> = query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(leases, [expected; 3], "{lease:?}");
    }
}

#[test]
fn the_checkpoint_is_written_after_as_many_events_as_the_setting_says() {
    for (every, step) in [(None, 1), (Some(0), 1), (Some(1), 1), (Some(3), 3), (Some(7), 7)] {
        let (_directory, store) = store();
        count(&store, 0, 20);
        let subscription = store.subscription("s");
        let subscription = match every {
            Some(every) => subscription.checkpoint_every(every),
            None => subscription,
        };
        let mut written = Vec::new();
        subscription
            .run_to_end(|_| {
                written.push(store.subscription("s").status()?.position.get());
                Ok(())
            })
            .unwrap();
        // Before each event: the last full step.
        assert_eq!(written, (0..20).map(|done| done / step * step).collect::<Vec<_>>(), "{every:?}");
        assert_eq!(store.subscription("s").status().unwrap().position, 20);
    }
}

#[test]
fn where_a_reader_starts_concerns_itself_alone() {
    let (_directory, store) = store();
    count(&store, 0, 10);
    let ok = |_: &Message<'_>| Ok(());
    assert_eq!(store.subscription("all").run_to_end(|_| Ok(())).unwrap(), 10);
    assert_eq!(store.subscription("now").start_from(StartFrom::Now).run_to_end(|_| Ok(())).unwrap(), 0);
    assert_eq!(store.subscription("after").start_from(StartFrom::After(4.into())).run_to_end(|_| Ok(())).unwrap(), 6);
    assert_eq!(store.outbox("all-out").publisher(ok).run_to_end().unwrap(), 10);
    assert_eq!(store.outbox("now-out").start_from(StartFrom::Now).publisher(ok).run_to_end().unwrap(), 0);
    assert_eq!(store.outbox("after-out").start_from(StartFrom::After(4.into())).publisher(ok).run_to_end().unwrap(), 6);
    count(&store, 10, 12);
    for name in ["all-out", "now-out", "after-out"] {
        assert_eq!(store.outbox(name).publisher(ok).run_to_end().unwrap(), 2, "{name}");
    }
}

/// Whatever is done to one of two outboxes of a tenant, the other does not notice.
#[test]
fn two_outboxes_of_a_tenant_have_nothing_to_do_with_each_other() {
    let refuse = |_: &Message<'_>| Err(PublishError::Reject("no".into()));
    let made = || {
        let (directory, store) = store();
        count(&store, 0, 25);
        for name in ["one", "other"] {
            assert_eq!(store.outbox(name).publisher(refuse).run_to_end().unwrap(), 0);
        }
        (directory, store)
    };
    let letters = |store: &Store| -> Vec<(u64, u32)> {
        let letters = store.outbox("other").dead_letters().unwrap();
        letters.iter().map(Result::unwrap).map(|letter| (letter.position.get(), letter.attempts)).collect()
    };
    type Deed = fn(&Store);
    let deeds: [(&str, Deed); 12] = [
        ("retry", |store| store.outbox("one").dead_letters().unwrap().retry(1).unwrap()),
        ("retry all", |store| assert_eq!(store.outbox("one").dead_letters().unwrap().retry_all().unwrap(), 10)),
        ("retry where", |store| assert_eq!(store.outbox("one").dead_letters().unwrap().retry_where(|_| true).unwrap(), 10)),
        ("discard", |store| store.outbox("one").dead_letters().unwrap().discard(1).unwrap()),
        ("discard all", |store| assert_eq!(store.outbox("one").dead_letters().unwrap().discard_all().unwrap(), 10)),
        ("seek", |store| store.outbox("one").seek(3).unwrap()),
        ("reset", |store| store.outbox("one").reset().unwrap()),
        ("remove", |store| store.outbox("one").remove().unwrap()),
        ("pause", |store| assert!(store.outbox("one").pause().unwrap())),
        ("break lease", |store| assert!(!store.outbox("one").break_lease().unwrap())),
        ("policy", |store| {
            let pass_on = store.outbox("one").on_dead_letter(DeadLetterPolicy::PassOn);
            assert_eq!(pass_on.publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 15);
        }),
        ("run", |store| {
            store.outbox("one").dead_letters().unwrap().retry_all().unwrap();
            assert_eq!(store.outbox("one").publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 25);
        }),
    ];
    for (deed, does) in deeds {
        let (_directory, store) = made();
        let (status, before) = (store.outbox("other").status().unwrap(), letters(&store));
        assert_eq!((status.dead, status.waiting, status.to_retry, status.is_led, status.is_paused), (10, 15, 0, false, false));
        does(&store);
        assert_eq!((store.outbox("other").status().unwrap(), letters(&store)), (status, before), "{deed}");
        store.outbox("other").dead_letters().unwrap().retry_all().unwrap();
        assert_eq!(store.outbox("other").publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 25, "{deed}");
        assert!(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean(), "{deed}");
    }
}

/// More letters than one transaction changes, and more behind one than it looks at.
#[test]
fn all_letters_are_changed_and_all_that_waits_goes_on_however_many_there_are() {
    const MANY: u64 = 1_100;
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Fast).open(directory.path().join("events.db")).unwrap();
    super::count_at_once(&store, 0, MANY);
    let refuse = |_: &Message<'_>| Err(PublishError::Reject("no".into()));
    let pass_on = || super::outbox::eager(&store).on_dead_letter(DeadLetterPolicy::PassOn);
    pass_on().publisher(refuse).run_to_end().unwrap();
    let letters = store.outbox("out").dead_letters().unwrap();
    assert_eq!((letters.count().unwrap(), letters.retry_all().unwrap(), letters.count().unwrap()), (MANY, MANY, 0));
    pass_on().publisher(refuse).run_to_end().unwrap();
    assert_eq!(letters.retry_where(|letter| letter.position.get() % 2 == 0).unwrap(), MANY / 2);
    assert_eq!((letters.count().unwrap(), letters.discard_all().unwrap(), letters.count().unwrap()), (MANY / 2, MANY / 2, 0));
    assert_eq!(pass_on().publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), MANY / 2);
    assert_eq!(standing(&store), (MANY, 0, 0, 0));

    // One aggregate: everything waits behind its first event.
    for n in 0..3 {
        let batch =
            (0..400).fold(foldlog::Batch::new(), |batch, k| batch.append("counter", "long", Expected::Any, [event(400 * n + k)]));
        store.commit(batch).unwrap();
    }
    super::outbox::eager(&store).publisher(refuse).run_to_end().unwrap();
    assert_eq!(standing(&store), (MANY + 1_200, 0, 1_199, 1));
    letters.discard_all().unwrap();
    let out = Seen::default();
    super::outbox::eager(&store).publisher(noting(&out, |_| Ok(()))).run_to_end().unwrap();
    assert_eq!(seen(&out), (MANY + 2..=MANY + 1_200).map(|position| (position, 1)).collect::<Vec<_>>());
}

#[test]
fn the_reason_of_a_dead_letter_is_kept_up_to_a_thousand_bytes() {
    let (_directory, store) = store();
    count(&store, 0, 3);
    let reasons = ["x".repeat(1_000), "y".repeat(1_001), format!("{}é", "z".repeat(999))];
    let of = reasons.clone();
    let publish = move |message: &Message<'_>| {
        let at = usize::try_from(message.event.position.get()).unwrap() - 1;
        Err(PublishError::Reject(of[at].clone()))
    };
    store.outbox("out").publisher(publish).run_to_end().unwrap();
    let kept: Vec<String> = store.outbox("out").dead_letters().unwrap().iter().map(|letter| letter.unwrap().last_error).collect();
    assert_eq!(kept, ["x".repeat(1_000), "y".repeat(1_000), "z".repeat(999)]);
}

/// The same projection inside the appends of one store and followed by another: each event takes effect once.
#[test]
fn inline_and_followed_together_each_event_is_applied_once() {
    let (directory, store) = store();
    let other = Store::open(directory.path().join("events.db")).unwrap();
    count(&store, 0, 10);
    store.project_inline(Sums::new(1)).unwrap();
    let follower = other.projection(Sums::new(1)).unwrap().follow().unwrap();
    until("it leads", || follower.is_leading());
    // Appends with the projection and without it, in turn.
    for n in 10..60 {
        count(if n % 3 == 0 { &other } else { &store }, n, n + 1);
    }
    store.subscription("sums").wait_until(60, Duration::from_secs(20)).unwrap();
    let totals: (u64, u64) =
        store.query_read_model("SELECT sum(total), sum(events) FROM sums", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()[0];
    assert_eq!(totals, ((0..60).sum(), 60));
    assert!(!follower.has_ended());
}

#[test]
fn a_status_says_who_it_is_of_and_where_it_stands() {
    let (_directory, store) = store();
    count(&store, 0, 6);
    let filter = Filter::new().event_type("Counted");
    let stopped = store.subscription("handler").filter(filter).run_to_end(|event| match event.position.get() {
        4 => Err("no further".into()),
        _ => Ok(()),
    });
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Handler);
    store.projection(Sums::new(7)).unwrap().run_to_end().unwrap();
    store.outbox("out").filter(Filter::new().all_tenants()).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
    count(&store, 6, 8);
    let statuses = serde_json::to_value(store.subscriptions().unwrap()).unwrap();
    let expected = serde_json::json!([
        {"name": "handler", "kind": "handler", "allTenants": false, "position": 3, "lag": 5, "isLed": false, "isPaused": false,
         "failure": {"position": 4, "reason": "no further", "deaths": 0}, "version": 1},
        {"name": "sums", "kind": "projection", "allTenants": false, "position": 6, "lag": 2, "isLed": false, "isPaused": false,
         "failure": null, "version": 7},
        {"name": "out", "kind": "outbox", "allTenants": true, "position": 6, "lag": 2, "isLed": false, "isPaused": false,
         "failure": null, "version": 1},
    ]);
    assert_eq!(statuses, expected);
    let outbox = store.outbox("out").filter(Filter::new().all_tenants()).status().unwrap();
    let expected = serde_json::json!({"position": 6, "lag": 2, "isLed": false, "isPaused": false, "toRetry": 0, "leased": 0,
                                      "waiting": 0, "dead": 0});
    assert_eq!(serde_json::to_value(outbox).unwrap(), expected);
    let follower = store.subscription("led").follow(|_| Ok(())).unwrap();
    until("it leads", || store.subscription("led").status().unwrap().is_led && follower.is_leading());
    follower.stop();
    assert!(!store.subscription("led").status().unwrap().is_led);
}
