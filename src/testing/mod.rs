//! A kit for an application's tests: decisions and projections as given, when, then; and stores in memory that are
//! quickly copied from a filled one.
//!
//! Everything runs on a real store in memory. If an expectation fails, the functions panic with a message that shows
//! both sides and names the test's line.
//!
//! ```
//! use foldlog::{Aggregate, testing::given};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum AccountEvent { Deposited { cents: u64 }, Withdrawn { cents: u64 } }
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Account { cents: u64 }
//!
//! impl Aggregate for Account {
//!     const TYPE: &'static str = "account";
//!     type Event = AccountEvent;
//!     fn apply(&mut self, event: AccountEvent) {
//!         match event {
//!             AccountEvent::Deposited { cents } => self.cents += cents,
//!             AccountEvent::Withdrawn { cents } => self.cents -= cents,
//!         }
//!     }
//! }
//!
//! impl Account {
//!     fn withdraw(&self, cents: u64) -> Result<Vec<AccountEvent>, String> {
//!         if cents > self.cents { return Err("not enough".into()) }
//!         Ok(vec![AccountEvent::Withdrawn { cents }])
//!     }
//! }
//!
//! given::<Account>([AccountEvent::Deposited { cents: 50 }])
//!     .when(|account| account.withdraw(30))
//!     .then_events([AccountEvent::Withdrawn { cents: 30 }])
//!     .and_state(|account| assert_eq!(account.cents, 20));
//! given::<Account>([]).when(|account| account.withdraw(1)).then_error_eq("not enough");
//! ```
#![allow(clippy::panic, reason = "a test kit tells by a panic that a test has failed")]

mod decision;
mod event_shapes;
mod events;
mod fixture;
mod projected;
mod snapshots;

pub use decision::{Given, Then, given};
pub use event_shapes::{EventShapes, event_shapes};
pub use events::check_events;
pub use fixture::Fixture;
pub use projected::{Projected, project};
pub use snapshots::check_snapshots;

use std::fmt::Debug;

/// Fails the test because the kit itself could not do its work.
#[track_caller]
fn unexpected(what: &str, error: &impl Debug) -> ! {
    panic!("{what}: {error:?}")
}

/// Shows two lists: `=` in both, `-` only expected, `+` only found.
fn difference<T: PartialEq + Debug>(expected: &[T], actual: &[T]) -> String {
    let mut lines = String::new();
    let mut line = |mark: char, item: &T| lines.push_str(&format!("\n  {mark} {item:?}"));
    for at in 0..expected.len().max(actual.len()) {
        match (expected.get(at), actual.get(at)) {
            (Some(wanted), Some(there)) if wanted == there => line('=', there),
            (wanted, there) => {
                wanted.into_iter().for_each(|wanted| line('-', wanted));
                there.into_iter().for_each(|there| line('+', there));
            }
        }
    }
    lines
}
