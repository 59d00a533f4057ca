-- The foldlog file format, version 1: every table and index, and the only copy of the DDL.
--
-- The library compiles this file in, runs it (comments stripped) in the transaction that makes a new file, and compares it
-- with what a file holds whenever one is opened: a table of ours that differs is refused.
-- application_id = 0x464C4F47 ("FLOG"); user_version = the format's version; auto_vacuum = incremental. The host application
-- may keep its own tables in the same file, and views that only read ours; it may not hang triggers or indexes on the tables
-- below, nor put a view in their place.
--
-- Notation. key: aggregate << 32 | version, so that the events of an aggregate lie side by side, in the order in which a
-- replay reads them. Times: microseconds since 1970-01-01T00:00:00Z. JSON: text, kept byte for byte as it was appended.
-- checksum: xxh3, over the names and values of the row, not over the numbers that stand for names. Small columns come before
-- large ones, so that SQLite finds them without reading through a large event. There are no foreign keys: `verify` checks
-- every reference below. Indexes, `event_ids`, `event_tags`, `block_summaries` and `aggregate_counts` are derived from `events`,
-- `aggregates` and `removed_ids`; `reindex` recreates them.

-- What the log as a whole has to remember: exactly one row. An append does not touch it.
CREATE TABLE log_state (
  id                  INTEGER PRIMARY KEY CHECK (id = 1), -- always 1
  replica             INTEGER NOT NULL,  -- replicas.id under which this file appends now
  snapshot_count      INTEGER NOT NULL,  -- rows in snapshots, so that nobody has to count them
  archive_id          BLOB,              -- UUID, 16 bytes, of the archive file that holds this log's archived events; NULL = none was made
  snapshots_expired_at INTEGER NOT NULL, -- when the scheduled clean-up of old snapshots ran last; 0 = never
  maintained_at       INTEGER NOT NULL,  -- when the scheduled upkeep ran last; 0 = never
  verified            TEXT,              -- JSON: what the last verification found that was to be noted, and when; NULL = none was
  created_at          INTEGER NOT NULL   -- when the file was made
) STRICT;

-- Who wrote events into this log: this file under its identities, later other replicas whose events were imported.
CREATE TABLE replicas (
  id                  INTEGER PRIMARY KEY, -- small number that events.origin refers to
  replica_id          BLOB NOT NULL UNIQUE -- UUID, 16 bytes
) STRICT;

-- Tenants by number. 'default' is the tenant of a caller that names none.
CREATE TABLE tenants (
  id                  INTEGER PRIMARY KEY, -- small number that aggregate_types.tenant refers to
  name                TEXT NOT NULL UNIQUE -- as the application named it
) STRICT;

-- Aggregate types by number, for each tenant its own.
CREATE TABLE aggregate_types (
  id                  INTEGER PRIMARY KEY, -- small number that aggregates.aggregate_type refers to
  tenant              INTEGER NOT NULL,  -- tenants.id
  name                TEXT NOT NULL,     -- as the application named it
  UNIQUE (tenant, name)
) STRICT;

-- Event types by number, shared by all tenants.
CREATE TABLE event_types (
  id                  INTEGER PRIMARY KEY, -- small number that events.event_type refers to
  name                TEXT NOT NULL UNIQUE -- as the application named it: an enum's variant, for example
) STRICT;

-- One row for each aggregate that has or had events, written once. Its version is that of its last event.
CREATE TABLE aggregates (
  id                  INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647), -- the upper half of key
  aggregate_type      INTEGER NOT NULL,  -- aggregate_types.id, and through it the tenant
  aggregate_id        TEXT NOT NULL,     -- the application's name for the aggregate
  checksum            INTEGER NOT NULL,  -- 32 bits over the three columns above; in the index too, which is read alone
  UNIQUE (aggregate_type, aggregate_id, checksum)
) STRICT;

