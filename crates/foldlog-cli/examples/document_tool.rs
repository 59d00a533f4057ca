//! An application's own tool in a few lines: the command `foldlog`, with the application's fold, projection and upcasters.
//!
//! `cargo run -p foldlog-cli --example document_tool -- replay FILE document/ID`

use std::process::ExitCode;

use foldlog::{Aggregate, Filter, HandlerError, Options, Projection, ReadModel, RecordedEvent, Upcasters};
use foldlog_cli::Registry;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Edit {
    #[serde(rename = "TextInserted")]
    Inserted { pos: usize, text: String },
    #[serde(rename = "TextDeleted")]
    Deleted { pos: usize, count: usize },
}

/// A text that grows and shrinks; positions count characters.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    text: Vec<char>,
}

impl Aggregate for Document {
    const TYPE: &'static str = "document";
    type Event = Edit;

    fn apply(&mut self, edit: Edit) {
        let (pos, count, text) = match edit {
            Edit::Inserted { pos, text } => (pos, 0, text),
            Edit::Deleted { pos, count } => (pos, count, String::new()),
        };
        let end = pos.saturating_add(count).min(self.text.len());
        self.text.splice(pos.min(end)..end, text.chars());
    }
}

/// How often each document was edited.
struct Edits;

impl Projection for Edits {
    fn name(&self) -> &str {
        "edits"
    }

    fn tables(&self) -> Vec<String> {
        vec!["edits".to_owned()]
    }

    fn filter(&self) -> Filter {
        Filter::new().aggregate_type(Document::TYPE)
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {edits} (document TEXT PRIMARY KEY, edits INTEGER NOT NULL) STRICT")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let sql = "INSERT INTO {edits} VALUES (?1, 1) ON CONFLICT DO UPDATE SET edits = edits + 1";
        model.execute(sql, [&*event.aggregate_id])?;
        Ok(())
    }
}

/// The first version of the application called an insertion `Typed`, and its place `at`.
fn options() -> foldlog::Result<Options> {
    let typed = Upcasters::new().rename_field("Typed", 1, "at", "pos").rename_type("Typed", 2, "TextInserted", 1);
    Options::new().upcasters(typed)
}

fn main() -> ExitCode {
    match options() {
        Ok(options) => foldlog_cli::run(Registry::new().aggregate::<Document>().projection(Edits).options(options)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
