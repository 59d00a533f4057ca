//! `foldlog subscriptions`, `outbox` and `projections`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use foldlog::{Filter, Outbox as Handle, OutboxStatus, Query, Store, SubscriptionKind, SubscriptionStatus};
use serde::Serialize;
use serde_json::json;

use crate::commands::snapshot::Consent;
use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Name};
use crate::progress::Progress;
use crate::show::summary;
use crate::show::table::{Cell, Table};
use crate::show::text::{self, count};

/// The readers of the log: how far they are, and why one stopped
#[derive(Debug, Args)]
pub(crate) struct Subscriptions {
    /// The store
    file: PathBuf,
    /// Only this one, with the event at which it stopped
    name: Option<String>,
    /// Lets it try the event again that killed its process
    #[arg(long, requires = "name")]
    retry_failed: bool,
    /// Lets it go on after the event at which it stopped: this reader never handles that event
    #[arg(long, requires = "name", conflicts_with = "retry_failed")]
    skip_failed: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Subscriptions {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let changes = self.retry_failed || (self.skip_failed && self.consent.yes);
        let store = if changes { context.write(&self.file)? } else { context.read(&self.file)? };
        let all = store.subscriptions()?;
        let Some(name) = &self.name else { return list(context, &all) };
        let status = find(&all, name)?;
        let handle = match status.all_tenants {
            true => store.subscription(name).filter(Filter::new().all_tenants()),
            false => store.subscription(name),
        };
        if self.retry_failed {
            let position = handle.retry_failed()?;
            return said(context, "retry", position.get());
        }
        if !self.skip_failed || !self.consent.yes {
            show(context, &store, status)?;
        }
        if self.skip_failed && !self.consent.dry_run {
            context.may_destroy(self.consent.yes)?;
            let position = handle.skip_failed()?;
            return said(context, "skip", position.get());
        }
        Ok(())
    }
}

fn said(context: &mut Context, what: &str, position: u64) -> Done {
    match context.json {
        true => context.out.json(&json!({"done": what, "position": position})),
        false => context.out.line(format!("{what}: the event at position {}", count(position))),
    }
}

fn list(context: &mut Context, all: &[SubscriptionStatus]) -> Done {
    if context.json {
        return all.iter().try_for_each(|status| context.out.json(status));
    }
    let mut table = Table::default().text("name").text("kind").number("position").number("lag").text("state").flexible("why");
    for status in all {
        let (state, why) = match &status.failure {
            Some(failure) => (Cell::new(format!("stopped at {}", count(failure.position.get()))).red(), failure.reason.clone()),
            None if status.version == 0 => (Cell::new("to be rebuilt").red(), String::new()),
            None if status.is_led => (Cell::new("running").green(), String::new()),
            None => (Cell::new("idle"), String::new()),
        };
        let of = if status.all_tenants { " (all tenants)" } else { "" };
        table.row([
            Cell::new(format!("{}{of}", status.name)).bold(),
            Cell::new(status.kind),
            Cell::new(count(status.position.get())),
            Cell::new(count(status.lag)),
            state,
            Cell::new(why),
        ]);
    }
    if table.is_empty() {
        context.note("no readers");
        return Ok(());
    }
    context.out.table(&table)
}

fn find<'a>(all: &'a [SubscriptionStatus], name: &str) -> Result<&'a SubscriptionStatus, Failure> {
    all.iter().find(|status| status.name == name).ok_or_else(|| {
        let near = name::nearest(name, all.iter().map(|status| &*status.name));
        let near = near.map(|near| format!("did you mean {}?", text::safe(&near)));
        Failure::not_found(format!("there is no reader {}", text::safe(name))).maybe_hint(near)
    })
}

fn show(context: &mut Context, store: &Store, status: &SubscriptionStatus) -> Done {
    if context.json {
        return context.out.json(status);
    }
    list(context, std::slice::from_ref(status))?;
    let Some(failure) = &status.failure else { return Ok(()) };
    let filter = if status.all_tenants { Filter::new().all_tenants() } else { Filter::new() };
    let at = failure.position.get();
    let query = Query::matching(filter).after_position(at.saturating_sub(1)).up_to_position(at);
    if let Some(event) = store.read(query).next().transpose()? {
        let name = Name { aggregate_type: event.aggregate_type.to_string(), id: event.aggregate_id.to_string() };
        let (data, time) = (summary::of_data(&event.data), context.zone.show(event.created_at));
        context.out.line(format!("{name} version {}  {time}  {}  {data}", event.version, event.event_type))?;
    }
    context.out.line(format!("{}: {}", status.name, failure.reason))?;
    context.note("--retry-failed lets it try again, --skip-failed lets it go on without this event");
    Ok(())
}

