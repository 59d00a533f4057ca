//! `foldlog dead-letters`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use foldlog::{DeadLetter, DeadLetters as Letters, Position, RecordedEvent};
use serde::Serialize;
use serde_json::json;

use crate::commands::readers::{names_of_outboxes, outbox};
use crate::commands::snapshot::Consent;
use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::Name;
use crate::show::summary;
use crate::show::table::{Cell, Table};
use crate::show::text::counted;

/// Events that an outbox has given up
#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists them with the reason
    List {
        /// The store
        file: PathBuf,
        /// Only of this outbox
        outbox: Option<String>,
    },
    /// Lets the outbox try them again, with all their attempts
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Gives them up for good: the events stay in the log, and are never published
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The store
    file: PathBuf,
    /// The outbox
    outbox: String,
    /// The positions of the events
    #[arg(value_name = "POSITION", required_unless_present_any = ["all", "event_type"])]
    positions: Vec<Position>,
    /// All of the outbox
    #[arg(long, conflicts_with_all = ["positions", "event_type"])]
    all: bool,
    /// Those of events of this type
    #[arg(long = "type", value_name = "EVENT_TYPE", conflicts_with = "positions")]
    event_type: Option<String>,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    outbox: &'a str,
    position: Position,
    attempts: u32,
    last_error: String,
    event: Option<RecordedEvent>,
}

impl DeadLetters {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        match self.command {
            Command::List { file, outbox } => list(context, &file, outbox.as_deref()),
            Command::Retry { which } => {
                let store = context.write(&which.file)?;
                let letters = outbox(&store, &which.outbox)?.0.dead_letters()?;
                which.must_exist(&letters)?;
                let retried = letters.retry_where(|letter| which.takes(letter))?;
                said(context, "retried", retried)
            }
            Command::Drop { which, consent } => drop_letters(context, &which, &consent),
        }
    }
}

fn list(context: &mut Context, file: &std::path::Path, only: Option<&str>) -> Done {
    let store = context.read(file)?;
    let mut table = Table::default()
        .text("outbox")
        .number("position")
        .flexible("aggregate")
        .text("event")
        .number("attempts")
        .flexible("error")
        .flexible("data");
    for name in names_of_outboxes(&store, only)? {
        for letter in outbox(&store, &name)?.0.dead_letters()?.iter() {
            let DeadLetter { position, event, attempts, last_error, .. } = letter?;
            if interrupt::is_asked() {
                break;
            }
            if context.json {
                context.out.json(&Report { outbox: &name, position, attempts, last_error, event })?;
                continue;
            }
            let (aggregate, event_type, data) = match &event {
                Some(event) => {
                    let of = Name { aggregate_type: event.aggregate_type.to_string(), id: event.aggregate_id.to_string() };
                    (format!("{of} v{}", event.version), event.event_type.to_string(), summary::of_data(&event.data))
                }
                None => ("purged".to_owned(), String::new(), String::new()),
            };
            table.row([
                Cell::new(&name),
                Cell::new(position).bold(),
                Cell::new(aggregate),
                Cell::new(event_type).bold(),
                Cell::new(attempts),
                Cell::new(last_error).red(),
                Cell::new(data),
            ]);
        }
    }
    if context.json {
        return Ok(());
    }
    if table.is_empty() {
        context.note("no dead letters");
        return Ok(());
    }
    context.out.table(&table)
}

fn drop_letters(context: &mut Context, which: &Which, consent: &Consent) -> Done {
    let store = if consent.yes { context.write(&which.file)? } else { context.read(&which.file)? };
    let letters = outbox(&store, &which.outbox)?.0.dead_letters()?;
    which.must_exist(&letters)?;
    if consent.yes {
        let dropped = letters.discard_where(|letter| which.takes(letter))?;
        return said(context, "dropped", dropped);
    }
    let mut count = 0;
    for letter in letters.iter() {
        count += u64::from(which.takes(&letter?));
    }
    said(context, "to drop", count)?;
    if consent.dry_run { Ok(()) } else { context.may_destroy(false) }
}

impl Which {
    fn takes(&self, letter: &DeadLetter) -> bool {
        let of_type = |event_type: &str| letter.event.as_ref().is_some_and(|event| *event.event_type == *event_type);
        self.all || self.positions.contains(&letter.position) || self.event_type.as_deref().is_some_and(of_type)
    }

    /// Every position that was named must be a dead letter; otherwise nothing is changed.
    fn must_exist(&self, letters: &Letters) -> Done {
        let mut missing = self.positions.clone();
        for letter in letters.iter() {
            let letter = letter?;
            missing.retain(|position| *position != letter.position);
        }
        match missing.first() {
            None => Ok(()),
            Some(position) => Err(Failure::not_found(format!("position {position} is no dead letter of {}", self.outbox))),
        }
    }
}

fn said(context: &mut Context, what: &str, letters: u64) -> Done {
    match context.json {
        true => context.out.json(&json!({"what": what, "deadLetters": letters})),
        false => context.out.line(format!("{} {what}", counted(letters, "dead letter"))),
    }
}
