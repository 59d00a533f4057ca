//! A digest of the audit chain, to be kept elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;

/// The audit chain's last link at a position: it depends on every event up to there since the chain was begun. Keep it where
/// whoever can write the file cannot: on paper, in a mail, with a time-stamping service. As a text it is
/// `position:64 hexadecimal digits`, also in JSON.
///
/// ```
/// let text = format!("42:{}", "0f".repeat(32));
/// let digest: foldlog::AuditDigest = text.parse()?;
/// assert_eq!((digest.position.get(), digest.to_string()), (42, text));
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AuditDigest {
    /// The last position that it depends on.
    pub position: Position,
    /// The link: SHA-256.
    pub digest: [u8; 32],
}

impl fmt::Display for AuditDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.position)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditDigest({self})")
    }
}

impl FromStr for AuditDigest {
    type Err = Error;

    fn from_str(text: &str) -> Result<AuditDigest> {
        let parsed = text.trim().split_once(':').and_then(|(position, digits)| {
            let position = position.parse().ok().filter(|position| *position <= i64::MAX as u64)?;
            Some(AuditDigest { position: Position::new(position), digest: from_hex(digits)? })
        });
        parsed.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "it is not a digest of the audit chain")
                .advice("a digest is a position, a colon and 64 hexadecimal digits")
        })
    }
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

impl Serialize for AuditDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<AuditDigest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
