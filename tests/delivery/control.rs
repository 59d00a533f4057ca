//! What is asked of a subscription, a projection or an outbox by its name; settings at their ends.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use foldlog::{
    Error, ErrorKind, Filter, FilterChange, Message, Position, Projection, PublishError, Publisher, StartFrom, StopReason,
    SubscriptionKind,
};

use super::outbox::eager;
use super::projections::Sums;
use super::{count, store};

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

#[test]
fn a_changed_filter_must_be_confirmed() {
    let (_directory, store) = store();
    count(&store, 0, 10);
    let of = |ids: &[&str]| Filter::new().event_types(ids.iter().copied());
    let run = |subscription: foldlog::Subscription| subscription.run_to_end(|_| Ok(()));
    let named = || store.subscription("s");
    assert_eq!(run(named().filter(of(&["A", "B"]))).unwrap(), 0);
    assert_eq!(run(named().filter(of(&["B", "A"]))).unwrap(), 0, "the same events in another order");
    // Widened: ten events that it has passed were never handled.
    let error = run(named().filter(of(&["A", "B", "Counted"]))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("\"s\"") && error.to_string().contains("on_filter_change"), "{error}");
    let now = named().filter(of(&["Counted"])).on_filter_change(FilterChange::FromNow);
    assert_eq!(run(now).unwrap(), 0);
    assert_eq!(run(named().filter(of(&["Counted"]))).unwrap(), 0, "confirmed once is enough");
    assert_eq!(run(named().on_filter_change(FilterChange::FromBeginning)).unwrap(), 10);
    assert_eq!(run(named().on_filter_change(FilterChange::FromBeginning)).unwrap(), 0, "it has not changed again");

    let publish = |_: &Message<'_>| Ok(());
    eager(&store).publisher(publish).run_to_end().unwrap();
    let changed = || eager(&store).filter(of(&["Counted"])).publisher(publish);
    assert_eq!(kind(changed().run_to_end()), ErrorKind::InvalidInput);
    assert_eq!(changed().on_filter_change(FilterChange::FromBeginning).run_to_end().unwrap(), 10);
    count(&store, 10, 13);
    let narrowed = eager(&store).filter(of(&["A"])).on_filter_change(FilterChange::FromNow).publisher(publish).run_to_end();
    assert_eq!(narrowed.unwrap(), 0);
    let widened = || eager(&store).on_filter_change(FilterChange::FromNow).publisher(publish);
    assert_eq!((widened().run_to_end().unwrap(), store.outbox("out").status().unwrap().lag), (0, 0));
    count(&store, 13, 15);
    assert_eq!(widened().run_to_end().unwrap(), 2);
}

#[test]
fn a_projection_with_another_filter_is_rebuilt() {
    struct Filtered(Sums, Filter);
    impl Projection for Filtered {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn tables(&self) -> Vec<String> {
            self.0.tables()
        }
        fn filter(&self) -> Filter {
            self.1.clone()
        }
        fn create(&self, model: &foldlog::ReadModel<'_>) -> Result<(), foldlog::HandlerError> {
            self.0.create(model)
        }
        fn apply(&self, event: &foldlog::RecordedEvent, model: &foldlog::ReadModel<'_>) -> Result<(), foldlog::HandlerError> {
            self.0.apply(event, model)
        }
    }
    let (_directory, store) = store();
    count(&store, 0, 10);
    let with = |filter| store.projection(Filtered(Sums::new(1), filter)).unwrap();
    assert_eq!(with(Filter::new().event_type("Other")).run_to_end().unwrap(), 0);
    let wider = with(Filter::new());
    assert_eq!(kind(wider.run_to_end()), ErrorKind::ProjectionOutdated);
    assert_eq!(wider.rebuild(|_| std::ops::ControlFlow::Continue(())).unwrap().events, 10);
    assert_eq!(wider.run_to_end().unwrap(), 0);
    wider.remove().unwrap();
    store.project_inline(Filtered(Sums::new(1), Filter::new().event_type("Other"))).unwrap();
    store.project_inline(Filtered(Sums::new(1), Filter::new())).unwrap();
    let events: u64 = store.query_read_model("SELECT sum(events) FROM sums", [], |row| row.get(0)).unwrap()[0];
    assert_eq!(events, 10);
}

