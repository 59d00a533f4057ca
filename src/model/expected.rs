//! Expected versions.

use std::fmt;

use serde::Serialize;

use crate::model::place::Version;

/// What a writer believes about an aggregate. If that is wrong, nothing is written and the error names the actual
/// version.
///
/// ```
/// use foldlog::{Expected, Version};
/// assert_eq!(Expected::from(3), Expected::Exactly(Version::new(3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expected {
    /// Any version, or none: append after whatever is there.
    Any,
    /// The aggregate has no events yet.
    New,
    /// The aggregate has events.
    Existing,
    /// The aggregate is exactly at this version; 0 is the same as `New`.
    Exactly(Version),
}

impl Expected {
    /// What the same writer expects after this many more events.
    pub(crate) fn after(self, events: u64) -> Expected {
        match self {
            Expected::Any | Expected::Existing => self,
            Expected::New => Expected::Exactly(Version::new(events)),
            Expected::Exactly(version) => Expected::Exactly(version + events),
        }
    }

    /// The versions that satisfy it, both ends included.
    pub(crate) fn range(self) -> (u64, u64) {
        match self {
            Expected::Any => (0, Version::MAX.get()),
            Expected::New => (0, 0),
            Expected::Existing => (1, Version::MAX.get()),
            Expected::Exactly(version) => (version.get(), version.get()),
        }
    }
}

impl From<Version> for Expected {
    fn from(version: Version) -> Expected {
        Expected::Exactly(version)
    }
}

macro_rules! from_unsigned {
    ($($number:ty)*) => {
        $(impl From<$number> for Expected {
            fn from(version: $number) -> Expected {
                Expected::Exactly(Version::new(version as u64))
            }
        })*
    };
}

macro_rules! from_signed {
    ($($number:ty)*) => {
        $(
            /// No aggregate has a negative version, so a negative number always conflicts.
            impl From<$number> for Expected {
                fn from(version: $number) -> Expected {
                    Expected::Exactly(Version::new(u64::try_from(version).unwrap_or(u64::MAX)))
                }
            }
        )*
    };
}

from_unsigned! { u8 u16 u32 u64 usize }
// A bare literal is an i32 where several integer types are possible.
from_signed! { i32 i64 }

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Any => f.write_str("any version"),
            Expected::New => f.write_str("no events"),
            Expected::Existing => f.write_str("at least one event"),
            Expected::Exactly(version) if *version > Version::MAX => f.write_str("a version that no aggregate can have"),
            Expected::Exactly(version) => write!(f, "version {version}"),
        }
    }
}
