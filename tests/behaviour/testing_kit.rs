//! The test kit, tested: what it lets pass, what it does not, and what it says then.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Once};
use std::time::{Duration, Instant};

use foldlog::rusqlite::params;
use foldlog::testing::{Fixture, check_events, given, project};
use foldlog::{
    Aggregate, Batch, Clock, Documents, Expected, HandlerError, NewEvent, Options, Projection, Query, ReadModel, RecordedEvent,
    Store,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    Opened { owner: String },
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}
use AccountEvent::{Deposited, Opened, Withdrawn};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    owner: String,
    cents: u64,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        match event {
            Opened { owner } => self.owner = owner,
            Deposited { cents } => self.cents += cents,
            Withdrawn { cents } => self.cents -= cents,
        }
    }
}

#[derive(Debug, PartialEq)]
struct NotEnough {
    missing: u64,
}

impl Account {
    fn withdraw(&self, cents: u64) -> Result<Vec<AccountEvent>, NotEnough> {
        match cents {
            0 => Ok(vec![]),
            _ if cents > self.cents => Err(NotEnough { missing: cents - self.cents }),
            _ => Ok(vec![Withdrawn { cents }]),
        }
    }
}

thread_local! {
    static FAILED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The message of a test that must fail, and where it says that it did.
fn failure(test: impl FnOnce()) -> (String, String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            FAILED_AT.set(info.location().map(ToString::to_string).unwrap_or_default());
            before(info);
        }));
    });
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test should have failed");
    (*panic.downcast::<String>().expect("a message"), FAILED_AT.take())
}

fn account() -> foldlog::testing::Given<Account> {
    given::<Account>([Opened { owner: "Ada".into() }, Deposited { cents: 50 }])
}

#[test]
fn what_is_as_expected_passes() {
    account()
        .and_state(|account| assert_eq!((account.owner.as_str(), account.cents), ("Ada", 50)))
        .when(|account| account.withdraw(30))
        .then_events([Withdrawn { cents: 30 }])
        .and_state(|account| assert_eq!(account.cents, 20))
        .when(|account| account.withdraw(21))
        .then_error(|error| assert_eq!(error.missing, 1));
    account().when(|account| account.withdraw(60)).then_error_eq(NotEnough { missing: 10 });
    account().when(|account| account.withdraw(0)).then_nothing();
    given::<Account>([]).when(|account| account.withdraw(1)).then_error_eq(NotEnough { missing: 1 });
}

#[test]
fn what_is_not_fails_with_both_sides_at_the_tests_line() {
    let withdraw = |cents| move |account: &Account| account.withdraw(cents);
    type Case = (Box<dyn FnOnce()>, &'static [&'static str]);
    let cases: [Case; 9] = [
        (
            Box::new(move || drop(account().when(withdraw(3)).then_events([Withdrawn { cents: 4 }]))),
            &["other events", "- Withdrawn { cents: 4 }", "+ Withdrawn { cents: 3 }"],
        ),
        (
            Box::new(move || drop(account().when(withdraw(3)).then_events([Withdrawn { cents: 3 }, Deposited { cents: 1 }]))),
            &["= Withdrawn { cents: 3 }", "- Deposited { cents: 1 }"],
        ),
        (
            Box::new(move || drop(account().when(withdraw(99)).then_events([Withdrawn { cents: 99 }]))),
            &["the decision failed", "NotEnough { missing: 49 }", "- Withdrawn { cents: 99 }"],
        ),
        (Box::new(move || account().when(withdraw(3)).then_nothing()), &["+ Withdrawn { cents: 3 }"]),
        (Box::new(move || account().when(withdraw(99)).then_nothing()), &["NotEnough { missing: 49 }"]),
        (Box::new(move || account().when(withdraw(3)).then_error(|_| {})), &["did not fail", "+ Withdrawn { cents: 3 }"]),
        (Box::new(move || account().when(withdraw(0)).then_error(|_| {})), &["did not fail", "no events"]),
        (
            Box::new(move || account().when(withdraw(99)).then_error_eq(NotEnough { missing: 1 })),
            &["- NotEnough { missing: 1 }", "+ NotEnough { missing: 49 }"],
        ),
        (
            Box::new(move || account().when(withdraw(3)).then_error_eq(NotEnough { missing: 1 })),
            &["NotEnough { missing: 1 }", "+ Withdrawn { cents: 3 }"],
        ),
    ];
    for (test, parts) in cases {
        let (message, place) = failure(test);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert!(place.contains("testing_kit.rs"), "shown at {place}");
    }
}

