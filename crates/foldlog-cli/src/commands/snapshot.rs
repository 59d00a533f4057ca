//! `foldlog snapshot`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand};
use foldlog::{Options, Snapshot, SnapshotPolicy, SnapshotStatistics, Store, Version};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Named};
use crate::progress::Progress;
use crate::registry::Fold;
use crate::show::table::{Cell, Table};
use crate::show::text::{self, bytes, count, counted};
use crate::time;

/// Snapshots: results of folds that make replays short. They are a cache; events are never changed
#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes snapshots: of one aggregate, or of every aggregate of a type
    Create(Create),
    /// Lists the snapshots of an aggregate, newest first
    List(List),
    /// Figures over all snapshots of the tenant
    Stats(Stats),
    /// Deletes all but the newest snapshots of an aggregate
    Prune(Prune),
    /// Deletes old snapshots of the tenant
    Expire(Expire),
    /// Deletes all snapshots of an aggregate
    Drop(Drop),
}

#[derive(Debug, Args)]
struct Create {
    /// The store
    file: PathBuf,
    /// The aggregate, or a type for all of its aggregates
    #[arg(value_name = "TYPE[/ID]")]
    wanted: String,
    /// One at every so many versions, not only at the last: to look around in a long history
    #[arg(long, value_name = "VERSIONS", value_parser = clap::value_parser!(u64).range(1..))]
    every: Option<u64>,
    /// The application folds this type by JSON Merge Patch. Without the application's own tool this must be said: purges take
    /// a snapshot for a replacement of the events before it
    #[arg(long)]
    merge_patch: bool,
}

#[derive(Debug, Args)]
struct List {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// Shows the states too
    #[arg(long)]
    state: bool,
}

#[derive(Debug, Args)]
struct Stats {
    /// The store
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Prune {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// How many stay
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Expire {
    /// The store
    file: PathBuf,
    /// How old they must be: 90d, 12h
    #[arg(long, value_name = "AGE", value_parser = time::parse_duration, default_value = "90d")]
    older_than: Duration,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Debug, Args)]
struct Drop {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    #[command(flatten)]
    consent: Consent,
}

/// For what destroys.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Only says what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Does it
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
}

impl Snapshots {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        match self.command {
            Command::Create(create) => create.run(context),
            Command::List(list) => list.run(context),
            Command::Stats(stats) => stats.run(context),
            Command::Prune(prune) => prune.run(context),
            Command::Expire(expire) => expire.run(context),
            Command::Drop(drop) => drop.run(context),
        }
    }
}

impl Create {
    fn run(self, context: &mut Context) -> Done {
        let keep_all = |options: Options| options.snapshots(SnapshotPolicy::manual().retain(u32::MAX));
        let store = match self.every {
            // With the usual number the first ones would give way to the later ones.
            Some(_) => context.write_with(&self.file, keep_all)?,
            None => context.write(&self.file)?,
        };
        interrupt::listen()?;
        if store.aggregate_types()?.contains(&self.wanted) {
            let fold = self.fold(context, &self.wanted)?;
            return self.of_type(context, &store, &fold);
        }
        let name = name::parse(&self.wanted).map_err(Failure::usage)?.existing(&store)?;
        let fold = self.fold(context, &name.aggregate_type)?;
        let (made, version) = match self.every {
            Some(every) => self.at_every(&store, &fold, &name, every)?,
            None => (1, fold.create_snapshot(&store, &name.id)?),
        };
        if context.json {
            return context.out.json(&json!({"snapshots": made, "version": version}));
        }
        context.out.line(format!("{name}: {}, the last of version {version}", counted(made, "snapshot")))
    }

    /// The application's fold; or the one that the user vouches for.
    fn fold(&self, context: &Context, aggregate_type: &str) -> Result<Arc<dyn Fold>, Failure> {
        let (fold, is_apps) = context.registry.fold(aggregate_type);
        if is_apps || self.merge_patch {
            return Ok(fold);
        }
        let aggregate_type = text::safe(aggregate_type);
        Err(Failure::usage(format!("the fold of {aggregate_type} is its application's"))
            .hint("use the application's own tool, or add --merge-patch if it folds by JSON Merge Patch"))
    }

