//! Publishers: where an outbox hands its events.

use std::fmt;
use std::time::Duration;

use crate::delivery::runner::HandlerError;
use crate::model::event::{EventId, RecordedEvent};

/// Takes events to the outside world: a webhook, a broker, an e-mail. A closure can be one.
///
/// Return `Ok` only when the receiver has the event for good. An event may be published again, when the process died
/// after publishing and before that was recorded. Pass the [`id`](Message::id) on, so that the receiver can recognise
/// it.
pub trait Publisher: Send {
    /// Publishes one event within a bounded time: the outbox waits until it returns.
    ///
    /// # Errors
    /// The error says whether to try again. A panic is taken as [`PublishError::Retry`].
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError>;
}

impl<F: FnMut(&Message<'_>) -> Result<(), PublishError> + Send> Publisher for F {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        self(message)
    }
}

macro_rules! boxed {
    ($($publisher:ty),*) => {$(
        impl Publisher for Box<$publisher> {
            fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
                (**self).publish(message)
            }
        }
    )*};
}

boxed!(dyn Publisher, dyn Publisher + Send);

/// An event to be published.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Message<'a> {
    /// The event.
    pub event: &'a RecordedEvent,
    /// The number of the attempt, from 1. An attempt in which the process died counts.
    pub attempt: u32,
    /// The outbox's name.
    pub outbox: &'a str,
}

impl Message<'_> {
    /// The event's id: the same for every attempt and every outbox.
    pub fn id(&self) -> EventId {
        self.event.id
    }
}

/// Why an event could not be published. The text is kept in the file and shown with the dead letter, so it should not
/// contain the event's data. It is cut off after 1,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// It may work later: tried again after the back-off, until the attempts are used up.
    Retry(String),
    /// As [`PublishError::Retry`], but not before this time is over, because the receiver asked for it. A day at most.
    RetryAfter(String, Duration),
    /// It will never work: the event becomes a dead letter at once.
    Reject(String),
}

impl PublishError {
    /// The text, cut off at its limit.
    pub(crate) fn reason(&self) -> String {
        let (PublishError::Retry(text) | PublishError::RetryAfter(text, _) | PublishError::Reject(text)) = self;
        shortened(text)
    }
}

/// The first thousand bytes, or a few less so that no character is cut.
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