#[test]
fn events_that_cannot_be_stored_fail() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Measured {
        Value(f64),
    }
    #[derive(Default, Serialize, Deserialize)]
    struct Sensor;
    impl Aggregate for Sensor {
        const TYPE: &'static str = "sensor";
        type Event = Measured;
        fn apply(&mut self, _: Measured) {}
    }
    let (message, place) = failure(|| drop(given::<Sensor>([Measured::Value(f64::NAN)])));
    assert!(message.contains("cannot be appended") && place.contains("testing_kit.rs"), "{message} at {place}");
}

#[test]
fn one_decision_serves_the_kit_and_the_store() {
    #[derive(Debug, PartialEq)]
    enum Refused {
        TooMuch { most: u64 },
    }
    fn as_text(account: &Account) -> Result<Vec<AccountEvent>, String> {
        if account.cents < 60 { Err("not enough money".into()) } else { Ok(vec![]) }
    }
    fn as_enum(_: &Account) -> Result<Option<AccountEvent>, Refused> {
        Err(Refused::TooMuch { most: 50 })
    }
    fn boxed(account: &Account) -> Result<[AccountEvent; 1], Box<dyn std::error::Error>> {
        let cents = account.owner.parse::<u64>()?;
        Ok([Deposited { cents }])
    }
    fn never_fails(_: &Account) -> [AccountEvent; 1] {
        [Deposited { cents: 1 }]
    }
    account().when(as_text).then_error_eq("not enough money");
    account().when(as_text).then_error_says("not enough");
    account().when(as_enum).then_error_eq(Refused::TooMuch { most: 50 });
    account().when(boxed).then_error_says("invalid digit");
    account().when(never_fails).then_events([Deposited { cents: 1 }]).and_state(|account| assert_eq!(account.cents, 51));
    account().when(|_| [Deposited { cents: 1 }]).then_events([Deposited { cents: 1 }]);
    account().when(|account| (account.cents > 50).then_some(Deposited { cents: 1 })).then_nothing();
    account().when(|_| Vec::<AccountEvent>::new()).then_nothing();

    fn as_an_application_calls_it(accounts: &foldlog::Aggregates<Account>) -> Result<(), Box<dyn std::error::Error>> {
        accounts.execute("a", |_| [Opened { owner: "Ada".into() }, Deposited { cents: 50 }])?;
        accounts.execute("a", never_fails)?;
        accounts.execute("a", as_text)?;
        Ok(())
    }
    fn without_errors_of_its_own(accounts: &foldlog::Aggregates<Account>) -> foldlog::Result<()> {
        accounts.execute("a", |_| [Deposited { cents: 1 }])?;
        accounts.execute("a", |_| vec![Deposited { cents: 1 }])?;
        accounts.execute("a", |_| None::<AccountEvent>)?;
        Ok(())
    }
    let store = Store::in_memory().unwrap();
    let accounts = store.aggregates::<Account>();
    assert_eq!(as_an_application_calls_it(&accounts).unwrap_err().to_string(), "not enough money");
    without_errors_of_its_own(&accounts).unwrap();
    assert_eq!(accounts.execute("a", as_text).unwrap_err().decision().unwrap(), "not enough money");
    assert_eq!(accounts.execute("a", as_enum).unwrap_err().into_decision().unwrap(), Refused::TooMuch { most: 50 });
    assert!(accounts.execute("a", boxed).unwrap_err().to_string().contains("invalid digit"));
    let long = "a".repeat(100_000);
    let failed = accounts.execute(&long, as_text).unwrap_err();
    assert!(failed.store().is_none(), "the decision comes first: {failed}");
    let failed = accounts.execute(&long, never_fails).unwrap_err();
    assert_eq!(failed.store().unwrap().kind(), foldlog::ErrorKind::LimitExceeded);
    assert_eq!(accounts.version("a").unwrap(), 5);
}

