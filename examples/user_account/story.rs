//! One account from its creation to its deletion: execute, a refusal, a conflict, time travel, the audit trail.

use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{ExecuteError, Expected, Metadata, Store};
use serde::Serialize;

use crate::domain::{AccountError, Changes, User, UserEvent};

/// What the story showed.
#[derive(Serialize)]
pub struct Story {
    pub refusal: String,
    pub conflict: ConflictSeen,
    pub time_travel: TimeTravel,
    pub audit_trail: Vec<Entry>,
}

/// An append that came too late.
#[derive(Serialize)]
pub struct ConflictSeen {
    pub message: String,
    pub actual_version: u64,
}

/// The account as it is now, and as it was.
#[derive(Serialize)]
pub struct TimeTravel {
    pub now: Seen,
    pub to_version: Seen,
    pub time: DateTime<Utc>,
    pub to_time: Seen,
}

/// A state at a version.
#[derive(Serialize)]
pub struct Seen {
    pub version: u64,
    pub state: User,
}

/// An event, and who caused it from where.
#[derive(Serialize)]
pub struct Entry {
    pub version: u64,
    pub event_type: String,
    pub created_at: DateTime<Utc>,
    pub metadata: Metadata,
}

pub fn tell(store: &Store, user_id: &str) -> Result<Story, Box<dyn Error>> {
    // A handle carries the metadata of a request: who, and from where. Each event that it appends gets it.
    let users = store.aggregates::<User>();
    let as_ada = users.with_metadata(&Metadata::new().user_id("u-ada").username("ada").ip_address("192.0.2.7"))?;
    let as_admin = users.with_metadata(&Metadata::new().user_id("u-root").username("root").correlation_id("ticket-4711"))?;

    // execute: load the state, decide, append; tried again if another writer came in between.
    as_ada.execute(user_id, |user| user.create("ada", "ada@example.com", "Ada Lovelace"))?;
    let email = Some("countess@example.com".to_owned());
    as_ada.execute(user_id, |user| user.update(Changes { email: email.clone(), ..Changes::default() }))?;
    as_admin.execute(user_id, |user| user.lock("too many failures", 5, Utc::now() + TimeDelta::minutes(15)))?;

    // A refusal is the application's own error, and nothing is written.
    let refusal = match as_ada.execute(user_id, |user| user.log_in("192.0.2.7", Utc::now())) {
        Err(ExecuteError::Decision(error @ AccountError::Locked { .. })) => error.to_string(),
        Err(other) => return Err(other.into()),
        Ok(_) => "(a locked account logged in, which must not be)".to_owned(),
    };

    as_admin.execute(user_id, |user| user.unlock("u-root"))?;
    as_ada.execute(user_id, |user| user.log_in("192.0.2.7", Utc::now()))?;
    let conflict = conflict(store, user_id)?;
    as_admin.execute(user_id, |user| user.assign_roles(&["member", "editor"], "u-root"))?;
    as_admin.execute(user_id, |user| user.delete("u-root"))?;

    Ok(Story { refusal, conflict, time_travel: travel(store, user_id)?, audit_trail: audit_trail(store, user_id)? })
}

/// Two writers read the same version; the first one appends, so the second one's append is refused.
fn conflict(store: &Store, user_id: &str) -> Result<ConflictSeen, Box<dyn Error>> {
    let users = store.aggregates::<User>();
    let read = users.replay(user_id)?.version;
    users.append(user_id, read, [UserEvent::PasswordChanged { changed_by: "u-ada".to_owned() }])?;
    match users.append(user_id, Expected::Exactly(read), [UserEvent::PasswordChanged { changed_by: "u-root".to_owned() }]) {
        Err(error) => match error.conflict() {
            Some(conflict) => Ok(ConflictSeen { message: error.to_string(), actual_version: conflict.actual.get() }),
            None => Err(error.into()),
        },
        Ok(_) => Ok(ConflictSeen { message: "(none, which must not be)".to_owned(), actual_version: 0 }),
    }
}

fn travel(store: &Store, user_id: &str) -> Result<TimeTravel, Box<dyn Error>> {
    let users = store.aggregates::<User>();
    let now = users.replay(user_id)?;
    let first = users.replay_to_version(user_id, 1)?;
    // The moment at which the account was locked, taken from the event itself.
    let locked = users.history(user_id).find(|event| event.as_ref().is_ok_and(|event| &*event.event_type == "AccountLocked"));
    let time = locked.transpose()?.map_or(DateTime::UNIX_EPOCH, |event| event.created_at);
    let then = users.replay_to_time(user_id, time)?;
    Ok(TimeTravel {
        now: Seen { version: now.version.get(), state: now.state },
        to_version: Seen { version: first.version.get(), state: first.state },
        time,
        to_time: Seen { version: then.version.get(), state: then.state },
    })
}

fn audit_trail(store: &Store, user_id: &str) -> Result<Vec<Entry>, Box<dyn Error>> {
    let mut entries = Vec::new();
    for event in store.aggregates::<User>().history(user_id) {
        let event = event?;
        entries.push(Entry {
            version: event.version.get(),
            event_type: event.event_type.to_string(),
            created_at: event.created_at,
            metadata: event.metadata()?,
        });
    }
    Ok(entries)
}
