//! Export: events as lines of JSON.

use std::io::Write;
use std::ops::ControlFlow;

use serde::Serialize;

use super::line;
use crate::delivery::outbox::cloud_events::CloudEvents;
use crate::log::query::{Events, Query};
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::place::Position;

/// How many events are written between two calls of the progress callback.
const STEP: u64 = 1_000;

/// Which events to export, and in which form.
///
/// Without more, a line is a JSON object of `aggregate_type`, `aggregate_id`, `event_type`, `data`, `metadata` (left out if
/// there is none), `occurred_at`, `event_id`, `schema_version` (left out if it is 1), `tags` (left out if there are none),
/// `tenant`, `version`, `position` and `commit`. [`Store::import`](crate::Store::import) reads it back without a loss. So that
/// nothing is lost, events are written as they are stored: see [`Export::upcast`].
#[derive(Clone, Debug, Default)]
pub struct Export {
    query: Query,
    upcast: bool,
    cloud_events: Option<CloudEvents>,
}

impl Export {
    /// Exports the events of a query.
    pub fn new(query: impl Into<Query>) -> Export {
        Export { query: query.into(), upcast: false, cloud_events: None }
    }

    /// Writes events as other readers get them: as [`Upcasters`](crate::Upcasters) turn them into the current schema
    /// versions of their types. Events that become several or none cannot be imported again as a whole history. CloudEvents
    /// are always written so.
    pub fn upcast(mut self) -> Export {
        self.upcast = true;
        self
    }

    /// Writes CloudEvents 1.0 (structured mode, JSON), for other systems. Tags, and members of the metadata that have no
    /// attribute there, are left out.
    pub fn as_cloud_events(mut self, cloud_events: CloudEvents) -> Export {
        self.cloud_events = Some(cloud_events);
        self
    }
}

impl<Q: Into<Query>> From<Q> for Export {
    fn from(query: Q) -> Export {
        Export::new(query)
    }
}

/// The progress, and in the end the result, of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExportProgress {
    /// Events written.
    pub events: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The position of the last event written.
    pub position: Position,
    /// The newest position of the log when the export began.
    pub last_position: Position,
    /// Whether it finished; `false` if it was stopped.
    pub finished: bool,
}

pub(crate) fn export(
    scope: &Scope,
    export: Export,
    mut to: impl Write,
    mut wanted: impl FnMut(&RecordedEvent) -> bool,
    mut progress: impl FnMut(&ExportProgress) -> ControlFlow<()>,
) -> Result<ExportProgress> {
    let Export { query, upcast, cloud_events } = export;
    let query = if upcast || cloud_events.is_some() { query } else { query.as_stored() };
    let last_position = Position::new(scope.engine().last_position()?);
    let mut done = ExportProgress { last_position, ..ExportProgress::default() };
    for (read, event) in (1u64..).zip(Events::new(scope.clone(), query)) {
        let event = event?;
        if wanted(&event) {
            let text = match &cloud_events {
                Some(form) => form.written(&event),
                None => line::write(&event),
            };
            let text = line::on_one_line(text.map_err(cannot_be_json)?);
            to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")).map_err(cannot_write)?;
            done.events += 1;
            done.bytes += text.len() as u64 + 1;
        }
        done.position = event.position;
        if read.is_multiple_of(STEP) && progress(&done).is_break() {
            to.flush().map_err(cannot_write)?;
            return Ok(done);
        }
    }
    to.flush().map_err(cannot_write)?;
    done.finished = true;
    // The last call says that it is done; it is too late to stop.
    let _ = progress(&done);
    Ok(done)
}

fn cannot_be_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Codec, format!("the event cannot be written as JSON: {error}"))
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "the events cannot be written to their destination").caused_by(error)
}