-- Aggregates whose first events are not in this file any more.
CREATE TABLE removals (
  aggregate           INTEGER PRIMARY KEY, -- aggregates.id
  purged_through      INTEGER NOT NULL,  -- events 1..this were purged; 0 = none
  archived_through    INTEGER NOT NULL,  -- events purged_through+1..this are in the archive, if it is more than purged_through
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

-- What was erased from the log because somebody had to be forgotten. Whoever keeps copies of events reads the finished rows in the
-- order of their numbers. A row that is begun is all that is needed to finish it.
CREATE TABLE erasures (
  id                  INTEGER PRIMARY KEY, -- rises, never reused; a row gets a new one when it is finished
  aggregate           INTEGER NOT NULL,  -- aggregates.id
  through             INTEGER NOT NULL,  -- events up to this version are done
  fields              TEXT,              -- JSON: which fields of which events; NULL = everything of the aggregate
  events              INTEGER NOT NULL,  -- how many were removed or changed
  state               TEXT NOT NULL CHECK (state IN ('begun', 'erased', 'clean')), -- erased: nobody reads it any more; clean: and its bytes are gone from the files
  projections         TEXT NOT NULL,     -- JSON: [subscriptions.id, generation] of each projection whose tables may hold it
  position            INTEGER NOT NULL,  -- end of the log when it was begun
  erased_by           TEXT,              -- who asked for it
  reason              TEXT,              -- why
  erased_at           INTEGER NOT NULL,  -- when it was begun
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

CREATE INDEX erasures_aggregate ON erasures (aggregate);

-- The log.
CREATE TABLE events (
  key                 INTEGER PRIMARY KEY, -- aggregates.id << 32 | version
  position            INTEGER NOT NULL UNIQUE, -- place in the log: rises in commit order, without gaps, never reused
  commit_offset       INTEGER NOT NULL CHECK (commit_offset >= 0), -- position - this = position of the first event of its atomic append
  event_type          INTEGER NOT NULL,  -- event_types.id
  schema_version      INTEGER NOT NULL CHECK (schema_version BETWEEN 1 AND 4294967295), -- shape of data; 1 = the first
  origin              INTEGER NOT NULL,  -- replicas.id of the file in which the event was appended first
  created_at          INTEGER NOT NULL,  -- the caller's or the store's time; informs, never orders
  checksum            INTEGER NOT NULL,  -- upper 32 bits: what a replay reads; lower 32 bits: all the rest of the row
  event_id            ANY NOT NULL,      -- given by the caller: UUID, 16 bytes, see event_ids; made by the store: 34 random bits of a UUID of version 7 whose other bits are created_at in milliseconds and position
  tags                TEXT,              -- JSON array of strings, or NULL; event_tags is the index over them
  metadata            TEXT,              -- JSON object, or NULL
  data                TEXT NOT NULL      -- JSON
) STRICT;

-- Events are never changed. This stops a shell that forgets it; the library has no statement that would.
CREATE TRIGGER events_never_change BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'foldlog: events are never changed'); END;

-- Positions whose events were removed from this file. Every position up to the last is that of an event, or lies in one of
-- these. Rows of one kind do not touch each other: a longer hole is one row.
CREATE TABLE holes (
  first               INTEGER PRIMARY KEY, -- first position of the hole
  last                INTEGER NOT NULL,  -- last position of the hole
  archived            INTEGER NOT NULL CHECK (archived IN (0, 1)), -- 1 = the events are in the archive; 0 = they were purged
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

CREATE INDEX holes_archived ON holes (first) WHERE archived = 1;

-- Purged events whose ids callers had given, so that an append that is repeated after the purge is still a repeat.
CREATE TABLE removed_ids (
  position            INTEGER PRIMARY KEY, -- where the event was
  key                 INTEGER NOT NULL,  -- the event's key: its aggregate and its version
  commit_offset       INTEGER NOT NULL,  -- as in events
  schema_version      INTEGER NOT NULL,  -- as in events
  created_at          INTEGER NOT NULL,  -- as in events
  event_id            BLOB NOT NULL,     -- UUID, 16 bytes
  digest              INTEGER NOT NULL,  -- xxh3 over event type, data in one form for all ways to write it, and tags
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

-- Events by the ids that callers gave, purged ones too. An id that the store made holds its position and needs no entry.
CREATE TABLE event_ids (
  tenant              INTEGER NOT NULL,  -- tenants.id: another tenant may use the same id
  event_id            BLOB NOT NULL,     -- UUID, 16 bytes
  position            INTEGER NOT NULL,  -- events.position or removed_ids.position
  PRIMARY KEY (tenant, event_id)
) STRICT, WITHOUT ROWID;

-- Which events carry a tag.
CREATE TABLE event_tags (
  tenant              INTEGER NOT NULL,  -- tenants.id
  tag                 TEXT NOT NULL,     -- as the application wrote it
  position            INTEGER NOT NULL,  -- events.position
  PRIMARY KEY (tenant, tag, position)
) STRICT, WITHOUT ROWID;

-- What full blocks of positions hold, so that queries by time or type skip most of a long log and statistics need not count.
-- Block b of level 0 covers positions b*512+1 ..= b*512+512; a block of level n covers 64 blocks of level n-1. The append that
-- fills a block writes its row; a purge lowers its counts.
CREATE TABLE block_summaries (
  id                  INTEGER PRIMARY KEY, -- level << 48 | block
  earliest            INTEGER NOT NULL,  -- no event in the block has a smaller created_at
  latest              INTEGER NOT NULL,  -- no event in the block has a greater created_at
  counts              TEXT,              -- JSON: [aggregate_types.id, event_types.id, events] for each pair that occurs, rising; NULL = more pairs than are kept
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

-- How many aggregates of each type there are, so that statistics need not count them. Aggregates are numbered without gaps; the
-- append that makes number 1024, 2048, 3072 … replaces the row. No row: fewer aggregates than that, or more types than are kept.
CREATE TABLE aggregate_counts (
  id                  INTEGER PRIMARY KEY CHECK (id = 1), -- always 1
  through             INTEGER NOT NULL,  -- covers the aggregates 1..this
  counts              TEXT NOT NULL,     -- JSON: [aggregate_types.id, aggregates] for each type that occurs, rising
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

-- The audit chain, in a file that was once opened with Options::audit; empty in all others. It begins with an anchor. From then
-- on every event has a row, which stays when the event is archived, purged or erased. docs/audit.md says what is hashed.
CREATE TABLE chain (
  position            INTEGER PRIMARY KEY, -- events.position; of the anchor: the last position before the chain
  key                 INTEGER NOT NULL UNIQUE, -- events.key; 0 for the anchor
  salt                BLOB,              -- 16 random bytes that were hashed with the event; NULL = forgotten, so that nobody can guess what the event was: it was purged or erased
  commitment          BLOB NOT NULL,     -- 32 bytes: SHA-256 of the salt and the event; random for the anchor
  link                BLOB NOT NULL      -- 32 bytes: SHA-256 of the links before it, in the log and in the aggregate, and of position, version and commitment
) STRICT;

-- What the repair that made this file could not read. For replays, lost events are purged ones; an aggregate whose last events
-- are lost is not replayed to the present until somebody accepts that.
CREATE TABLE losses (
  aggregate           INTEGER PRIMARY KEY, -- aggregates.id; 0: there are losses
  lost_through        INTEGER NOT NULL   -- the last version that could not be read; 0 for aggregate 0
) STRICT;

-- Results of folds: a cache, never the truth.
CREATE TABLE snapshots (
  key                 INTEGER PRIMARY KEY, -- aggregates.id << 32 | a number that rises with each snapshot of the aggregate
  version             INTEGER NOT NULL,  -- version of the last event in the state
  fold_name           TEXT NOT NULL,     -- which fold made the state
  fold_version        INTEGER NOT NULL,  -- the fold's own version; another one is not used
  fingerprint         INTEGER NOT NULL,  -- of what else the state depends on, such as upcasters; another one is not used
  latest_event_at     INTEGER NOT NULL,  -- greatest created_at of events 1..version: may a replay to a time start here?
  reason              TEXT NOT NULL CHECK (reason IN ('manual', 'scheduled', 'threshold')), -- why it was made
  event_count         INTEGER NOT NULL,  -- events folded to make this snapshot, on top of the one before
  created_by          TEXT,              -- who asked for it; NULL = the store itself
  created_at          INTEGER NOT NULL,  -- when it was made
  checksum            INTEGER NOT NULL,  -- over the whole row
  state               TEXT NOT NULL      -- JSON, complete
) STRICT;

CREATE INDEX snapshots_created_at ON snapshots (created_at);

-- Named readers of the log: handlers, projections, outboxes. Few: a look-up by name reads them all and checks each.
CREATE TABLE subscriptions (
  id                  INTEGER PRIMARY KEY, -- small number that deliveries.subscription refers to
  tenant              TEXT NOT NULL,     -- whose events it reads; '' = those of all tenants
  name                TEXT NOT NULL,     -- as the application named it
  kind                TEXT NOT NULL CHECK (kind IN ('handler', 'projection', 'outbox')), -- what it does with events
  filter              TEXT NOT NULL,     -- JSON: which events it wants
  tables              TEXT NOT NULL,     -- JSON array: the tables of a projection; [] for others
  paused              INTEGER NOT NULL CHECK (paused IN (0, 1)), -- 1: no runner takes the lead until it is resumed
  position            INTEGER NOT NULL CHECK (position >= 0), -- the checkpoint: nothing up to here is left to do
  leader              BLOB,              -- UUID of the runner that leads; NULL = none
  fence               INTEGER NOT NULL,  -- rises with each change of leader: an earlier leader can no longer write
  heartbeat           INTEGER NOT NULL,  -- even: raised by the leader; odd: raised by one who asks whether it lives
  lease_millis        INTEGER NOT NULL,  -- a leader that does not answer for so long is taken for dead
  in_hand             INTEGER,           -- the event that a runner has begun to handle, if it noted that
  deaths              INTEGER NOT NULL,  -- how many runners died with that event in hand
  failed_position     INTEGER,           -- the event at which it stopped; NULL = it did not
  failure             TEXT,              -- why, in the words of the application's error
  version             INTEGER NOT NULL,  -- of the projection's definition; 1 for others
  generation          INTEGER NOT NULL,  -- counts a projection's rebuilds: part of the names of its indexes
  rebuild_version     INTEGER,           -- version of the tables that are being built; NULL = none are
  rebuild_position    INTEGER,           -- how far they are built
  deliveries          INTEGER NOT NULL,  -- how many rows of deliveries an outbox has, so that a lost one is noticed; 0 for others
  checksum            INTEGER NOT NULL,  -- over the whole row
  UNIQUE (tenant, name)
) STRICT;

-- What deviates from "delivered" among the events that an outbox has passed: by reference, never a copy.
CREATE TABLE deliveries (
  subscription        INTEGER NOT NULL,  -- subscriptions.id
  position            INTEGER NOT NULL,  -- events.position
  aggregate           INTEGER NOT NULL,  -- aggregates.id: deliveries of one aggregate keep their order
  state               TEXT NOT NULL CHECK (state IN ('leased', 'retry', 'waiting', 'dead')), -- waiting: behind another of its aggregate
  attempts            INTEGER NOT NULL,  -- counted when leased, so that a death in the attempt counts too
  due_at              INTEGER NOT NULL,  -- when to try again
  last_error          TEXT,              -- of the last attempt, in the words of the publisher's error
  checksum            INTEGER NOT NULL,  -- over the whole row
  PRIMARY KEY (subscription, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (subscription, state, due_at);

CREATE INDEX deliveries_aggregate ON deliveries (subscription, aggregate, position);
