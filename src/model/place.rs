//! Places: the aggregate, the version in it, the position in the log.

use std::fmt;
use std::num::ParseIntError;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Before the first event.
            pub const ZERO: $name = $name(0);

            /// Makes it from its number.
            pub const fn new(number: u64) -> $name {
                $name(number)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> $name {
                $name(number)
            }
        }

        impl From<$name> for u64 {
            fn from(place: $name) -> u64 {
                place.0
            }
        }

        /// A later place; stops at the greatest number.
        impl Add<u64> for $name {
            type Output = $name;

            fn add(self, places: u64) -> $name {
                $name(self.0.saturating_add(places))
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<$name, ParseIntError> {
                text.parse().map($name)
            }
        }

        impl PartialEq<u64> for $name {
            fn eq(&self, number: &u64) -> bool {
                self.0 == *number
            }
        }

        impl PartialOrd<u64> for $name {
            fn partial_cmp(&self, number: &u64) -> Option<std::cmp::Ordering> {
                self.0.partial_cmp(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

place! {
    /// An event's place in its aggregate: 1, 2, 3 …; 0 is the version of an aggregate without events.
    Version
}

place! {
    /// An event's place in the log: rises in commit order, has no gaps, is never reused; 0 is before the first event.
    Position
}

impl Version {
    /// The highest version that an aggregate can reach: 4,294,967,295.
    pub const MAX: Version = Version(u32::MAX as u64);
}

/// Names an aggregate: tenant, type and id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AggregateRef {
    /// The tenant; `"default"` if none was named.
    pub tenant: Arc<str>,
    /// The aggregate type.
    pub aggregate_type: Arc<str>,
    /// The application's name for the aggregate.
    pub aggregate_id: Arc<str>,
}

impl AggregateRef {
    pub(crate) fn new(tenant: &Arc<str>, aggregate_type: &str, aggregate_id: &str) -> AggregateRef {
        AggregateRef { tenant: tenant.clone(), aggregate_type: aggregate_type.into(), aggregate_id: aggregate_id.into() }
    }
}

impl fmt::Display for AggregateRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted, so that control characters in a name do not reach a terminal.
        write!(f, "{} {:?}", self.aggregate_type.escape_debug(), self.aggregate_id)?;
        if &*self.tenant != DEFAULT_TENANT {
            write!(f, " of tenant {:?}", self.tenant)?;
        }
        Ok(())
    }
}

impl fmt::Debug for AggregateRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AggregateRef({self})")
    }
}

/// The tenant of callers that name none.
pub const DEFAULT_TENANT: &str = "default";
