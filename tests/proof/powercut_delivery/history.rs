//! Work on a store with everything that delivers, and all that the disk was asked for meanwhile.

use std::ops::ControlFlow;
use std::time::Duration;

use foldlog::{
    Aggregate, DeadLetterPolicy, Durability, ErrorKind, Filter, Message, Outbox, PublishError, RecordedEvent, Store, Subscription,
};

use super::super::powercut::{PATH, checkpoint};
use super::ledger::{Answer, Entry, Ledger, Seen};
use super::read_models::Totals;
use crate::support::disk::Disk;
use crate::support::disk::power::Recording;
use crate::support::model::{self, Account, AccountEvent, Planned, Planner, Step, World};
use crate::support::random::Random;

pub const OUTBOX: &str = "outside";
pub const HANDLER: &str = "handler";
/// Until it is over a runner that died keeps the others waiting. A third of it is the longest that a batch may take.
pub const LEASE: Duration = Duration::from_millis(15);
pub const MAX_ATTEMPTS: u32 = 3;

pub struct History {
    pub recording: Recording,
    pub worlds: Vec<World>,
    pub entries: Vec<Entry>,
    /// The newest version of the projections.
    pub version: u32,
    /// Every event after this position was appended with the inline projection.
    pub inline_after: Option<u64>,
    pub policy: DeadLetterPolicy,
}

/// What the outbox and the handler want: not all there is, so that they pass over some.
pub fn wanted() -> Filter {
    Filter::new().all_tenants().aggregate_type(Account::TYPE).event_type("Deposited").event_type("Withdrawn")
}

pub fn is_wanted(event: &RecordedEvent) -> bool {
    &*event.event_type != "Closed"
}

pub fn outbox(store: &Store, policy: DeadLetterPolicy) -> Outbox {
    store
        .outbox(OUTBOX)
        .filter(wanted())
        .lease(LEASE)
        .max_attempts(MAX_ATTEMPTS)
        .backoff(Duration::ZERO, Duration::ZERO)
        .on_dead_letter(policy)
}

pub fn handler(store: &Store) -> Subscription {
    store.subscription(HANDLER).filter(wanted()).lease(LEASE)
}

impl History {
    /// A store is made, used, closed and opened again some times; some of the processes are killed.
    pub fn make(disk: &Disk, durability: Durability, random: &mut Random) -> History {
        disk.load(&Default::default());
        disk.record();
        let policy = if random.chance(75) { DeadLetterPolicy::HoldAggregate } else { DeadLetterPolicy::PassOn };
        let mut life = Life {
            disk,
            durability,
            random: random.fork(),
            planner: Planner::new(random.fork()),
            ledger: Ledger::new(disk),
            worlds: vec![World::default()],
            version: 1,
            inline_after: None,
            policy,
        };
        let long = life.random.chance(10);
        for process in 0..1 + life.random.below(3) {
            life.process(long && process == 0);
        }
        let Life { worlds, ledger, version, inline_after, .. } = life;
        History { recording: disk.recorded(), worlds, entries: ledger.into_entries(), version, inline_after, policy }
    }
}

struct Life<'a> {
    disk: &'a Disk,
    durability: Durability,
    random: Random,
    planner: Planner,
    ledger: Ledger<'a>,
    worlds: Vec<World>,
    version: u32,
    inline_after: Option<u64>,
    policy: DeadLetterPolicy,
}