    fn at_every(&self, store: &Store, fold: &Arc<dyn Fold>, name: &name::Name, every: u64) -> Result<(u64, Version), Failure> {
        let last = store.version(&name.aggregate_type, &name.id)?;
        let progress = Progress::new("folding", "events");
        let mut made = 0;
        let mut version = every;
        while version < last.get() {
            fold.create_snapshot_at(store, &name.id, version)?;
            made += 1;
            progress.reached(version, last.get());
            if interrupt::is_asked() {
                return Err(Failure::interrupted(format!("stopped; {} stay", counted(made, "snapshot"))));
            }
            version = version.saturating_add(every);
        }
        let version = fold.create_snapshot(store, &name.id)?;
        Ok((made + 1, version))
    }

    fn of_type(&self, context: &mut Context, store: &Store, fold: &Arc<dyn Fold>) -> Done {
        if self.every.is_some() {
            return Err(Failure::usage("--every is for one aggregate").hint("name it: TYPE/ID"));
        }
        let progress = Progress::new("folding", "aggregates");
        let done = fold.snapshot_all(store, &mut |done| {
            progress.reached(done.succeeded + done.skipped + done.failed, done.total);
            progress.problems(done.failed);
            interrupt::go_on()
        })?;
        drop(progress);
        if context.json {
            context.out.json(&done)?;
        } else {
            let line = format!("{} made, {} already there", counted(done.succeeded, "snapshot"), count(done.skipped));
            context.out.line(line)?;
            for (id, failure) in &done.failures {
                context.note(format!("{}: {failure}", text::safe(id)));
            }
        }
        match (done.finished, done.failed) {
            (false, _) => Err(Failure::interrupted("stopped; the snapshots made stay")),
            (true, 0) => Ok(()),
            (true, failed) => Err(Failure::failed(format!("{} could not be folded", counted(failed, "aggregate")))),
        }
    }
}

impl List {
    fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let name = self.aggregate.existing(&store)?;
        let snapshots = store.json_aggregates(&name.aggregate_type).snapshots(&name.id)?;
        let mut table = table();
        for snapshot in &snapshots {
            if context.json {
                context.out.json(&self.listed(snapshot)?)?;
                continue;
            }
            table.row([
                Cell::new(snapshot.version).bold(),
                Cell::new(context.zone.show(snapshot.created_at)).dim(),
                Cell::new(bytes(snapshot.snapshot_size)),
                Cell::new(format!("{} v{}", snapshot.fold_name, snapshot.fold_version)),
                Cell::new(snapshot.reason),
                Cell::new(count(snapshot.event_count)),
                Cell::new(snapshot.created_by.as_deref().unwrap_or("")),
            ]);
            if self.state {
                context.out.rows(&std::mem::replace(&mut table, self::table()))?;
                context.out.pretty_json(&snapshot.state.to_value()?)?;
            }
        }
        if !table.is_empty() {
            context.out.table(&table)?;
        }
        if snapshots.is_empty() {
            context.note(format!("{name} has no snapshots"));
        }
        Ok(())
    }

    fn listed(&self, snapshot: &Snapshot) -> Result<Value, Failure> {
        let mut shown = serde_json::to_value(snapshot)?;
        if let (false, Some(members)) = (self.state, shown.as_object_mut()) {
            members.remove("state");
        }
        Ok(shown)
    }
}

fn table() -> Table {
    Table::default().number("version").text("made").number("size").flexible("fold").text("reason").number("events").flexible("by")
}

