//! A power cut at any moment of a history with an outbox, a handler and projections: what left the process is in the log,
//! nothing that is to leave it is forgotten, and read models say what the log says.
//!
//! Checkpoints, leases and marks wait for no disk, whatever the store's durability. This shows that it is harmless.

mod history;
mod ledger;
pub mod read_models;
mod told;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use foldlog::{Clock, Durability, Error, ErrorKind, Filter, Message, PublishError, RecordedEvent, Store};

use super::powercut::{PATH, goes_on};
use crate::support::disk::Disk;
use crate::support::disk::power::Image;
use crate::support::model::{self, Row, World};
use crate::support::outcome::Outcome;
use crate::support::random::Random;
use history::{HANDLER, History, LEASE, OUTBOX, handler, outbox};
use ledger::{Answer, Entry, Seen};
use read_models::{Totals, folded, stored};
use told::{Log, Told};

/// Images of each recorded history; then another history.
const IMAGES_EACH: u64 = 40;

/// Opens this many images.
pub fn run(durability: Durability, images: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let (work, ruin) = (Disk::new(), Disk::new());
    while outcome.rounds < images {
        let history = History::make(&work, durability, &mut random);
        outcome.count("histories", 1);
        let count = IMAGES_EACH.min(images - outcome.rounds);
        history.recording.try_images(count, &mut random, &mut outcome, |image, outcome| {
            Afterlife { history: &history, image, durability }.check(&ruin, outcome)
        });
    }
    outcome.time = began.elapsed();
    outcome
}

/// A subscription's row, as the image has it.
struct Stand {
    position: u64,
    version: u32,
    generation: u64,
    rebuild_version: Option<u32>,
    rebuild_position: Option<u64>,
    is_led: bool,
}

type Stands = HashMap<String, Stand>;

/// What an image holds, and what comes of it.
struct Afterlife<'a> {
    history: &'a History,
    image: &'a Image,
    durability: Durability,
}

fn said(error: Error) -> String {
    format!("{error:?}")
}

fn events(store: &Store) -> Result<Vec<RecordedEvent>, String> {
    store.read(Filter::new().all_tenants()).collect::<Result<_, _>>().map_err(said)
}

fn stands(store: &Store) -> Result<Stands, String> {
    let sql = "SELECT name, position, version, generation, rebuild_version, rebuild_position, leader IS NOT NULL
               FROM subscriptions";
    let stand = |row: &foldlog::rusqlite::Row<'_>| {
        let stand = Stand {
            position: row.get(1)?,
            version: row.get(2)?,
            generation: row.get(3)?,
            rebuild_version: row.get(4)?,
            rebuild_position: row.get(5)?,
            is_led: row.get(6)?,
        };
        Ok((row.get(0)?, stand))
    };
    Ok(store.query_read_model(sql, [], stand).map_err(said)?.into_iter().collect())
}

/// Nobody of the first life leads any more: what each runner would find out by itself after a lease.
fn depose(store: &Store, stands: &Stands) {
    for (name, _) in stands.iter().filter(|(_, stand)| stand.is_led) {
        for filter in [Filter::new(), Filter::new().all_tenants()] {
            let _ = store.subscription(name).filter(filter).break_lease();
        }
    }
}

