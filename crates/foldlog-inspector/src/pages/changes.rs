//! What is asked for by a form: a verification, and what changes the file, if that is allowed.

use super::delivery::{self, Change, Target};
use super::{Failure, Page};
use crate::app::App;
use crate::http::{Answer, Request, same};
use crate::reading::verify;
use crate::view::link;
use crate::view::number::{count, counted};

pub(crate) fn answer(app: &App, request: &Request, segments: &[&str]) -> Page {
    if !request.field("secret").is_some_and(|secret| same(secret, &app.form_secret)) {
        return Err(Failure::Refused(
            403,
            "This form is not of this inspector's pages, or of an earlier run: open the page again".to_owned(),
        ));
    }
    match segments {
        ["storage", "verify"] => {
            verify::start(&app.verification, &app.store, app.writer.as_ref());
            Ok(Answer::redirect("/storage#verify"))
        }
        ["change", name] => match Change::ALL.into_iter().find(|change| change.path() == *name) {
            Some(change) => changed(app, request, change),
            None => Err(Failure::NotFound("There is no such change".to_owned(), String::new())),
        },
        _ => Err(Failure::NotFound("Nothing is changed here".to_owned(), String::new())),
    }
}

fn changed(app: &App, request: &Request, change: Change) -> Page {
    let Some(writer) = &app.writer else {
        return Err(Failure::Refused(
            403,
            "The inspector was started without leave to write: use --allow-writes, or Inspector::allow_writes".to_owned(),
        ));
    };
    let missing =
        || Failure::NotFound("There is no such reader".to_owned(), "It may have been removed; open Delivery again.".to_owned());
    let target =
        Target { tenant: request.field("tenant").map(str::to_owned), name: request.field("name").unwrap_or_default().to_owned() };
    let position = request.field("position").unwrap_or_default();
    let number = match position {
        "" => None,
        position => Some(position.parse::<u64>().map_err(|_| Failure::Refused(400, "The position is no number".to_owned()))?),
    };
    app.forget_readers();
    let readers = app.readers()?;
    let reader = readers
        .all
        .iter()
        .find(|reader| reader.tenant == target.tenant && reader.status.name == target.name)
        .ok_or_else(missing)?;
    if request.field("confirmed") != Some("yes") {
        let question = request.field("question").unwrap_or("Are you sure?");
        return Ok(Answer::html(200, delivery::confirm(app, change, &target, position, question)));
    }
    let done = match (change, number) {
        (Change::Retry, Some(position)) => {
            reader.outbox(writer).dead_letters()?.retry(position)?;
            format!("The event at position {} will be tried again.", count(position))
        }
        (Change::Retry, None) => {
            let letters = reader.outbox(writer).dead_letters()?.retry_all()?;
            format!("{} will be tried again.", counted(letters, "event", "events"))
        }
        (Change::Discard, Some(position)) => {
            reader.outbox(writer).dead_letters()?.discard(position)?;
            format!("The dead letter at position {} was discarded.", count(position))
        }
        (Change::Discard, None) => return Err(Failure::Refused(400, "Discard them one by one".to_owned())),
        (Change::RetryFailed, _) => {
            let position = reader.subscription(writer).retry_failed()?;
            format!("The event at position {position} will be handled again.")
        }
        (Change::SkipFailed, _) => {
            let position = reader.subscription(writer).skip_failed()?;
            format!("The event at position {position} was skipped.")
        }
    };
    app.forget_readers();
    Ok(Answer::redirect(&link::url("/delivery", &[("done", &done)])))
}
