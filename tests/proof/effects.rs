//! Events, a projection's tables and its checkpoint: all or nothing, whichever call to the disk is the last one.
//!
//! The disk fails from one call on, at each call in turn, and the process ends there: what it left is opened by another.

use std::collections::BTreeMap;
use std::time::Instant;

use foldlog::rusqlite::params;
use foldlog::{Durability, Error, Expected, HandlerError, NewEvent, Projection, Query, ReadModel, RecordedEvent, Store};

use crate::support::disk::{Disk, Fault, Files};
use crate::support::model;
use crate::support::outcome::Outcome;

const PATH: &str = "/disk/store.db";
/// Events that are there before; as many are appended under an inline projection.
const EVENTS: u64 = 6;

struct Sums;

impl Projection for Sums {
    fn name(&self) -> &str {
        "sums"
    }

    fn tables(&self) -> Vec<String> {
        vec!["sums".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {sums} (id TEXT PRIMARY KEY, total INTEGER NOT NULL) STRICT")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let sql = "INSERT INTO {sums} VALUES (?1, ?2) ON CONFLICT DO UPDATE SET total = total + ?2";
        model.execute(sql, params![&*event.aggregate_id, event.position.get()])?;
        Ok(())
    }
}

fn append(store: &Store, events: u64) -> Result<(), Error> {
    for n in 0..events {
        store.append("counter", format!("c-{}", n % 3), Expected::Any, [NewEvent::new("Counted", &n)?])?;
    }
    Ok(())
}

/// How the projection runs.
#[derive(Clone, Copy, Debug)]
enum Way {
    Inline,
    Following,
}

impl Way {
    fn work(self, store: &Store) -> Result<(), Error> {
        match self {
            Way::Inline => store.project_inline(Sums).and_then(|()| append(store, EVENTS)),
            Way::Following => store.projection(Sums)?.run_to_end().map(drop),
        }
    }
}

pub fn run() -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(0);
    let (disk, copy) = (Disk::new(), Disk::new());
    append(&open(&disk).expect("the disk is sound"), EVENTS).expect("the disk is sound");
    let before = disk.files();
    for way in [Way::Inline, Way::Following] {
        for at in 0.. {
            disk.load(&before);
            disk.fail(Fault { at, sticky: true, full: false });
            // How it ends is for others to test.
            let _ = open(&disk).and_then(|store| way.work(&store));
            let (calls, _) = disk.heal();
            outcome.rounds += 1;
            if let Err(violation) = check(&copy, &disk.files(), way) {
                outcome.violation(format!("{way:?}, dead at call {at}: {violation}"));
            }
            if at >= calls {
                outcome.count("calls", calls);
                break;
            }
        }
    }
    outcome.time = began.elapsed();
    outcome
}

fn open(disk: &Disk) -> Result<Store, Error> {
    model::options(Durability::Durable).vfs(disk.name()).open(PATH)
}

/// What another process finds, and how it goes on.
fn check(copy: &Disk, files: &Files, way: Way) -> Result<(), String> {
    copy.load(files);
    let store = open(copy).map_err(|error| format!("does not open: {error:?}"))?;
    is_one_moment(&store, way)?;
    // The dead one may still have the lead.
    let go_on = store.projection(Sums).and_then(|runner| runner.break_lease().and_then(|_| runner.run_to_end()));
    go_on.map_err(|error| format!("does not go on: {error:?}"))?;
    is_one_moment(&store, way)?;
    let last = store.last_position().map_err(|error| format!("{error:?}"))?;
    let reached = store.subscriptions().map_err(|error| format!("{error:?}"))?.first().map(|status| status.position);
    if reached == Some(last) { Ok(()) } else { Err(format!("the projection ends at {reached:?}, the log at {last}")) }
}

/// The tables hold exactly the events up to the checkpoint; and inline, the checkpoint is the newest event.
fn is_one_moment(store: &Store, way: Way) -> Result<(), String> {
    let failed = |error: Error| format!("{error:?}");
    let statuses = store.subscriptions().map_err(failed)?;
    let position = statuses.first().map_or(0, |status| status.position.get());
    let last = store.last_position().map_err(failed)?.get();
    if matches!(way, Way::Inline) && last > EVENTS && position != last {
        return Err(format!("the newest event is {last}, the inline projection stands at {position}"));
    }
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for event in store.read(Query::new().up_to_position(position)) {
        let event = event.map_err(failed)?;
        *wanted.entry(event.aggregate_id.to_string()).or_default() += event.position.get();
    }
    let is_made = "SELECT count(*) FROM sqlite_schema WHERE name = 'sums'";
    let is_made: Vec<u64> = store.query_read_model(is_made, [], |row| row.get(0)).map_err(failed)?;
    let rows: Vec<(String, u64)> = match is_made[..] {
        [0] => Vec::new(),
        _ => store
            .query_read_model("SELECT id, total FROM sums ORDER BY id", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(failed)?,
    };
    match wanted.into_iter().eq(rows.iter().cloned()) {
        true => Ok(()),
        false => Err(format!("the tables are not those of position {position}: {rows:?}")),
    }
}
