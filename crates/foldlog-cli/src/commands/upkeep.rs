//! `foldlog purge`, `archive`, `compact`, `reindex` and `maintain`

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use foldlog::{Archive as ArchivePlan, Keep, Purge as Plan, PurgeReport, Retention, Store, Upkeep, UpkeepReport, WalCheckpoint};
use serde::Serialize;
use serde_json::json;

use crate::commands::snapshot::Consent;
use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Name, Named};
use crate::progress::Progress;
use crate::show::text::{bytes, count, counted};
use crate::time;

/// Removes old events from the beginning of aggregates, for good
///
/// Events that a replay still needs stay, and so do those that a subscription, a projection or an outbox has not passed.
/// What replaces events is a snapshot that its fold has compared with them: the application's fold, if this is its own tool,
/// and JSON Merge Patch otherwise. Without --yes it only says what it would do.
#[derive(Debug, Args)]
pub(crate) struct Purge {
    /// The store
    file: PathBuf,
    /// Events older than this: 2024-01-01, 365d
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    before: DateTime<Utc>,
    /// Only of this aggregate
    #[arg(long, value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Option<Named>,
    /// Only of aggregates of this type
    #[arg(long, value_name = "TYPE", conflicts_with = "aggregate")]
    aggregate_type: Option<String>,
    /// Also events that no snapshot replaces: such an aggregate can no longer be replayed
    #[arg(long)]
    even_if_replay_breaks: bool,
    /// Also events that a reader has not passed: it never sees them
    #[arg(long)]
    even_if_undelivered: bool,
    /// Also forgets their ids, and those of events that earlier purges removed: a repeated append is then appended again
    #[arg(long)]
    forget_ids: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Purge {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        // Even a rehearsal takes the write lock: it runs in transactions that are rolled back.
        let store = context.write(&self.file)?;
        interrupt::listen()?;
        let mut plan = Plan::created_before(self.before);
        for aggregate_type in store.aggregate_types()? {
            plan = context.registry.fold(&aggregate_type).0.compare_before(&store, plan);
        }
        if let Some(aggregate_type) = &self.aggregate_type {
            plan = plan.aggregate_type(aggregate_type);
        }
        if let Some(named) = &self.aggregate {
            let name = named.existing(&store)?;
            plan = plan.aggregate(name.aggregate_type, name.id);
        }
        if self.even_if_replay_breaks {
            plan = plan.even_if_replay_breaks();
        }
        if self.even_if_undelivered {
            plan = plan.even_if_undelivered();
        }
        if self.forget_ids {
            plan = plan.forget_ids();
        }
        if !self.consent.yes {
            plan = plan.dry_run();
        }
        let report = store.maintenance().purge_by_steps(plan, |_| interrupt::go_on())?;
        self.say(context, &report)?;
        if !report.finished {
            return Err(Failure::interrupted("stopped; what was removed stays removed"));
        }
        if self.consent.dry_run { Ok(()) } else { context.may_destroy(self.consent.yes) }
    }

    fn say(&self, context: &mut Context, report: &PurgeReport) -> Done {
        if context.json {
            return context.out.json(&json!({"done": self.consent.yes, "report": report}));
        }
        let removed = if self.consent.yes { "removed" } else { "to remove" };
        let events = counted(report.events_removed, "event");
        let of = counted(report.aggregates_purged, "aggregate");
        context.out.line(format!("{events} of {of} {removed}"))?;
        if report.ids_forgotten > 0 {
            let forgotten = if self.consent.yes { "forgotten" } else { "to forget" };
            context.out.line(format!("{} {forgotten}", counted(report.ids_forgotten, "id")))?;
        }
        if report.events_kept > 0 {
            let kept = counted(report.events_kept, "old event");
            context.out.line(format!("{kept} stay, because no snapshot replaces them"))?;
            for kept in report.kept.iter().take(10) {
                context.out.line(format!("  {kept}"))?;
            }
        }
        for held in &report.held_back_by {
            let events = counted(held.events, "event");
            context.out.line(format!("{events} stay, because {} has not passed them", held.subscription))?;
        }
        for aggregate in report.broken.iter().take(10) {
            let name = Name { aggregate_type: aggregate.aggregate_type.to_string(), id: aggregate.aggregate_id.to_string() };
            context.out.line(format!("  {name} cannot be replayed any more"))?;
        }
        Ok(())
    }
}

/// Moves old events to a second file, FILE.archive, from which everything still reads
///
/// Events that no snapshot replaces stay. Keep the two files together.
#[derive(Debug, Args)]
pub(crate) struct Archive {
    /// The store
    file: PathBuf,
    /// Events older than this: 2024-01-01, 365d
    #[arg(long, value_name = "TIME", value_parser = time::parse, required_unless_present_any = ["keep_newest", "undo"])]
    before: Option<DateTime<Utc>>,
    /// The newest events of each aggregate stay; without --before all others are moved
    #[arg(long, value_name = "COUNT")]
    keep_newest: Option<u64>,
    /// Only of this aggregate
    #[arg(long, value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Option<Named>,
    /// Only of aggregates of this type
    #[arg(long, value_name = "TYPE", conflicts_with = "aggregate")]
    aggregate_type: Option<String>,
    /// Compresses their data
    #[arg(long, conflicts_with = "undo")]
    zstd: bool,
    /// Moves archived events back, of all aggregates or of --aggregate
    #[arg(long, conflicts_with_all = ["before", "keep_newest", "aggregate_type", "dry_run"])]
    undo: bool,
    /// Only says what would be moved
    #[arg(long)]
    dry_run: bool,
}

