//! How long a replay takes: of every event, and from a snapshot.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{Aggregates, SnapshotReason, Store};
use serde::Serialize;
use uuid::Uuid;

use crate::domain::{Changes, User, UserEvent};

/// Events that a replay finds after the newest snapshot.
const AFTER_SNAPSHOT: u64 = 50;
/// Events appended in one transaction.
const AT_ONCE: u64 = 1_000;
/// A figure is the median of this many runs, or of as many as fit into the budget.
const RUNS: std::ops::RangeInclusive<usize> = 5..=201;
const BUDGET: Duration = Duration::from_millis(500);

/// What the original system states for itself; it was not measured here.
/// (events, full replay, replay with a snapshot), in microseconds.
const ORIGINAL_CLAIM: [(u64, f64, f64); 3] =
    [(100, 50_000.0, 5_000.0), (1_000, 500_000.0, 5_000.0), (5_000, 2_500_000.0, 5_000.0)];

/// Replays of one account.
#[derive(Serialize)]
pub struct Timing {
    pub events: u64,
    pub full_us: f64,
    pub snapshot_us: f64,
    pub events_after_snapshot: u64,
    pub original_claim_full_us: Option<f64>,
    pub original_claim_snapshot_us: Option<f64>,
}

/// Makes an account with so many events and measures.
pub fn measure(store: &Store, events: u64) -> foldlog::Result<Timing> {
    let users = store.aggregates::<User>();
    let user_id = format!("user-{}", Uuid::new_v4());
    append(&users, &user_id, 0..events.saturating_sub(AFTER_SNAPSHOT).max(1))?;
    users.create_snapshot(&user_id, SnapshotReason::Manual)?;
    append(&users, &user_id, users.version(&user_id)?.get()..events)?;

    let full = users.without_snapshots();
    let from_first = full.replay(&user_id)?;
    let from_snapshot = users.replay(&user_id)?;
    assert_eq!(from_first.state, from_snapshot.state, "a snapshot must never change the result");
    assert_eq!(from_first.events_folded, events, "a full replay folds every event");
    let claim = ORIGINAL_CLAIM.iter().find(|claim| claim.0 == events);
    Ok(Timing {
        events,
        full_us: median_us(|| full.replay(&user_id).map(drop))?,
        snapshot_us: median_us(|| users.replay(&user_id).map(drop))?,
        events_after_snapshot: from_snapshot.events_folded,
        original_claim_full_us: claim.map(|claim| claim.1),
        original_claim_snapshot_us: claim.map(|claim| claim.2),
    })
}

fn append(users: &Aggregates<User>, user_id: &str, numbers: std::ops::Range<u64>) -> foldlog::Result<()> {
    let mut next = numbers.start;
    while next < numbers.end {
        let end = numbers.end.min(next + AT_ONCE);
        users.append(user_id, next, (next..end).map(event))?;
        next = end;
    }
    Ok(())
}

/// The n-th event of a long-lived account: mostly logins, now and then something else.
fn event(n: u64) -> UserEvent {
    let at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(n as i64);
    let admin = || "u-root".to_owned();
    match n {
        0 => UserEvent::UserCreated {
            username: "ada".to_owned(),
            email: "ada@example.com".to_owned(),
            full_name: "Ada Lovelace".to_owned(),
            phone: Some("+44 20 7946 0018".to_owned()),
            tenant_id: None,
            role_ids: vec!["member".to_owned()],
        },
        _ => match n % 10 {
            3 => UserEvent::UserUpdated(Changes { email: Some(format!("ada+{n}@example.com")), ..Changes::default() }),
            5 => UserEvent::PasswordChanged { changed_by: "u-ada".to_owned() },
            6 => UserEvent::AccountLocked {
                reason: "too many failures".to_owned(),
                login_attempts: 5,
                locked_until: at + TimeDelta::minutes(15),
            },
            7 => UserEvent::AccountUnlocked { unlocked_by: admin() },
            9 => UserEvent::RolesAssigned { role_ids: vec!["member".to_owned(), format!("project-{n}")], assigned_by: admin() },
            _ => UserEvent::LoginInfoUpdated { ip_address: format!("192.0.2.{}", n % 256), login_at: at },
        },
    }
}

/// The median time of a call in microseconds, to a tenth.
fn median_us(mut call: impl FnMut() -> foldlog::Result<()>) -> foldlog::Result<f64> {
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < *RUNS.start() || (times.len() < *RUNS.end() && started.elapsed() < BUDGET) {
        let before = Instant::now();
        call()?;
        times.push(before.elapsed());
    }
    times.sort();
    let median = times.get(times.len() / 2).map_or(0, Duration::as_nanos);
    Ok((median as f64 / 100.0).round() / 10.0)
}
