//! Which events are wanted, as arguments; and events as lines.

use chrono::{DateTime, Utc};
use clap::Args;
use foldlog::{Filter, Position, Query, RecordedEvent, Store};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Named};
use crate::show::summary;
use crate::show::table::{Cell, Table};
use crate::time;

/// Which events are wanted.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Which events")]
pub(crate) struct Wanted {
    /// Only this aggregate: TYPE/ID
    #[arg(long, value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Option<Named>,
    /// Only aggregates of this type; may be repeated
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Vec<String>,
    /// Only events of this type; may be repeated
    #[arg(long = "type", value_name = "EVENT_TYPE")]
    event_type: Vec<String>,
    /// Only events with this tag; if repeated, with all of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only events at or after this time: 2026-11-02T12:00:00Z, 2026-11-02, yesterday, 7d, 2h
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    since: Option<DateTime<Utc>>,
    /// Only events at or before this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<DateTime<Utc>>,
    /// Only events after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,
    /// Only events up to this position
    #[arg(long, value_name = "POSITION")]
    up_to: Option<Position>,
    /// Only events whose data meets a condition in JSONPath (RFC 9535): '$.cents > 10000 && $.currency == "EUR"'
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    data: Option<Condition>,
    /// Only events whose metadata meets a condition: '$.userId == "ada"'
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    where_metadata: Option<Condition>,
    /// The events of all tenants
    #[arg(long)]
    all_tenants: bool,
}

impl Wanted {
    /// The part that the library selects by. What is left is asked of each event: see [`Wanted::takes`].
    pub(crate) fn query(&self, store: &Store) -> Result<Query, Failure> {
        let mut query = match &self.aggregate {
            Some(named) => {
                let name = named.existing(store)?;
                Query::aggregate(name.aggregate_type, name.id)
            }
            None => Query::new(),
        };
        query = query.filter(self.filter());
        if let Some(after) = self.after {
            query = query.after_position(after);
        }
        if let Some(up_to) = self.up_to {
            query = query.up_to_position(up_to);
        }
        Ok(query)
    }

    fn filter(&self) -> Filter {
        let mut filter = Filter::new().event_types(self.event_type.iter().map(String::as_str));
        for aggregate_type in &self.aggregate_type {
            filter = filter.aggregate_type(aggregate_type);
        }
        for tag in &self.tag {
            filter = filter.tag(tag);
        }
        if let Some(since) = self.since {
            filter = filter.from(since);
        }
        if let Some(until) = self.until {
            filter = filter.to(until);
        }
        if self.all_tenants { filter.all_tenants() } else { filter }
    }

    /// Whether an event meets the conditions on its JSON.
    pub(crate) fn takes(&self, event: &RecordedEvent) -> bool {
        let meets = |condition: &Option<Condition>, json: Option<&foldlog::Json>| match condition {
            None => true,
            Some(condition) => {
                json.map_or(Some(Value::Null), |json| json.to_value().ok()).is_some_and(|value| condition.holds(value))
            }
        };
        meets(&self.data, Some(&event.data)) && meets(&self.where_metadata, event.metadata.as_ref())
    }

    pub(crate) fn of_all_tenants(&self) -> bool {
        self.all_tenants
    }
}

/// A condition on a JSON value: what RFC 9535 allows in a filter, with `$` for the value.
#[derive(Clone, Debug)]
pub(crate) struct Condition(JsonPath);

fn condition(text: &str) -> Result<Condition, String> {
    let path = JsonPath::parse(&format!("$[?{}]", with_current_node(text)));
    path.map(Condition).map_err(|error| format!("{error}; write a condition like $.cents > 10000"))
}

/// A filter asks its current node, `@`, where a person writes `$`. Text in quotes stays as it is.
fn with_current_node(text: &str) -> String {
    let (mut quote, mut escaped) = (None, false);
    text.chars()
        .map(|character| {
            match quote {
                _ if escaped => escaped = false,
                Some(_) if character == '\\' => escaped = true,
                Some(open) if open == character => quote = None,
                None if matches!(character, '"' | '\'') => quote = Some(character),
                None if character == '$' => return '@',
                _ => {}
            }
            character
        })
        .collect()
}

impl Condition {
    fn holds(&self, value: Value) -> bool {
        !self.0.query(&Value::Array(vec![value])).is_empty()
    }
}

/// How events are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    pub(crate) with_tenant: bool,
}

/// Events are laid out together, so that their columns meet; the first come at once, a long list as it is read.
const AT_ONCE: usize = 200;

impl Lines {
    /// Writes events as lines or as JSON until they end or Ctrl-C.
    pub(crate) fn write(
        self,
        context: &mut Context,
        store: &Store,
        events: impl Iterator<Item = Result<RecordedEvent, foldlog::Error>>,
    ) -> Done {
        let mut table = self.table();
        let mut rows = 0;
        for event in events {
            if interrupt::is_asked() {
                break;
            }
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    context.out.rows(&table)?;
                    context.out.flush()?;
                    return Err(error.into());
                }
            };
            if context.json {
                context.out.json(&event)?;
                continue;
            }
            table.row(self.row(context, store, &event));
            rows += 1;
            if rows == AT_ONCE {
                context.out.rows(&std::mem::replace(&mut table, self.table()))?;
                rows = 0;
            }
        }
        if table.is_empty() { Ok(()) } else { context.out.rows(&table) }
    }

    fn table(self) -> Table {
        let table = Table::default().number("position").text("time");
        let table = if self.with_tenant { table.text("tenant") } else { table };
        table.flexible("aggregate").number("version").text("event").flexible("data").text("cause")
    }

    fn row(self, context: &Context, store: &Store, event: &RecordedEvent) -> Vec<Cell> {
        let name = name::Name { aggregate_type: event.aggregate_type.to_string(), id: event.aggregate_id.to_string() };
        let mut row = vec![Cell::new(event.position).dim(), Cell::new(context.zone.show(event.created_at)).dim()];
        if self.with_tenant {
            row.push(Cell::new(&event.tenant));
        }
        row.extend([
            Cell::new(name),
            Cell::new(event.version).dim(),
            Cell::new(&event.event_type).bold(),
            Cell::new(summary::of_data(&event.data)),
            Cell::new(summary::of_cause(store, event)).dim(),
        ]);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_those_of_json_path() {
        let value = json!({"cents": 12_000, "currency": "EUR", "items": [{"n": 1}, {"n": 7}], "$": "x", "s": "a$b"});
        for (text, holds) in [
            ("$.cents > 10000", true),
            ("$.cents > 12000", false),
            ("$.cents > 10000 && $.currency == 'EUR'", true),
            ("$.missing", false),
            ("$.items[?$.n > 5]", true),
            ("$['$'] == 'x'", true),
            ("$.s == \"a$b\"", true),
            ("search($.currency, 'U.')", true),
            ("!($.cents == 12000)", false),
        ] {
            assert_eq!(condition(text).unwrap().holds(value.clone()), holds, "{text}");
        }
        for text in ["", "$.", "cents > 1", "$.a ="] {
            assert!(condition(text).is_err(), "{text}");
        }
    }
}
