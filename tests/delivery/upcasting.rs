//! Events of old schema versions reach handlers, projections and publishers in today's shape. Several events of one are
//! handled together, and a checkpoint never comes between them.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldlog::{
    Documents, Durability, ErrorKind, Expected, Filter, Message, NewEvent, Options, Outbox, PublishError, RecordedEvent, Store,
    Upcasters,
};
use serde_json::json;
use tempfile::TempDir;

/// `Paid` became `Deposited`, `Changed` is two events, `Noise` is none.
fn upcasters() -> Upcasters {
    Upcasters::new()
        .rename_field("Paid", 1, "euros", "amount")
        .rename_type("Paid", 2, "Deposited", 1)
        .split("Changed", 1, [("Mailed", 1), ("Phoned", 1)], |data| {
            Ok(vec![("Mailed", json!({"to": data["mail"]})), ("Phoned", json!({"to": data["phone"]}))])
        })
        .discard("Noise", 1)
}

fn open(directory: &TempDir, upcasters: Upcasters) -> Store {
    let options = Options::new().durability(Durability::Fast).upcasters(upcasters).unwrap();
    options.open(directory.path().join("events.db")).unwrap()
}

/// 1 Paid, 2 Changed, 3 Noise, 4 Changed, by the first version of a program; 5 Deposited by today's.
fn grown() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let old = open(&directory, Upcasters::new());
    let event = |name: &str, data| NewEvent::new(name, &data).unwrap();
    let changed = |n: u64| event("Changed", json!({"mail": n, "phone": n + 1}));
    let events = [event("Paid", json!({"euros": 1})), changed(2), event("Noise", json!({})), changed(4)];
    old.append("account", "a", 0, events).unwrap();
    let store = open(&directory, upcasters());
    store.append("account", "a", 4, [event("Deposited", json!({"amount": 5}))]).unwrap();
    (directory, store)
}

fn told(event: &RecordedEvent) -> String {
    format!("{} {} {}", event.position, event.event_type, event.data.as_str())
}

const TOLD: [&str; 6] = [
    r#"1 Deposited {"amount":1}"#,
    r#"2 Mailed {"to":2}"#,
    r#"2 Phoned {"to":3}"#,
    r#"4 Mailed {"to":4}"#,
    r#"4 Phoned {"to":5}"#,
    r#"5 Deposited {"amount":5}"#,
];

#[test]
fn a_subscription_gets_todays_events() {
    let (_directory, store) = grown();
    let mut seen = Vec::new();
    let handled = store.subscription("s").run_to_end(|event| {
        seen.push(told(event));
        Ok(())
    });
    assert_eq!((handled.unwrap(), seen), (6, TOLD.map(str::to_owned).to_vec()));
    assert_eq!(store.subscription("s").status().unwrap().position, 5);
    for (name, wanted) in [("Paid", vec![TOLD[0], TOLD[5]]), ("Phoned", vec![TOLD[2], TOLD[4]]), ("Noise", vec![])] {
        let mut seen = Vec::new();
        let subscription = store.subscription(name).filter(Filter::new().event_type(name));
        subscription
            .run_to_end(|event| {
                seen.push(told(event));
                Ok(())
            })
            .unwrap();
        assert_eq!((seen, subscription.status().unwrap().lag), (wanted.iter().map(ToString::to_string).collect(), 0));
    }
}

#[test]
fn a_handler_that_fails_between_two_parts_sees_both_again() {
    let (_directory, store) = grown();
    for every in [1, 100] {
        let (mut seen, mut failures) = (Vec::new(), 0);
        let subscription = store.subscription(&format!("every-{every}")).checkpoint_every(every);
        let mut run = |seen: &mut Vec<String>| {
            subscription.run_to_end(|event| {
                seen.push(told(event));
                match &*event.event_type == "Phoned" && event.position == 4 && failures == 0 {
                    true => {
                        failures += 1;
                        Err("once".into())
                    }
                    false => Ok(()),
                }
            })
        };
        let error = run(&mut seen).unwrap_err();
        assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::Handler, 4));
        assert_eq!(seen, TOLD[..5]);
        assert!(matches!(subscription.status().unwrap().position.get(), 2 | 3), "before both parts");
        seen.clear();
        run(&mut seen).unwrap();
        assert_eq!(seen, TOLD[3..]);
    }
}

/// A document of all that was applied to it. `fails`: at which event, once.
fn journal(fails: Option<&'static str>) -> Documents {
    let fails = Mutex::new(fails);
    Documents::new(
        "journal",
        1,
        |event| Some(event.aggregate_id.to_string()),
        move |journal, event| {
            let mut fails = fails.lock().unwrap();
            if *fails == Some(told(event).as_str()) {
                *fails = None;
                return Err("once".into());
            }
            let mut lines = journal.as_array().cloned().unwrap_or_default();
            lines.push(told(event).into());
            *journal = lines.into();
            Ok(())
        },
    )
}