impl Afterlife<'_> {
    fn check(&self, disk: &Disk, outcome: &mut Outcome) -> Result<(), String> {
        disk.load(&self.image.files);
        // An hour later by the store's clock, so that every retry is due.
        let later = Clock::fixed("2026-01-01T01:00:00Z".parse().expect("a time"));
        let store = model::options(self.durability)
            .clock(later)
            .vfs(disk.name())
            .open(PATH)
            .map_err(|error| format!("does not open: {error:?}, {} entries", self.image.promised))?;
        let log = Log::of(events(&store)?);
        let world = self.log_as_before(&store, &log)?;
        let stands = stands(&store)?;
        self.read_models_as_before(&store, &log, &stands)?;
        let told = self.tell(&log)?;
        outcome.count("events", log.events.len() as u64);

        // The new life: there is an event more, and then everybody comes to the end.
        depose(&store, &stands);
        // Projections that the image knows nothing of begin as in any new file.
        let inline = stands.contains_key(Totals::INLINE);
        if inline {
            store.project_inline(Totals::inline(self.history.version)).map_err(|error| format!("inline: {error:?}"))?;
        }
        goes_on(&store, world)?;
        let log = Log::of(events(&store)?);
        if inline {
            self.same(&store, Totals::INLINE, &log, self.history.version)?;
        }
        if let Some(stand) = stands.get(Totals::FOLLOWING) {
            self.follow_on(&store, &log, stand)?;
        }
        handle_on(&store, &log, stands.get(HANDLER), &told)?;
        self.publish_on(&store, &log, told, outcome)
    }

    fn entries(&self) -> &[Entry] {
        &self.history.entries[..self.image.promised as usize]
    }

    /// Everything acknowledged is there (durable), or a beginning of it (fast), byte for byte; verify is clean.
    fn log_as_before(&self, store: &Store, log: &Log) -> Result<&World, String> {
        let committed = self.entries().iter().rev().find_map(|entry| match entry {
            Entry::Committed(world) => Some(*world),
            _ => None,
        });
        let promised = committed.unwrap_or(0);
        let least = if self.durability == Durability::Durable { promised } else { 0 };
        let last = store.last_position().map_err(said)?;
        let world = self.history.worlds[least..].iter().find(|world| world.last_position == last.get());
        let promised = self.history.worlds[promised].last_position;
        let world = world.ok_or_else(|| format!("it is at position {last}, {promised} was promised"))?;
        let rows: Vec<Row> = log.events.iter().map(Row::of).collect();
        match model::difference_to(store, &rows, world) {
            None => Ok(world),
            Some(difference) => Err(format!("at position {last}, {promised} was promised: {difference}")),
        }
    }

    /// Checkpoint and rows agree, and what came with the appends is where the log is.
    fn read_models_as_before(&self, store: &Store, log: &Log, stands: &Stands) -> Result<(), String> {
        let last = log.events.len() as u64;
        if let Some((name, stand)) = stands.iter().find(|(_, stand)| stand.position > last) {
            return Err(format!("{name} is at {}, the log at {last}", stand.position));
        }
        for name in [Totals::INLINE, Totals::FOLLOWING] {
            let Some(stand) = stands.get(name) else { continue };
            // Between its row and its tables a projection is made in two commits.
            let made = stand.position > 0 || store.query_read_model(&format!("SELECT 1 FROM {name}"), [], |_| Ok(())).is_ok();
            if made && stored(store, name).map_err(said)? != folded(&log.events[..stand.position as usize], stand.version) {
                return Err(format!("{name}: the rows are not those of position {}, version {}", stand.position, stand.version));
            }
        }
        let inline = stands.get(Totals::INLINE).map_or(0, |stand| stand.position);
        if self.history.inline_after.is_some_and(|after| last > after) && inline != last {
            return Err(format!("{} is at {inline}, the log at {last}", Totals::INLINE));
        }
        self.built_stays(stands)
    }

    /// Durable: a rebuild that has returned is not lost.
    fn built_stays(&self, stands: &Stands) -> Result<(), String> {
        for entry in self.entries() {
            let Entry::Built { name, generation } = entry else { continue };
            let now = stands.get(*name).map_or(0, |stand| stand.generation);
            if self.durability == Durability::Durable && now < *generation {
                return Err(format!("{name}: generation {generation} was there, now it is {now}"));
            }
        }
        Ok(())
    }

    /// What the first life handed out: all of it is in the log.
    fn tell(&self, log: &Log) -> Result<Told, String> {
        let mut told = Told::new(self.history.policy, self.durability == Durability::Durable);
        self.entries().iter().try_for_each(|entry| told.take(entry, log)).map(|()| told)
    }

    fn same(&self, store: &Store, name: &str, log: &Log, version: u32) -> Result<(), String> {
        let rows = stored(store, name).map_err(said)?;
        match rows == folded(&log.events, version) {
            true => Ok(()),
            false => Err(format!("{name}: in the end it is not what the log gives")),
        }
    }

    /// To the end, by a rebuild where one is due; one that was interrupted goes on or begins again.
    fn follow_on(&self, store: &Store, log: &Log, stand: &Stand) -> Result<(), String> {
        let (name, version) = (Totals::FOLLOWING, self.history.version);
        let runner = store.projection(Totals::following(version)).map_err(said)?.lease(LEASE);
        let outdated = stand.version != version;
        let building = stand.rebuild_version.is_some();
        match runner.run_to_end() {
            Ok(_) if !outdated => {}
            Err(error) if outdated && error.kind() == ErrorKind::ProjectionOutdated => {}
            other => return Err(format!("{name}: outdated {outdated}, and running gave {other:?}")),
        }
        if !outdated {
            self.same(store, name, log, version)?;
        }
        if !outdated && !building {
            return Ok(());
        }
        let built = stand.rebuild_position.filter(|_| stand.rebuild_version == Some(version));
        let done = runner.rebuild(|_| ControlFlow::Continue(())).map_err(|error| format!("{name}: {error:?}"))?;
        let left = log.events.len() as u64 - built.unwrap_or(0);
        if !done.finished || done.events != left {
            return Err(format!("{name}: the rebuild took {} events, {left} were left: {done:?}", done.events));
        }
        let shadows = store.query_read_model("SELECT name FROM sqlite_schema WHERE name LIKE '%rebuild%'", [], |_| Ok(()));
        if !shadows.map_err(said)?.is_empty() {
            return Err(format!("{name}: tables of the rebuild are left over"));
        }
        self.same(store, name, log, version)
    }

    /// Everything that was not published is, nothing is skipped, and no dead letter is lost.
    fn publish_on(&self, store: &Store, log: &Log, mut told: Told, outcome: &mut Outcome) -> Result<(), String> {
        publish(store, self.history, log, &mut told, self.durability)?;
        let status = store.outbox(OUTBOX).filter(history::wanted()).status().map_err(said)?;
        let unpublished = told.unpublished(log).count() as u64;
        if status.lag > 0 || status.to_retry > 0 || unpublished > status.dead + status.waiting {
            return Err(format!("outbox: {unpublished} events were never published: {status:?}"));
        }
        if status.dead > 0 {
            let letters = store.outbox(OUTBOX).filter(history::wanted()).dead_letters().map_err(said)?;
            outcome.count("dead letters", letters.retry_all().map_err(said)?);
            told.take(&Entry::Reviving, log)?;
            publish(store, self.history, log, &mut told, self.durability)?;
        }
        let status = store.outbox(OUTBOX).filter(history::wanted()).status().map_err(said)?;
        if let Some(position) = told.unpublished(log).next() {
            return Err(format!("outbox: event {position} was never published: {status:?}"));
        }
        match (status.lag, status.to_retry, status.waiting, status.dead) {
            (0, 0, 0, 0) => Ok(()),
            _ => Err(format!("outbox: something is left over: {status:?}")),
        }
    }
}

