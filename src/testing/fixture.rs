//! Stores in memory, copied from one that was filled once.

use std::fmt::Debug;

use super::unexpected;
use crate::{Options, Store};

/// A store that is filled once and then copied for each test.
///
/// ```
/// use std::sync::LazyLock;
/// use foldlog::{Expected, NewEvent, testing::Fixture};
///
/// static BANK: LazyLock<Fixture> = LazyLock::new(|| Fixture::new(|store| {
///     store.append("account", "acc-1", Expected::New, [NewEvent::new("Opened", &())?]).map(drop)
/// }));
///
/// let store = BANK.store();
/// store.append("account", "acc-1", 1, [NewEvent::new("Closed", &())?])?;
/// assert_eq!(BANK.store().last_position()?, 1, "the next test begins where this one did");
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Debug)]
pub struct Fixture {
    seeded: Store,
}

impl Fixture {
    /// Fills a store with the default options.
    #[track_caller]
    pub fn new<E: Debug>(seed: impl FnOnce(&Store) -> Result<(), E>) -> Fixture {
        Fixture::with_options(Options::new(), seed)
    }

    /// Fills a store with these options, which the copies have too. A fixed clock is shared by all.
    #[track_caller]
    pub fn with_options<E: Debug>(options: Options, seed: impl FnOnce(&Store) -> Result<(), E>) -> Fixture {
        let seeded = match options.in_memory() {
            Ok(store) => store,
            Err(error) => unexpected("there is no store in memory", &error),
        };
        if let Err(error) = seed(&seeded) {
            unexpected("the store cannot be filled", &error);
        }
        Fixture { seeded }
    }

    /// A new copy of the filled store.
    #[track_caller]
    pub fn store(&self) -> Store {
        match self.seeded.copy_to_memory() {
            Ok(store) => store,
            Err(error) => unexpected("the store cannot be copied", &error),
        }
    }
}
