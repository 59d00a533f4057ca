//! The upcasters of a store, checked and ready to use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::steps::{Data, Reading, Step, Target};
use super::{Rule, Upcasters};
use crate::model::error::{Error, ErrorKind, Result};

/// The upcasters of a store.
#[derive(Default)]
pub(crate) struct Registry {
    types: BTreeMap<Arc<str>, Arc<OfType>>,
    pass_newer: bool,
    revision: u32,
}

/// The chains of an event type.
#[derive(Default)]
pub(crate) struct OfType {
    anywhere: Chain,
    /// By aggregate type; they count instead of the one for any.
    of_aggregates: Vec<(Arc<str>, Chain)>,
}

/// The upcasters of an event type, from version 1 on without a gap.
#[derive(Default)]
struct Chain {
    steps: Vec<Step>,
    /// The types that its events are read as.
    becomes: BTreeSet<Arc<str>>,
    /// Whether one of its events may be read as several or none.
    changes_number: bool,
}

impl Chain {
    /// Whether its last version becomes another type, so that it has no current one.
    fn is_retired(&self, event_type: &str) -> bool {
        let stays = |target: &Target| *target.event_type == *event_type;
        self.steps.last().and_then(Step::targets).is_some_and(|targets| !targets.iter().any(stays))
    }

    /// The last version that is known.
    fn known(&self, event_type: &str) -> u32 {
        let upcast = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        upcast.saturating_add(u32::from(!self.is_retired(event_type)))
    }
}

impl OfType {
    fn chain(&self, aggregate_type: &str) -> &Chain {
        let own = self.of_aggregates.iter().find(|(name, _)| **name == *aggregate_type);
        own.map_or(&self.anywhere, |(_, chain)| chain)
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.of_aggregates.iter().map(|(_, chain)| chain).chain([&self.anywhere])
    }

    /// The version that new events get, and that is read as it is; `None` if the type was renamed, split or discarded.
    pub(crate) fn current(&self, event_type: &str, aggregate_type: &str) -> Option<u32> {
        let chain = self.chain(aggregate_type);
        (!chain.is_retired(event_type)).then(|| chain.known(event_type))
    }
}

impl fmt::Debug for OfType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfType").field("steps", &self.anywhere.steps.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("types", &self.types.keys())
            .field("pass_newer", &self.pass_newer)
            .finish_non_exhaustive()
    }
}

/// An event type, and the aggregate type that its upcasters are for; `None`: any.
type Scoped = (Arc<str>, Option<Arc<str>>);

fn invalid(what: impl Into<String>, event_type: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, what).event_type_is(event_type)
}

impl Registry {
    pub(super) fn new(upcasters: Upcasters) -> Result<Registry> {
        let Upcasters { rules, pass_newer, revision, aggregate_type: _ } = upcasters;
        let mut chains: BTreeMap<Scoped, BTreeMap<u32, Step>> = BTreeMap::new();
        for Rule { aggregate_type, event_type, from, step } in rules {
            check_names(&event_type, from, &step)?;
            if chains.entry((event_type.clone(), aggregate_type)).or_default().insert(from, step).is_some() {
                return Err(invalid(format!("there are two upcasters from schema version {from}"), &event_type)
                    .advice("each version becomes the next in one way; several changes are several versions"));
            }
        }
        let mut types: BTreeMap<Arc<str>, OfType> = BTreeMap::new();
        for ((event_type, aggregate_type), steps) in chains {
            let chain = Chain { steps: without_gap(&event_type, steps)?, ..Chain::default() };
            let of_type = types.entry(event_type).or_default();
            match aggregate_type {
                Some(aggregate_type) => of_type.of_aggregates.push((aggregate_type, chain)),
                None => of_type.anywhere = chain,
            }
        }
        let scopes: BTreeSet<Option<Arc<str>>> = types
            .values()
            .flat_map(|of_type| of_type.of_aggregates.iter().map(|(name, _)| Some(name.clone())))
            .chain([None])
            .collect();
        for scope in scopes {
            check_and_trace(&mut types, scope.as_deref())?;
        }
        let types = types.into_iter().map(|(name, of_type)| (name, Arc::new(of_type))).collect();
        Ok(Registry { types, pass_newer, revision })
    }

    /// The chains of an event type, if it has any.
    pub(crate) fn of_type(&self, event_type: &str) -> Option<Arc<OfType>> {
        self.types.get(event_type).cloned()
    }

    fn chain(&self, aggregate_type: &str, event_type: &str) -> Option<&Chain> {
        Some(self.types.get(event_type)?.chain(aggregate_type))
    }

    /// The error for an event of a newer schema version than this program knows.
    fn too_new(known: u32, event_type: &str, version: u32) -> Error {
        let what = format!("the event has schema version {version}, and this program knows it up to version {known}");
        Error::new(ErrorKind::SchemaVersionTooNew, what)
            .event_type_is(event_type)
            .advice("run a newer version of the program, or register the version with Options::upcasters")
    }

