//! `user_account`: what it prints, what it leaves in the file, and the rules of its domain.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use foldlog::{Aggregate as _, ExecuteError, NewEvent, Query, Store};
use serde_json::{Value, json};

use crate::domain::{AccountError, Changes, Status, User, UserEvent};
use crate::programs::run;

#[test]
fn one_json_object_with_all_figures() {
    let ran = run("user_account", ["--json"]).ended_with(0);
    let json = ran.json();
    let replay = json["replay"].as_array().unwrap();
    assert_eq!(replay.iter().map(|row| row["events"].as_u64().unwrap()).collect::<Vec<_>>(), [100, 1_000, 5_000, 100_000]);
    for row in replay {
        assert!(row["full_us"].as_f64().unwrap() > 0.0 && row["snapshot_us"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["events_after_snapshot"], 50);
    }
    // A thousandfold of the events: no load on the machine turns this round.
    assert!(replay[3]["full_us"].as_f64() > replay[3]["snapshot_us"].as_f64(), "{}", replay[3]);
    let message = json["conflict"]["message"].as_str().unwrap();
    assert!(message.contains("version conflict: expected version 5, found version 6"), "{message}");
    assert!(json["refusal"].as_str().unwrap().starts_with("the account is locked until"));

    let travel = &json["time_travel"];
    assert_eq!(["now", "to_version", "to_time"].map(|seen| travel[seen]["version"].as_u64().unwrap()), [8, 1, 3]);
    assert_eq!(travel["to_version"]["state"]["email"], "ada@example.com");
    assert!(travel["to_time"]["state"]["lockedUntil"].is_string());
    assert_eq!((&travel["now"]["state"]["status"], &travel["now"]["state"]["lockedUntil"]), (&json!("deleted"), &Value::Null));

    let trail = json["audit_trail"].as_array().unwrap();
    assert_eq!(trail.len(), 8);
    assert_eq!((&trail[0]["metadata"]["userId"], &trail[0]["metadata"]["ipAddress"]), (&json!("u-ada"), &json!("192.0.2.7")));
    assert_eq!(json["snapshots"]["snapshotsByAggregate"].as_array().unwrap().len(), 4);
}

#[test]
fn the_text_names_the_claim_as_a_claim() {
    let ran = run("user_account", ["--events", "100"]).ended_with(0);
    for words in ["claim", "50,000", "version conflict", "Time travel", "u-ada", "bytes each"] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    assert_eq!(ran.stderr, "");
    assert!(run("user_account", ["--events", "1"]).ended_with(2).stdout.is_empty());
}

#[test]
fn a_kept_file_holds_the_events_and_can_be_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let db = directory.path().join("kept.db");
    for round in 1..=2 {
        run("user_account", ["--json", "--events", "20,130", "--db", db.to_str().unwrap()]).ended_with(0);
        let store = Store::open_read_only(&db).unwrap();
        let statistics = store.statistics().unwrap();
        assert_eq!((statistics.aggregates, statistics.total_events), (3 * round, (8 + 20 + 130) * round));
        assert_eq!(statistics.events_by_type.len(), 8, "{statistics:?}");
        assert_eq!(statistics.events_by_type["UserDeleted"], round);
        for event in store.read(Query::new()) {
            event.unwrap().decode::<UserEvent>().unwrap();
        }
    }
    let nowhere = directory.path().join("no/such/directory.db");
    let ran = run("user_account", ["--db", nowhere.to_str().unwrap()]).ended_with(1);
    assert!(ran.stdout.is_empty() && ran.stderr.starts_with("user_account: "), "{ran}");
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn one_of_each() -> Vec<UserEvent> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        UserEvent::UserCreated {
            username: "u".into(),
            email: "e".into(),
            full_name: "f".into(),
            phone: some("p"),
            tenant_id: some("t"),
            role_ids: vec!["r".into()],
        },
        UserEvent::UserUpdated(Changes {
            email: some("e2"),
            full_name: some("f2"),
            phone: some("p2"),
            avatar: some("a2"),
            status: Some(Status::Inactive),
            role_ids: Some(vec![]),
        }),
        UserEvent::PasswordChanged { changed_by: "c".into() },
        UserEvent::UserDeleted { deleted_by: "d".into() },
        UserEvent::LoginInfoUpdated { ip_address: "i".into(), login_at: time("2026-01-01T00:00:00Z") },
        UserEvent::AccountLocked { reason: "r".into(), login_attempts: 5, locked_until: time("2026-01-02T00:00:00Z") },
        UserEvent::AccountUnlocked { unlocked_by: "u".into() },
        UserEvent::RolesAssigned { role_ids: vec!["r2".into()], assigned_by: "a".into() },
    ]
}

