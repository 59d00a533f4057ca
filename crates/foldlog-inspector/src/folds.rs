//! The application's folds, by aggregate type.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use foldlog::serde_json::Value;
use foldlog::{Aggregate, AggregateKind, Aggregates, Json, Result, Step, Store};

/// How the state of each aggregate type follows from its events. Types that are not in it are folded by JSON Merge Patch.
///
/// ```
/// # use foldlog::Aggregate;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Account { cents: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # enum AccountEvent { Deposited { cents: u64 } }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "account";
/// #     type Event = AccountEvent;
/// #     fn apply(&mut self, event: AccountEvent) { let AccountEvent::Deposited { cents } = event; self.cents += cents; }
/// # }
/// use foldlog_inspector::Folds;
/// let folds = Folds::new().typed::<Account>();
/// ```
#[derive(Clone, Default)]
pub struct Folds {
    by_type: BTreeMap<String, Arc<dyn Folding>>,
}

impl Folds {
    /// No folds.
    pub fn new() -> Folds {
        Folds::default()
    }

    /// Adds the fold of a type that implements [`Aggregate`].
    pub fn typed<A: Aggregate + 'static>(mut self) -> Folds {
        self.by_type.insert(A::TYPE.to_owned(), Arc::new(Handle(|store: &Store| store.aggregates::<A>())));
        self
    }

    /// Adds the fold of an aggregate type without Rust types: a function that gives the handle its fold, as
    /// [`Aggregates::fold_with`] does.
    pub fn json(
        mut self,
        aggregate_type: impl Into<String>,
        fold: impl Fn(Aggregates<Value>) -> Aggregates<Value> + Send + Sync + 'static,
    ) -> Folds {
        let aggregate_type = aggregate_type.into();
        let name = aggregate_type.clone();
        let handle = Handle(move |store: &Store| fold(store.json_aggregates(&name)));
        self.by_type.insert(aggregate_type, Arc::new(handle));
        self
    }

    /// The fold of a type.
    pub(crate) fn of(&self, aggregate_type: &str) -> Fold {
        match self.by_type.get(aggregate_type) {
            Some(folding) => Fold { folding: folding.clone(), is_the_applications: true },
            None => {
                let name = aggregate_type.to_owned();
                let folding = Arc::new(Handle(move |store: &Store| store.json_aggregates(&name)));
                Fold { folding, is_the_applications: false }
            }
        }
    }
}

impl fmt::Debug for Folds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_type.keys()).finish()
    }
}

/// The fold of one aggregate type.
pub(crate) struct Fold {
    folding: Arc<dyn Folding>,
    pub(crate) is_the_applications: bool,
}

impl Fold {
    pub(crate) fn id(&self, store: &Store) -> (String, u32) {
        self.folding.id(store)
    }

    /// The state at a version, and the steps after it.
    pub(crate) fn steps(&self, store: &Store, aggregate_id: &str, after: u64) -> Result<(Json, Steps)> {
        self.folding.steps(store, aggregate_id, after)
    }

    /// Replays to the newest version, only to see that it can be done and what it takes.
    pub(crate) fn replay(&self, store: &Store, aggregate_id: &str, uses_snapshots: bool) -> Result<()> {
        self.folding.replay(store, aggregate_id, uses_snapshots)
    }
}

pub(crate) type Steps = Box<dyn Iterator<Item = Result<Step>>>;

trait Folding: Send + Sync {
    fn id(&self, store: &Store) -> (String, u32);
    fn steps(&self, store: &Store, aggregate_id: &str, after: u64) -> Result<(Json, Steps)>;
    fn replay(&self, store: &Store, aggregate_id: &str, uses_snapshots: bool) -> Result<()>;
}

/// Makes the handle of a fold for a store.
struct Handle<F>(F);

impl<A: AggregateKind + 'static, F: Fn(&Store) -> Aggregates<A> + Send + Sync> Folding for Handle<F> {
    fn id(&self, store: &Store) -> (String, u32) {
        let handle = (self.0)(store);
        let (name, version) = handle.fold_id();
        (name.to_owned(), version)
    }

    fn steps(&self, store: &Store, aggregate_id: &str, after: u64) -> Result<(Json, Steps)> {
        let steps = (self.0)(store).steps(aggregate_id, after)?;
        Ok((steps.state_json()?, Box::new(steps)))
    }

    fn replay(&self, store: &Store, aggregate_id: &str, uses_snapshots: bool) -> Result<()> {
        let handle = (self.0)(store);
        let handle = if uses_snapshots { handle } else { handle.without_snapshots() };
        handle.replay(aggregate_id).map(drop)
    }
}