impl Stats {
    fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let statistics = store.snapshot_statistics()?;
        if context.json {
            return context.out.json(&statistics);
        }
        let SnapshotStatistics { total_snapshots, average_snapshot_size, oldest_snapshot, newest_snapshot, .. } = &statistics;
        context.out.line(format!("{}, {} on average", counted(*total_snapshots, "snapshot"), bytes(*average_snapshot_size)))?;
        if let (Some(oldest), Some(newest)) = (oldest_snapshot, newest_snapshot) {
            let (zone, now) = (context.zone, Utc::now());
            context.out.line(format!("{} to {}, {}", zone.show(*oldest), zone.show(*newest), time::ago(*newest, now)))?;
        }
        let mut table = Table::default().flexible("aggregate").number("snapshots");
        for of in statistics.snapshots_by_aggregate.iter().take(50) {
            let name = name::Name { aggregate_type: of.aggregate_type.clone(), id: of.aggregate_id.clone() };
            table.row([Cell::new(name), Cell::new(count(of.snapshots))]);
        }
        if table.is_empty() { Ok(()) } else { context.out.table(&table) }
    }
}

impl Prune {
    fn run(self, context: &mut Context) -> Done {
        let keep = self.keep;
        let retain = move |options: Options| match keep {
            Some(keep) => {
                let policy = options.get_snapshots().retain(keep);
                options.snapshots(policy)
            }
            None => options,
        };
        let store = context.write_with(&self.file, retain)?;
        let name = self.aggregate.existing(&store)?;
        let aggregates = store.json_aggregates(&name.aggregate_type);
        let kept = store.options().get_snapshots().retained();
        let there = aggregates.snapshots(&name.id)?.len() as u64;
        let plan = format!("{name} has {}; the newest {kept} of each fold stay", counted(there, "snapshot"));
        if self.consent.dry_run {
            return if context.json {
                context.out.json(&json!({"snapshots": there, "keep": kept}))
            } else {
                context.out.line(plan)
            };
        }
        if !self.consent.yes {
            context.note(plan);
        }
        context.may_destroy(self.consent.yes)?;
        say_deleted(context, aggregates.prune_snapshots(&name.id)?)
    }
}

impl Expire {
    fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        if !self.consent.yes {
            let old = self.count_old(&store)?;
            if context.json {
                context.out.json(&json!({"toDelete": old}))?;
            } else {
                context.out.line(format!("{} to delete", counted(old, "snapshot")))?;
            }
            if self.consent.dry_run {
                return Ok(());
            }
        }
        context.may_destroy(self.consent.yes)?;
        interrupt::listen()?;
        let done = store.maintenance().expire_snapshots(self.older_than, |_| interrupt::go_on())?;
        if !done.finished {
            return Err(Failure::interrupted(format!("stopped; {} deleted", counted(done.expired, "snapshot"))));
        }
        say_deleted(context, done.expired)
    }

    /// Those that are old enough; a few of them may stay, because events before them were purged.
    fn count_old(&self, store: &Store) -> Result<u64, Failure> {
        let age = TimeDelta::from_std(self.older_than).unwrap_or(TimeDelta::MAX);
        let Some(before) = Utc::now().checked_sub_signed(age) else { return Ok(0) };
        let mut old = 0;
        for of in store.snapshot_statistics()?.snapshots_by_aggregate {
            let snapshots = store.json_aggregates(&of.aggregate_type).snapshots(&of.aggregate_id)?;
            old += snapshots.iter().filter(|snapshot| snapshot.created_at < before).count() as u64;
        }
        Ok(old)
    }
}

impl Drop {
    fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        let name = self.aggregate.existing(&store)?;
        let aggregates = store.json_aggregates(&name.aggregate_type);
        if !self.consent.yes {
            let there = aggregates.snapshots(&name.id)?.len() as u64;
            if context.json {
                context.out.json(&json!({"toDelete": there}))?;
            } else {
                context.out.line(format!("{name}: {} to delete", counted(there, "snapshot")))?;
            }
            if self.consent.dry_run {
                return Ok(());
            }
        }
        context.may_destroy(self.consent.yes)?;
        say_deleted(context, aggregates.delete_snapshots(&name.id)?)
    }
}

fn say_deleted(context: &mut Context, deleted: u64) -> Done {
    match context.json {
        true => context.out.json(&json!({"deleted": deleted})),
        false => context.out.line(format!("{} deleted", counted(deleted, "snapshot"))),
    }
}
