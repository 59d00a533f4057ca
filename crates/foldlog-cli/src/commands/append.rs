//! `foldlog append`

use std::io::Read;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use foldlog::{EventId, Expected, Json, Metadata, NewEvent};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::name::{self, Named};
use crate::time;

/// Appends one event, or with no EVENT_TYPE all those on standard input, together or not at all
///
/// Without EVENT_TYPE each line of standard input is an event in JSON: {"eventType":"Paid","data":{"cents":500}}, with "id",
/// "schemaVersion", "createdAt", "tags" and "metadata" as you like. An event with the id of one that is in the file already is
/// recognised: nothing is written twice.
#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// What happened, such as Paid
    event_type: Option<String>,
    /// The event's data in JSON; - reads it from standard input
    #[arg(default_value = "{}")]
    data: String,
    /// What the aggregate must be: any, new, existing, or exactly at a version. Otherwise nothing is written: exit code 4
    #[arg(long, value_name = "EXPECTED", value_parser = expected, default_value = "any")]
    expect: Expected,
    /// The event's id, a UUID
    #[arg(long, value_name = "UUID", requires = "event_type")]
    id: Option<EventId>,
    /// A tag; may be repeated
    #[arg(long, value_name = "TAG", requires = "event_type")]
    tag: Vec<String>,
    /// Metadata, a JSON object
    #[arg(long, value_name = "JSON", requires = "event_type")]
    metadata: Option<String>,
    /// Who did it: userId in the metadata
    #[arg(long, value_name = "USER", requires = "event_type", conflicts_with = "metadata")]
    user: Option<String>,
    /// When it happened; now if it is left out
    #[arg(long, value_name = "TIME", value_parser = time::parse, requires = "event_type")]
    at: Option<DateTime<Utc>>,
    /// The schema version of the data
    #[arg(long, value_name = "VERSION", requires = "event_type")]
    schema_version: Option<u32>,
    /// Makes the file if there is none
    #[arg(long)]
    create: bool,
}

/// For clap.
fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "new" => Ok(Expected::New),
        "existing" => Ok(Expected::Existing),
        version => version
            .parse::<u64>()
            .map(Expected::from)
            .map_err(|_| format!("{text:?} is not an expected version: give any, new, existing or a number")),
    }
}

impl Append {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        // Read before the file is opened, so that bad input does not even make one.
        let events = match &self.event_type {
            Some(event_type) => vec![self.event(event_type)?],
            None => events_of(&standard_input()?)?,
        };
        let store = if self.create {
            context.make(&self.file)?
        } else {
            context.write(&self.file).map_err(|failure| self.or_create(failure))?
        };
        let name = self.aggregate.find(&store)?;
        // Through the store, which knows no fold: a snapshot by another fold than the application's would be of no use.
        let appended = store.append(&name.aggregate_type, &name.id, self.expect, events)?;
        if context.json {
            return context.out.json(&appended);
        }
        let again = if appended.was_duplicate { ", as it was before: the events were there" } else { "" };
        context.out.line(format!("{name} is at version {}, position {}{again}", appended.version, appended.position))
    }

    fn or_create(&self, failure: Failure) -> Failure {
        match self.file.try_exists() {
            Ok(false) => failure.hint("--create makes it"),
            _ => failure,
        }
    }

    fn event(&self, event_type: &str) -> Result<NewEvent, Failure> {
        let data = if self.data == "-" { standard_input()? } else { self.data.clone() };
        let mut event = NewEvent::with_json(event_type, Json::from_text(data.trim()).map_err(of("DATA"))?);
        if let Some(id) = self.id {
            event = event.id(id);
        }
        if let Some(at) = self.at {
            event = event.created_at(at);
        }
        if let Some(schema_version) = self.schema_version {
            event = event.schema_version(schema_version);
        }
        if let Some(metadata) = &self.metadata {
            event = event.metadata_json(Json::from_text(metadata.trim()).map_err(of("--metadata"))?);
        }
        if let Some(user) = &self.user {
            event = event.metadata(&Metadata::new().user_id(user))?;
        }
        Ok(self.tag.iter().fold(event, NewEvent::tag))
    }
}

fn of(argument: &'static str) -> impl Fn(foldlog::Error) -> Failure {
    move |error| Failure::usage(format!("{argument}: {error}"))
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    Ok(text)
}

fn events_of(lines: &str) -> Result<Vec<NewEvent>, Failure> {
    let numbered = (1..).zip(lines.lines()).filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                Failure::usage(format!("line {number} of standard input is not an event: {error}"))
                    .hint(r#"write one like {"eventType":"Paid","data":{"cents":500}}"#)
            })
        })
        .collect()
}