/// The names are a contract with the original's events.
#[test]
fn the_eight_events_have_exactly_the_originals_fields() {
    let store = Store::in_memory().unwrap();
    store.append("user", "u", 0, one_of_each().iter().map(|event| NewEvent::of(event).unwrap())).unwrap();
    let stored: BTreeMap<String, Vec<String>> = store
        .read(Query::new())
        .map(Result::unwrap)
        .map(|event| {
            (event.event_type.to_string(), event.data.to_value().unwrap().as_object().unwrap().keys().cloned().collect())
        })
        .collect();
    let expected = [
        ("AccountLocked", &["lockedUntil", "loginAttempts", "reason"][..]),
        ("AccountUnlocked", &["unlockedBy"]),
        ("LoginInfoUpdated", &["ipAddress", "loginAt"]),
        ("PasswordChanged", &["changedBy"]),
        ("RolesAssigned", &["assignedBy", "roleIds"]),
        ("UserCreated", &["email", "fullName", "phone", "roleIds", "tenantId", "username"]),
        ("UserDeleted", &["deletedBy"]),
        ("UserUpdated", &["avatar", "email", "fullName", "phone", "roleIds", "status"]),
    ];
    let sorted = |fields: &[&str]| fields.iter().map(|field| field.to_string()).collect::<Vec<_>>();
    assert_eq!(stored, expected.map(|(event_type, fields)| (event_type.to_owned(), sorted(fields))).into());
}

#[test]
fn the_fold_follows_the_originals_rules() {
    let mut user = User::default();
    let mut events = one_of_each().into_iter();
    let mut next = |user: &mut User| user.apply(events.next().unwrap());
    next(&mut user);
    let created = user.clone();
    assert_eq!((created.status, &*created.email, created.phone.as_deref()), (Status::Active, "e", Some("p")));
    // A field that is not named stays.
    user.apply(UserEvent::UserUpdated(Changes { avatar: Some("a".into()), ..Changes::default() }));
    assert_eq!(user, User { avatar: Some("a".into()), ..created });
    next(&mut user);
    assert_eq!((&*user.email, &*user.full_name, user.phone.as_deref()), ("e2", "f2", Some("p2")));
    assert_eq!((user.avatar.as_deref(), user.status, user.role_ids.len()), (Some("a2"), Status::Inactive, 0));
    let before = user.clone();
    next(&mut user);
    assert_eq!(user, before, "a password leaves no trace in the state");
    next(&mut user);
    assert_eq!(user.status, Status::Deleted);
    user.login_attempts = 3;
    next(&mut user);
    assert_eq!((user.login_attempts, user.last_login_ip.as_deref()), (0, Some("i")));
    next(&mut user);
    assert_eq!((user.login_attempts, user.locked_until), (5, Some(time("2026-01-02T00:00:00Z"))));
    next(&mut user);
    assert_eq!((user.login_attempts, user.locked_until), (0, None));
    assert!(!serde_json::to_string(&user).unwrap().contains("lockedUntil"), "gone, not null");
    next(&mut user);
    assert_eq!(user.role_ids, ["r2"]);
}

#[test]
fn decisions_refuse_what_must_not_be() {
    let store = Store::in_memory().unwrap();
    let users = store.aggregates::<User>();
    let create = || users.execute("u", |user| user.create("ada", "a@example.org", "Ada"));
    let until = time("2026-01-02T00:00:00Z");
    assert!(matches!(users.execute("u", |user| user.delete("x")), Err(ExecuteError::Decision(AccountError::NoSuchUser))));
    create().unwrap();
    assert!(matches!(create(), Err(ExecuteError::Decision(AccountError::AlreadyExists))));
    assert!(users.execute("u", |user| user.unlock("x")).unwrap().appended.is_none(), "nothing to unlock, nothing to append");
    users.execute("u", |user| user.lock("r", 5, until)).unwrap();
    let log_in = |at| users.execute("u", move |user| user.log_in("i", at));
    assert!(matches!(log_in(time("2026-01-01T23:59:59Z")), Err(ExecuteError::Decision(AccountError::Locked { .. }))));
    assert_eq!(log_in(until).unwrap().version, 3);
    users.execute("u", |user| user.delete("x")).unwrap();
    assert!(matches!(
        users.execute("u", |user| user.assign_roles(&["r"], "x")),
        Err(ExecuteError::Decision(AccountError::Deleted))
    ));
    assert_eq!(users.version("u").unwrap(), 4, "a refusal appends nothing");
}