#[test]
fn a_checkpoint_is_moved_on_purpose() {
    let (_directory, store) = store();
    count(&store, 0, 10);
    let reader = store.subscription("reader");
    let seen = || {
        let mut seen = Vec::new();
        reader
            .run_to_end(|event| {
                seen.push(event.position.get());
                Ok(())
            })
            .unwrap();
        seen
    };
    assert_eq!(kind(reader.seek(1)), ErrorKind::NotFound);
    assert_eq!(seen().len(), 10);
    reader.seek(7).unwrap();
    assert_eq!(reader.status().unwrap().lag, 3);
    assert_eq!(seen(), [8, 9, 10]);
    reader.seek(Position::new(10)).unwrap();
    assert_eq!(kind(reader.seek(11)), ErrorKind::InvalidInput, "the next events would be passed over");
    assert_eq!(seen(), Vec::<u64>::new());
    reader.reset().unwrap();
    assert_eq!(seen().len(), 10);
    reader.remove().unwrap();
    assert_eq!(kind(reader.status()), ErrorKind::NotFound);
    assert_eq!(kind(reader.remove()), ErrorKind::NotFound);
}

#[test]
fn an_outbox_that_is_moved_forgets_what_it_noted_of_later_events() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    let refuse = |message: &Message<'_>| match message.event.position.get() {
        3 | 15 => Err(foldlog::PublishError::Reject("no".into())),
        _ => Ok(()),
    };
    eager(&store).publisher(refuse).run_to_end().unwrap();
    let outbox = store.outbox("out");
    assert_eq!(outbox.status().unwrap().dead, 2);
    outbox.seek(10).unwrap();
    let status = outbox.status().unwrap();
    assert_eq!((status.position.get(), status.dead, status.waiting), (10, 1, 0));
    assert!(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 18, "13 and 23 wait behind 3");
    outbox.reset().unwrap();
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 30);
}

#[test]
fn a_removed_projection_leaves_nothing_in_the_way() {
    let (_directory, store) = store();
    store.project_inline(Sums::new(1)).unwrap();
    count(&store, 0, 5);
    let runner = store.projection(Sums::new(1)).unwrap();
    assert_eq!((runner.status().unwrap().kind, runner.status().unwrap().lag), (SubscriptionKind::Projection, 0));
    runner.remove().unwrap();
    assert_eq!(kind(runner.remove()), ErrorKind::NotFound);
    count(&store, 5, 8);
    assert_eq!(store.subscriptions().unwrap(), []);
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sums%'";
    assert_eq!(store.query_read_model(tables, [], |row| row.get::<_, u64>(0)).unwrap(), [0]);
    assert_eq!(store.projection(Sums::new(3)).unwrap().run_to_end().unwrap(), 8);
}

