//! Keys: the events of an aggregate, and its snapshots, lie side by side.

/// `key`: the aggregate's number above, its version (or a snapshot's number) below.
pub(in crate::sqlite) fn key(aggregate: i64, version: u64) -> i64 {
    // Both halves are bounded by CHECKs in the schema and by Version::MAX; a damaged number must not overflow.
    (aggregate.wrapping_shl(32)) | i64::try_from(version & u64::from(u32::MAX)).unwrap_or(i64::MAX)
}

/// The version that a key ends with.
pub(in crate::sqlite) fn key_version(key: i64) -> u64 {
    key.cast_unsigned() & u64::from(u32::MAX)
}
