-- The foldlog file format, version 4: every table and index, and the only copy of the DDL.
--
-- The library compiles this file in, runs it (comments stripped) in the transaction that makes a new file, and
-- compares it with what a file holds whenever one is opened: a table of ours that differs is refused.
-- application_id = 0x464C4F47 ("FLOG"); user_version = the format's version. Tables of the host application
-- may live beside these, and views that only read them; triggers and further indexes on the tables below, and views in
-- their place, may not.
--
-- Notation. key: aggregate << 32 | version, so that the events of an aggregate, and its snapshots, lie side by side
-- in the order in which replay reads them. Times: microseconds since 1970-01-01T00:00:00Z. JSON: text, kept byte for
-- byte as it was appended. There are no foreign keys: every reference below is checked by `verify`.

-- What the log as a whole has to remember: exactly one row.
CREATE TABLE log_state (
  id                  INTEGER PRIMARY KEY CHECK (id = 1), -- always 1
  replica             INTEGER NOT NULL,  -- replicas.id under which this file appends now
  position_floor      INTEGER NOT NULL,  -- position of the newest event that ever was in the file: the next one is above it
  events_removed      INTEGER NOT NULL,  -- events that purge took out of the file since it was made
  snapshot_count      INTEGER NOT NULL,  -- rows in snapshots, so that nobody has to count them
  snapshots_expired_at INTEGER NOT NULL, -- when the scheduled clean-up of old snapshots ran last; 0 = never
  created_at          INTEGER NOT NULL,  -- when the file was made
  ids_link            INTEGER NOT NULL   -- checksum of the event with the greatest id: the end of what events.id_link links
) STRICT;

-- Who wrote events into this log: this file under its identities, later other replicas whose events were taken in.
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

-- One row for each aggregate that has or had events.
CREATE TABLE aggregates (
  id                  INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647), -- the upper half of key
  aggregate_type      INTEGER NOT NULL,  -- aggregate_types.id, and through it the tenant
  aggregate_id        TEXT NOT NULL,     -- the application's name for the aggregate
  version             INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295), -- version of its newest event, never lowered
  latest_at           INTEGER NOT NULL,  -- greatest created_at of its events: clocks may go backwards
  purged_through      INTEGER NOT NULL,  -- events 1..this were purged; 0 = none
  archived_through    INTEGER NOT NULL   -- events 1..this were moved to the archive; 0 = none
) STRICT;

-- Aggregates by name. Each entry is linked to the one before it, so that one that the file does not show any more leaves a
-- trace. The last one, of aggregate type 9223372036854775807, is no aggregate's: it ends the index. Since format 4.
CREATE TABLE aggregate_names (
  aggregate_type      INTEGER NOT NULL,  -- aggregates.aggregate_type
  aggregate_id        TEXT NOT NULL,     -- aggregates.aggregate_id
  aggregate           INTEGER NOT NULL,  -- aggregates.id
  link                INTEGER NOT NULL,  -- checksum of the entry before this one, XOR one of this entry
  PRIMARY KEY (aggregate_type, aggregate_id)
) STRICT, WITHOUT ROWID;

-- The log.
CREATE TABLE events (
  key                 INTEGER PRIMARY KEY, -- aggregates.id << 32 | version
  position            INTEGER NOT NULL UNIQUE, -- place in the file: rises in commit order, without holes, never reused
  commit_offset       INTEGER NOT NULL CHECK (commit_offset >= 0), -- position - this = position of the first event of its atomic append
  event_id            BLOB NOT NULL UNIQUE, -- UUID, 16 bytes; made by the store (version 7) or given by the caller
  event_type          INTEGER NOT NULL,  -- event_types.id
  schema_version      INTEGER NOT NULL CHECK (schema_version BETWEEN 1 AND 4294967295), -- shape of data; 1 = the first
  origin              INTEGER NOT NULL,  -- replicas.id of the file in which the event was appended first
  created_at          INTEGER NOT NULL,  -- the caller's or the store's time; informs, never orders
  data                TEXT NOT NULL,     -- JSON
  metadata            TEXT,              -- JSON object, or NULL
  tags                TEXT,              -- JSON array of strings, or NULL; event_tags is the index over them
  checksum            INTEGER NOT NULL,  -- upper 32 bits: what replay reads; lower 32 bits: all the rest of the row but id_link
  id_link             INTEGER NOT NULL   -- checksum of the event with the next smaller event_id, XOR one of this event. Since format 4
) STRICT;

-- Positions whose events were removed, so that an event which is not found is known to be removed or to be lost. Rows do not
-- touch each other: a longer hole is one row. Since format 4.
CREATE TABLE holes (
  first               INTEGER PRIMARY KEY, -- first position of the hole
  last                INTEGER NOT NULL   -- last position of the hole
) STRICT;

-- Which events carry a tag. Derived from events.tags. Linked, and ended by an entry of tenant 9223372036854775807, as
-- aggregate_names is; the links are since format 4.
CREATE TABLE event_tags (
  tenant              INTEGER NOT NULL,  -- tenants.id
  tag                 TEXT NOT NULL,     -- as the application wrote it
  position            INTEGER NOT NULL,  -- events.position
  link                INTEGER NOT NULL,  -- checksum of the entry before this one, XOR one of this entry
  PRIMARY KEY (tenant, tag, position)
) STRICT, WITHOUT ROWID;

-- A summary of each full block of 512 positions, written by the append that fills the block, so that a query by time or
-- by type reads only blocks that can hold an answer although times need not rise. Block b covers positions
-- b*512+1 ..= b*512+512. Since format 3.
CREATE TABLE block_summaries (
  block               INTEGER PRIMARY KEY, -- positions block*512+1 ..= block*512+512
  earliest            INTEGER NOT NULL,  -- least created_at in the block
  latest              INTEGER NOT NULL,  -- greatest created_at in the block
  event_types         TEXT NOT NULL,     -- event_types.id of every type in the block, rising: a JSON array
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

-- Results of folds: a cache, never the truth.
CREATE TABLE snapshots (
  key                 INTEGER PRIMARY KEY, -- aggregates.id << 32 | version
  fold_name           TEXT NOT NULL,     -- which fold made the state: 'typed', 'merge-patch' or the application's name
  fold_version        INTEGER NOT NULL,  -- the fold's own version; another one is not used
  state               TEXT NOT NULL,     -- JSON, complete
  latest_event_at     INTEGER NOT NULL,  -- greatest created_at of events 1..version: may a replay to a time start here?
  reason              TEXT NOT NULL CHECK (reason IN ('manual', 'scheduled', 'threshold')), -- why it was made
  event_count         INTEGER NOT NULL,  -- events folded to make this snapshot, on top of the one before
  created_by          TEXT,              -- who asked for it; NULL = the store itself
  created_at          INTEGER NOT NULL,  -- when it was made
  checksum            INTEGER NOT NULL   -- over the whole row
) STRICT;

CREATE INDEX snapshots_created_at ON snapshots (created_at);

-- Named readers of the log: handlers, projections, outboxes. Few: a look-up by name reads them all and checks each.
CREATE TABLE subscriptions (
  id                  INTEGER PRIMARY KEY, -- small number that deliveries.subscription refers to
  tenant              TEXT NOT NULL,     -- whose events it reads; '' = those of all tenants
  name                TEXT NOT NULL,     -- as the application named it
  kind                TEXT NOT NULL CHECK (kind IN ('handler', 'projection', 'outbox')), -- what it does with events
  filter              TEXT NOT NULL,     -- JSON: which events it wants
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
