//! A store under work, and what Prometheus gets to see of it.
//!
//!     cargo run --example metrics --features prometheus                              works once, prints the metrics
//!     cargo run --example metrics --features prometheus -- --serve 127.0.0.1:9464    goes on working and serves them
//!
//! `--db PATH` uses that file in place of a temporary one.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use foldlog::{Aggregate, Aggregates, Query, SnapshotReason, Store};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Opened { owner: String },
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    owner: String,
    cents: u64,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Opened { owner } => self.owner = owner,
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
        }
    }
}

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments = Arguments::read()?;
    let metrics = foldlog::prometheus::install()?;
    let directory = tempfile::tempdir()?;
    let store = Store::open(arguments.db.unwrap_or_else(|| directory.path().join("metrics.db")))?;

    work(&store)?;
    let Some(address) = arguments.serve else {
        print!("{}", metrics.render());
        return Ok(());
    };
    let server = metrics.serve(address.as_str())?;
    println!("http://{}/metrics", server.address());
    loop {
        std::thread::sleep(Duration::from_millis(200));
        work(&store)?;
    }
}

/// A little of everything that is measured.
fn work(store: &Store) -> Outcome {
    let accounts = store.aggregates::<Account>();
    for id in ["acc-1", "acc-2", "acc-3"] {
        open(&accounts, id)?;
        accounts.append(id, accounts.version(id)?, (1..=40).map(|cents| AccountEvent::Deposited { cents }))?;
        withdraw_with_interference(&accounts, id)?;
        accounts.replay(id)?;
        accounts.without_snapshots().replay(id)?;
    }
    accounts.create_snapshot("acc-1", SnapshotReason::Manual)?;
    // No such account: a failed replay.
    if accounts.replay("acc-9").is_ok() {
        return Err("acc-9 was never opened".into());
    }
    for event in store.read(Query::new().newest_first().limit(5)) {
        let event = event?;
        // Stands for the mail, the audit trail or the message broker of an application.
        store.run_handler("audit", &event, |event| std::hint::black_box(event.data.as_str().len()));
    }
    store.maintenance().checkpoint()?;
    Ok(())
}

fn open(accounts: &Aggregates<Account>, id: &str) -> Outcome {
    accounts.execute(id, |account| account.owner.is_empty().then(|| AccountEvent::Opened { owner: "Ada".to_owned() }))?;
    Ok(())
}

/// While the decision is made somebody else deposits: a conflict, which `execute` settles by deciding again.
fn withdraw_with_interference(accounts: &Aggregates<Account>, id: &str) -> Outcome {
    let mut interfered = false;
    accounts.execute(id, |account| -> Result<Option<AccountEvent>, foldlog::Error> {
        if !interfered {
            interfered = true;
            accounts.append(id, accounts.version(id)?, [AccountEvent::Deposited { cents: 1 }])?;
        }
        Ok((account.cents >= 10).then_some(AccountEvent::Withdrawn { cents: 10 }))
    })?;
    Ok(())
}

#[derive(Default)]
struct Arguments {
    serve: Option<String>,
    db: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--serve" => arguments.serve = Some(value()?),
                "--db" => arguments.db = Some(value()?.into()),
                _ => return Err("usage: metrics [--serve ADDRESS] [--db PATH]".into()),
            }
        }
        Ok(arguments)
    }
}
