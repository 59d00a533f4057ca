//! Checksums of rows. SQLite has none: a flipped bit in a text is returned as a changed text.
//!
//! An event's checksum has two halves of 32 bits, so that a replay need not read what it does not use. The upper half
//! covers what a fold depends on, the lower half the rest of the row and the upper half. Both cover names, not the
//! numbers that stand for them, so damage in the tables of names is noticed too. Part of the format: this must never
//! change.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The names of an aggregate, hashed to a number.
pub(crate) fn identity(tenant: &str, aggregate_type: &str, aggregate_id: &str) -> u64 {
    chain(chain(xxh3_64(tenant.as_bytes()), aggregate_type.as_bytes()), aggregate_id.as_bytes())
}

/// A name, hashed to a number.
pub(crate) fn name(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The half that a replay checks.
pub(crate) fn folded(identity: u64, version: u64, event_type: u64, schema_version: u32, created_at: i64, data: &str) -> u32 {
    let mut head = [0u8; 36];
    put(&mut head, 0, &identity.to_le_bytes());
    put(&mut head, 8, &version.to_le_bytes());
    put(&mut head, 16, &event_type.to_le_bytes());
    put(&mut head, 24, &schema_version.to_le_bytes());
    put(&mut head, 28, &created_at.to_le_bytes());
    low_half(chain(xxh3_64(&head), data.as_bytes()))
}

/// What the lower half covers.
pub(crate) struct Rest<'a> {
    pub(crate) position: u64,
    pub(crate) commit_id: u64,
    pub(crate) event_id: &'a [u8; 16],
    pub(crate) origin: &'a [u8; 16],
    pub(crate) metadata: Option<&'a str>,
    pub(crate) tags: Option<&'a str>,
}

/// Both halves, as they are stored.
pub(crate) fn event(folded: u32, rest: &Rest<'_>) -> i64 {
    let mut head = [0u8; 53];
    put(&mut head, 0, &folded.to_le_bytes());
    put(&mut head, 4, &rest.position.to_le_bytes());
    put(&mut head, 12, &rest.commit_id.to_le_bytes());
    put(&mut head, 20, rest.event_id);
    put(&mut head, 36, rest.origin);
    let present = u8::from(rest.metadata.is_some()) | u8::from(rest.tags.is_some()) << 1;
    put(&mut head, 52, &[present]);
    let mut sum = xxh3_64(&head);
    for text in [rest.metadata, rest.tags].into_iter().flatten() {
        sum = chain(sum, text.as_bytes());
    }
    (u64::from(folded) << 32 | u64::from(low_half(sum))).cast_signed()
}

/// The upper half of a stored checksum.
pub(crate) fn stored_folded(checksum: i64) -> u32 {
    low_half(checksum.cast_unsigned() >> 32)
}

/// The checksum of an aggregate's row: of its number, its type and its id.
pub(crate) fn aggregate(id: i64, aggregate_type: i64, aggregate_id: &str) -> u32 {
    let mut head = [0u8; 16];
    put(&mut head, 0, &id.to_le_bytes());
    put(&mut head, 8, &aggregate_type.to_le_bytes());
    low_half(chain(xxh3_64(&head), aggregate_id.as_bytes()))
}

/// The checksum of a row of numbers.
pub(crate) fn numbers(numbers: &[i64]) -> i64 {
    numbers.iter().fold(0, |sum, number| chain(sum, &number.to_le_bytes())).cast_signed()
}

/// A checksum over several fields of a row. Each field's length is part of it.
pub(crate) fn fields(identity: u64, fields: &[&[u8]]) -> i64 {
    fields.iter().fold(identity, |sum, field| chain(sum, field)).cast_signed()
}

fn chain(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

fn low_half(sum: u64) -> u32 {
    (sum & u64::from(u32::MAX)) as u32
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = head.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(metadata: Option<&'static str>, tags: Option<&'static str>) -> Rest<'static> {
        Rest { position: 7, commit_id: 6, event_id: &[1; 16], origin: &[2; 16], metadata, tags }
    }

    // Files hold these numbers: they are part of the format.
    #[test]
    fn the_functions_are_frozen() {
        let identity = identity("default", "account", "acc-1");
        let folded = folded(identity, 1, name("Opened"), 1, -5, r#"{"owner":"Ada"}"#);
        let event_with = |metadata, tags| event(folded, &rest(metadata, tags));
        assert_eq!(stored_folded(event_with(Some("{}"), None)), folded);
        let events = [
            event_with(None, None),
            event_with(Some("{}"), None),
            event_with(None, Some("{}")),
            event_with(Some("{}"), Some("{}")),
        ];
        let sums = (aggregate(3, 2, "acc-1"), numbers(&[1, -1]), fields(identity, &[b"a", b"bc"]));
        assert_eq!((identity, folded, events, sums), FROZEN);
    }

    type Frozen = (u64, u32, [i64; 4], (u32, i64, i64));
    const FROZEN: Frozen = (
        15_744_359_568_460_873_162,
        3_782_948_791,
        [-2_199_102_733_475_110_322, -2_199_102_731_906_295_378, -2_199_102_733_844_703_399, -2_199_102_730_606_152_283],
        (2_004_353_175, -8_893_187_564_226_939_110, -3_415_195_217_111_350_628),
    );

    #[test]
    fn every_field_counts() {
        let base = event(1, &rest(Some("a"), None));
        for other in [
            event(2, &rest(Some("a"), None)),
            event(1, &rest(None, Some("a"))),
            event(1, &rest(Some("b"), None)),
            event(1, &rest(Some("a"), Some(""))),
            event(1, &Rest { position: 8, ..rest(Some("a"), None) }),
            event(1, &Rest { commit_id: 7, ..rest(Some("a"), None) }),
            event(1, &Rest { event_id: &[3; 16], ..rest(Some("a"), None) }),
            event(1, &Rest { origin: &[3; 16], ..rest(Some("a"), None) }),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(identity("a", "bc", "d"), identity("ab", "c", "d"));
        let base = folded(1, 2, 3, 4, 5, "6");
        for other in [
            folded(0, 2, 3, 4, 5, "6"),
            folded(1, 0, 3, 4, 5, "6"),
            folded(1, 2, 0, 4, 5, "6"),
            folded(1, 2, 3, 0, 5, "6"),
            folded(1, 2, 3, 4, 0, "6"),
            folded(1, 2, 3, 4, 5, "0"),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(numbers(&[1, 2]), numbers(&[2, 1]));
        assert_ne!(aggregate(1, 2, "a"), aggregate(2, 1, "a"));
    }
}
