//! `foldlog ls`

use std::collections::HashSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use foldlog::{Filter, Position, Query, Store, Version};
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Name};
use crate::progress::Progress;
use crate::show::table::{Cell, Table};
use crate::show::text;
use crate::time;

/// Lists aggregates with their events, their size and their last event
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// The store
    file: PathBuf,
    /// A type, or TYPE/PREFIX for the ids that begin so
    #[arg(value_name = "TYPE[/PREFIX]")]
    wanted: Option<String>,
    /// The order
    #[arg(long, value_enum, default_value_t = Order::Name)]
    by: Order,
    /// At most so many; 0: all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Starts after this id, to turn the page
    #[arg(long, value_name = "ID", requires = "wanted")]
    after: Option<String>,
    /// Reads every event of the listed aggregates to show the bytes of their data
    #[arg(long)]
    size: bool,
    /// The aggregates of all tenants
    #[arg(long)]
    all_tenants: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Type and id
    Name,
    /// Latest event first
    Recent,
    /// Most events first; looks at every aggregate
    Events,
    /// Most bytes first; reads every event
    Size,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    tenant: String,
    aggregate_type: String,
    aggregate_id: String,
    version: Version,
    /// In the file; purged ones are gone.
    events: u64,
    /// Of data, metadata and tags; `null` unless asked for.
    bytes: Option<u64>,
    last_event_type: Option<String>,
    last_event_at: Option<DateTime<Utc>>,
    last_position: Option<Position>,
}