#[test]
fn a_follower_calls_back_when_it_ends() {
    let (_directory, store) = store();
    let (sender, ended) = mpsc::channel();
    let tell = |sender: &mpsc::Sender<Option<ErrorKind>>| {
        let sender = sender.clone();
        move |reason: &StopReason| {
            let failure = match reason {
                StopReason::Failed(error) => Some(error.kind()),
                _ => None,
            };
            sender.send(failure).unwrap();
        }
    };
    let next = || ended.recv_timeout(Duration::from_secs(20)).unwrap();
    let failing = store.subscription("f").on_end(tell(&sender)).follow(|_| Err("broken".into())).unwrap();
    count(&store, 0, 1);
    assert_eq!(next(), Some(ErrorKind::Handler));
    drop(failing);
    store.subscription("s").on_end(tell(&sender)).follow(|_| Ok(())).unwrap().stop();
    assert_eq!(next(), None);
    store.projection(Sums::new(1)).unwrap().on_end(tell(&sender)).follow().unwrap().stop();
    assert_eq!(next(), None);
    let publisher: Box<dyn Publisher> = Box::new(|_: &Message<'_>| Ok(()));
    store.outbox("o").on_end(tell(&sender)).publisher(publisher).follow().unwrap().stop();
    assert_eq!(next(), None);
}

#[test]
fn nothing_starts_beyond_the_end_of_the_log() {
    let (_directory, store) = store();
    count(&store, 0, 6);
    let after = |position: u64| StartFrom::After(position.into());
    let run = |position| store.subscription("s").start_from(after(position)).run_to_end(|_| Ok(()));
    assert_eq!(kind(run(100)), ErrorKind::InvalidInput);
    assert_eq!(kind(run(7)), ErrorKind::InvalidInput);
    assert_eq!(kind(run(u64::MAX)), ErrorKind::InvalidInput);
    assert_eq!(store.subscriptions().unwrap(), []);
    assert_eq!(run(6).unwrap(), 0);
    count(&store, 6, 8);
    assert_eq!(run(6).unwrap(), 2);
    let outbox = store.outbox("o").start_from(after(9)).publisher(|_: &Message<'_>| Ok(())).run_to_end();
    assert_eq!(kind(outbox), ErrorKind::InvalidInput);
}

#[test]
fn whoever_waits_for_ever_waits_until_it_is_there() {
    let (_directory, store) = store();
    count(&store, 0, 1);
    let follower = store.subscription("s").follow(|_| Ok(())).unwrap();
    store.subscription("s").wait_until(1, Duration::MAX).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.subscription("s").wait_until(2, Duration::MAX));
        std::thread::sleep(Duration::from_millis(20));
        count(&store, 1, 2);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(kind(store.subscription("s").wait_until(3, Duration::ZERO)), ErrorKind::Busy);
    follower.stop();
}

#[test]
fn a_lease_of_any_length_works() {
    for lease in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let (_directory, store) = store();
        let follower = store.subscription("quiet").lease(lease).checkpoint_every(0).follow(|_| Ok(())).unwrap();
        count(&store, 0, 5);
        store.subscription("quiet").wait_until(5, Duration::from_secs(20)).unwrap();
        // Its own time, not the machine's: the others share that.
        let (began, before) = (Instant::now(), follower_time());
        std::thread::sleep(Duration::from_millis(300));
        let busy = follower_time() - before;
        assert!(busy < began.elapsed() / 4, "{lease:?}: an idle follower worked for {busy:?}");
        follower.stop();
    }
}

/// The time that the followers' threads of this process have worked.
fn follower_time() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with("foldlog-quiet") {
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            ticks += fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}

#[test]
fn versions_of_projections_count_from_one() {
    let (_directory, store) = store();
    assert_eq!(kind(store.projection(Sums::new(0))), ErrorKind::InvalidInput);
}

#[test]
fn statuses_can_be_written_as_json() {
    let (_directory, store) = store();
    count(&store, 0, 2);
    let _ = store.subscription("s").run_to_end(|_| Err("no".into()));
    let status = serde_json::to_value(store.subscription("s").status().unwrap()).unwrap();
    assert_eq!((&status["kind"], &status["failure"]["position"], &status["lag"]), (&"handler".into(), &1.into(), &2.into()));
    eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap();
    let status = serde_json::to_value(store.outbox("out").status().unwrap()).unwrap();
    assert_eq!((&status["toRetry"], &status["position"]), (&0.into(), &2.into()));
    let mut refusing = store.outbox("refused").publisher(|_: &Message<'_>| Err(PublishError::Reject("no".into())));
    refusing.run_to_end().unwrap();
    let letter = serde_json::to_value(refusing.dead_letters().unwrap().iter().next().unwrap().unwrap()).unwrap();
    assert_eq!((&letter["lastError"], &letter["event"]["position"]), (&"no".into(), &1.into()));
}

#[test]
fn a_tenant_does_not_reach_a_reader_of_all_tenants_by_its_name() {
    let (_directory, store) = store();
    let acme = store.tenant("acme");
    count(&store, 0, 3);
    let all = || store.subscription("all").filter(Filter::new().all_tenants());
    all().run_to_end(|_| Ok(())).unwrap();
    let plain = acme.subscription("all");
    assert_eq!(kind(plain.reset()), ErrorKind::NotFound);
    assert_eq!(kind(plain.remove()), ErrorKind::NotFound);
    assert_eq!(kind(plain.status()), ErrorKind::NotFound);
    assert_eq!(all().status().unwrap().position, 3);
    assert!(all().status().unwrap().all_tenants && store.subscriptions().unwrap().len() == 1);
    // Nor does one that calls itself like them.
    let nobody = store.tenant("").subscription("all").run_to_end(|_| Ok(()));
    assert_eq!(kind(nobody), ErrorKind::InvalidInput);
}
