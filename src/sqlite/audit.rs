//! What the audit chain hashes. Part of the format, and of docs/audit.md: this must never change.

use crate::model::error::Result;

/// A SHA-256.
pub(crate) type Digest = [u8; 32];

/// What a commitment covers: all of an event but its place, which the link covers.
pub(crate) struct Committed<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) schema_version: u32,
    pub(crate) event_id: &'a [u8; 16],
    pub(crate) origin: &'a [u8; 16],
    pub(crate) commit_id: u64,
    pub(crate) created_at: i64,
    pub(crate) tags: Option<&'a str>,
    pub(crate) metadata: Option<&'a str>,
    pub(crate) data: &'a str,
}

/// Commits to an event without showing it: whoever does not know the salt cannot try out what it may have been.
pub(crate) fn commitment(salt: &[u8; 16], event: &Committed<'_>) -> Result<Digest> {
    // A length before each field, so that no two events give the same bytes; an absent one has the greatest length.
    let length = |text: Option<&str>| text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes();
    let texts = [
        Some(event.tenant),
        Some(event.aggregate_type),
        Some(event.aggregate_id),
        Some(event.event_type),
        event.tags,
        event.metadata,
        Some(event.data),
    ];
    let lengths = texts.map(length);
    let numbers = [u64::from(event.schema_version), event.commit_id, event.created_at.cast_unsigned()].map(u64::to_le_bytes);
    let head =
        [b"foldlog event 1\0".as_slice(), salt, event.event_id, event.origin, numbers.as_flattened(), lengths.as_flattened()];
    let bodies = texts.map(|text| text.unwrap_or_default().as_bytes());
    sha256(head.into_iter().chain(bodies))
}

/// A link's predecessors: that of the position before, and that of the version before in its aggregate, if the chain has it.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) in_log: Digest,
    pub(crate) in_aggregate: Option<Digest>,
}

/// Ties an event to its place and to everything before it.
pub(crate) fn link(before: Before, position: u64, version: u64, commitment: &Digest) -> Result<Digest> {
    let in_aggregate = before.in_aggregate.unwrap_or_default();
    let place = [position, version].map(u64::to_le_bytes);
    sha256([b"foldlog link 1\0\0".as_slice(), &before.in_log, &in_aggregate, place.as_flattened(), commitment])
}

#[cfg(feature = "audit")]
fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Digest> {
    use sha2::Digest as _;
    let mut sum = sha2::Sha256::new();
    parts.into_iter().for_each(|part| sum.update(part));
    Ok(sum.finalize().into())
}

#[cfg(not(feature = "audit"))]
fn sha256<'a>(_: impl IntoIterator<Item = &'a [u8]>) -> Result<Digest> {
    use crate::model::error::{Error, ErrorKind};
    Err(Error::new(ErrorKind::FeatureMissing, "the file has an audit chain, and this program was built without it")
        .advice("build it with foldlog's feature `audit`"))
}

#[cfg(all(test, feature = "audit"))]
mod tests {
    use super::*;

    fn event() -> Committed<'static> {
        Committed {
            tenant: "default",
            aggregate_type: "account",
            aggregate_id: "acc-1",
            event_type: "Opened",
            schema_version: 1,
            event_id: &[1; 16],
            origin: &[2; 16],
            commit_id: 7,
            created_at: -5,
            tags: None,
            metadata: Some("{}"),
            data: r#"{"owner":"Ada"}"#,
        }
    }

    fn hex(digest: Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // Files hold these: they are part of the format.
    #[test]
    fn the_functions_are_frozen() {
        let commitment = commitment(&[3; 16], &event()).unwrap();
        let before = Before { in_log: [4; 32], in_aggregate: None };
        let links = [before, Before { in_aggregate: Some([5; 32]), ..before }]
            .map(|before| hex(link(before, 8, 2, &commitment).unwrap()));
        assert_eq!((hex(commitment), links), (FROZEN.0.to_owned(), FROZEN.1.map(str::to_owned)));
    }

    const FROZEN: (&str, [&str; 2]) = (
        "7f72128a862fb1954fa405b123b257336995c3742edbf5170bda7bb39072ce39",
        [
            "9c32ca831a1272e296ccc5aa48565433491b7c05e52df00710b71a15ba512849",
            "dc1405d69f8b234934cfa7a3f10c0a1650bc3fe599b40a1693cd92d8f980a96a",
        ],
    );

    #[test]
    fn every_field_counts() {
        let base = commitment(&[3; 16], &event()).unwrap();
        for other in [
            Committed { tenant: "other", ..event() },
            Committed { aggregate_type: "accoun", aggregate_id: "tacc-1", ..event() },
            Committed { aggregate_id: "acc-2", ..event() },
            Committed { event_type: "Closed", ..event() },
            Committed { schema_version: 2, ..event() },
            Committed { event_id: &[9; 16], ..event() },
            Committed { origin: &[9; 16], ..event() },
            Committed { commit_id: 6, ..event() },
            Committed { created_at: 5, ..event() },
            Committed { tags: Some("{}"), metadata: None, ..event() },
            Committed { metadata: None, ..event() },
            Committed { data: "{}", ..event() },
        ] {
            assert_ne!(commitment(&[3; 16], &other).unwrap(), base);
        }
        assert_ne!(commitment(&[4; 16], &event()).unwrap(), base);
        let before = Before { in_log: [4; 32], in_aggregate: Some([5; 32]) };
        let link_of = |before, position, version| link(before, position, version, &base).unwrap();
        let all = link_of(before, 8, 2);
        assert_ne!(link_of(Before { in_log: [0; 32], ..before }, 8, 2), all);
        assert_ne!(link_of(Before { in_aggregate: None, ..before }, 8, 2), all);
        assert_ne!(link_of(before, 9, 2), all);
        assert_ne!(link_of(before, 8, 3), all);
    }
}
