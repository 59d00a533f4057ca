//! Where an event stands: the aggregate, the version in it, the position in the file.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::error::{Error, ErrorKind, Result};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Before the first event.
            pub const ZERO: $name = $name(0);

            /// Names a place by its number.
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

        /// So many places further on; at the end of the numbers it stays.
        impl Add<u64> for $name {
            type Output = $name;

            fn add(self, places: u64) -> $name {
                $name(self.0.saturating_add(places))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<$name> {
                text.parse().map($name).map_err(|error| {
                    let what = stringify!($name).to_lowercase();
                    Error::new(ErrorKind::InvalidInput, format!("the text is not a {what}: {error}"))
                })
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
    /// An event's place in the file: rises in commit order, has no holes, is never used twice; 0 is before the first.
    Position
}

impl Version {
    /// The highest version that an aggregate can reach: 4,294,967,295.
    pub const MAX: Version = Version(u32::MAX as u64);
}

/// Names one aggregate: its type and its id, in a tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AggregateRef {
    /// The tenant; `"default"` when none was named.
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
        // Quoted, so that control characters in a hostile name do not reach a terminal.
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

/// The tenant of a caller that names none.
pub const DEFAULT_TENANT: &str = "default";