/// The outboxes: how far they have published, and what is left
#[derive(Debug, Args)]
pub(crate) struct Outbox {
    /// The store
    file: PathBuf,
    /// Only this one
    name: Option<String>,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutboxReport {
    name: String,
    all_tenants: bool,
    #[serde(flatten)]
    status: OutboxStatus,
}

impl Outbox {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let mut table = Table::default()
            .text("name")
            .number("position")
            .number("lag")
            .number("to retry")
            .number("waiting")
            .number("dead")
            .text("state");
        for name in names_of_outboxes(&store, self.name.as_deref())? {
            let (handle, all_tenants) = outbox(&store, &name)?;
            let status = handle.status()?;
            if context.json {
                context.out.json(&OutboxReport { name, all_tenants, status })?;
                continue;
            }
            let dead = Cell::new(count(status.dead));
            table.row([
                Cell::new(name).bold(),
                Cell::new(count(status.position.get())),
                Cell::new(count(status.lag)),
                Cell::new(count(status.to_retry)),
                Cell::new(count(status.waiting)),
                if status.dead > 0 { dead.red() } else { dead },
                Cell::new(if status.is_led { "running" } else { "idle" }),
            ]);
        }
        if context.json {
            return Ok(());
        }
        if table.is_empty() {
            context.note("no outboxes");
            return Ok(());
        }
        context.out.table(&table)
    }
}

/// The names of all outboxes, or the one that is named.
pub(crate) fn names_of_outboxes(store: &Store, only: Option<&str>) -> Result<Vec<String>, Failure> {
    match only {
        Some(name) => outbox(store, name).map(|_| vec![name.to_owned()]),
        None => {
            let all = store.subscriptions()?.into_iter();
            Ok(all.filter(|status| status.kind == SubscriptionKind::Outbox).map(|status| status.name).collect())
        }
    }
}

/// The outbox of a name, and whether it reads the events of all tenants.
pub(crate) fn outbox(store: &Store, name: &str) -> Result<(Handle, bool), Failure> {
    let all = store.subscriptions()?;
    let status = find(&all, name)?;
    if status.kind != SubscriptionKind::Outbox {
        return Err(Failure::not_found(format!("{} is a {}, not an outbox", text::safe(name), status.kind)));
    }
    let handle = store.outbox(name);
    Ok((if status.all_tenants { handle.filter(Filter::new().all_tenants()) } else { handle }, status.all_tenants))
}

/// Read models: how far they are, and their rebuild
#[derive(Debug, Args)]
pub(crate) struct Projections {
    #[command(subcommand)]
    command: ProjectionCommand,
}

#[derive(Debug, Subcommand)]
enum ProjectionCommand {
    /// Lists the projections of a file
    List {
        /// The store
        file: PathBuf,
    },
    /// Builds the tables of a projection anew from the events; the old ones are used until it is done
    ///
    /// Only the application knows how: this is for its own tool, made with `foldlog_cli::run`.
    Rebuild {
        /// The store
        file: PathBuf,
        /// The projection
        name: String,
    },
}

impl Projections {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        match self.command {
            ProjectionCommand::List { file } => {
                let all = context.read(&file)?.subscriptions()?;
                let projections: Vec<_> = all.into_iter().filter(|status| status.kind == SubscriptionKind::Projection).collect();
                list(context, &projections)
            }
            ProjectionCommand::Rebuild { file, name } => rebuild(context, &file, &name),
        }
    }
}

fn rebuild(context: &mut Context, file: &std::path::Path, name: &str) -> Done {
    let store = context.write(file)?;
    let known = context.registry.projections();
    let Some(projection) = known.iter().find(|projection| projection.name() == name).cloned() else {
        let hint = match known.is_empty() {
            true => "only the application knows how to build it: use its own tool, made with foldlog_cli::run".to_owned(),
            false => format!("known are {}", known.iter().map(|known| known.name()).collect::<Vec<_>>().join(", ")),
        };
        return Err(Failure::not_found(format!("the projection {} is not known here", text::safe(name))).hint(hint));
    };
    interrupt::listen()?;
    let bar = Progress::new("building", "positions");
    let done = store.projection(projection)?.rebuild(|reached| {
        bar.reached(reached.position.get(), reached.last_position.get());
        interrupt::go_on()
    })?;
    drop(bar);
    if context.json {
        context.out.json(&done)?;
    } else if done.finished {
        context.out.line(format!("{name} is built up to position {}", count(done.position.get())))?;
    }
    if done.finished {
        Ok(())
    } else {
        Err(Failure::interrupted("stopped; the former tables stay, and a rebuild goes on from here"))
    }
}
