//! Two versions of an application on one file: what the first one stored, the second one reads in its own shape.
//!
//! `cargo run --example schema_evolution`
//!
//! `first.rs` is the application as it was, `today.rs` as it is now: its types, and the upcasters that lead to them.

mod first;
mod today;

use std::error::Error;

use foldlog::{ErrorKind, Expected, Options, Query, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("users.db");

    let users = Store::open(&path)?.aggregates::<first::User>();
    users.append("u-1", Expected::New, first::a_users_life())?;
    drop(users);

    let store = Options::new().upcasters(today::upcasters())?.open(&path)?;
    let users = store.aggregates::<today::User>();
    users.append("u-1", Expected::Existing, [today::UserEvent::PhoneVerified])?;

    println!("As it is stored:");
    for event in store.read(Query::new().as_stored()) {
        let event = event?;
        println!("  {:<16} {} {}", event.event_type, event.schema_version, event.data.as_str());
    }
    println!("\nAs today's program reads it:");
    for event in store.read(Query::new()) {
        let event = event?;
        println!("  {:<16} {} {}", event.event_type, event.schema_version, event.data.as_str());
    }
    let user = users.replay("u-1")?.state;
    println!("\nAs it folds it:\n  {user:?}");
    let expected = today::User {
        email: "countess@example.com".to_owned(),
        phone: "+44 20 7946 0000".to_owned(),
        phone_is_verified: true,
        credit_cents: 1_250,
    };
    check(user == expected, "the state is not what the first version's events say")?;

    // The first version does not know what came after it, and says so.
    let old = Store::open(&path)?.json_aggregates("user");
    users.append("u-2", Expected::New, [today::UserEvent::registered("ada@example.com")])?;
    let error = old.replay("u-2").err().ok_or("the first version has read an event that it cannot know")?;
    println!("\nWhat the first version says of a new user:\n  {error}");
    check(error.kind() == ErrorKind::SchemaVersionTooNew, "that is another error than expected")
}

fn check(holds: bool, otherwise: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
