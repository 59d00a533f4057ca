//! The log in plain Rust, and how each call must end.

use std::collections::BTreeMap;

use foldlog::ErrorKind;
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::calls::{self, Belief, Call, End, HANDLES, IDS, Reading, TENANTS, TYPES, Which, events, name, untagged};
use crate::support::model::{Name, Planned, Row, Step, World};

/// An append under event ids that was made: its ids, events, and how it ended.
type Kept = (Which, Vec<(u8, u32)>, End);

#[derive(Clone, Debug)]
pub struct Reference {
    pub world: World,
    /// The version of the newest snapshot of each aggregate that has one.
    snapshots: BTreeMap<Name, u64>,
    purged: BTreeMap<Name, u64>,
    kept: Vec<Kept>,
    pub end: End,
}

impl Reference {
    fn version(&self, which: Which) -> u64 {
        self.world.versions.get(&name(which)).copied().unwrap_or(0)
    }

    fn holds(&self, which: Which, belief: Belief) -> bool {
        let version = self.version(which);
        match belief {
            Belief::Any => true,
            Belief::New => version == 0,
            Belief::Existing => version > 0,
            Belief::Off(off) => version.saturating_add_signed(off) == version,
        }
    }

    fn append(&mut self, tenant: usize, parts: Vec<(String, Vec<Planned>)>) {
        let (last, _) = parts.last().cloned().expect("one at least");
        self.world.apply(&Step::Commit(TENANTS[tenant].to_owned(), parts));
        let version = self.world.versions[&(TENANTS[tenant].to_owned(), last)];
        self.end = End::Appended(version, self.world.last_position, false);
    }

    fn do_call(&mut self, call: &Call) {
        self.end = End::Done;
        match call {
            Call::Append(_, which, belief, numbers) => match self.holds(*which, *belief) {
                true => self.append(which.0, vec![(name(*which).1, events(numbers))]),
                false => self.end = End::Fails(ErrorKind::Conflict),
            },
            Call::AppendAs(_, which, numbers) => self.append_as(*which, numbers),
            Call::Commit(_, tenant, parts) => {
                // What the batch has done to an aggregate counts for its later parts.
                let mut so_far = self.clone();
                for (id, belief, numbers) in parts {
                    // The caller's number is from before the batch.
                    let believed = match belief {
                        Belief::Off(_) => so_far.version((*tenant, *id)) == expected_number(self, (*tenant, *id), *belief),
                        other => so_far.holds((*tenant, *id), *other),
                    };
                    if !believed {
                        self.end = End::Fails(ErrorKind::Conflict);
                        return;
                    }
                    so_far.append(*tenant, vec![(IDS[*id].to_owned(), events(numbers))]);
                }
                self.append(*tenant, parts.iter().map(|(id, _, numbers)| (IDS[*id].to_owned(), events(numbers))).collect());
            }
            Call::Execute(_, _, numbers) if numbers.is_empty() => {}
            Call::Execute(_, which, numbers) => self.append(which.0, vec![(name(*which).1, untagged(numbers))]),
            Call::Refuse(..) => self.end = End::Refused,
            Call::Snapshot(_, which) => match self.version(*which) {
                0 => self.end = End::Fails(ErrorKind::NotFound),
                version => {
                    self.snapshots.insert(name(*which), version);
                }
            },
            Call::DeleteSnapshots(_, which) => {
                self.end = match (self.version(*which), self.purged.contains_key(&name(*which))) {
                    (0, _) => End::Fails(ErrorKind::NotFound),
                    (_, true) => End::Fails(ErrorKind::HistoryRemoved),
                    (_, false) => {
                        self.snapshots.remove(&name(*which));
                        End::Done
                    }
                };
            }
            Call::Purge(_, which) => self.purge(*which),
            Call::Replay(_, which) => self.end = self.state_at(*which, None),
            Call::ReplayTo(_, which, version) => self.end = self.state_at(*which, Some(*version)),
            Call::Read(_, reading) => self.end = End::Rows(self.rows(*reading)),
            Call::Reopen(_) => {}
            Call::ReadOnly(which) => self.end = self.state_at(*which, None),
        }
    }

    fn append_as(&mut self, which: Which, numbers: &[(u8, u32)]) {
        // An id is unique in its tenant.
        let known =
            |id: u8| self.kept.iter().any(|(owner, used, _)| owner.0 == which.0 && used.iter().any(|(used, _)| *used == id));
        let ids = numbers.iter().map(|(id, _)| *id);
        let mut distinct: Vec<u8> = ids.clone().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < numbers.len() {
            self.end = End::Fails(ErrorKind::DuplicateEventId);
        } else if let Some((_, _, End::Appended(version, position, _))) =
            self.kept.iter().find(|(owner, used, _)| *owner == which && used == numbers)
        {
            self.end = match self.purged.get(&name(which)) {
                // What was purged is not known any more; these sequences are not made.
                Some(_) => End::Fails(ErrorKind::DuplicateEventId),
                None => End::Appended(*version, *position, true),
            };
        } else if ids.clone().any(known) {
            self.end = End::Fails(ErrorKind::DuplicateEventId);
        } else {
            let numbers_only: Vec<u32> = numbers.iter().map(|(_, number)| *number).collect();
            self.append(which.0, vec![(name(which).1, events(&numbers_only))]);
            self.kept.push((which, numbers.to_vec(), self.end.clone()));
        }
    }

