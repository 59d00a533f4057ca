//! What an outbox hands its events to.

use std::fmt;
use std::time::Duration;

use crate::delivery::runner::HandlerError;
use crate::model::event::{EventId, RecordedEvent};

/// Takes events to the outside world: a webhook, a broker, an e-mail. A closure is one.
///
/// It returns `Ok` when the other side has the event for good, and not before. It may be called again with an event that
/// it has published: when the process died after publishing and before that was written down. Give the other side the
/// [`id`](Message::id), by which it can tell.
pub trait Publisher: Send {
    /// Publishes one event, within a bounded time: the outbox goes on only when it returns.
    ///
    /// # Errors
    /// Says whether to try again. A panic is taken as [`PublishError::Retry`].
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError>;
}

impl<F: FnMut(&Message<'_>) -> Result<(), PublishError> + Send> Publisher for F {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        self(message)
    }
}

impl Publisher for Box<dyn Publisher> {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        (**self).publish(message)
    }
}

/// An event on its way out.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Message<'a> {
    /// What is to be published.
    pub event: &'a RecordedEvent,
    /// Which attempt it is: 1 for the first. An attempt in which the process died counts.
    pub attempt: u32,
    /// The outbox's name.
    pub outbox: &'a str,
}

impl Message<'_> {
    /// The same for every attempt, and for every outbox: the event's id.
    pub fn id(&self) -> EventId {
        self.event.id
    }
}

/// Why an event could not be published. The text is kept in the file and shown beside the dead letter, so it should not
/// hold what the event holds; it is cut off after 1,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// It may work another time: tried again after the back-off, until the attempts are used up.
    Retry(String),
    /// As [`PublishError::Retry`], but not before this time is over: the other side asked for it. A day at the most.
    RetryAfter(String, Duration),
    /// It will never work: a dead letter at once.
    Reject(String),
}

impl PublishError {
    /// The text, cut off at its bound.
    pub(crate) fn reason(&self) -> String {
        let (PublishError::Retry(text) | PublishError::RetryAfter(text, _) | PublishError::Reject(text)) = self;
        shortened(text)
    }
}

/// The first thousand bytes, or a few less so that no character is cut in two.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 1_000;
    let end = (0..=MOST.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Retry(text) => write!(f, "not published: {text}"),
            PublishError::RetryAfter(text, pause) => write!(f, "not published: {text}; try again after {} s", pause.as_secs()),
            PublishError::Reject(text) => write!(f, "refused: {text}"),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<HandlerError> for PublishError {
    fn from(error: HandlerError) -> PublishError {
        PublishError::Retry(error.to_string())
    }
}

impl From<crate::Error> for PublishError {
    fn from(error: crate::Error) -> PublishError {
        PublishError::Retry(error.to_string())
    }
}
