//! Keys of events and snapshots: the rows of an aggregate are next to each other.

/// A key: the aggregate's number in the upper half, the version (or a snapshot's number) in the lower.
pub(in crate::sqlite) fn key(aggregate: i64, version: u64) -> i64 {
    // CHECKs in the schema and Version::MAX bound both halves. A damaged number must not overflow, and a caller's version
    // beyond the highest must not be taken for a low one.
    (aggregate.wrapping_shl(32)) | i64::from(u32::try_from(version).unwrap_or(u32::MAX))
}

/// The version in a key's lower half.
pub(in crate::sqlite) fn key_version(key: i64) -> u64 {
    key.cast_unsigned() & u64::from(u32::MAX)
}