fn journal_of(store: &Store) -> Vec<String> {
    store.document("journal", "a").unwrap().map(|text| text.parse().unwrap()).unwrap_or_default()
}

#[test]
fn a_projection_gets_todays_events_in_every_way() {
    let (_directory, store) = grown();
    let runner = store.projection(journal(None)).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), 6);
    assert_eq!(journal_of(&store), TOLD);
    assert!(runner.rebuild(|_| ControlFlow::Continue(())).unwrap().finished);
    assert_eq!(journal_of(&store), TOLD);

    let (_directory, store) = grown();
    store.project_inline(journal(None)).unwrap();
    let changed = NewEvent::new("Changed", &json!({"mail": 6, "phone": 7})).unwrap().schema_version(1);
    store.append("account", "a", 5, [changed]).unwrap();
    let journal = journal_of(&store);
    assert_eq!(
        (&journal[..6], &journal[6..]),
        (&TOLD.map(str::to_owned)[..], &[r#"6 Mailed {"to":6}"#.to_owned(), r#"6 Phoned {"to":7}"#.to_owned()][..])
    );
}

#[test]
fn a_projection_that_fails_between_two_parts_has_none_of_them() {
    let (_directory, store) = grown();
    let runner = store.projection(journal(Some(TOLD[4]))).unwrap();
    // The page is tried without the event that failed, and then from it on.
    assert_eq!(runner.run_to_end().unwrap(), 6);
    assert_eq!(journal_of(&store), TOLD);

    let (_directory, store) = grown();
    let always = Documents::new(
        "journal",
        1,
        |event| Some(event.aggregate_id.to_string()),
        |journal, event| {
            if told(event) == TOLD[4] {
                return Err("always".into());
            }
            let mut lines = journal.as_array().cloned().unwrap_or_default();
            lines.push(told(event).into());
            *journal = lines.into();
            Ok(())
        },
    );
    let runner = store.projection(always).unwrap();
    let error = runner.run_to_end().unwrap_err();
    assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::Handler, 4));
    assert_eq!((journal_of(&store).as_slice(), runner.status().unwrap().position.get()), (&TOLD.map(str::to_owned)[..3], 2));
}

type Seen = Arc<Mutex<Vec<(String, u32)>>>;

fn eager(store: &Store) -> Outbox {
    store.outbox("out").backoff(Duration::ZERO, Duration::ZERO).max_attempts(2)
}

/// Notes what is published; refuses what `refuses` says.
fn publish(outbox: Outbox, seen: &Seen, refuses: impl Fn(&Message<'_>) -> bool + Send) -> u64 {
    let seen = seen.clone();
    let mut outbox = outbox.publisher(move |message: &Message<'_>| {
        seen.lock().unwrap().push((told(message.event), message.attempt));
        if refuses(message) { Err(PublishError::Retry("down".into())) } else { Ok(()) }
    });
    let mut published = 0;
    // Once more for what was to be retried.
    for _ in 0..3 {
        published += outbox.run_to_end().unwrap();
    }
    published
}

#[test]
fn an_outbox_publishes_every_part_and_retries_all_of_them() {
    let (_directory, store) = grown();
    let seen = Seen::default();
    let published = publish(eager(&store), &seen, |message| message.attempt == 1 && told(message.event) == TOLD[4]);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let order: Vec<(&str, u32)> = seen.iter().map(|(told, attempt)| (told.as_str(), *attempt)).collect();
    let again = [(TOLD[3], 2), (TOLD[4], 2), (TOLD[5], 1)];
    let first: Vec<(&str, u32)> = TOLD[..5].iter().map(|told| (*told, 1)).collect();
    assert_eq!(order, [&first[..], &again[..]].concat());
    assert_eq!(published, 4, "of the log's events, the discarded one is not there");
    let status = store.outbox("out").status().unwrap();
    assert_eq!((status.position.get(), status.to_retry, status.waiting, status.dead), (5, 0, 0, 0));
}

#[test]
fn dead_letters_are_read_and_retried_with_todays_upcasters() {
    let (directory, store) = grown();
    drop(store);
    // They died in the hands of the first program.
    let old = open(&directory, Upcasters::new());
    let seen = Seen::default();
    let policy = foldlog::DeadLetterPolicy::PassOn;
    publish(eager(&old).on_dead_letter(policy), &seen, |_| true);
    assert_eq!(old.outbox("out").dead_letters().unwrap().count().unwrap(), 5);
    drop(old);

    let store = open(&directory, upcasters());
    let letters = store.outbox("out").dead_letters().unwrap();
    let shown: Vec<Option<String>> = letters.iter().map(|letter| letter.unwrap().event.as_ref().map(told)).collect();
    let first_parts = [Some(TOLD[0]), Some(TOLD[1]), None, Some(TOLD[3]), Some(TOLD[5])];
    assert_eq!(shown, first_parts.map(|told| told.map(str::to_owned)));
    assert_eq!(letters.retry_event_type("Paid").unwrap(), 2, "under its old name");
    assert_eq!(letters.retry_event_type("Phoned").unwrap(), 2, "as a later part");
    assert_eq!((letters.retry_event_type("Noise").unwrap(), letters.retry_all().unwrap()), (0, 1));
    let seen = Seen::default();
    publish(eager(&store).on_dead_letter(policy), &seen, |_| false);
    let seen: Vec<String> = seen.lock().unwrap().iter().map(|(told, _)| told.clone()).collect();
    assert_eq!(seen, TOLD);
    assert_eq!(letters.count().unwrap(), 0, "the discarded one is delivered: there is nothing to publish");
}