    /// Checks that an event to append can be read again. `version`: the one that the caller gave.
    pub(crate) fn check_new(&self, aggregate_type: &str, event_type: &str, version: Option<u32>) -> Result<()> {
        let chain = self.chain(aggregate_type, event_type);
        let known = chain.map_or(1, |chain| chain.known(event_type));
        match (version, chain) {
            (Some(version), _) if version > known && !self.pass_newer => Err(Registry::too_new(known, event_type, version)),
            (None, Some(chain)) if chain.is_retired(event_type) => {
                let becomes: Vec<&str> = chain.becomes.iter().map(|name| &**name).collect();
                let what = match becomes.as_slice() {
                    [] => "events of this type are discarded when they are read".to_owned(),
                    names => format!("events of this type are read as {}", names.join(", ")),
                };
                Err(invalid(what, event_type).advice("append events of a current type"))
            }
            _ => Ok(()),
        }
    }

    /// Passes what an event of a version that is not the current one is read as to `each`.
    pub(crate) fn upcast(
        &self,
        aggregate_type: &str,
        stored: Reading<'_>,
        each: &mut dyn FnMut(Reading<'_>) -> Result<()>,
    ) -> Result<()> {
        let known = self.chain(aggregate_type, stored.event_type).map_or(1, |chain| chain.known(stored.event_type));
        if stored.schema_version > known {
            return match self.pass_newer {
                true => each(stored),
                false => Err(Registry::too_new(known, stored.event_type, stored.schema_version)),
            };
        }
        let at = Target { event_type: stored.event_type.clone(), schema_version: stored.schema_version };
        let mut index = 0;
        self.run(aggregate_type, at, Data::Text(stored.data.into()), &mut |part| {
            each(Reading { index, ..part })?;
            index += 1;
            Ok(())
        })
    }

    fn run(
        &self,
        aggregate_type: &str,
        at: Target,
        data: Data<'_>,
        each: &mut dyn FnMut(Reading<'_>) -> Result<()>,
    ) -> Result<()> {
        let at_step = usize::try_from(at.schema_version).unwrap_or(usize::MAX).checked_sub(1);
        let chain = self.chain(aggregate_type, &at.event_type);
        match chain.zip(at_step).and_then(|(chain, at_step)| chain.steps.get(at_step)) {
            Some(step) => step.run(&at, data, &mut |target, data| self.run(aggregate_type, target, data, each)),
            None => {
                let text = data.into_text().map_err(|error| {
                    Error::new(ErrorKind::Codec, format!("what the upcasters made cannot be read: {error}"))
                        .event_type_is(&at.event_type)
                })?;
                each(Reading { index: 0, event_type: &at.event_type, schema_version: at.schema_version, data: &text })
            }
        }
    }

    /// The stored types of the events that can be read as one of these types.
    pub(crate) fn stored_types(&self, names: &[String]) -> BTreeSet<String> {
        let mut wanted: BTreeSet<String> = names.iter().cloned().collect();
        for name in names {
            let chains = self.types.get(&**name).into_iter().flat_map(|of_type| of_type.chains());
            let retired = chains.filter(|chain| chain.is_retired(name));
            wanted.extend(retired.flat_map(|chain| chain.becomes.iter().map(ToString::to_string)));
        }
        let sources = self
            .types
            .iter()
            .filter(|(_, of_type)| of_type.chains().any(|chain| chain.becomes.iter().any(|name| wanted.contains(&**name))));
        let sources: Vec<String> = sources.map(|(name, _)| name.to_string()).collect();
        wanted.extend(sources);
        wanted
    }

    /// Whether an event that is read as `event_type` matches a filter by these names: its own, or a retired one that
    /// became it.
    pub(crate) fn matches(&self, names: &[String], aggregate_type: &str, event_type: &str) -> bool {
        names.iter().any(|name| {
            **name == *event_type
                || self
                    .chain(aggregate_type, name)
                    .is_some_and(|chain| chain.is_retired(name) && chain.becomes.contains(event_type))
        })
    }

    /// Whether there are no upcasters.
    pub(crate) fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether as many events of these types are read as are stored. No names: of all types.
    pub(crate) fn keeps_counts(&self, names: &[String]) -> bool {
        if names.is_empty() {
            return !self.types.values().any(|of_type| of_type.chains().any(|chain| chain.changes_number));
        }
        let changes_type = |name: &str| {
            let chains = self.types.get(name).into_iter().flat_map(|of_type| of_type.chains());
            chains.into_iter().any(|chain| chain.steps.iter().any(|step| step.targets().is_some()))
        };
        !self.stored_types(names).iter().any(|name| changes_type(name))
    }

    /// The name that replaced this one, if all its events become events of one other type, one each.
    pub(crate) fn renamed(&self, event_type: &str) -> Option<&str> {
        let of_type = self.types.get(event_type)?;
        let chain = &of_type.anywhere;
        let is_renamed = of_type.of_aggregates.is_empty() && chain.is_retired(event_type) && chain.becomes.len() == 1;
        chain.becomes.first().filter(|_| is_renamed && !chain.changes_number).map(|name| &**name)
    }

    /// A number that changes with the upcasters that a state of this aggregate type can depend on; 0 if there are none.
    /// `variants`: the event types that its fold knows, if they are known.
    pub(crate) fn fingerprint(&self, aggregate_type: &str, variants: Option<&[&str]>) -> u64 {
        let mut text = String::new();
        for (event_type, of_type) in &self.types {
            let chain = of_type.chain(aggregate_type);
            // What becomes an event that the fold does not know cannot be in a state. What becomes nothing could once.
            let matters = chain.changes_number
                || variants.is_none_or(|variants| chain.becomes.iter().any(|name| variants.contains(&&**name)));
            if matters {
                for (at, step) in chain.steps.iter().enumerate() {
                    text.push_str(&format!("{event_type:?} {at} {}\n", step.description()));
                }
            }
        }
        match text.is_empty() {
            true => 0,
            false => xxh3_64(format!("{}\n{text}", self.revision).as_bytes()),
        }
    }
}

fn check_names(event_type: &Arc<str>, from: u32, step: &Step) -> Result<()> {
    if from == 0 {
        return Err(invalid("an upcaster begins at schema version 0; the first is 1", event_type));
    }
    let targets = step.targets().unwrap_or_default();
    if event_type.is_empty() || targets.iter().any(|target| target.event_type.is_empty()) {
        return Err(invalid("an upcaster names an empty event type", event_type));
    }
    let distinct: BTreeSet<&str> = targets.iter().map(|target| &*target.event_type).collect();
    if distinct.len() < targets.len() {
        return Err(invalid(format!("the split of schema version {from} names a type twice"), event_type));
    }
    Ok(())
}

fn without_gap(event_type: &str, steps: BTreeMap<u32, Step>) -> Result<Vec<Step>> {
    for (expected, from) in (1..).zip(steps.keys()) {
        if *from != expected {
            let what = format!("there is an upcaster from schema version {from}, and none from version {expected}");
            return Err(
                invalid(what, event_type).advice("register one for every version from 1 on; `compatible` changes nothing")
            );
        }
    }
    Ok(steps.into_values().collect())
}

/// Checks, as events of one aggregate type see it, that every target exists and that there is no circle; and notes what
/// each type becomes. Without an aggregate type: as those see it that have no upcasters of their own.
fn check_and_trace(types: &mut BTreeMap<Arc<str>, OfType>, aggregate_type: Option<&str>) -> Result<()> {
    // A name that no aggregate type can have.
    let scope = aggregate_type.unwrap_or("");
    let mut traced = Vec::new();
    for (event_type, of_type) in types.iter() {
        let mut tracing = Tracing { types, scope, path: Vec::new(), found: Chain::default(), done: BTreeSet::new() };
        for version in (1..).take(of_type.chain(scope).steps.len()) {
            tracing.follow(&Target { event_type: event_type.clone(), schema_version: version })?;
        }
        traced.push((event_type.clone(), tracing.found));
    }
    for (event_type, found) in traced {
        let Some(of_type) = types.get_mut(&event_type) else { continue };
        let own = of_type.of_aggregates.iter_mut().find(|(name, _)| Some(&**name) == aggregate_type);
        // What an aggregate type's own upcasters add to the others' results only widens what a filter looks at.
        let chain = own.map_or(&mut of_type.anywhere, |(_, chain)| chain);
        chain.becomes.extend(found.becomes);
        chain.changes_number |= found.changes_number;
    }
    Ok(())
}

/// Follows events from version to version.
struct Tracing<'a> {
    types: &'a BTreeMap<Arc<str>, OfType>,
    scope: &'a str,
    path: Vec<Target>,
    /// What was found; its steps are not used.
    found: Chain,
    done: BTreeSet<Target>,
}

impl Tracing<'_> {
    fn follow(&mut self, at: &Target) -> Result<()> {
        if self.path.contains(at) {
            let circle: Vec<String> =
                self.path.iter().chain([at]).map(|at| format!("{} {}", at.event_type, at.schema_version)).collect();
            return Err(invalid(format!("the upcasters go in a circle: {}", circle.join(", ")), &at.event_type));
        }
        if !self.done.insert(at.clone()) {
            return Ok(());
        }
        let chain = self.types.get(&at.event_type).map(|of_type| of_type.chain(self.scope));
        let known = chain.map_or(1, |chain| chain.known(&at.event_type));
        if at.schema_version == 0 || at.schema_version > known {
            let what = format!("an upcaster leads to schema version {}, and the last one known is {known}", at.schema_version);
            return Err(invalid(what, &at.event_type).advice("register upcasters from version 1 up to it"));
        }
        let at_step = usize::try_from(at.schema_version).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(step) = chain.and_then(|chain| chain.steps.get(at_step)) else {
            self.found.becomes.insert(at.event_type.clone());
            return Ok(());
        };
        self.found.changes_number |= step.changes_number();
        self.path.push(at.clone());
        let next = Target { event_type: at.event_type.clone(), schema_version: at.schema_version.saturating_add(1) };
        for target in step.targets().unwrap_or(std::slice::from_ref(&next)) {
            self.follow(target)?;
        }
        self.path.pop();
        Ok(())
    }
}