#[test]
fn events_are_checked() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Skipping {
        Kept(u64),
        Lost {
            #[serde(skip)]
            cached: u64,
        },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole {
        cents: u64,
    }
    check_events([Deposited { cents: 1 }, Opened { owner: "Ada".into() }]);
    check_events([Skipping::Kept(1), Skipping::Lost { cached: 0 }]);
    for (test, parts) in [
        (
            Box::new(|| check_events([Skipping::Kept(1), Skipping::Lost { cached: 7 }])) as Box<dyn FnOnce()>,
            ["- Lost { cached: 7 }", "+ Lost { cached: 0 }", "serde skips"],
        ),
        (
            Box::new(|| check_events([Whole { cents: 1 }])),
            ["Whole { cents: 1 } cannot be an event", "is a struct", "write an enum"],
        ),
    ] {
        let (message, place) = failure(test);
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        assert!(place.contains("testing_kit.rs"), "shown at {place}");
    }
}

/// The cents of each account; `broken` says in which way.
struct Balances {
    broken: Broken,
    calls: AtomicU64,
}

#[derive(PartialEq)]
enum Broken {
    Not,
    /// Counts in memory, where a rollback does not reach.
    KeepsStateOfItsOwn,
    /// Writes around the names in braces, so that a rebuild goes wrong.
    NamesItsTable,
}

fn balances(broken: Broken) -> Balances {
    Balances { broken, calls: AtomicU64::new(0) }
}

impl Projection for Balances {
    fn name(&self) -> &str {
        "balances"
    }

