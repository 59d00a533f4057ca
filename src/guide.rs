//! The repository's documents as modules, so that they can be read on docs.rs and their links work there.
// The first link definition wins, so each of these replaces the relative one at the end of the document.

/// [figures.md]: figures#delivery
/// [Decision 7]: decisions
#[doc = include_str!("../docs/delivery.md")]
pub mod delivery {}

#[doc = include_str!("../docs/schema-evolution.md")]
pub mod schema_evolution {}

#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}

/// [Decision 8]: decisions
#[doc = include_str!("../docs/reliability.md")]
pub mod reliability {}

#[doc = include_str!("../docs/audit.md")]
pub mod audit {}

#[doc = include_str!("../docs/upkeep.md")]
pub mod upkeep {}

#[doc = include_str!("../docs/investigation.md")]
pub mod investigation {}

/// [metrics.md]: metrics
#[doc = include_str!("../docs/figures.md")]
pub mod figures {}

/// [docs/reliability.md]: reliability
/// [docs/delivery.md]: delivery
/// [Decision 8]: decisions
/// [Decision 10]: decisions
/// [Decision 13]: decisions
/// [Decision 14]: decisions
/// [Decision 16]: decisions
/// [schema.sql]: file_format
#[doc = include_str!("../ARCHITECTURE.md")]
pub mod architecture {}

/// `schema.sql`: the file format, every column explained.
#[doc = concat!("```sql\n", include_str!("../schema.sql"), "\n```")]
pub mod file_format {}

#[doc = include_str!("../docs/decisions/0001-layout.md")]
#[doc = include_str!("../docs/decisions/0002-checksums-and-ids.md")]
#[doc = include_str!("../docs/decisions/0003-block-summaries.md")]
#[doc = include_str!("../docs/decisions/0004-delivery-dependencies.md")]
#[doc = include_str!("../docs/decisions/0005-summaries-with-checksums.md")]
#[doc = include_str!("../docs/decisions/0006-linked-indexes.md")]
#[doc = include_str!("../docs/decisions/0007-leases-without-a-clock.md")]
#[doc = include_str!("../docs/decisions/0008-format-1.md")]
#[doc = include_str!("../docs/decisions/0009-inspector.md")]
#[doc = include_str!("../docs/decisions/0010-archive.md")]
#[doc = include_str!("../docs/decisions/0011-snapshots-that-can-be-trusted.md")]
#[doc = include_str!("../docs/decisions/0012-command-line.md")]
#[doc = include_str!("../docs/decisions/0013-what-is-remembered.md")]
#[doc = include_str!("../docs/decisions/0014-erasure.md")]
#[doc = include_str!("../docs/decisions/0015-audit-chain.md")]
#[doc = include_str!("../docs/decisions/0016-repair.md")]
#[doc = include_str!("../docs/decisions/0018-group-commit.md")]
pub mod decisions {}

#[doc = include_str!("../CHANGELOG.md")]
pub mod changelog {}
