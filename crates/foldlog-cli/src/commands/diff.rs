//! `foldlog diff`

use std::path::PathBuf;

use clap::Args;
use foldlog::{Query, RecordedEvent};
use json_patch::PatchOperation;
use serde::Serialize;
use serde_json::Value;

use crate::commands::replay::{replay, say_how_it_was_read};
use crate::context::Context;
use crate::failure::Done;
use crate::name::{self, Named};
use crate::registry::Until;
use crate::show::summary;
use crate::show::table::{Cell, Table};

/// What changed in the state between two versions, also as JSON Patch (RFC 6902)
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// The version to start from; 0 is before the first event
    from: u64,
    /// The version to compare with; the latest if it is left out
    to: Option<u64>,
    /// Writes only the JSON Patch
    #[arg(long)]
    patch: bool,
    /// Folds every event from the first
    #[arg(long)]
    no_snapshot: bool,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    aggregate_type: String,
    aggregate_id: String,
    from: u64,
    to: u64,
    read_by: &'static str,
    before: Value,
    after: Value,
    patch: json_patch::Patch,
    /// The events in between; if the versions go back, those that are undone.
    events: Vec<RecordedEvent>,
}

/// The most events that are shown with a difference.
const MOST_EVENTS: u64 = 100;

impl Diff {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let name = self.aggregate.existing(&store)?;
        let to = match self.to {
            Some(to) => to,
            None => store.version(&name.aggregate_type, &name.id)?.get(),
        };
        let at = |version| match version {
            0 => Ok((Value::Object(serde_json::Map::new()), "mergePatch")),
            _ => replay(context, &store, &name, Until::Version(version), !self.no_snapshot).map(|(state, by)| (state.state, by)),
        };
        let ((before, by_one), (after, by_other)) = (at(self.from)?, at(to)?);
        let read_by = if self.from == 0 { by_other } else { by_one };
        let patch = json_patch::diff(&before, &after);
        if self.patch {
            return if context.json { context.out.json(&patch) } else { context.out.pretty_json(&patch) };
        }
        let between = Query::aggregate(&name.aggregate_type, &name.id)
            .after_version(self.from.min(to))
            .up_to_version(self.from.max(to))
            .limit(MOST_EVENTS);
        let events = store.read(between).collect::<Result<Vec<_>, _>>()?;
        if context.json {
            let (aggregate_type, aggregate_id) = (name.aggregate_type, name.id);
            return context.out.json(&Report {
                aggregate_type,
                aggregate_id,
                from: self.from,
                to,
                read_by,
                before,
                after,
                patch,
                events,
            });
        }
        let mut table = Table::default().text("").flexible("").flexible("");
        for operation in patch.iter() {
            table.row(row(operation, &before));
        }
        if table.is_empty() {
            context.note("no difference");
        }
        context.out.rows(&table)?;
        context.out.flush()?;
        let mut causes = Table::default().number("").text("").text("").flexible("").flexible("");
        for event in &events {
            causes.row([
                Cell::new(event.version),
                Cell::new(context.zone.show(event.created_at)).dim(),
                Cell::new(&event.event_type).bold(),
                Cell::new(summary::of_data(&event.data)),
                Cell::new(summary::of_cause(&store, event)).dim(),
            ]);
        }
        if !causes.is_empty() {
            context.out.line("")?;
            context.out.rows(&causes)?;
        }
        say_how_it_was_read(context, read_by);
        Ok(())
    }
}

/// One operation of the patch, with the former value.
fn row(operation: &PatchOperation, before: &Value) -> [Cell; 3] {
    let former = |path: &str| before.pointer(path).map_or(String::new(), shown);
    let path = operation.path().to_string();
    match operation {
        PatchOperation::Add(add) => [Cell::new("+").green(), Cell::new(&path), Cell::new(shown(&add.value)).green()],
        PatchOperation::Remove(_) => [Cell::new("-").red(), Cell::new(&path), Cell::new(former(&path)).red()],
        PatchOperation::Replace(replace) => {
            [Cell::new(" "), Cell::new(&path), Cell::new(format!("{} → {}", former(&path), shown(&replace.value)))]
        }
        other => [Cell::new("?"), Cell::new(&path), Cell::new(serde_json::to_string(other).unwrap_or_default())],
    }
}

fn shown(value: &Value) -> String {
    value.to_string()
}