impl Archive {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        let name = self.aggregate.as_ref().map(|named| named.existing(&store)).transpose()?;
        if self.undo {
            let moved = match &name {
                Some(name) => store.maintenance().unarchive_aggregate(&name.aggregate_type, &name.id)?,
                None => store.maintenance().unarchive()?,
            };
            return match context.json {
                true => context.out.json(&json!({"eventsMovedBack": moved})),
                false => context.out.line(format!("{} moved back", counted(moved, "event"))),
            };
        }
        let mut plan = self.before.map_or_else(|| ArchivePlan::all_but_newest(0), ArchivePlan::created_before);
        if let Some(events) = self.keep_newest {
            plan = plan.keep_newest(events);
        }
        if let Some(aggregate_type) = &self.aggregate_type {
            plan = plan.aggregate_type(aggregate_type);
        }
        if let Some(name) = &name {
            plan = plan.aggregate(&name.aggregate_type, &name.id);
        }
        if self.zstd {
            plan = plan.zstd();
        }
        if self.dry_run {
            plan = plan.dry_run();
        }
        interrupt::listen()?;
        let report = store.maintenance().archive_by_steps(plan, |_| interrupt::go_on())?;
        if context.json {
            context.out.json(&json!({"done": !self.dry_run, "report": report}))?;
        } else {
            let moved = if self.dry_run { "to move" } else { "moved" };
            let (events, of) = (counted(report.events_archived, "event"), counted(report.aggregates_archived, "aggregate"));
            context.out.line(format!("{events} of {of} {moved} to the archive"))?;
            if report.events_kept > 0 {
                let kept = counted(report.events_kept, "old event");
                context.out.line(format!("{kept} stay, because no snapshot replaces them"))?;
                for kept in report.kept.iter().take(10) {
                    context.out.line(format!("  {kept}"))?;
                }
            }
        }
        if report.finished { Ok(()) } else { Err(Failure::interrupted("stopped; what was moved stays in the archive")) }
    }
}

/// Gives the space that purges, archiving and deleted snapshots left free back to the file system
///
/// Others may read and write meanwhile. Without it the file keeps its size, and new events take the free space first.
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The store
    file: PathBuf,
}

impl Compact {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        interrupt::listen()?;
        let size = || store.file_statistics().map(|file| file.size_bytes);
        let size_before = size()?;
        let bar = Progress::new("giving back", "pages");
        let reached = store.maintenance().compact(|progress| {
            bar.reached(progress.done, progress.total);
            interrupt::go_on()
        })?;
        drop(bar);
        let size_after = size()?;
        if context.json {
            context.out.json(&json!({"pages": reached, "sizeBefore": size_before, "sizeAfter": size_after}))?;
        } else {
            let pages = counted(reached.done, "page");
            let from = format!("the file had {} and has {} now", bytes(size_before), bytes(size_after));
            context.out.line(format!("{pages} given back; {from}"))?;
        }
        if interrupt::is_asked() { Err(Failure::interrupted("stopped; what was given back stays so")) } else { Ok(()) }
    }
}

/// Recreates every index from the events, after `verify` found one damaged
#[derive(Debug, Args)]
pub(crate) struct Reindex {
    /// The store
    file: PathBuf,
}

impl Reindex {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        interrupt::listen()?;
        let bar = Progress::new("indexing", "events");
        let done = store.maintenance().reindex(|reached| {
            bar.reached(reached.done, reached.total);
            interrupt::go_on()
        })?;
        drop(bar);
        if !done.finished {
            return Err(Failure::interrupted("stopped; nothing was changed"));
        }
        match context.json {
            true => context.out.json(&json!({"events": done.total})),
            false => context.out.line(format!("the indexes of {} are new", counted(done.total, "event"))),
        }
    }
}

/// Does all upkeep that is due, in short steps, while others read and write
///
/// Of all tenants: finishes and wipes erasures, deletes old snapshots that no replay needs, deletes unused rows of the archive,
/// gives free space back, moves the write-ahead log into the file. With --archive and --retain it also moves or removes old
/// events, as far as a snapshot replaces them that its fold has compared with them.
#[derive(Debug, Args)]
pub(crate) struct Maintain {
    /// The store
    file: PathBuf,
    /// Snapshots older than this are deleted, unless a replay needs them
    #[arg(long, value_name = "AGE", value_parser = time::parse_duration, default_value = "90d")]
    snapshots_older_than: Duration,
    /// Moves events older than this to the archive; without an age those older than two years
    #[arg(long, value_name = "AGE", value_parser = time::parse_duration, num_args = 0..=1, require_equals = true,
          default_missing_value = "730d")]
    archive: Option<Duration>,
    /// What is kept of a type; may be repeated: cart=newest:100, session=younger:30d, log=bytes:1000000, order=closed:Shipped
    #[arg(long = "retain", value_name = "TYPE=RULE", value_parser = rule)]
    rules: Vec<(String, Keep)>,
    /// Keeps free space in the file
    #[arg(long)]
    no_compact: bool,
}