    fn tables(&self) -> Vec<String> {
        vec!["balances".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(
            "CREATE TABLE {balances} (account TEXT PRIMARY KEY, cents INTEGER NOT NULL, at TEXT, mark BLOB) STRICT",
        )?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let cents = match event.decode()? {
            Opened { .. } => 0,
            Deposited { cents } => i64::try_from(cents)?,
            Withdrawn { cents } => -i64::try_from(cents)?,
        };
        let seen = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let cents = if self.broken == Broken::KeepsStateOfItsOwn { i64::try_from(seen)? } else { cents };
        let table = if self.broken == Broken::NamesItsTable { "balances" } else { "{balances}" };
        let sql = format!(
            "INSERT INTO {table} VALUES (?1, ?2, ?3, x'0aFF') ON CONFLICT DO UPDATE SET cents = cents + ?2, at = excluded.at"
        );
        model.execute(&sql, params![&*event.aggregate_id, cents, event.created_at.to_rfc3339()])?;
        Ok(())
    }
}

#[test]
fn a_projection_is_tried_in_every_way() {
    let given = |broken| {
        project(balances(broken))
            .given::<Account>("a", [Opened { owner: "Ada".into() }, Deposited { cents: 5 }])
            .given::<Account>("b", [Deposited { cents: 7 }])
            .given_events("account", "a", [NewEvent::of(&Withdrawn { cents: 2 }).unwrap()])
    };
    let sql = "SELECT account, cents, at, mark FROM balances ORDER BY account";
    let epoch = "1970-01-01T00:00:00+00:00";
    let right = json!([["a", 3, epoch, "X'0AFF'"], ["b", 7, epoch, "X'0AFF'"]]);
    given(Broken::Not)
        .then_rows(sql, right.clone())
        .then_rows("SELECT sum(cents) / 2.0, NULL FROM balances", json!([[5.0, null]]));

    let (message, place) = failure(|| drop(given(Broken::Not).then_rows(sql, json!([["a", 3, epoch, "X'0AFF'"]]))));
    assert!(message.contains("in the append") && message.contains("= [\"a\",3") && message.contains("+ [\"b\",7"), "{message}");
    assert!(place.contains("testing_kit.rs"), "shown at {place}");

    // Right the first time, and wrong as soon as an event comes again.
    let one = |broken| project(balances(broken)).given::<Account>("a", [Deposited { cents: 1 }]);
    let rows = json!([["a", 1]]);
    one(Broken::Not).then_rows("SELECT account, cents FROM balances", rows.clone());
    let (message, _) =
        failure(|| drop(one(Broken::KeepsStateOfItsOwn).then_rows("SELECT account, cents FROM balances", rows.clone())));
    assert!(message.contains("(following"), "{message}");
    let (message, _) = failure(|| drop(one(Broken::NamesItsTable).then_rows("SELECT account, cents FROM balances", rows)));
    assert!(message.contains("(rebuilt"), "{message}");
    let (message, _) = failure(|| drop(one(Broken::Not).then_rows("SELECT nonsense", json!([]))));
    assert!(message.contains("the query failed"), "{message}");
    let (message, _) = failure(|| drop(one(Broken::Not).then_rows("SELECT 1", json!({}))));
    assert!(message.contains("not an array"), "{message}");
}

#[test]
fn the_events_reach_the_projection_as_they_were_given() {
    let seen = Documents::new(
        "seen",
        1,
        |event| Some(event.position.to_string()),
        |document, event| {
            *document = json!({"tags": event.tags, "at": event.created_at, "commit": event.commit_id});
            Ok(())
        },
    );
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    project(seen)
        .given_events("t", "x", [NewEvent::new("A", &1).unwrap().tag("red").created_at(at), NewEvent::new("B", &2).unwrap()])
        .then_rows(
            "SELECT document FROM seen ORDER BY key",
            json!([
                [r#"{"at":"2026-01-02T03:04:05Z","commit":1,"tags":["red"]}"#],
                [r#"{"at":"1970-01-01T00:00:00Z","commit":1,"tags":[]}"#],
            ]),
        );
}

static BANK: LazyLock<Fixture> = LazyLock::new(|| {
    let options = Options::new().clock(Clock::fixed("2026-01-01T00:00:00Z".parse().unwrap()));
    Fixture::with_options(options, |store| {
        store.project_inline(balances(Broken::Not))?;
        let mut batch = Batch::new();
        for n in 0..100 {
            batch = batch.append("account", format!("acc-{}", n % 10), Expected::Any, [NewEvent::of(&Deposited { cents: n })?]);
        }
        store.commit(batch).map(drop)
    })
});

fn total(store: &Store) -> u64 {
    store.query_read_model("SELECT sum(cents) FROM balances", [], |row| row.get(0)).unwrap()[0]
}

#[test]
fn copies_are_whole_and_apart_from_each_other() {
    let (one, two) = (BANK.store(), BANK.store());
    assert_eq!(one.read(Query::new()).map(Result::unwrap).collect::<Vec<_>>().len(), 100);
    assert_eq!(one.aggregates::<Account>().replay("acc-3").unwrap().version, 10);
    one.append("account", "acc-3", 10, [NewEvent::of(&Deposited { cents: 1_000 }).unwrap()]).unwrap();
    assert_eq!((total(&one), total(&two)), (5_950, 4_950), "the inline projection runs in the copy");
    two.tenant("acme").append("new type", "x", Expected::Any, [NewEvent::new("New", &()).unwrap()]).unwrap();
    assert_eq!((one.last_position().unwrap(), two.last_position().unwrap()), (101.into(), 101.into()));
    assert!(one.tenants().unwrap().len() == 1 && BANK.store().last_position().unwrap() == 100);
    let times: Vec<_> = two.read(Query::new().limit(1)).map(|event| event.unwrap().created_at.to_rfc3339()).collect();
    assert_eq!(times, ["2026-01-01T00:00:00+00:00"]);
    let rebuilt = two.projection(balances(Broken::Not)).unwrap().rebuild(|_| ControlFlow::Continue(())).unwrap();
    assert!(rebuilt.finished && total(&two) == 4_950);
}

#[test]
fn a_file_is_copied_too_with_what_is_only_in_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("bank.db")).unwrap();
    store.append("account", "a", Expected::Any, [NewEvent::of(&Deposited { cents: 5 }).unwrap()]).unwrap();
    let copy = store.tenant("acme").copy_to_memory().unwrap();
    assert_eq!((copy.path(), copy.tenant_name()), (None, "acme"));
    let copy = copy.tenant(foldlog::DEFAULT_TENANT);
    copy.append("account", "a", 1, [NewEvent::of(&Deposited { cents: 6 }).unwrap()]).unwrap();
    assert_eq!(copy.aggregates::<Account>().replay("a").unwrap().state.cents, 11);
    assert_eq!(store.aggregates::<Account>().replay("a").unwrap().state.cents, 5);
}

#[test]
fn a_copy_takes_well_below_a_millisecond() {
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            BANK.store();
            let start = Instant::now();
            let store = BANK.store();
            let took = start.elapsed();
            assert_eq!(store.last_position().unwrap(), 100);
            took
        })
        .collect();
    times.sort();
    println!("a copy of 100 events and a projection: {:?} at the median, {:?} at best", times[50], times[0]);
    // A build without optimisation on a machine that does other things, too.
    assert!(times[0] < Duration::from_millis(2), "{:?}", times[0]);
}