#[test]
fn a_retry_publishes_only_the_parts_that_the_outbox_wants() {
    let (_directory, store) = grown();
    let seen = Seen::default();
    let outbox = eager(&store).filter(Filter::new().event_type("Phoned"));
    publish(outbox, &seen, |message| message.attempt == 1);
    let seen: Vec<(String, u32)> = seen.lock().unwrap().clone();
    let of = |told: &str, attempt| (told.to_owned(), attempt);
    assert_eq!(seen, [of(TOLD[2], 1), of(TOLD[2], 2), of(TOLD[4], 1), of(TOLD[4], 2)]);
}

#[test]
fn an_old_program_stops_at_newer_events_and_loses_none() {
    let (directory, store) = grown();
    let newer = NewEvent::new("Noted", &json!({})).unwrap().schema_version(2);
    let know = || upcasters().compatible("Noted", 1);
    drop(store);
    open(&directory, know()).append("list", "l", 0, [newer]).unwrap();

    let old = open(&directory, upcasters());
    let too_new = |result: foldlog::Result<u64>| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::SchemaVersionTooNew, 6), "{error}");
    };
    too_new(old.subscription("s").run_to_end(|_| Ok(())));
    too_new(old.projection(journal(None)).unwrap().run_to_end());
    too_new(eager(&old).publisher(|_: &Message<'_>| Ok(())).run_to_end());
    assert_eq!(old.project_inline(journal(None)).unwrap_err().kind(), ErrorKind::SchemaVersionTooNew);
    old.append("account", "a", 5, [NewEvent::new("Deposited", &json!({})).unwrap()]).unwrap();
    drop(old);

    let store = open(&directory, know());
    assert_eq!(store.subscription("s").run_to_end(|_| Ok(())).unwrap(), 8);
    assert_eq!(store.projection(journal(None)).unwrap().run_to_end().unwrap(), 8);
    let seen = Seen::default();
    publish(eager(&store), &seen, |_| false);
    assert_eq!((seen.lock().unwrap().len(), store.outbox("out").status().unwrap().dead), (8, 0));
}

#[test]
fn a_due_event_that_is_too_new_is_not_given_up() {
    let (directory, store) = grown();
    drop(store);
    let know = || upcasters().compatible("Noted", 1);
    let newer = open(&directory, know());
    newer.append("list", "l", 0, [NewEvent::new("Noted", &json!({})).unwrap()]).unwrap();
    let soon = Duration::from_millis(50);
    // A slow machine may try it more than once before the run ends.
    let outbox = eager(&newer).backoff(soon, soon).max_attempts(1_000);
    let mut down = outbox.publisher(|message: &Message<'_>| match &*message.event.event_type {
        "Noted" => Err(PublishError::Retry("down".into())),
        _ => Ok(()),
    });
    down.run_to_end().unwrap();
    drop((down, newer));
    std::thread::sleep(2 * soon);
    let old = open(&directory, upcasters());
    let error = eager(&old).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaVersionTooNew);
    let status = old.outbox("out").status().unwrap();
    assert_eq!((status.to_retry, status.dead), (1, 0));
    drop(old);
    assert_eq!(eager(&open(&directory, know())).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 1);
}

#[test]
fn a_renamed_type_does_not_change_a_filter() {
    let (directory, store) = grown();
    drop(store);
    let old = open(&directory, Upcasters::new());
    let paid = || Filter::new().event_type("Paid");
    let deposited = || Filter::new().event_type("Deposited");
    old.subscription("s").filter(paid()).run_to_end(|_| Ok(())).unwrap();
    old.projection(journal(None).filter(paid())).unwrap().run_to_end().unwrap();
    let error = old.subscription("s").filter(deposited()).run_to_end(|_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    drop(old);

    let store = open(&directory, upcasters());
    for filter in [paid(), deposited(), paid().event_type("Deposited")] {
        assert_eq!(store.subscription("s").filter(filter.clone()).run_to_end(|_| Ok(())).unwrap(), 0, "{filter:?}");
        store.projection(journal(None).filter(filter)).unwrap().run_to_end().unwrap();
    }
    let error = store.subscription("s").filter(Filter::new().event_type("Mailed")).run_to_end(|_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    store.append("account", "a", Expected::Any, [NewEvent::new("Deposited", &json!({"amount": 6})).unwrap()]).unwrap();
    assert_eq!(store.subscription("s").filter(deposited()).run_to_end(|_| Ok(())).unwrap(), 1);
}