/// A retention rule, for clap.
fn rule(text: &str) -> Result<(String, Keep), String> {
    let expected = || "expected TYPE=newest:COUNT, TYPE=younger:AGE, TYPE=bytes:COUNT or TYPE=closed:EVENT,EVENT".to_owned();
    let (aggregate_type, rule) =
        text.rsplit_once('=').filter(|(aggregate_type, _)| !aggregate_type.is_empty()).ok_or_else(expected)?;
    let (kind, amount) = rule.split_once(':').ok_or_else(expected)?;
    let number = || amount.parse().map_err(|_| format!("{amount:?} is no number"));
    let keep = match kind {
        "newest" => Keep::Newest(number()?),
        "bytes" => Keep::Bytes(number()?),
        "younger" => Keep::YoungerThan(time::parse_duration(amount)?),
        "closed" if !amount.is_empty() => Keep::UntilClosed(amount.split(',').map(str::to_owned).collect()),
        _ => return Err(expected()),
    };
    Ok((aggregate_type.to_owned(), keep))
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Maintained {
    snapshots_deleted: u64,
    wal_checkpoint: WalCheckpoint,
    report: UpkeepReport,
}

impl Maintain {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        interrupt::listen()?;
        let report = store.maintenance().maintain(self.plan(context, &store), |_| interrupt::go_on())?;
        if !report.finished {
            return Err(Failure::interrupted("stopped; what was done stays done, and the same command goes on"));
        }
        let wal_checkpoint = store.maintenance().checkpoint()?;
        if context.json {
            let snapshots_deleted = report.snapshots_expired();
            return context.out.json(&Maintained { snapshots_deleted, wal_checkpoint, report });
        }
        say(context, &report)?;
        context.out.line(match wal_checkpoint.complete {
            true => "the write-ahead log is in the file".to_owned(),
            false => format!("{} pages of the write-ahead log are still read by others", count(wal_checkpoint.pages_left)),
        })
    }

    fn plan(&self, context: &Context, store: &Store) -> Upkeep {
        let mut plan = Upkeep::new().snapshots_older_than(self.snapshots_older_than);
        if let Some(age) = self.archive {
            plan = plan.archive(ArchivePlan::older_than(age));
        }
        if self.no_compact {
            plan = plan.without_compacting();
        }
        if self.rules.is_empty() {
            return plan;
        }
        let mut rules = Retention::new();
        for (aggregate_type, keep) in &self.rules {
            rules = context.registry.fold(aggregate_type).0.compare_before_retaining(store, rules);
            rules = rules.rule(aggregate_type, keep.clone());
        }
        plan.retention(rules)
    }
}

fn say(context: &mut Context, report: &UpkeepReport) -> Done {
    context.out.line(format!("{} deleted", counted(report.snapshots_expired(), "old snapshot")))?;
    for rule in report.tenants.iter().filter_map(|tenant| tenant.retention.as_ref()).flat_map(|rules| &rules.types) {
        let events = counted(rule.purge.events_removed, "event");
        context.out.line(format!("{}: {events} removed", rule.aggregate_type))?;
        for kept in rule.purge.kept.iter().take(10) {
            context.out.line(format!("  {kept}"))?;
        }
        for held in &rule.purge.held_back_by {
            let events = counted(held.events, "event");
            context.out.line(format!("  {events} stay, because {} has not passed them", held.subscription))?;
        }
        if rule.purge.events_behind_younger > 0 {
            let events = counted(rule.purge.events_behind_younger, "old event");
            context.out.line(format!("  {events} stay behind younger ones: a clock was ahead"))?;
        }
    }
    let archived: u64 =
        report.tenants.iter().filter_map(|tenant| tenant.archive.as_ref()).map(|archive| archive.events_archived).sum();
    if archived > 0 {
        context.out.line(format!("{} moved to the archive", counted(archived, "event")))?;
    }
    if report.archived_rows_unknown > 0 {
        let rows = counted(report.archived_rows_unknown, "event");
        context
            .out
            .line(format!("the archive holds {rows} that this file does not know; was an older file put in its place?"))?;
    }
    if report.archived_rows_deleted > 0 {
        context.out.line(format!("{} deleted from the archive", counted(report.archived_rows_deleted, "unused row")))?;
    }
    if report.wipe.left > 0 {
        context.out.line(format!("{} not wiped yet", counted(report.wipe.left, "erasure")))?;
    }
    for found in &report.wipe.projections {
        context.out.line(format!("  rebuild the projection {} first", found.projection))?;
    }
    context.out.line(format!("{} given back", counted(report.pages_given_back, "page")))
}