impl Ls {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let tenants = if self.all_tenants { store.tenants()? } else { vec![store.tenant_name().to_owned()] };
        let stores: Vec<Store> = tenants.iter().map(|tenant| store.tenant(tenant)).collect();
        let found = match self.by {
            Order::Name => self.in_order(&stores)?,
            Order::Recent => self.latest(&stores)?,
            Order::Events | Order::Size => self.largest(&stores)?,
        };
        let is_cut = self.limit > 0 && found.len() > self.limit;
        let shown = found.get(..if is_cut { self.limit } else { found.len() }).unwrap_or_default();
        self.show(context, shown)?;
        if is_cut {
            context.note(format!("only the first {}; -n 0 shows all, --after ID goes on", self.limit));
        }
        if shown.is_empty() {
            context.note("no aggregates");
        }
        Ok(())
    }

    fn show(&self, context: &mut Context, found: &[Listed]) -> Done {
        if context.json {
            return found.iter().try_for_each(|listed| context.out.json(listed));
        }
        let mut table = Table::default();
        if self.all_tenants {
            table = table.text("tenant");
        }
        table = table.flexible("aggregate").number("events");
        if self.has_sizes() {
            table = table.number("size");
        }
        table = table.text("last event").text("time").text("");
        let now = Utc::now();
        for listed in found {
            let mut row = Vec::new();
            if self.all_tenants {
                row.push(Cell::new(&listed.tenant));
            }
            row.push(Cell::new(listed.name()).bold());
            row.push(Cell::new(text::count(listed.events)));
            if self.has_sizes() {
                row.push(Cell::new(text::bytes(listed.bytes.unwrap_or(0))));
            }
            row.push(Cell::new(listed.last_event_type.clone().unwrap_or_else(|| format!("all {} purged", listed.version))));
            row.push(Cell::new(listed.last_event_at.map_or(String::new(), |at| context.zone.show(at))).dim());
            row.push(Cell::new(listed.last_event_at.map_or(String::new(), |at| time::ago(at, now))).dim());
            table.row(row);
        }
        if found.is_empty() { Ok(()) } else { context.out.table(&table) }
    }

    fn has_sizes(&self) -> bool {
        self.size || self.by == Order::Size
    }

    /// One more than are shown, to know whether there are more.
    fn room(&self) -> usize {
        if self.limit == 0 { usize::MAX } else { self.limit.saturating_add(1) }
    }

    /// The types that are listed, and what their ids begin with.
    fn types(&self, store: &Store) -> Result<Vec<(String, String)>, Failure> {
        let types = store.aggregate_types()?;
        let Some(wanted) = &self.wanted else { return Ok(types.into_iter().map(|of_type| (of_type, String::new())).collect()) };
        if types.contains(wanted) {
            return Ok(vec![(wanted.clone(), String::new())]);
        }
        let divided = wanted.match_indices('/').filter_map(|(at, _)| Some((wanted.get(..at)?, wanted.get(at + 1..)?)));
        let found: Vec<(String, String)> = divided
            .filter(|(of_type, _)| types.iter().any(|known| known == of_type))
            .map(|(of_type, prefix)| (of_type.to_owned(), prefix.to_owned()))
            .collect();
        if found.is_empty() && !self.all_tenants {
            let near = name::nearest(wanted, types.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean {}?", text::safe(&near)));
            return Err(Failure::not_found(format!("no aggregates of the type {}", text::safe(wanted))).maybe_hint(near));
        }
        Ok(found)
    }

    /// Passes the names of the aggregates to `each` until it returns `false`.
    fn names(&self, store: &Store, mut each: impl FnMut(Name) -> Result<bool, Failure>) -> Done {
        for (aggregate_type, prefix) in self.types(store)? {
            let of_type = store.json_aggregates(&aggregate_type);
            let mut ids = of_type.ids();
            let start = match &self.after {
                Some(after) if *after >= prefix => Some(after.as_str()),
                // The prefix itself may be an id; what stands just before it is skipped below.
                _ => prefix.get(..prefix.len().saturating_sub(prefix.chars().last().map_or(0, char::len_utf8))),
            };
            if let Some(start) = start.filter(|start| !start.is_empty()) {
                ids = ids.after(start);
            }
            for id in ids {
                let id = id?;
                if !id.starts_with(&prefix) {
                    if id > prefix {
                        break;
                    }
                    continue;
                }
                if !each(Name { aggregate_type: aggregate_type.clone(), id })? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn in_order(&self, stores: &[Store]) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        for store in stores {
            self.names(store, |name| {
                found.push(Listed::of(store, name, self.has_sizes())?);
                Ok(found.len() < self.room() && !interrupt::is_asked())
            })?;
        }
        Ok(found)
    }

    /// Reads the log backwards until enough aggregates were met.
    fn latest(&self, stores: &[Store]) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        for store in stores {
            let types = self.types(store)?;
            let mut filter = Filter::new();
            for (aggregate_type, _) in &types {
                filter = filter.aggregate_type(aggregate_type);
            }
            let mut met = HashSet::new();
            for event in store.read(Query::matching(filter).newest_first()) {
                let event = event?;
                let is_wanted = types.iter().any(|(of_type, prefix)| {
                    *of_type == *event.aggregate_type && event.aggregate_id.starts_with(prefix.as_str())
                });
                if is_wanted && met.insert((event.aggregate_type.clone(), event.aggregate_id.clone())) {
                    let name = Name { aggregate_type: event.aggregate_type.to_string(), id: event.aggregate_id.to_string() };
                    found.push(Listed::of(store, name, self.has_sizes())?);
                }
                if met.len() >= self.room() || interrupt::is_asked() {
                    break;
                }
            }
        }
        found.sort_by_key(|listed| std::cmp::Reverse(listed.last_position));
        Ok(found)
    }

    fn largest(&self, stores: &[Store]) -> Result<Vec<Listed>, Failure> {
        let mut found: Vec<Listed> = Vec::new();
        let progress = Progress::new("looking at", "aggregates");
        let (mut done, mut total) = (0, 0);
        for store in stores {
            for (aggregate_type, _) in self.types(store)? {
                total += store.json_aggregates(&aggregate_type).count()?;
            }
            self.names(store, |name| {
                found.push(Listed::of(store, name, self.has_sizes())?);
                done += 1;
                progress.reached(done, total);
                // What cannot be among the first any more is dropped, so that memory stays bounded.
                if self.limit > 0 && found.len() > self.limit.saturating_mul(8).max(10_000) {
                    self.sort(&mut found);
                    found.truncate(self.room());
                }
                Ok(!interrupt::is_asked())
            })?;
        }
        if interrupt::is_asked() {
            return Err(Failure::interrupted("stopped before every aggregate was looked at"));
        }
        self.sort(&mut found);
        Ok(found)
    }

    fn sort(&self, found: &mut [Listed]) {
        found.sort_by_key(|listed| {
            std::cmp::Reverse(if self.by == Order::Size { listed.bytes.unwrap_or(0) } else { listed.events })
        });
    }
}

impl Listed {
    fn of(store: &Store, Name { aggregate_type, id }: Name, with_size: bool) -> Result<Listed, Failure> {
        let all = || Query::aggregate(&aggregate_type, &id);
        let last = store.read(all().newest_first().limit(1)).next().transpose()?;
        let bytes = if with_size { Some(size(store, all())?) } else { None };
        Ok(Listed {
            tenant: store.tenant_name().to_owned(),
            version: match &last {
                Some(event) => event.version,
                None => store.version(&aggregate_type, &id)?,
            },
            events: store.count(all())?,
            bytes,
            last_event_type: last.as_ref().map(|event| event.event_type.to_string()),
            last_event_at: last.as_ref().map(|event| event.created_at),
            last_position: last.as_ref().map(|event| event.position),
            aggregate_type,
            aggregate_id: id,
        })
    }

    fn name(&self) -> Name {
        Name { aggregate_type: self.aggregate_type.clone(), id: self.aggregate_id.clone() }
    }
}

/// The bytes of the data, the metadata and the tags.
fn size(store: &Store, query: Query) -> Result<u64, Failure> {
    let mut sum = 0;
    for event in store.read(query) {
        let event = event?;
        let metadata = event.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len());
        let tags: usize = event.tags.iter().map(String::len).sum();
        sum += (event.data.as_str().len() + metadata + tags) as u64;
    }
    Ok(sum)
}
