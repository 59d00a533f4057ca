//! What an application tells the command about itself: its folds, its projections, its options.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use foldlog::{
    Aggregate, AggregateKind, Aggregates, EachProgress, FoldError, Options, Projection, Purge, Replayed, Retention,
    SnapshotReason, SnapshotWarning, Store, Upcasters, VerifyProgress, VerifyReport, Version,
};
use foldlog_inspector::Folds;
use serde::Serialize;
use serde_json::Value;

/// What an application tells the command about itself. Empty, it serves the files of any application: states are then
/// computed by JSON Merge Patch, and the output says so.
///
/// ```
/// use foldlog::FoldError;
/// use foldlog_cli::Registry;
/// use serde_json::json;
///
/// let registry = Registry::new().fold_with("counter", "count", 1, |state, event_type, _data| match event_type {
///     "Incremented" => {
///         state["count"] = json!(state["count"].as_u64().unwrap_or(0) + 1);
///         Ok(())
///     }
///     _ => Err(FoldError::UnknownEventType),
/// });
/// # drop(registry);
/// ```
#[derive(Default)]
pub struct Registry {
    folds: BTreeMap<String, Arc<dyn Fold>>,
    projections: Vec<Arc<dyn Projection>>,
    /// `None`: those for the files of any application.
    options: Option<Options>,
    /// The same folds, for the inspector.
    inspected: Folds,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds an aggregate type with its fold.
    pub fn aggregate<A: Aggregate + 'static>(mut self) -> Registry {
        let fold = FoldOf::<A, _> { open: |store: &Store| store.aggregates::<A>(), kind: std::marker::PhantomData };
        self.folds.insert(A::TYPE.to_owned(), Arc::new(fold));
        self.inspected = self.inspected.typed::<A>();
        self
    }

    /// Adds an aggregate type with a fold over JSON, as for [`Aggregates::fold_with`]: with the name and the version that
    /// the application uses there, snapshots fit.
    pub fn fold_with(
        mut self,
        aggregate_type: &str,
        name: &str,
        version: u32,
        function: impl Fn(&mut Value, &str, &Value) -> Result<(), FoldError> + Send + Sync + 'static,
    ) -> Registry {
        let (function, of_type, name) = (Arc::new(function), aggregate_type.to_owned(), name.to_owned());
        let folded = move |aggregates: Aggregates<Value>| {
            let function = function.clone();
            aggregates.fold_with(&name, version, move |state, kind, data| function(state, kind, data))
        };
        self.inspected = self.inspected.json(aggregate_type, folded.clone());
        let open = move |store: &Store| folded(store.json_aggregates(&of_type));
        self.folds.insert(aggregate_type.to_owned(), Arc::new(FoldOf::<Value, _> { open, kind: std::marker::PhantomData }));
        self
    }

    /// Adds an aggregate type whose state the application computes by JSON Merge Patch.
    pub fn merge_patch(mut self, aggregate_type: &str) -> Registry {
        self.folds.insert(aggregate_type.to_owned(), Arc::new(merge_patch(aggregate_type)));
        self.inspected = self.inspected.json(aggregate_type, |aggregates| aggregates);
        self
    }

    /// Adds a projection, so that it can be rebuilt.
    pub fn projection(mut self, projection: impl Projection) -> Registry {
        self.projections.push(Arc::new(projection));
        self
    }

    /// Sets the options with which files are opened, such as the application's upcasters. Default: events of newer schema
    /// versions are shown as they are stored.
    pub fn options(mut self, options: Options) -> Registry {
        self.options = Some(options);
        self
    }

    pub(crate) fn store_options(&self) -> Options {
        // Without rules there is nothing to refuse.
        let of_any = || Options::new().upcasters(Upcasters::new().pass_newer()).unwrap_or_default();
        self.options.clone().unwrap_or_else(of_any)
    }

    pub(crate) fn inspected(&self) -> Folds {
        self.inspected.clone()
    }

    pub(crate) fn projections(&self) -> &[Arc<dyn Projection>] {
        &self.projections
    }

    /// The fold of a type, and whether it is the application's own.
    pub(crate) fn fold(&self, aggregate_type: &str) -> (Arc<dyn Fold>, bool) {
        match self.folds.get(aggregate_type) {
            Some(fold) => (fold.clone(), true),
            None => (Arc::new(merge_patch(aggregate_type)), false),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let projections: Vec<&str> = self.projections.iter().map(|projection| projection.name()).collect();
        f.debug_struct("Registry")
            .field("aggregates", &self.folds.keys())
            .field("projections", &projections)
            .finish_non_exhaustive()
    }
}

