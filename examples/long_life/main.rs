//! Five years of an application on one file: three versions of its types, an archive, somebody who is forgotten, a backup
//! and a restore. It checks itself.
//!
//! `cargo run --example long_life`
//!
//! `first.rs`, `second.rs` and `third.rs` are the three versions: what their programs know of a customer, and the upcasters
//! that read what earlier ones stored.

mod first;
mod second;
mod third;

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use foldlog::{Annotated, Archive, Erase, ErrorKind, Expected, Options, SnapshotReason, Store, Upcasters};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CUSTOMERS: u64 = 10;
const PAYMENTS_A_YEAR: u64 = 100;
const YEAR: i64 = 365;
/// Who asks to be forgotten, and who only takes the address back.
const FORGOTTEN: &str = "c-3";
const WITHDRAWN: &str = "c-4";

fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("customers.db");

    five_years_ago(&path)?;
    println!("first version    {CUSTOMERS} customers, amounts in euros");
    three_years_ago(&path)?;
    println!("second version   goes on in cents, and reads the euros of the first");

    let store = open(&path, third::upcasters())?;
    last_year(&store)?;
    let mut expected = expected();
    same(&store, &expected)?;
    println!("third version    reads all of it in its own shape");

    archive(&store)?;
    same(&store, &expected)?;

    forget(&store, directory.path())?;
    expected.remove(FORGOTTEN);
    if let Some(withdrawn) = expected.get_mut(WITHDRAWN) {
        withdrawn.email.clear();
    }
    same(&store, &expected)?;

    let kept = directory.path().join("kept/customers.db");
    std::fs::create_dir(directory.path().join("kept"))?;
    store.backup(&kept, |_| ControlFlow::Continue(()))?;
    let later = store.aggregates::<third::Customer>();
    later.append("c-0", Expected::Existing, [third::CustomerEvent::Paid { cents: 1 }])?;
    drop((later, store));

    // The disk is lost: both files of the store are gone, and the backup takes their place.
    for lost in ["customers.db", "customers.db.archive"] {
        std::fs::remove_file(directory.path().join(lost))?;
    }
    Store::restore(&kept, &path, |_| ControlFlow::Continue(()))?;
    let restored = open(&path, third::upcasters())?;
    same(&restored, &expected)?;
    let report = restored.maintenance().verify(|_| ControlFlow::Continue(()))?;
    check(report.is_clean(), "the restored file is damaged")?;
    println!("restored         {} events, as they were at the backup", report.events);
    Ok(())
}

fn open(path: &Path, upcasters: Upcasters) -> Outcome<Store> {
    Ok(Options::new().upcasters(upcasters)?.open(path)?)
}

fn customers() -> impl Iterator<Item = String> {
    (0..CUSTOMERS).map(|n| format!("c-{n}"))
}

fn years_ago(years: i64) -> DateTime<Utc> {
    Utc::now() - Duration::days(years * YEAR)
}

/// A year's payments, each with the time at which it was made.
fn payments<E>(years: i64, event: impl Fn(u64) -> E) -> Vec<Annotated<E>> {
    let paid = |n: u64| Annotated::new(event(n)).created_at(years_ago(years) + Duration::days(n as i64));
    (1..=PAYMENTS_A_YEAR).map(paid).collect()
}

fn five_years_ago(path: &Path) -> Outcome<()> {
    let customers_then = Store::open(path)?.aggregates::<first::Customer>();
    for (n, id) in customers().enumerate() {
        let registered = first::CustomerEvent::Registered { name: format!("Name {n}"), mail: format!("{id}@example.org") };
        customers_then.append(&id, Expected::New, [Annotated::new(registered).created_at(years_ago(5))])?;
        customers_then.append(&id, Expected::Existing, payments(5, |n| first::CustomerEvent::Paid { euros: n as f64 / 4.0 }))?;
    }
    Ok(())
}

fn three_years_ago(path: &Path) -> Outcome<()> {
    let customers_then = open(path, second::upcasters())?.aggregates::<second::Customer>();
    for id in customers() {
        customers_then.append(&id, Expected::Existing, payments(3, |n| second::CustomerEvent::Paid { cents: 100 * n as i64 }))?;
    }
    Ok(())
}

fn last_year(store: &Store) -> Outcome<()> {
    let customers_now = store.aggregates::<third::Customer>();
    for id in customers() {
        customers_now.append(&id, Expected::Existing, payments(1, |n| third::CustomerEvent::Paid { cents: n as i64 }))?;
    }
    Ok(())
}

/// What every customer must be, without the store.
fn expected() -> BTreeMap<String, third::Customer> {
    let sum: i64 = (1..=PAYMENTS_A_YEAR as i64).map(|n| n * 25 + n * 100 + n).sum();
    let customer = |(n, id): (usize, String)| {
        let (name, email, country) = (format!("Name {n}"), format!("{id}@example.org"), "unknown".to_owned());
        (id, third::Customer { name, email, country, paid_cents: sum })
    };
    customers().enumerate().map(customer).collect()
}

/// Compares every customer, from snapshots and from all events.
fn same(store: &Store, expected: &BTreeMap<String, third::Customer>) -> Outcome<()> {
    let customers_now = store.aggregates::<third::Customer>();
    for id in customers() {
        for handle in [customers_now.clone(), customers_now.without_snapshots()] {
            let found = match handle.replay(&id) {
                Ok(replayed) => Some(replayed.state),
                Err(error) if error.kind() == ErrorKind::Erased => None,
                Err(error) => return Err(error.into()),
            };
            let wanted = expected.get(&id);
            check(found.as_ref() == wanted, &format!("{id} is {found:?}, not {wanted:?}"))?;
        }
    }
    Ok(())
}

/// Moves what is older than two years to the second file.
fn archive(store: &Store) -> Outcome<()> {
    let customers_now = store.aggregates::<third::Customer>();
    for id in customers() {
        customers_now.create_snapshot(&id, SnapshotReason::Manual)?;
    }
    let report = store.maintenance().archive(Archive::default())?;
    check(report.events_archived > 0, "nothing was archived")?;
    println!("archive          {} events older than two years are in the second file", report.events_archived);
    Ok(())
}

/// Forgets one customer, and the address of another one.
fn forget(store: &Store, directory: &Path) -> Outcome<()> {
    let addresses = [FORGOTTEN, WITHDRAWN].map(|id| format!("{id}@example.org"));
    check(addresses.iter().all(|address| is_in_files(directory, address)), "the addresses were not in the files")?;
    let maintenance = store.maintenance();
    maintenance.erase(Erase::aggregate("customer", FORGOTTEN).by("support").reason("asked for it"))?;
    // Its events are stored in the shape of the first version.
    let report = maintenance.erase(Erase::fields_of("customer", WITHDRAWN).field("/mail").by("support"))?;
    check(report.events == 1, "not exactly one event held the address")?;
    check(!addresses.iter().any(|address| is_in_files(directory, address)), "an address is still in a file")?;
    println!("erasure          {FORGOTTEN} and the address of {WITHDRAWN}: no file holds their bytes any more");
    Ok(())
}

fn is_in_files(directory: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let contents = files.filter_map(|file| std::fs::read(file.path()).ok());
    contents.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

fn check(holds: bool, otherwise: &str) -> Outcome<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