impl Life<'_> {
    /// One process's life with the file. `long`: with more events than a rebuild takes at once.
    fn process(&mut self, long: bool) {
        let store = model::options(self.durability).vfs(self.disk.name()).open(PATH).expect("the disk is sound");
        self.version += u32::from(self.random.chance(30));
        if long {
            self.append_many(&store);
        }
        if self.inline_after.is_some() {
            self.project_inline(&store);
        }
        for _ in 0..self.random.below(30) {
            if self.ledger.is_dead() {
                break;
            }
            self.work(&store);
        }
        drop(store);
        if self.ledger.begin_anew() {
            std::thread::sleep(LEASE);
        }
    }

    fn work(&mut self, store: &Store) {
        match self.random.below(100) {
            0..40 => self.append(store),
            40..58 => self.publish(store),
            58..66 => self.handle(store),
            66..79 => self.follow(store),
            79..86 => self.rebuild(store),
            86..93 => self.see_to_dead_letters(store),
            93..96 if self.inline_after.is_none() => self.project_inline(store),
            _ => checkpoint(self.disk, &mut self.random),
        }
    }

    fn append(&mut self, store: &Store) {
        for step in self.planner.plan(self.worlds.last().expect("one at least")) {
            // What is purged cannot be compared with; purges are in the other histories.
            if !matches!(step, Step::Purge(..)) {
                self.perform(store, &step);
            }
        }
    }

    /// The outbox and the handler pass over these.
    fn append_many(&mut self, store: &Store) {
        for aggregate in 0..2 + self.random.below(3) {
            let closed = Planned { event: AccountEvent::Closed, id: None, metadata: None, tags: Vec::new() };
            let events = vec![closed; 300 + self.random.index(60)];
            self.perform(store, &Step::Commit("default".into(), vec![(format!("long-{aggregate}"), events)]));
        }
    }

    fn perform(&mut self, store: &Store, step: &Step) {
        let mut world = self.worlds.last().expect("one at least").clone();
        world.apply(step);
        self.worlds.push(world);
        model::perform(store, step).expect("the disk is sound");
        self.ledger.note(Entry::Committed(self.worlds.len() - 1));
    }

    /// The outside world fails now and then, refuses some, and sometimes the process dies with an event in its hands.
    fn publish(&mut self, store: &Store) {
        let (ledger, mut random) = (&self.ledger, self.random.fork());
        let publisher = |message: &Message<'_>| {
            if ledger.is_dead() {
                return Err(PublishError::Retry("nobody hears this".into()));
            }
            let answer = match random.below(100) {
                0..12 => Answer::Failed,
                12..20 => Answer::Refused,
                _ => Answer::Taken,
            };
            ledger.note(Entry::Published { event: Seen::of(message.event), attempt: message.attempt, answer });
            if random.chance(1) {
                ledger.die();
            }
            match answer {
                Answer::Taken => Ok(()),
                Answer::Failed => Err(PublishError::Retry("down".into())),
                Answer::Refused => Err(PublishError::Reject("refused".into())),
            }
        };
        let done = outbox(store, self.policy).publisher(publisher).run_to_end();
        assert!(done.is_ok() || ledger.is_dead(), "{done:?}");
    }

    fn handle(&mut self, store: &Store) {
        let (ledger, mut random) = (&self.ledger, self.random.fork());
        let every = 1 + random.below(4);
        let done = handler(store).checkpoint_every(every).run_to_end(|event| {
            if ledger.is_dead() {
                return Err("nobody hears this".into());
            }
            let taken = !random.chance(4);
            ledger.note(Entry::Handled { event: Seen::of(event), taken });
            if random.chance(1) {
                ledger.die();
            }
            if taken { Ok(()) } else { Err("on purpose".into()) }
        });
        let expected = done.as_ref().map_or_else(|error| error.kind() == ErrorKind::Handler, |_| true);
        assert!(expected || ledger.is_dead(), "{done:?}");
    }

    fn follow(&mut self, store: &Store) {
        let runner = store.projection(Totals::following(self.version)).expect("the disk is sound").lease(LEASE);
        let done = runner.run_to_end();
        let expected = done.as_ref().map_or_else(|error| error.kind() == ErrorKind::ProjectionOutdated, |_| true);
        assert!(expected, "{done:?}");
    }

    /// Some come to their end, some are cancelled, with some the process dies.
    fn rebuild(&mut self, store: &Store) {
        let last = self.worlds.last().map_or(0, |world| world.last_position);
        let totals = Totals::following(self.version).slow_at(self.random.below(2 * last));
        let runner = store.projection(totals).expect("the disk is sound");
        let (ledger, random) = (&self.ledger, &mut self.random);
        let done = runner.rebuild(|_| match random.below(10) {
            0..3 => ControlFlow::Break(()),
            3 => {
                ledger.die();
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
        assert!(done.is_ok() || ledger.is_dead(), "{done:?}");
        if done.is_ok_and(|done| done.finished) && !ledger.is_dead() {
            self.note_built(store, Totals::FOLLOWING);
        }
    }

    fn note_built(&self, store: &Store, name: &'static str) {
        let sql = "SELECT generation FROM subscriptions WHERE name = ?1";
        let generation = store.query_read_model(sql, [name], |row| row.get(0)).expect("the disk is sound")[0];
        self.ledger.note(Entry::Built { name, generation });
    }

    fn see_to_dead_letters(&mut self, store: &Store) {
        let Ok(letters) = store.outbox(OUTBOX).filter(wanted()).dead_letters() else { return };
        let dead: Vec<u64> = letters.iter().map(|letter| letter.expect("the disk is sound").position.get()).collect();
        if dead.is_empty() {
            return;
        }
        if self.random.chance(70) {
            self.ledger.note(Entry::Reviving);
            letters.retry_all().expect("the disk is sound");
        } else {
            let position = dead[self.random.index(dead.len())];
            self.ledger.note(Entry::Discarding(position));
            letters.discard(position).expect("the disk is sound");
            self.ledger.note(Entry::Discarded(position));
        }
    }

    fn project_inline(&mut self, store: &Store) {
        store.project_inline(Totals::inline(self.version)).expect("the disk is sound");
        self.note_built(store, Totals::INLINE);
        if self.inline_after.is_none() {
            self.inline_after = self.worlds.last().map(|world| world.last_position);
        }
    }
}