    /// Everything up to the newest snapshot goes.
    fn purge(&mut self, which: Which) {
        let Some(through) = self.snapshots.get(&name(which)).copied() else { return };
        let (tenant, id) = name(which);
        self.world.rows.retain(|row| row.tenant != tenant || row.id != id || row.version > through);
        let purged = self.purged.entry((tenant, id)).or_default();
        *purged = through.max(*purged);
    }

    fn state_at(&self, which: Which, version: Option<u64>) -> End {
        let now = self.version(which);
        let version = version.unwrap_or(now);
        if now == 0 || version == 0 || version > now {
            return End::Fails(ErrorKind::NotFound);
        }
        let purged = self.purged.get(&name(which)).copied().unwrap_or(0);
        // The snapshot that stands in for what was purged is at exactly that version, or later.
        if version < purged {
            return End::Fails(ErrorKind::HistoryRemoved);
        }
        End::State(version, self.world.state(&name(which), version))
    }

    fn rows(&self, reading: Reading) -> Vec<Row> {
        let of_tenant = |tenant: usize| self.world.rows.iter().filter(move |row| row.tenant == TENANTS[tenant]).cloned();
        match reading {
            Reading::After(position) => self.world.rows.iter().filter(|row| row.position > position).cloned().collect(),
            Reading::Newest(count) => self.world.rows.iter().rev().take(count as usize).cloned().collect(),
            Reading::Tagged(tag) => of_tenant(0).filter(|row| row.tags.contains(&format!("tag-{tag}"))).collect(),
            Reading::OfType(kind) => of_tenant(0).filter(|row| row.event_type == TYPES[usize::from(kind) % 4]).collect(),
            Reading::OfAggregate(which, version) => {
                of_tenant(which.0).filter(|row| row.id == IDS[which.1] && row.version > version).collect()
            }
        }
    }
}

fn expected_number(reference: &Reference, which: Which, belief: Belief) -> u64 {
    match belief {
        Belief::Off(off) => reference.version(which).saturating_add_signed(off),
        _ => 0,
    }
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = Call;

    fn init_state() -> BoxedStrategy<Reference> {
        let nothing = Reference {
            world: World::default(),
            snapshots: Default::default(),
            purged: Default::default(),
            kept: Vec::new(),
            end: End::Done,
        };
        Just(nothing).boxed()
    }

    fn transitions(_: &Reference) -> BoxedStrategy<Call> {
        let handle = || 0..HANDLES;
        let part = || (0..IDS.len(), calls::belief(), calls::numbers());
        prop_oneof![
            8 => (handle(), calls::which(), calls::belief(), calls::numbers()).prop_map(|(h, w, b, n)| Call::Append(h, w, b, n)),
            // Below 5 no two numbers make the same event: the same event again under its id is a repetition.
            3 => (handle(), calls::which(), prop::collection::vec((0u8..12, 0u32..5), 1..3)).prop_map(|(h, w, n)| Call::AppendAs(h, w, n)),
            4 => (handle(), 0..TENANTS.len(), prop::collection::vec(part(), 1..4)).prop_map(|(h, t, p)| Call::Commit(h, t, p)),
            4 => (handle(), calls::which(), prop::collection::vec(0u32..100, 0..4)).prop_map(|(h, w, n)| Call::Execute(h, w, n)),
            1 => (handle(), calls::which()).prop_map(|(h, w)| Call::Refuse(h, w)),
            2 => (handle(), calls::which()).prop_map(|(h, w)| Call::Snapshot(h, w)),
            1 => (handle(), calls::which()).prop_map(|(h, w)| Call::DeleteSnapshots(h, w)),
            1 => (handle(), calls::which()).prop_map(|(h, w)| Call::Purge(h, w)),
            3 => (handle(), calls::which()).prop_map(|(h, w)| Call::Replay(h, w)),
            2 => (handle(), calls::which(), 0u64..12).prop_map(|(h, w, v)| Call::ReplayTo(h, w, v)),
            4 => (handle(), calls::reading()).prop_map(|(h, r)| Call::Read(h, r)),
            1 => handle().prop_map(Call::Reopen),
            1 => calls::which().prop_map(Call::ReadOnly),
        ]
        .boxed()
    }

    fn apply(mut state: Reference, call: &Call) -> Reference {
        state.do_call(call);
        state
    }

    /// The ids of purged events are free again: what then counts as a repetition is not the subject here.
    fn preconditions(state: &Reference, call: &Call) -> bool {
        match call {
            Call::AppendAs(_, _, numbers) => !state.kept.iter().any(|(owner, used, _)| {
                state.purged.contains_key(&name(*owner)) && used.iter().any(|(id, _)| numbers.iter().any(|(n, _)| n == id))
            }),
            _ => true,
        }
    }
}
