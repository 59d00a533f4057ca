//! `foldlog stats`

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use foldlog::{
    FileStatistics, Filter, Query, RecordedEvent, SnapshotStatistics, Store, SubscriptionKind, SubscriptionStatus,
    TypeStatistics, Verified,
};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::show::table::{Cell, Table};
use crate::show::text::{self, bytes, count, counted};
use crate::time;

/// What is in a file: events, aggregates, snapshots, readers
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The store
    file: PathBuf,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    file: String,
    tenant: String,
    tenants: Vec<String>,
    /// The whole file, of all tenants.
    whole_file: FileStatistics,
    wal_bytes: u64,
    events: u64,
    aggregates: u64,
    aggregate_types: Vec<OfType>,
    event_types: Vec<OfEventType>,
    first_event_at: Option<DateTime<Utc>>,
    last_event_at: Option<DateTime<Utc>>,
    snapshots: Snapshots,
    readers: Vec<Reader>,
    /// What the last noted verification found: `verify --note`.
    verified: Option<Verified>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfType {
    aggregate_type: String,
    aggregates: u64,
    events: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfEventType {
    event_type: String,
    events: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshots {
    count: u64,
    average_bytes: u64,
    oldest_at: Option<DateTime<Utc>>,
    newest_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reader {
    #[serde(flatten)]
    status: SubscriptionStatus,
    dead_letters: Option<u64>,
}

impl Stats {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let report = Report::of(&store, self.file.display().to_string())?;
        if context.json {
            return context.out.json(&report);
        }
        report.show(context)?;
        if report.events == 0 && report.tenants.iter().any(|tenant| *tenant != report.tenant) {
            context.note("this tenant has no events; --tenant NAME shows another");
        }
        Ok(())
    }
}

impl Report {
    fn of(store: &Store, file: String) -> Result<Report, Failure> {
        let mut of_types = store.statistics_by_type()?;
        of_types.retain(|of_type| *of_type.tenant == *store.tenant_name());
        let (mut aggregate_types, mut event_types) = (Vec::new(), BTreeMap::<String, u64>::new());
        for of_type in of_types {
            let TypeStatistics { aggregate_type, aggregates, events, events_by_type, .. } = of_type;
            aggregate_types.push(OfType { aggregate_type: aggregate_type.to_string(), aggregates, events });
            for (event_type, events) in events_by_type {
                *event_types.entry(event_type).or_default() += events;
            }
        }
        aggregate_types.sort_by(|one, other| other.events.cmp(&one.events).then(one.aggregate_type.cmp(&other.aggregate_type)));
        let mut event_types: Vec<OfEventType> =
            event_types.into_iter().map(|(event_type, events)| OfEventType { event_type, events }).collect();
        event_types.sort_by(|one, other| other.events.cmp(&one.events).then(one.event_type.cmp(&other.event_type)));
        let SnapshotStatistics { total_snapshots, average_snapshot_size, oldest_snapshot, newest_snapshot, .. } =
            store.snapshot_statistics()?;
        let readers: Result<Vec<Reader>, Failure> =
            store.subscriptions()?.into_iter().map(|status| Reader::of(store, status)).collect();
        Ok(Report {
            file,
            tenant: store.tenant_name().to_owned(),
            tenants: store.tenants()?,
            whole_file: store.file_statistics()?,
            wal_bytes: wal_bytes(store),
            events: aggregate_types.iter().map(|of_type| of_type.events).sum(),
            aggregates: aggregate_types.iter().map(|of_type| of_type.aggregates).sum(),
            aggregate_types,
            event_types,
            first_event_at: time_of_first(store, Query::new().limit(1))?,
            last_event_at: time_of_first(store, Query::new().newest_first().limit(1))?,
            snapshots: Snapshots {
                count: total_snapshots,
                average_bytes: average_snapshot_size,
                oldest_at: oldest_snapshot,
                newest_at: newest_snapshot,
            },
            readers: readers?,
            verified: store.maintenance().last_verified()?,
        })
    }

    fn show(&self, context: &mut Context) -> Done {
        let (now, zone) = (Utc::now(), context.zone);
        let wal = if self.wal_bytes > 0 { format!(" + {} log", bytes(self.wal_bytes)) } else { String::new() };
        context.out.line(format!(
            "{}   format {}   {}{wal}   opened read-only",
            self.file,
            self.whole_file.format,
            bytes(self.whole_file.size_bytes)
        ))?;
        if self.tenants.len() > 1 || self.tenants.iter().any(|tenant| *tenant != self.tenant) {
            let others = counted(self.tenants.len() as u64, "tenant");
            context.out.line(format!("tenant      {}   of {others}: {}", self.tenant, few(&self.tenants)))?;
        }
        context.out.line("")?;
        let mut table = Table::default().text("").flexible("");
        let mut row = |title: &str, value: String| table.row([Cell::new(title).bold(), Cell::new(value)]);
        let types = counted(self.aggregate_types.len() as u64, "type");
        row("events", format!("{}   {} of {types}", count(self.events), counted(self.aggregates, "aggregate")));
        let of_types = self.aggregate_types.iter().map(|of| (&*of.aggregate_type, of.events));
        if self.aggregate_types.len() > 1 {
            row("", list(of_types));
        } else if let Some(only) = self.aggregate_types.first() {
            row("", only.aggregate_type.clone());
        }
        row("event types", list(self.event_types.iter().map(|of| (&*of.event_type, of.events))));
        if let (Some(first), Some(last)) = (self.first_event_at, self.last_event_at) {
            let ago = time::ago(last, now);
            row("time", format!("{} to {} {}   last event {ago}", zone.show(first), zone.show(last), zone.name()));
        }
        let positions = match self.whole_file.last_position.get() {
            0 => "none yet".to_owned(),
            last => format!("1 to {}", count(last)),
        };
        row("positions", positions);
        let snapshots = match self.snapshots.newest_at {
            None => "none".to_owned(),
            Some(newest) => format!(
                "{}   {} on average   newest {}",
                count(self.snapshots.count),
                bytes(self.snapshots.average_bytes),
                time::ago(newest, now)
            ),
        };
        row("snapshots", snapshots);
        if self.whole_file.archived_events > 0 {
            row("archive", format!("{} in {}.archive", counted(self.whole_file.archived_events, "event"), self.file));
        }
        if let Some(verified) = &self.verified {
            let found = counted(verified.damage_count, "problem");
            row(
                "verified",
                format!("{}, up to position {}: {found}", time::ago(verified.at, now), count(verified.position.get())),
            );
        }
        for (at, reader) in self.readers.iter().enumerate() {
            row(if at == 0 { "readers" } else { "" }, reader.said(&self.file));
        }
        context.out.rows(&table)
    }
}

impl Reader {
    fn of(store: &Store, status: SubscriptionStatus) -> Result<Reader, Failure> {
        let dead_letters = match status.kind {
            SubscriptionKind::Outbox if !status.all_tenants => Some(store.outbox(&status.name).dead_letters()?.count()?),
            SubscriptionKind::Outbox => {
                let everywhere = Filter::new().all_tenants();
                Some(store.outbox(&status.name).filter(everywhere).dead_letters()?.count()?)
            }
            _ => None,
        };
        Ok(Reader { status, dead_letters })
    }

    fn said(&self, file: &str) -> String {
        let SubscriptionStatus { name, kind, lag, failure, is_led, .. } = &self.status;
        let mut said = format!("{name}   {kind}   lag {}", count(*lag));
        if let Some(dead) = self.dead_letters.filter(|dead| *dead > 0) {
            said.push_str(&format!("   {}", counted(dead, "dead letter")));
        }
        if let Some(failure) = failure {
            let (position, reason) = (count(failure.position.get()), &failure.reason);
            said.push_str(&format!("   stopped at {position}: {reason}   → foldlog subscriptions {file} {name}"));
        } else if *is_led {
            said.push_str("   running");
        }
        said
    }
}

fn time_of_first(store: &Store, query: Query) -> Result<Option<DateTime<Utc>>, Failure> {
    let first: Option<RecordedEvent> = store.read(query).next().transpose()?;
    Ok(first.map(|event| event.created_at))
}

/// The size of the write-ahead log beside the file.
fn wal_bytes(store: &Store) -> u64 {
    let Some(path) = store.path() else { return 0 };
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).map_or(0, |file| file.len())
}

fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = counts.take(MOST + 1).map(|(name, number)| format!("{name} {}", count(number))).collect();
    if shown.len() > MOST {
        shown.truncate(MOST);
        shown.push("…".to_owned());
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

fn few(names: &[String]) -> String {
    let mut shown: Vec<&str> = names.iter().take(6).map(String::as_str).collect();
    if names.len() > shown.len() {
        shown.push("…");
    }
    text::safe(&shown.join(", ")).into_owned()
}