fn merge_patch(aggregate_type: &str) -> impl Fold + use<> {
    let aggregate_type = aggregate_type.to_owned();
    let open = move |store: &Store| store.json_aggregates(&aggregate_type);
    FoldOf::<Value, _> { open, kind: std::marker::PhantomData }
}

/// Up to where a state is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Now,
    Version(u64),
    Time(DateTime<Utc>),
}

/// A state as JSON, and how it was computed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) from_snapshot: Option<Version>,
    pub(crate) events_folded: u64,
    pub(crate) warnings: Vec<SnapshotWarning>,
    pub(crate) state: Value,
}

/// The aggregates of one type, whatever the type of their state.
pub(crate) trait Fold: Send + Sync {
    fn replay(&self, store: &Store, id: &str, until: Until, use_snapshots: bool) -> Result<State, foldlog::Error>;
    fn create_snapshot(&self, store: &Store, id: &str) -> Result<Version, foldlog::Error>;
    fn create_snapshot_at(&self, store: &Store, id: &str, version: u64) -> Result<(), foldlog::Error>;
    fn snapshot_all(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(&EachProgress) -> ControlFlow<()>,
    ) -> Result<EachProgress, foldlog::Error>;
    fn verify_snapshots(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport, foldlog::Error>;
    /// Gives the fold to retention rules.
    fn compare_before_retaining(&self, store: &Store, rules: Retention) -> Retention;
    /// Gives the fold to a purge.
    fn compare_before(&self, store: &Store, purge: Purge) -> Purge;
}

struct FoldOf<K, F> {
    open: F,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K, F> Fold for FoldOf<K, F>
where
    K: AggregateKind,
    K::State: Serialize,
    F: Fn(&Store) -> Aggregates<K> + Send + Sync,
{
    fn replay(&self, store: &Store, id: &str, until: Until, use_snapshots: bool) -> Result<State, foldlog::Error> {
        let aggregates = (self.open)(store);
        let aggregates = if use_snapshots { aggregates } else { aggregates.without_snapshots() };
        let replayed = match until {
            Until::Now => aggregates.replay(id),
            Until::Version(version) => aggregates.replay_to_version(id, version),
            Until::Time(time) => aggregates.replay_to_time(id, time),
        }?;
        as_json(replayed)
    }

    fn create_snapshot(&self, store: &Store, id: &str) -> Result<Version, foldlog::Error> {
        (self.open)(store).create_snapshot(id, SnapshotReason::Manual)
    }

    fn create_snapshot_at(&self, store: &Store, id: &str, version: u64) -> Result<(), foldlog::Error> {
        (self.open)(store).create_snapshot_at(id, version, SnapshotReason::Manual)
    }

    fn snapshot_all(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(&EachProgress) -> ControlFlow<()>,
    ) -> Result<EachProgress, foldlog::Error> {
        (self.open)(store).snapshot_all(SnapshotReason::Manual, progress)
    }

    fn verify_snapshots(
        &self,
        store: &Store,
        progress: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport, foldlog::Error> {
        (self.open)(store).verify_snapshots(progress)
    }

    fn compare_before_retaining(&self, store: &Store, rules: Retention) -> Retention {
        rules.fold(&(self.open)(store))
    }

    fn compare_before(&self, store: &Store, purge: Purge) -> Purge {
        purge.fold(&(self.open)(store))
    }
}

fn as_json<S: Serialize>(replayed: Replayed<S>) -> Result<State, foldlog::Error> {
    Ok(State {
        state: foldlog::Json::from_serialize(&replayed.state)?.to_value()?,
        version: replayed.version,
        from_snapshot: replayed.from_snapshot,
        events_folded: replayed.events_folded,
        warnings: replayed.warnings,
    })
}