/// Runs the outbox to its end; now the outside world takes everything.
fn publish(store: &Store, history: &History, log: &Log, told: &mut Told, durability: Durability) -> Result<(), String> {
    let mut entries = Vec::new();
    let publisher = |message: &Message<'_>| -> Result<(), PublishError> {
        let event = Seen::of(message.event);
        entries.push(Entry::Published { event, attempt: message.attempt, answer: Answer::Taken });
        Ok(())
    };
    outbox(store, history.policy).publisher(publisher).run_to_end().map_err(|error| format!("outbox: {error:?}"))?;
    for entry in &entries {
        if let Entry::Published { event, .. } = entry
            && durability == Durability::Durable
            && told.discarded.contains(&event.position)
        {
            return Err(format!("outbox: event {} was discarded and came again", event.position));
        }
        told.take(entry, log)?;
    }
    Ok(())
}

/// The handler gets what comes after its checkpoint, in order, and has had what came before.
fn handle_on(store: &Store, log: &Log, stand: Option<&Stand>, told: &Told) -> Result<(), String> {
    let checkpoint = stand.map_or(0, |stand| stand.position);
    told.has_handled(log, checkpoint)?;
    let mut handled = Vec::new();
    let run = handler(store).run_to_end(|event| {
        handled.push((event.position, event.id));
        Ok(())
    });
    run.map_err(|error| format!("handler: {error:?}"))?;
    let left = log.wanted().filter(|event| event.position > checkpoint).map(|event| (event.position, event.id));
    match left.eq(handled) {
        true => Ok(()),
        false => Err(format!("handler: it did not get what comes after {checkpoint}")),
    }
}
