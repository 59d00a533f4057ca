//! A read model in which every event shows, and in which order they came; and the same in plain Rust.

use std::collections::BTreeMap;
use std::time::Duration;

use foldlog::rusqlite::params;
use foldlog::{Error, Filter, HandlerError, Projection, ReadModel, RecordedEvent, Store};

const MODULUS: u64 = 1_000_003;

/// For each aggregate the number of its events and a digest of them. One definition for both ways of keeping it.
pub struct Totals {
    name: &'static str,
    version: u32,
    slow_at: u64,
}

impl Totals {
    pub const INLINE: &'static str = "inside";
    pub const FOLLOWING: &'static str = "following";

    pub fn inline(version: u32) -> Totals {
        Totals { name: Totals::INLINE, version, slow_at: 0 }
    }

    pub fn following(version: u32) -> Totals {
        Totals { name: Totals::FOLLOWING, version, slow_at: 0 }
    }

    /// Takes so long for the event at this position that a transaction ends there, and a rebuild of few events has parts.
    pub fn slow_at(self, position: u64) -> Totals {
        Totals { slow_at: position, ..self }
    }
}

/// What an event adds to the digest: of another version of the definition something else.
fn share(event: &RecordedEvent, version: u32) -> u64 {
    (event.position.get() * 7 + event.data.as_str().len() as u64) * u64::from(version)
}

impl Projection for Totals {
    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn tables(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }

    fn filter(&self) -> Filter {
        Filter::new().all_tenants()
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let name = self.name;
        Ok(model.execute_batch(&format!(
            "CREATE TABLE {{{name}}} (tenant TEXT NOT NULL, id TEXT NOT NULL, events INTEGER NOT NULL, digest INTEGER NOT NULL,
             PRIMARY KEY (tenant, id)) STRICT;
             CREATE INDEX {{{name}_by_events}} ON {{{name}}} (events);"
        ))?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        if event.position == self.slow_at {
            std::thread::sleep(Duration::from_millis(9));
        }
        let sql = format!(
            "INSERT INTO {{{}}} VALUES (?1, ?2, 1, ?3 % {MODULUS})
             ON CONFLICT DO UPDATE SET events = events + 1, digest = (digest * 31 + ?3) % {MODULUS}",
            self.name
        );
        model.execute(&sql, params![&*event.tenant, &*event.aggregate_id, share(event, self.version)])?;
        Ok(())
    }
}

/// (tenant, aggregate id) to (events, digest).
pub type Rows = BTreeMap<(String, String), (u64, u64)>;

/// What the table must hold after these events: each of them once, in order.
pub fn folded(events: &[RecordedEvent], version: u32) -> Rows {
    let mut rows = Rows::new();
    for event in events {
        let (count, digest) = rows.entry((event.tenant.to_string(), event.aggregate_id.to_string())).or_default();
        *count += 1;
        *digest = (*digest * 31 + share(event, version)) % MODULUS;
    }
    rows
}

/// What the table holds.
pub fn stored(store: &Store, name: &str) -> Result<Rows, Error> {
    let sql = format!("SELECT tenant, id, events, digest FROM \"{name}\"");
    let rows = store.query_read_model(&sql, [], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))?;
    Ok(rows.into_iter().collect())
}
